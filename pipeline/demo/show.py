"""What the demo says: a line for each step as it happens, and the closing tables, alert and addresses."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from pipeline.store.anomalies import list_anomalies

if TYPE_CHECKING:
    from pipeline.demo.desk import Desk
    from pipeline.demo.run import Story, Theatre
    from pipeline.workspace import Workspace


class Say:
    """The demo's voice: everything it says is kept as well, for a picture of it."""

    def __init__(self) -> None:
        self.console = Console(record=True, highlight=False, width=118)

    @contextmanager
    def step(self, what: str) -> Iterator[Callable[[str], None]]:
        """Show what is under way, then how long it took and what the block said of it."""
        said: list[str] = []
        began = time.perf_counter()
        with self.console.status(what):
            yield said.append
        took = time.perf_counter() - began
        self.console.print(f"[green]✓[/] {what:<34} [dim]{took:6.1f} s[/]  {escape(' '.join(said))}")


def line(step: str, answer: Mapping[str, Any]) -> str:
    """Return what a step did, in a few words."""
    if step == "ingest":
        parts = " + ".join(f"{answer[part]:,} {part}" for part in ("stored", "duplicate", "rejected"))
        return f"{answer['received']:,} received = {parts}"
    if step == "train":
        return (
            f"version {answer['version']}: {answer['epochs']} epochs over {answer['windows']:,} windows, "
            f"held-out loss {answer['val_loss']:.4f}"
        )
    return f"{answer.get('opened', 0)} anomalies, {answer.get('alerts', 0)} alerts queued"


def closing(say: Say, theatre: Theatre, desk: Desk, work: Workspace) -> None:
    """Print the tables, show the worst alert as it arrived, write the figures, say where to look."""
    console = say.console
    console.print()
    console.print(_data(theatre.stories))
    console.print(_found(theatre.stories))
    console.print(_times(theatre.stories))
    if first := worst(desk):
        console.print(_alert(first))
    folder = theatre.home.root / "figures"
    files = _figures(folder, desk)
    console.print(f"Pictures: {len(files)} of alerts in {_near(folder)}; those of training are in MLflow.")
    console.print(f"Memory of all servers and tasks, at the most: {theatre.peak / 2**20:,.0f} MiB.")
    _ways(say, theatre, work)
    say.console.save_svg(str(folder / "demo.svg"), title="make demo", clear=False)


def _near(path: Path) -> str:
    """Return a path as people see it from where they stand."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, header_style="dim")
    for place, column in enumerate(columns):
        table.add_column(column, justify="left" if place == 0 else "right")
    return table


def _data(stories: Mapping[str, Story]) -> Table:
    table = _table(
        "What was learned", "stream", "records", "duplicate", "rejected", "windows", "epochs", "loss",
        "held out", "threshold", "train s",
    )  # fmt: skip
    for name, story in stories.items():
        took, got = story.train, story.ingest
        table.add_row(
            name, f"{got['stored']:,}", f"{got['duplicate']:,}", f"{got['rejected']:,}",
            f"{took['windows']:,}", str(took["epochs"]), f"{took['loss']:.4f}", f"{took['val_loss']:.4f}",
            f"{took['threshold']:.2f}", f"{took['train_seconds']:.1f}",
        )  # fmt: skip
    return table


def _found(stories: Mapping[str, Story]) -> Table:
    table = _table(
        "What was found", "stream", "faults", "found", "missed", "false alarms", "alerts", "start off by"
    )
    for name, story in stories.items():
        verdict = story.verdict
        if verdict is None:
            continue
        late = sorted(abs((a.start - f.start).total_seconds()) for f, a in verdict.found)
        delay = f"{late[len(late) // 2] / 60:.0f} min" if late else "-"
        table.add_row(
            name, str(verdict.faults), f"[green]{len(verdict.found)}[/]", str(len(verdict.missed)),
            str(len(verdict.false_alarms)), str(story.alerts), delay,
        )  # fmt: skip
    return table


def _times(stories: Mapping[str, Story]) -> Table:
    steps = ("ingest", "train", "score")
    table = _table("How long each DAG run took", "stream", *(f"{step} s" for step in steps))
    for name, story in stories.items():
        table.add_row(name, *(f"{story.seconds.get(step, 0):.1f}" for step in steps))
    return table


def worst(desk: Desk, stream: str | None = None) -> dict[str, Any] | None:
    """Return what arrived of the worst anomaly: of all, or of one stream, then with a picture."""
    firing = [a["data"] for a in desk.alerts.values() if a["type"] == "anomaly.firing"]
    if stream is not None:
        firing = [data for data in firing if data["stream"] == stream and data.get("picture")]
    return max(firing, key=lambda data: data["anomaly"]["peak_score"], default=None)


def _alert(data: Mapping[str, Any]) -> Panel:
    return Panel(
        escape(data["text"]), title="one alert, as it arrived", title_align="left", border_style="red"
    )


def _figures(folder: Path, desk: Desk) -> list[Path]:
    """Write the pictures that came with the alerts."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for key, alert in desk.alerts.items():
        if picture := alert["data"].get("picture"):
            path = folder / f"{key}.png"
            path.write_bytes(base64.b64decode(picture["base64"]))
            written.append(path)
    return written


def _ways(say: Say, theatre: Theatre, work: Workspace) -> None:
    """Say where to go from here."""
    count = len(list_anomalies(work.database, limit=100_000))
    where = theatre.running.addresses
    say.console.print(
        f"\nAll of it, {count} anomalies too, is in {_near(theatre.home.root)}. To look around:\n"
        f"  [bold]make up[/]    Airflow on {where.airflow_url} (user admin, password is printed), "
        f"MLflow on {where.mlflow_url}\n"
        f"  [bold]make down[/]  stops them"
    )
