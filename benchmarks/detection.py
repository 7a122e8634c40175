"""How well the default detects, on public labelled data: `python -m benchmarks.detection --data FOLDER`.

Each data set becomes a stream as `offbeat demo --data` makes it: trained on what its protocol calls normal,
judged on the rest, no label used. Average precision (AP) and AUC are of rows or transactions; the moving
z-score and the last value's difference, through the same calibration, stand beside for sensors.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from rich.console import Console
from rich.table import Table
from sklearn.metrics import average_precision_score, roc_auc_score

from pipeline.config.loader import load_stream
from pipeline.detect import Detector, HeldOut, baselines
from pipeline.learning import learn
from pipeline.scoring import Judged, Scorer, micros
from pipeline.simulate.replay import REPLAYS, write_replay
from pipeline.sources import open_source

DEFAULTS = Path(__file__).parents[1] / "configs" / "defaults.yaml"


def read(stream: Any) -> pa.Table:
    """Return all records of a stream's source."""
    source, parts, position, more = open_source(stream, Path("/")), [], {}, True
    while more:
        batch = source.read(position, 500_000)
        parts.append(batch.records)
        position, more = batch.position, batch.more
    return pa.concat_tables(parts).sort_by([("entity", "ascending"), ("time", "ascending")])


def truth(judged: list[Judged], labels: Any, since: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return labels, scores and flags of the rows judged."""
    stolen = {i for fault in labels.faults for i in fault.ids}
    wrong, score, flag = [], [], []
    for one in judged:
        series = one.rows.series
        bad = np.zeros(len(series), bool)
        if series.ids is not None:
            bad = np.isin(series.ids.astype(str), list(stolen))
        for fault in () if series.ids is not None else labels.faults:
            if fault.entity == series.entity:
                bad |= (series.time >= micros(fault.start)) & (series.time <= micros(fault.end))
        kept = (series.time >= since) & ~np.isnan(one.scored.score)
        wrong.append(bad[kept])
        score.append(one.scored.score[kept])
        flag.append(one.scored.flag[kept])
    return np.concatenate(wrong), np.concatenate(score), np.concatenate(flag)


def beside(name: str, stream: Any, learned: Any, judged: list[Judged], labels: Any, since: int) -> Any:
    """Return a trivial baseline's average precision through the same calibration, or None."""
    if stream.kind != "sensor":
        return None
    rule = {"z-score": baselines.moving_zscore, "last value": baselines.last_value}[name]

    def errors(rows: Any) -> Any:
        return np.where(rows.series.mask, rule(rows.series.values), np.nan)[None]

    held_out = [HeldOut(r.series.entity, r.series.time, errors(r)) for r in learned.held_out]
    detector = Detector().fit(held_out, per_second=1e-5, merge_us=1, step_us=60_000_000)
    again = [Judged(one.rows, detector.score(errors(one.rows))) for one in judged]
    return average_precision_score(*truth(again, labels, since)[:2])


def bench(name: str, data: Path, work: Path) -> list[str]:
    """Return one row of the table."""
    labels = write_replay(work, name, REPLAYS[name](data))
    stream = load_stream(work / "configs" / "streams" / f"{name}.yaml", DEFAULTS)
    records, until = read(stream), labels.normal_until
    began = time.perf_counter()
    learned = learn(
        stream, records.filter(pc.less(records["time"], pa.scalar(until, records["time"].type))), work / name
    )
    trained = time.perf_counter() - began
    began = time.perf_counter()
    judged = Scorer.of(learned.bundle, stream).judge(records, start=until)
    scored = time.perf_counter() - began
    wrong, score, flag = truth(judged, labels, micros(until))
    trivial = [
        beside(rule, stream, learned, judged, labels, micros(until)) for rule in ("z-score", "last value")
    ]
    return [
        name, f"{len(score):,}", f"{wrong.mean():.3f}", f"{average_precision_score(wrong, score):.3f}",
        *("-" if t is None else f"{t:.3f}" for t in trivial), f"{roc_auc_score(wrong, score):.3f}",
        f"{flag.sum():,}", f"{wrong[flag].mean() if flag.any() else 0:.2f}",
        f"{trained:.0f}", f"{scored:.1f}",
    ]  # fmt: skip


def main() -> None:
    """Run over every data set, or those named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("streams", nargs="*", default=list(REPLAYS))
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        raise SystemExit(f"{arguments.data} is no folder: give --data")
    columns = (
        "stream",
        "rows",
        "share wrong",
        "AP",
        "AP z-score",
        "AP last value",
        "AUC",
        "flags",
        "right",
        "train s",
        "score s",
    )
    table = Table(*columns, box=None)
    for name in arguments.streams:
        with tempfile.TemporaryDirectory() as work:
            table.add_row(*bench(name, arguments.data, Path(work)))
    Console(width=130).print(table)


if __name__ == "__main__":
    main()
