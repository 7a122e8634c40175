"""Tuning on the command line: options as typed, progress while it goes on, tables when it is over.

In: what a person typed, what `steps.tune` tells and returns. Out: lines on a terminal, a file of YAML.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from pipeline.config.models import parse_duration
from pipeline.errors import DataError

BEST = 5  # trials shown
Told = dict[str, Any]


def limit(typed: str) -> timedelta:
    """Return `--timeout` as it was typed.

    Raises:
        DataError: it is no duration.
    """
    try:
        return parse_duration(typed)
    except ValueError as error:
        raise DataError(f"--timeout: {typed!r}: {error}") from None


def check_new(out: Path | None) -> None:
    """Raise DataError if `--out` is there already: hours later is too late to say so."""
    if out is not None and out.exists():
        raise DataError(f"--out: {out} is there already, and is not overwritten: name a new file")
    if out is not None and not out.parent.is_dir():
        raise DataError(f"--out: there is no folder {out.parent}")


def write_new(out: Path, text: str) -> None:
    """Write a file that is not there yet."""
    with out.open("x", encoding="utf-8") as file:
        file.write(text)


@contextmanager
def progress(console: Console, trials: int) -> Iterator[Callable[[Told], None]]:
    """Show which trial is under way and how far it is, where somebody looks on; it vanishes at the end."""
    bar = Progress(
        TextColumn("{task.description:<46}"), BarColumn(bar_width=24), MofNCompleteColumn(),
        TimeElapsedColumn(), console=console, transient=True, disable=not console.is_terminal,
    )  # fmt: skip
    with bar:
        whole = bar.add_task("tuning", total=trials)
        one = bar.add_task("", total=None, visible=False)

        def tell(told: Told) -> None:
            if "epoch" in told:
                bar.update(one, completed=told["epoch"], total=told["epochs"], visible=True)
            elif "params" in told:
                bar.update(whole, completed=told["ended"])
                bar.reset(one, description=f"trial {told['trial']}: {_brief(told['params'])}", visible=True)
            else:
                said = f"detection {told['detection']:.3f}" if "detection" in told else told["state"]
                bar.console.print(f"[dim]trial {told['trial']:>3}  {said}[/]", highlight=False)

        yield tell


def tables(told: Told) -> list[Table]:
    """Return the best trials against the present configuration, and both against each kind of fault."""
    return [_trials(told), _faults(told)]


def _brief(params: Told) -> str:
    get = params.get
    return f"{get('model.architecture')} {get('model.units')}, window {get('window.length')}"


def _trials(told: Told) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("trial", "detection", "fresh faults", "error", "seconds", "settings that differ"):
        table.add_column(name, justify="left" if name.startswith("settings") else "right")
    now = told["current"]
    shown = told["best"][:BEST]
    for each in (*shown, *([] if now in shown else [now])):
        other = {k.split(".")[1]: v for k, v in each["params"].items() if v != now["params"][k]}
        said = ", ".join(f"{key} {_short(value)}" for key, value in other.items())
        figures = (f"{each[key]:.3f}" for key in ("detection", "fresh", "error"))
        name = "now" if each["trial"] == now["trial"] else str(each["trial"])
        table.add_row(name, *figures, f"{each['seconds']:.0f}", escape(said))
    return table


def _faults(told: Told) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("injected fault")
    table.add_column("now", justify="right")
    table.add_column("best", justify="right")
    now, best = told["current"]["faults"], told["best"][0]["faults"]
    for kind, precision in now.items():
        table.add_row(kind, f"{precision:.3f}", f"{best[kind]:.3f}")
    return table


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
