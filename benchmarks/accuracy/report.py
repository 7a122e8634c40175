"""The results as files: one table for people, the same for machines, and every figure of every series.

In: verdicts. Out: `accuracy.md`, `accuracy.json`, `accuracy.csv` (`accuracy-fast.…` for another preset). A
run of some suites leaves the others as they were.
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.accuracy.runner import WORKERS, Outcome
from benchmarks.accuracy.work import OURS, Settings, Suite, Target, Verdict

COLUMNS = ("suite", "dataset", "series", "method", "figure", "value")
HEAD = ("data", "figure", "best published", "best trivial", OURS, "at least", "aim", "")
Entry = dict[str, Any]


def entry(suite: Suite, verdict: Verdict, outcome: Outcome, settings: Settings, digest: str) -> Entry:
    """Return a suite's part of the JSON."""
    return {
        "title": suite.TITLE,
        "preset": settings.preset,
        "seed": settings.seed,
        "code": digest[:12],
        "wall_s": round(outcome.wall_s, 1),
        "worker_s": round(outcome.worker_s, 1),
        "alone": suite.ALONE,
        "failed": {f"{j.series} by {j.method}": _last(t) for j, t in sorted(outcome.failed.items(), key=str)},
        "lines": [_known(asdict(line)) for line in verdict.lines],
        "targets": [asdict(target) for target in suite.TARGETS],
    }


def write(folder: Path, name: str, suites: Mapping[str, Entry], figures: Mapping[str, Verdict]) -> Path:
    """Write the three files, keeping what other runs wrote about other suites; return the Markdown's path."""
    folder.mkdir(parents=True, exist_ok=True)
    known = folder / f"{name}.json"
    before: dict[str, Entry] = json.loads(known.read_text())["suites"] if known.is_file() else {}
    merged = {**before, **suites}
    _replace(known, json.dumps({"suites": merged}, indent=1, allow_nan=False) + "\n")
    _write_csv(folder / f"{name}.csv", figures)
    _replace(folder / f"{name}.md", markdown(merged))
    return folder / f"{name}.md"


def markdown(suites: Mapping[str, Entry]) -> str:
    """Return the table of targets, and below it every suite's own."""
    parts = [
        "# Accuracy",
        "Written by `make bench-accuracy`. No test label was used to fit, scale, smooth or set a threshold, "
        "but where a line says so, and in NAB, whose rule is the threshold that scores best, for everyone. "
        "Single series are in the `.csv` beside.",
        _table(HEAD, (row for found in suites.values() for row in _target_rows(found))),
    ]
    for found in suites.values():
        parts += [f"## {found['title']}", _lines_table(found["lines"])]
        if found["failed"]:
            parts.append("Failed: " + "; ".join(f"{k}: {v}" for k, v in found["failed"].items()))
        parts.append(
            f"Preset {found['preset']}, seed {found['seed']}, code {found['code']}; "
            f"{found['worker_s']:.0f} worker seconds."
        )
    wall = sum(float(f["worker_s"]) / (1 if f.get("alone") else WORKERS) for f in suites.values())
    parts += ["## Time", f"{wall / 60:.0f} minutes: {WORKERS} workers of one thread, {os.cpu_count()} cores."]
    return "\n\n".join(parts) + "\n"


def _target_rows(found: Entry) -> Iterable[tuple[str, ...]]:
    for kept in found["targets"]:
        target = Target(**kept)
        held = (line["figures"] for line in found["lines"] if line["method"] == target.method)
        ours: dict[str, float] = next(held, {})
        value = ours.get(target.figure, math.nan)
        trivial, trivial_name = _best(found["lines"], target, "baseline")
        published, published_name = _best(found["lines"], target, "published")
        told = "" if target.method == OURS else target.method.removeprefix(OURS).lstrip(", ")
        yield (
            found["title"] + (f", {told}" if told else ""),
            target.figure,
            f"{number(published)} {published_name}".strip(),
            f"{number(trivial)} {trivial_name}".strip(),
            f"**{number(value)}**",
            "best trivial" if target.least is None else number(target.least),
            number(target.aim),
            "" if math.isnan(value) else ("met" if target.met(value, trivial) else "not met"),
        )


def _best(lines: Iterable[Entry], target: Target, source: str) -> tuple[float, str]:
    """Return the best figure of a source and whose it is; the best of each series is no method."""
    held = [
        (line["figures"][target.figure], line["method"])
        for line in lines
        if line["source"] == source and target.figure in line["figures"] and "of each" not in line["method"]
        if source != "published" or target.against is None or line["method"] in target.against
    ]
    return (max if target.better == "higher" else min)(held) if held else (math.nan, "")


def _lines_table(lines: Iterable[Entry]) -> str:
    lines = list(lines)
    names = list(dict.fromkeys(name for line in lines for name in line["figures"]))
    order = {"published": 0, "baseline": 1, "ours": 2}
    rows = [
        (
            f"**{line['method']}**" if line["source"] == "ours" else line["method"],
            line["source"],
            *(number(line["figures"].get(name, math.nan)) for name in names),
        )
        for line in sorted(lines, key=lambda line: order[line["source"]])
    ]
    return _table(("method", "source", *names), rows)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = tuple(head)
    written = [head, ("---",) * len(head), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in written)


def number(value: float) -> str:
    """Write a figure as short as it is clear: `.417`, `71.2`, `58,505`."""
    if not math.isfinite(value):
        return "–"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if value == int(value) and abs(value) >= 1:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3f}"


def _write_csv(path: Path, figures: Mapping[str, Verdict]) -> None:
    rows: list[tuple[str, ...]] = []
    if path.is_file():
        with path.open(newline="") as file:
            rows = [tuple(r) for r in list(csv.reader(file))[1:] if r[0] not in figures]
    for suite, verdict in figures.items():
        rows += [(suite, f.dataset, f.series, f.method, f.figure, f"{f.value:.6g}") for f in verdict.series]
    partial = path.with_suffix(".partial")
    with partial.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([COLUMNS, *rows])
    partial.replace(path)


def _replace(path: Path, text: str) -> None:
    partial = path.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def _known(line: Entry) -> Entry:
    """Leave out what is not finite: JSON has no word for it."""
    return {**line, "figures": {k: v for k, v in line["figures"].items() if math.isfinite(v)}}


def _last(failure: str) -> str:
    """Return what went wrong without where: paths of a machine have no place in results."""
    return failure.strip().splitlines()[-1][:200] if failure.strip() else ""
