"""Every stream in numbers, as Prometheus reads them. In: the workspace, opened anew at each look. Out: text.

Counts are since the stream began, as its newest commit has them; times are seconds since 1970.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pipeline import log
from pipeline.errors import OffbeatError
from pipeline.steps.inspect import by_reason, last_score
from pipeline.steps.lag import Lag, Lags
from pipeline.steps.score import shard_cursors
from pipeline.store import anomalies, answers

if TYPE_CHECKING:
    from pipeline.config.models import Stream
    from pipeline.workspace import Workspace


class Streams(Collector):
    """What there is to say of each stream, asked for at each scrape."""

    def __init__(self, opened: Callable[[], Workspace]) -> None:
        self._opened, self._lags = opened, Lags()

    def collect(self) -> Iterator[Metric]:
        """Yield all families; a stream that cannot be read has `offbeat_stream_up` 0, and no other number."""
        work, families = self._opened(), _Families()
        lags = self._lags.ask(work, work.project.streams)
        for name in sorted(work.project.broken):
            families.up.add_metric([name], 0)
        for name, stream in sorted(work.project.streams.items()):
            try:
                families.add(work, stream, lags.get(name))
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
        self.late = CounterMetricFamily(
            "offbeat_late_records",
            "Stored records that a newer one of their entity came before, by whether they may change scores",
            labels=[*of, "lateness"],
        )
        self.lag = GaugeMetricFamily(
            "offbeat_source_lag", "What the source has that is not stored yet", labels=[*of, "unit"]
        )
        self.looked = GaugeMetricFamily(
            "offbeat_last_score_timestamp_seconds", "When all shards were last scored", labels=of
        )
        self.made = GaugeMetricFamily(
            "offbeat_champion_created_timestamp_seconds", "When the version that scores was made", labels=of
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

    def add(self, work: Workspace, stream: Stream, lag: Lag | None) -> None:
        name, store = stream.name, work.observations(stream)
        state = store.state()
        for outcome in ("received", "stored", "duplicate", "rejected"):
            self.records.add_metric([name, outcome], getattr(state.totals, outcome))
        for reason, count in by_reason(store.reasons()).items():
            self.rejects.add_metric([name, reason], count)
        self.late.add_metric([name, "within"], state.totals.late - state.totals.too_late)
        self.late.add_metric([name, "beyond"], state.totals.too_late)
        if lag is not None:
            self.lag.add_metric([name, lag.unit], lag.count)
        seen = shard_cursors(work, stream)
        if (at := last_score(seen)) is not None:
            self.looked.add_metric([name], at.timestamp())
        if state.watermark:
            self.newest.add_metric([name], state.watermark.timestamp())
        if seen:
            until = min(datetime.fromisoformat(each["watermark"]) for each in seen)
            self.scored.add_metric([name], until.timestamp())
        if (best := work.registry.champion(name)) is not None:
            self.champion.add_metric([name], best.version)
            self.made.add_metric([name], best.created.timestamp())
        for (version, what), count in answers.counts(work.database, name).items():
            self.answers.add_metric([name, "" if version is None else str(version), what], count)
        still = anomalies.list_anomalies(work.database, stream=name, status="open", limit=10_000)
        for severity, count in Counter(each.severity for each in still).items():
            self.open.add_metric([name, severity], count)

    def all(self) -> Iterator[Metric]:
        yield from vars(self).values()


def registry(opened: Callable[[], Workspace]) -> CollectorRegistry:
    """Return a registry that looks at the streams when it is asked."""
    made = CollectorRegistry()
    made.register(Streams(opened))
    return made


def text(opened: Callable[[], Workspace]) -> str:
    """Return the numbers as Prometheus's text format has them."""
    return generate_latest(registry(opened)).decode()
