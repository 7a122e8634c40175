"""A table becomes a stream, whatever its columns are called; a mistake is told with what to do."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pyarrow as pa
import pytest

from pipeline import schemas
from pipeline.config.models import Rate, parse_stream
from pipeline.errors import DataError
from pipeline.oneshot import Ask
from pipeline.oneshot.layout import lay_out, safe_names
from pipeline.oneshot.presets import budget
from pipeline.oneshot.table import distinct
from tests.oneshot import kit

SENSORS = Ask(time="ts", label="label")
CARDS = Ask(kind="transaction", time="TX_TIME", entity="CARD", amount="CENTS", categories=("SHOP",))


def test_channels_are_what_is_numeric_and_nothing_else():
    layout = lay_out(kit.plant(), SENSORS)
    assert layout.stream.channels == ("pressure", "flow")
    assert layout.records.schema.names == schemas.records(layout.stream).names
    assert layout.stream.grid.step == timedelta(minutes=1)
    assert parse_stream(layout.stream.model_dump_json()) == layout.stream


def test_any_name_may_be_a_channel_and_is_found_again():
    layout = lay_out(kit.messy(), Ask(time="when", entity="machine"))
    assert [layout.names[c] for c in layout.stream.channels] == [
        kit.STRANGE,
        "entity",
        "on",
        "constant",
        "never",
    ]
    assert layout.entities == ["a", "b", "c"]
    assert parse_stream(layout.stream.model_dump_json()) == layout.stream


def test_names_that_tables_could_not_tell_apart_are_told_apart():
    made = safe_names(["Flow", "flow", "time", "", "ü", "x" * 300, "c1_flow"])
    assert len({name.casefold() for name in made}) == 7
    assert made[0] == "Flow"
    assert all(len(name) <= 128 for name in made)


def test_columns_of_one_name_are_told_apart():
    table = pa.table([pa.array([1]), pa.array([2]), pa.array([3])], names=["x", "x", "x (2)"])
    assert distinct(table).column_names == ["x", "x (3)", "x (2)"]


def test_learning_is_from_the_rows_that_were_asked_for():
    table = kit.plant()
    assert lay_out(table, SENSORS).train.all()
    assert lay_out(table, replace(SENSORS, train_rows=100)).train.sum() == 100
    part = replace(SENSORS, train_from="2026-03-01T01:00", train_until="2026-03-01T02:00")
    assert np.flatnonzero(lay_out(table, part).train).tolist() == list(range(60, 120))


def test_transactions_without_an_id_are_numbered_and_rows_of_one_id_stay_two():
    layout = lay_out(kit.payments(), CARDS)
    assert layout.records.schema.names == schemas.records(layout.stream).names
    assert len(set(layout.records["id"].to_pylist())) == layout.records.num_rows
    assert layout.stream.channels == ("amount", "pace", "time of day", "SHOP")
    assert (layout.stream.window.length, layout.stream.model.hide) == (16, 1)


@pytest.mark.parametrize(
    ("table", "ask", "words"),
    [
        (kit.plant, Ask(time="tss"), "--time: no column 'tss'.* did you mean ts?"),
        (kit.plant, Ask(time="ts", channels=("flw",)), "--channels: no column 'flw'.* did you mean flow?"),
        (kit.plant, Ask(time="ts", label="ts2"), "--label: no column"),
        (kit.plant, Ask(time="ts", channels=("ts",)), "already the time"),
        (kit.messy, Ask(time="when", channels=("text",)), "holds string such as '[ab]'; expected numbers"),
        (kit.plant, Ask(time="ts", categories=("flow",)), "--category is for transactions"),
        (kit.plant, replace(SENSORS, train_until="2020-01-01"), "no row is left to learn from"),
        (kit.plant, replace(SENSORS, false_alarms="often"), "--false-alarms: 'often': expected a rate"),
        (kit.payments, replace(CARDS, amount=None), "--amount is missing"),
        (kit.payments, replace(CARDS, categories=("SHP",)), "did you mean SHOP?"),
        (kit.payments, replace(CARDS, channels=("SHOP",)), "--channels is for sensors"),
        (kit.payments, replace(CARDS, label_delay=timedelta(days=7)), "--label-delay needs --label"),
        (lambda: kit.plant().select(["ts", "label"]), SENSORS, "no numeric column to watch"),
        (lambda: kit.plant().slice(0, 0), SENSORS, "no rows"),
    ],
)
def test_a_mistake_is_told_with_what_to_do(table, ask, words):
    with pytest.raises(DataError, match=words):
        lay_out(table(), ask)


@pytest.mark.parametrize(
    ("text", "rows_per_second", "real", "per_second"),
    [
        ("2/week", 1.0, True, 2 / 604800),
        ("1/1000 rows", 0.5, True, 0.0005),
        ("3/100rows", 1.0, False, 0.03),
        (None, 1.0, False, 1 / 1000),
        (None, 1 / 60, True, 1 / 86400),
        (None, 1 / 3600, True, 1 / 3_600_000),
        (None, 1000.0, True, 0.01),
    ],
)
def test_the_budget_is_as_asked_or_what_fits_the_pace(text, rows_per_second, real, per_second):
    made = budget(text, rows_per_second, real=real)
    assert made.per_second == pytest.approx(per_second, rel=1e-3)
    assert Rate.parse(str(made)).per_second == pytest.approx(made.per_second)


@pytest.mark.parametrize("rows_per_second", [1e-9, 1e-6, 1e-3, 1.0, 1e3, 1e6])
def test_a_budget_can_always_be_written(rows_per_second):
    for text in (None, "1/100 rows"):
        made = budget(text, rows_per_second, real=False)
        assert Rate.parse(str(made)) == made


@pytest.mark.parametrize("rows", [150, 400, 700])
def test_a_short_table_gets_shorter_windows(rows):
    stream = lay_out(kit.plant().slice(0, rows), SENSORS).stream
    assert 16 * stream.window.length <= max(rows, 64 + 15)
    assert rows * stream.training.holdout - stream.window.length >= 50
