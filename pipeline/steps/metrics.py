"""Every stream in numbers, as Prometheus reads them. In: the workspace, opened anew at each look. Out: text.

Counts are since the stream began, as its newest commit has them; times are seconds since 1970.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pipeline import log
from pipeline.errors import OffbeatError
from pipeline.steps.score import shard_name
from pipeline.store import anomalies, answers
from pipeline.store.leases import cursor

if TYPE_CHECKING:
    from pipeline.config.models import Stream
    from pipeline.workspace import Workspace

REASONS = 20  # label values at most; the rest are `other`
_VALUE = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|\d[\w:.+-]*""")


class Streams(Collector):
    """What there is to say of each stream, asked for at each scrape."""

    def __init__(self, opened: Callable[[], Workspace]) -> None:
        self._opened = opened

    def collect(self) -> Iterator[Metric]:
        """Yield all families; a stream that cannot be read has `offbeat_stream_up` 0, and no other number."""
        work, families = self._opened(), _Families()
        for name in sorted(work.project.broken):
            families.up.add_metric([name], 0)
        for name, stream in sorted(work.project.streams.items()):
            try:
                families.add(work, stream)
                families.up.add_metric([name], 1)
            except OffbeatError as error:
                log.get().warning("no metrics", stream=name, why=str(error))
                families.up.add_metric([name], 0)
        yield from families.all()


class _Families:
    def __init__(self) -> None:
        of = ["stream"]
        self.up = GaugeMetricFamily("offbeat_stream_up", "1 where config and stores can be read", labels=of)
        self.records = CounterMetricFamily(
            "offbeat_records", "Records by what became of them", labels=[*of, "outcome"]
        )
        self.rejects = GaugeMetricFamily(
            "offbeat_rejects", "Rejects that are kept, by reason; values are left out", labels=[*of, "reason"]
        )
        self.newest = GaugeMetricFamily(
            "offbeat_newest_record_timestamp_seconds", "Time of the newest record", labels=of
        )
        self.scored = GaugeMetricFamily(
            "offbeat_scored_until_timestamp_seconds", "Up to when all shards are scored", labels=of
        )
        self.champion = GaugeMetricFamily("offbeat_champion_version", "Version that scores", labels=of)
        self.answers = CounterMetricFamily(
            "offbeat_answers",
            "What people said of anomalies, by the version that found them, or missed the fault",
            labels=[*of, "version", "answer"],
        )
        self.open = GaugeMetricFamily(
            "offbeat_open_anomalies", "Anomalies that are not over", labels=[*of, "severity"]
        )

    def add(self, work: Workspace, stream: Stream) -> None:
        name, store = stream.name, work.observations(stream)
        state = store.state()
        for outcome in ("received", "stored", "duplicate", "rejected"):
            self.records.add_metric([name, outcome], getattr(state.totals, outcome))
        for reason, count in by_reason(store.reasons()).items():
            self.rejects.add_metric([name, reason], count)
        if state.watermark:
            self.newest.add_metric([name], state.watermark.timestamp())
        seen = [cursor(work.database, name, shard_name(stream, shard)) for shard in range(stream.shards)]
        if all(seen):
            until = min(datetime.fromisoformat(each["watermark"]) for each in seen)
            self.scored.add_metric([name], until.timestamp())
        if (best := work.registry.champion(name)) is not None:
            self.champion.add_metric([name], best.version)
        for (version, what), count in answers.counts(work.database, name).items():
            self.answers.add_metric([name, "" if version is None else str(version), what], count)
        still = anomalies.list_anomalies(work.database, stream=name, status="open", limit=10_000)
        for severity, count in Counter(each.severity for each in still).items():
            self.open.add_metric([name, severity], count)

    def all(self) -> Iterator[Metric]:
        yield from vars(self).values()


def by_reason(counts: dict[str, int]) -> dict[str, int]:
    """Count rejects by reason, values left out: the twenty commonest, and `other`."""
    kinds: Counter[str] = Counter()
    for reason, count in counts.items():
        kinds[_VALUE.sub("…", reason)[:120]] += count
    found = dict(kinds.most_common(REASONS))
    if rest := kinds.total() - sum(found.values()):
        found["other"] = rest
    return found


def registry(opened: Callable[[], Workspace]) -> CollectorRegistry:
    """Return a registry that looks at the streams when it is asked."""
    made = CollectorRegistry()
    made.register(Streams(opened))
    return made


def text(opened: Callable[[], Workspace]) -> str:
    """Return the numbers as Prometheus's text format has them."""
    return generate_latest(registry(opened)).decode()
