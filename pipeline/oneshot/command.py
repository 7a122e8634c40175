"""What `offbeat detect` does, from a file to a file, a report and a few words.

In: an ask and paths. Out: files, and what to print. Progress is shown on a terminal alone.
"""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast, get_args

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from pipeline.config.models import Model, parse_duration
from pipeline.errors import DataError
from pipeline.oneshot.ask import Ask, Kind, Preset
from pipeline.oneshot.detect import detect
from pipeline.oneshot.files import check_name, read_table, write_table
from pipeline.oneshot.presets import PRESETS
from pipeline.oneshot.report import write_report
from pipeline.oneshot.said import with_labels
from pipeline.oneshot.summary import lines, summary
from pipeline.oneshot.verdict import labels, verdict

if TYPE_CHECKING:
    from pipeline.models.progress import Epoch

    OnEpoch = Callable[[Epoch], None]
    OnRows = Callable[[int, int], None]


@dataclass(frozen=True)
class Told:
    """What there is to print: numbers, lines about the worst anomalies, and what a person should know."""

    numbers: dict[str, Any]
    worst: list[str]
    notes: tuple[str, ...]


def asked(*, channels: str | None, kind: str, label_delay: str | None, preset: str, **rest: Any) -> Ask:
    """Return an ask from options as they were typed.

    Raises:
        DataError: an option is none of its choices; says which there are.
    """
    kinds = get_args(Kind)
    if kind not in kinds:
        raise DataError(f"--kind: {kind!r} is neither of {' and '.join(kinds)}")
    if preset not in PRESETS:
        raise DataError(f"--preset: {preset!r} is none of {', '.join(PRESETS)}")
    names = None if channels is None else tuple(next(csv.reader([channels], skipinitialspace=True)))
    try:
        delay = None if label_delay is None else parse_duration(label_delay)
    except ValueError as error:
        raise DataError(f"--label-delay: {label_delay!r}: {error}") from None
    return Ask(
        kind=cast("Kind", kind), preset=cast("Preset", preset), channels=names, label_delay=delay, **rest
    )


def run(source: Path, ask: Ask, *, out: Path | None, report: Path | None, console: Console) -> Told:
    """Detect in one file; write what was asked for.

    Raises:
        DataError: the file, a column or an option is not what was expected; says what to do.
    """
    if out is not None:
        check_name(out, "--out")
    table, ask = with_labels(read_table(source), ask)
    if ask.label and ask.label in table.column_names:
        labels(table, ask.label)  # a mistake is told before minutes of training, not after
    with (
        tempfile.TemporaryDirectory(prefix="offbeat-detect-") as folder,
        _progress(console, ask) as (epochs, rows),
    ):
        found = detect(table, ask, folder=Path(folder), on_epoch=epochs, on_rows=rows)
        figures = verdict(found)
        told = summary(found, figures)
        if out is not None:
            write_table(found.scores, out)
            told["scores"] = str(out)
        if report is not None:
            told["report"] = str(write_report(found, figures, report, source=source.name))
    return Told(told, lines(found), found.layout.notes)


@contextmanager
def _progress(console: Console, ask: Ask) -> Iterator[tuple[OnEpoch, OnRows]]:
    """Show how far training and scoring are, where somebody looks on; it vanishes at the end."""
    bar = Progress(
        TextColumn("{task.description:<28}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        console=console, transient=True, disable=not console.is_terminal,
    )  # fmt: skip
    with bar:
        learning = bar.add_task("learning what is normal", total=Model(**PRESETS[ask.preset]).epochs)
        scoring = bar.add_task("scoring", total=None, visible=False)

        def epoch(done: Epoch) -> None:
            words = f"learning, held out {done.val_loss:.4f}"
            bar.update(learning, completed=done.epoch, description=words)

        def rows(done: int, whole: int) -> None:
            bar.update(scoring, completed=done, total=whole, visible=True)

        yield epoch, rows
