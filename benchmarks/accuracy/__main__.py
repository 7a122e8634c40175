"""Run the accuracy bench: `python -m benchmarks.accuracy --suite tsb_m --suite skab --preset fast`."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.accuracy.data import ROOT, data_folder
from benchmarks.accuracy.report import entry, write
from benchmarks.accuracy.runner import chosen, run_suite
from benchmarks.accuracy.store import DETECTING, code_digest
from benchmarks.accuracy.suites import SUITES
from benchmarks.accuracy.work import Job, Settings

WORK = ROOT / ".bench"
RESULTS = Path(__file__).parents[1] / "results"


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    parser.add_argument("--suite", action="append", choices=list(SUITES), help="only this one; repeatable")
    parser.add_argument("--only", choices=("all", "ours", "baselines"), default="all")
    parser.add_argument("--preset", choices=("fast", "default", "best"), default="default")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--data", type=Path, help="OFFBEAT_DATA, or ../shared/data, when left out")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the table")
    parser.add_argument("--work", type=Path, default=WORK, help="folder of what is kept between runs")
    tsb = os.environ.get("OFFBEAT_TSB_PYTHON", WORK / "tsb" / "bin" / "python")
    parser.add_argument("--tsb-python", type=Path, default=Path(tsb), help="made by tsb_env.sh")
    return parser.parse_args()


def main() -> int:
    """Run suites one after the other, and write the table after each."""
    options, console = parse(), Console(stderr=True)
    try:
        data = data_folder(options.data)
    except FileNotFoundError as error:
        console.print(f"[red]✗[/] {escape(str(error))}", soft_wrap=True)
        return 2
    settings = Settings(
        data, options.work.absolute(), options.tsb_python.absolute(), options.preset, options.seed
    )
    name = "accuracy" if options.preset == "default" else f"accuracy-{options.preset}"
    failures = 0
    with _progress(console) as progress:
        for suite in (SUITES[s] for s in options.suite or SUITES):
            jobs = chosen(suite, settings, options.only)
            task = progress.add_task(suite.NAME, total=len(jobs), last="")

            def told(job: Job, seconds: float, failure: str, task: object = task) -> None:
                text = escape(f"{job.series} · {job.method} · {seconds:.0f} s")
                progress.update(task, advance=1, last=text)  # type: ignore[arg-type]
                if failure:
                    console.print(f"[red]✗[/] {text}\n{escape(failure)}", soft_wrap=True, highlight=False)
                elif seconds and not console.is_terminal:
                    console.print(f"{job.suite} · {text}", soft_wrap=True, highlight=False)

            outcome = run_suite(suite, jobs, settings, told)
            verdict = suite.judge(data, outcome.done)
            found = entry(suite, verdict, outcome, settings, code_digest(DETECTING))
            path = write(options.out, name, {suite.NAME: found}, {suite.NAME: verdict})
            failures += len(outcome.failed)
            progress.update(task, last=f"{outcome.wall_s:.0f} s")
    console.print(f"{path}: {failures} jobs failed" if failures else str(path))
    return 1 if failures else 0


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:<11}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[last]}"),
        console=console,
        disable=not console.is_terminal,
    )


if __name__ == "__main__":
    sys.exit(main())
