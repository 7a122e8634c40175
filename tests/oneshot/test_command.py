"""`offbeat detect`: one file in, scores, figures and a page out; a mistake is one line and a code."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pipeline import cli
from pipeline.oneshot import files
from tests.oneshot import kit

run = CliRunner().invoke


def test_one_command_takes_a_csv_to_scores_figures_and_a_page(tmp_path):
    files.write_table(kit.plant(700).drop(["label"]), tmp_path / "in.csv")
    table = files.read_table(tmp_path / "in.csv")
    label = np.zeros(700, bool)
    label[600:620] = True
    files.write_table(table.append_column("bad", [label]), tmp_path / "in.csv")
    shown = run(
        cli.app,
        ["detect", str(tmp_path / "in.csv"), "--time", "ts", "--channels", "pressure,flow", "--label", "bad",
         "--train-rows", "500", "--preset", "fast", "--false-alarms", "1/week", "--json",
         "--out", str(tmp_path / "out.parquet"), "--report", str(tmp_path / "page")],
    )  # fmt: skip
    assert shown.exit_code == 0, shown.output
    told = json.loads(shown.stdout)
    assert (told["rows"], told["learned_from"], told["judged_rows"], told["budget"]) == (
        700,
        500,
        200,
        "1/week",
    )
    assert {"average_precision", "vus_pr", "event_f1", "false_alarms_a_day"} <= set(told)
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 700
    assert (tmp_path / "page" / "report.html").stat().st_size > 4e6


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--time", "tss"), "did you mean ts?"),
        (("--kind", "sensors"), "--kind: 'sensors' is neither of sensor and transaction"),
        (("--preset", "quick"), "--preset: 'quick' is none of fast, default, best"),
        (("--out", "scores.xlsx"), "--out: scores.xlsx: expected a name that ends in"),
        (("--time", "ts", "--label", "pressure"), "goes down to"),
        (("--kind", "transaction", "--label-delay", "soon"), "--label-delay: 'soon': expected a duration"),
        (("--channels", "[red]x[/blue]"), "no column '[red]x[/blue]'"),
    ],
)
def test_a_mistake_is_one_line_before_any_training(tmp_path, monkeypatch, capfd, arguments, words):
    table = kit.plant(100)
    table = table.set_column(1, "pressure", [np.linspace(-1, 1, 100)])
    files.write_table(table, tmp_path / "in.parquet")
    monkeypatch.setattr("sys.argv", ["offbeat", "detect", str(tmp_path / "in.parquet"), *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    told = capfd.readouterr().err
    assert ended.value.code == 4
    assert words in told
    assert len(told.strip().splitlines()) == 1


def test_the_command_teaches_itself():
    shown = run(cli.app, ["detect", "--help"])
    assert shown.exit_code == 0
    for option in ("--time", "--entity", "--label", "--report", "--false-alarms", "--preset"):
        assert option in shown.output
