"""Writes simulated feeds: one CSV file a day, old ones compressed, and labels outside what is ingested.

`<folder>/<stream>/<day>.csv[.gz]` is the feed, `<folder>/labels/<stream>.json` what was put into it.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import numpy as np

from pipeline import clock
from pipeline.simulate.cards import CardStream
from pipeline.simulate.feed import Day, Fault, Feed, Labels
from pipeline.simulate.pumps import PumpStation

FEEDS: dict[str, type[PumpStation] | type[CardStream]] = {
    "pump_station": PumpStation,
    "card_payments": CardStream,
}
_PLAIN_DAYS = 3  # the newest files stay as they are; older ones are compressed


def write_history(
    folder: Path,
    *,
    days: int = 21,
    seed: int = 7,
    end: datetime | None = None,
    fault_share: float = 0.25,
    feeds: Sequence[str] = tuple(FEEDS),
) -> dict[str, Labels]:
    """Write `days` whole days of each feed up to `end` (now), the last `fault_share` of them with faults.

    Writing again gives the same bytes. Returns the labels by stream, which are written as well.
    """
    last = (end or clock.now()).astimezone(UTC)
    return {name: _write_feed(folder, FEEDS[name](seed), last, days, fault_share) for name in feeds}


def _write_feed(folder: Path, feed: Feed, end: datetime, days: int, fault_share: float) -> Labels:
    target = folder / feed.name
    target.mkdir(parents=True, exist_ok=True)
    first = end.date() - timedelta(days=days)
    normal = round(days * (1 - fault_share))
    written = []
    for number in range(days):
        today = first + timedelta(days=number)
        day = feed.day(today, faults=number >= normal)
        write_day(target, today, day, compress=number < days - _PLAIN_DAYS)
        written.append(day)
    labels = _labels(feed.name, first + timedelta(days=normal), end.date(), written)
    save_labels(folder, labels)
    return labels


def write_day(target: Path, day: date, content: Day, *, compress: bool) -> Path:
    """Write one day's file, whole or not at all."""
    path = target / (f"{day}.csv.gz" if compress else f"{day}.csv")
    data = ("\n".join([content.header, *content.lines]) + "\n").encode()
    partial = target / f".writing-{day}"
    partial.write_bytes(gzip.compress(data, 6, mtime=0) if compress else data)
    partial.replace(path)
    return path


def _labels(stream: str, normal_until: date, end: date, days: Sequence[Day]) -> Labels:
    return Labels(
        stream=stream,
        normal_until=datetime.combine(normal_until, time(), UTC),
        end=datetime.combine(end, time(), UTC),
        lines=sum(len(d.lines) for d in days),
        duplicates=sum(d.duplicates for d in days),
        malformed=sum(d.malformed for d in days),
        faults=tuple(f for d in days for f in d.faults),
    )


def labels_path(folder: Path, stream: str) -> Path:
    """Return where a stream's labels are: beside the feeds, in none of them."""
    return folder / "labels" / f"{stream}.json"


def save_labels(folder: Path, labels: Labels) -> None:
    """Write labels as JSON."""
    path = labels_path(folder, labels.stream)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(labels), default=datetime.isoformat, indent=1) + "\n")


def read_labels(folder: Path, stream: str) -> Labels:
    """Read a stream's labels."""
    raw: dict[str, Any] = json.loads(labels_path(folder, stream).read_text())
    faults = tuple(_fault(f) for f in raw.pop("faults"))
    normal_until, end = (datetime.fromisoformat(raw.pop(k)) for k in ("normal_until", "end"))
    return Labels(normal_until=normal_until, end=end, faults=faults, **raw)


def _fault(raw: dict[str, Any]) -> Fault:
    start, end = (datetime.fromisoformat(raw[k]) for k in ("start", "end"))
    return Fault(raw["entity"], raw["kind"], start, end, tuple(raw["channels"]), tuple(raw["ids"]))


def written_until(target: Path) -> date | None:
    """Return the newest day that has a file in a feed's folder."""
    days = sorted(path.name[:10] for path in target.glob("????-??-??.csv*"))
    return date.fromisoformat(days[-1]) if days else None


def arrived(day: Day, until: datetime) -> int:
    """Return how many of a day's lines have arrived by `until`."""
    since = until - datetime(1970, 1, 1, tzinfo=UTC)
    return int(np.searchsorted(day.arrival, since // timedelta(microseconds=1), side="right"))
