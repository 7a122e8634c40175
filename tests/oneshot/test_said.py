"""`offbeat detect --label` takes the labels that people gave, as `offbeat feedback --export` writes them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import DataError
from pipeline.oneshot import Ask
from pipeline.oneshot.said import with_labels
from pipeline.steps.feedback import LABELS
from tests.oneshot import kit

START = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def file(tmp_path):
    def said(entity, first, last, label):
        span = {"start": START + timedelta(minutes=first), "end": START + timedelta(minutes=last)}
        return {"entity": entity, "label": label, "who": "Ann", **span}

    rows = [said("a[1]", 1700, 1740, 1), said("a[1]", 10, 20, 0), said("b", 30, 40, 1)]
    pq.write_table(pa.Table.from_pylist(rows, LABELS), tmp_path / "labels.parquet")
    return str(tmp_path / "labels.parquet")


def test_rows_in_a_fault_that_people_confirmed_are_labelled(file):
    table = kit.plant().drop_columns("label").append_column("pump", pa.array(["a[1]"] * 2000))
    made, ask = with_labels(table, Ask(time="ts", entity="pump", label=file))
    assert made[ask.label].to_pylist() == kit.plant()["label"].to_pylist()
    assert ask == replace(Ask(time="ts", entity="pump"), label="label")


def test_a_table_of_one_machine_takes_all_labels(file):
    made, ask = with_labels(kit.plant(), Ask(time="ts", label=file))
    assert ask.label == "label_", "the table's own column stays what it is"
    assert sum(made["label_"].to_pylist()) == 40 + 10


def test_a_column_is_still_a_column():
    table, ask = kit.plant(), Ask(time="ts", label="label")
    assert with_labels(table, ask) == (table, ask)


def test_what_are_no_labels_is_refused(file, tmp_path):
    with pytest.raises(DataError, match="labels times"):
        with_labels(kit.plant(), Ask(label=file))
    pq.write_table(pa.table({"entity": ["a"]}), tmp_path / "other.parquet")
    with pytest.raises(DataError, match="lacks start, end, label"):
        with_labels(kit.plant(), Ask(time="ts", label=str(tmp_path / "other.parquet")))
