"""The YAML of a stream as frozen, strict pydantic models: what it may say, and what it means.

In: plain dicts from `loader`. Out: `Stream` (sensor or transaction), immutable. Also the one address that
other rooms import config's types from, those of alerts.yaml and the small values included.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from fnmatch import fnmatchcase
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from pipeline.config import plugins
from pipeline.config.fields import (
    RESERVED,
    Channel,
    SensorFields,
    TimeField,
    TransactionFields,
)
from pipeline.config.receivers import (
    AlertmanagerReceiver,
    Alerts,
    AppriseReceiver,
    Delivery,
    KafkaReceiver,
    Links,
    LogReceiver,
    MqttReceiver,
    PagerDutyReceiver,
    Receiver,
    WebhookReceiver,
)
from pipeline.config.routes import OWN_LABELS, Labels, Pattern
from pipeline.config.scalars import (
    COLUMN,
    NAME,
    Budget,
    Duration,
    Name,
    Patience,
    Positive,
    Rate,
    Strict,
    Time,
    at,
    format_duration,
    parse_duration,
    parse_time,
)
from pipeline.config.schedule import Schedule, parse_schedule
from pipeline.config.sources import (
    S3,
    FilesSource,
    HttpSource,
    KafkaSource,
    MqttSource,
    SchemaRegistry,
    Source,
    SqlSource,
)

__all__ = [
    "COLUMN", "NAME", "RESERVED", "S3", "AlertPolicy", "AlertmanagerReceiver", "Alerts", "AppriseReceiver",
    "Channel", "Delivery", "FilesSource", "Grid", "HttpSource", "KafkaReceiver", "KafkaSource", "Links",
    "LogReceiver", "Model", "MqttReceiver", "MqttSource", "PagerDutyReceiver", "Rate", "Receiver",
    "Retention", "Schedules", "SchemaRegistry", "SensorFields", "SensorStream", "SensorWatch", "Source",
    "SqlSource", "Stream", "StreamBase", "Strict", "TimeField", "Training", "TransactionFields",
    "TransactionStream",
    "Watch", "WebhookReceiver", "Window", "format_duration", "know_plugins", "parse_duration",
    "parse_schedule", "parse_stream", "parse_time",
]  # fmt: skip

Limits = tuple[float | None, float | None]
"""Low and high; None is no limit."""


class Grid(Strict):
    """The regular UTC grid a sensor stream is put on."""

    step: Positive = timedelta(minutes=1)
    """Time from one row to the next."""
    aggregate: Literal["mean", "last", "min", "max"] = "mean"
    """How several readings inside one step become one."""
    hold: int = Field(default=3, ge=0, le=1000)
    """Steps a last reading stands in for missing ones; beyond that, a gap, masked."""


class Window(Strict):
    """What the model sees at once."""

    length: int = Field(default=32, ge=4, le=2048)
    """Steps, or transactions, in one window."""
    stride: int = Field(default=4, ge=1, le=2048)
    """Steps from one window's end to the next, on a fixed grid of the epoch."""
    delay: int = Field(default=3, ge=0, le=2047)
    """Later steps a score may wait for; 0 is causal, and then `stride` must be 1."""
    lookahead: int = Field(default=0, ge=0, le=2048)
    """Sensors: later steps that smoothing may wait for besides; alerts come as much later, and are surer."""
    context: Positive = timedelta(days=30)
    """Transactions: how far back an entity's own history is looked at."""

    @model_validator(mode="after")
    def _whole_windows(self) -> Self:
        if self.delay >= self.length:
            raise at("delay", problem=f"delay {self.delay} is not shorter than length {self.length}")
        if (self.delay + 1) % self.stride:
            problem = f"stride {self.stride} does not divide delay + 1 = {self.delay + 1}"
            raise at("stride", problem=problem)
        return self


Architecture = Literal["lstm", "bilstm", "gru", "peephole_lstm", "conv_lstm", "attention_lstm", "aer"]


class Model(Strict):
    """The autoencoder and how it is trained."""

    architecture: Architecture = "lstm"
    """`lstm`: an autoencoder of stacked LSTMs. `bilstm`: each reads the window both ways. `gru`: gated
    recurrent units, a quarter smaller. `peephole_lstm`: the gates see the cell state. `conv_lstm`:
    convolutions over time first, half the steps. `attention_lstm`: each row also looks back at the rows
    before it. `aer`: reconstructs, and predicts each row from the rows before it."""
    units: tuple[Annotated[int, Field(ge=1, le=1024)], ...] = Field(default=(64,), min_length=1, max_length=4)
    """Units of the encoder's recurrent layers, outermost first; the decoder mirrors them."""
    latent: int = Field(default=16, ge=1, le=1024)
    """Width of the bottleneck."""
    hide: int = Field(default=0, ge=0, le=2047)
    """Latest rows of a window that the model does not see, and foresees from those before them."""
    linear: bool = False
    """Judge by the network's linear counterparts besides: principal components, and autoregression."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of inputs dropped while training."""
    epochs: int = Field(default=30, ge=1, le=1000)
    """At most; early stopping usually ends sooner."""
    patience: int = Field(default=4, ge=1, le=1000)
    """Epochs without improvement before training stops."""
    batch_size: int = Field(default=128, ge=1, le=65536)
    """Windows in one step of training."""
    learning_rate: float = Field(default=2e-3, gt=0, le=1)
    """At the start; it falls when the loss stalls."""
    max_windows: int = Field(default=10000, ge=100, le=100_000_000)
    """Training windows at most: more history is sampled evenly."""
    per_entity: bool = False
    """One model for each entity instead of one for the stream."""
    seed: int = Field(default=7, ge=0, lt=2**31)
    """The same seed, data and machine give the same model."""


class Training(Strict):
    """Which history is learned from."""

    history: Positive = timedelta(days=90)
    """How far back."""
    until: Time | None = None
    """ISO 8601 time after which nothing is learned from; the newest record when left out."""
    holdout: float = Field(default=0.3, gt=0.05, lt=0.9)
    """Share of that history, its latest part, kept for calibration."""


class AlertPolicy(Strict):
    """When people are told."""

    false_alarms: Budget = Rate(count=1, seconds=604800)
    """Alert budget: how many false alarms the stream can live with."""
    merge: Positive = timedelta(minutes=10)
    """Flags closer than this belong to one anomaly."""
    receivers: tuple[Name, ...] = ("log",)
    """Names from alerts.yaml."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        for i, name in enumerate(self.receivers):
            if name in self.receivers[:i]:
                raise at("receivers", i, problem=f"{name} is named twice")
        return self


class Watch(Strict):
    """What is watched beside the model: `auto` learns from the history what is usual, `never` is off."""

    silence: Patience = "auto"
    """An entity that has reported, and sends nothing for longer than this while others do."""
    late: Patience = "auto"
    """The newest record of the whole stream is older than this by the clock: one alert for all entities."""


class SensorWatch(Watch):
    """What is watched beside the model of a sensor stream."""

    flatline: Patience = "auto"
    """A channel that usually moves reports exactly the same value for longer than this."""


class Schedules(Strict):
    """When Airflow runs the stream's DAGs: a cron line (UTC), a duration, or `never`."""

    ingest: Schedule = "5m"
    """How often new records are looked for."""
    wake: bool = False
    """Ingest besides, and at once, when something has come: of `kafka`, `mqtt`, `files` and `http`; needs
    Airflow's triggerer."""
    train: Schedule = "7d"
    """How often a challenger is trained."""
    score: Schedule = "1h"
    """How often new records are scored; they also are when an ingest brought some."""
    watch: Schedule = "5m"
    """How often silence and lateness are looked for; they also are after each scoring."""


class Retention(Strict):
    """How long tables keep what they hold."""

    observations: Positive = timedelta(days=730)
    """Records as read."""
    scores: Positive = timedelta(days=730)
    """What the model thought of them."""
    rejects: Positive = timedelta(days=90)
    """Records that could not be read."""


class StreamBase(Strict):
    """What both kinds of stream have."""

    OWN: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Defaults of the kind that differ from those of the section."""

    name: Name
    """The file's name without `.yaml`; may be left out."""
    description: str = Field(default="", max_length=4000)
    """For people: what is watched here, and what to do about an alert."""
    owner: str = Field(default="", max_length=200)
    """Who answers for it."""
    labels: Labels = Field(default_factory=dict)
    """What routes and incidents tell streams apart by: `{site: berlin, line: a}`."""
    entity_labels: dict[Pattern, Labels] = Field(default_factory=dict)
    """Labels of the entities whose name fits a pattern: `"pump-1*": {line: a}`; later ones win."""
    source: Source
    """Where records come from."""
    window: Window = Window()
    """What the model sees at once."""
    model: Model = Model()
    """The autoencoder and how it is trained."""
    training: Training = Training()
    """Which history is learned from."""
    alert: AlertPolicy = AlertPolicy()
    """When people are told, and who."""
    watch: Watch = Watch()
    """What is watched beside the model: `auto` (learned from the history), a duration, or `never`."""
    schedules: Schedules = Schedules()
    """When Airflow runs: a cron line (UTC), a duration, or `never`."""
    retention: Retention = Retention()
    """How long tables keep what they hold."""
    lateness: Duration = timedelta(minutes=10)
    """Records this much behind the newest of their entity still change the scores they touch."""
    shards: int = Field(default=1, ge=1, le=1024)
    """Mapped scoring tasks the entities are spread over."""

    @model_validator(mode="before")
    @classmethod
    def _own_defaults(cls, data: Any) -> Any:
        # a file that sets only `length` must not fall back to another kind's stride and delay
        if not isinstance(data, Mapping):
            return data
        given = {name: data.get(name, {}) for name in cls.OWN}
        own = {name: {**cls.OWN[name], **keys} for name, keys in given.items() if isinstance(keys, Mapping)}
        return {**data, **own}

    @model_validator(mode="after")
    def _labels(self) -> Self:
        for where, said in [
            (("labels",), self.labels),
            *((("entity_labels", pattern), each) for pattern, each in self.entity_labels.items()),
        ]:
            if own := next((name for name in said if name in OWN_LABELS), None):
                raise at(*where, own, problem=f"every anomaly has a label {own} already: choose another name")
        return self

    def labels_of(self, entity: str) -> dict[str, str]:
        """Return the labels of one of its entities."""
        labels = dict(self.labels)
        for pattern, more in self.entity_labels.items():
            if fnmatchcase(entity, pattern):
                labels |= more
        return labels

    @model_validator(mode="before")
    @classmethod
    def _files_unless_said(cls, data: Any) -> Any:
        source = data.get("source") if isinstance(data, Mapping) else None
        return {**data, "source": {"type": "files", **source}} if isinstance(source, Mapping) else data

    @model_validator(mode="after")
    def _woken(self) -> Self:
        if self.schedules.wake and self.source.type == "sql":
            raise at(
                "schedules", "wake", problem="a table tells nobody what came: only its schedule can look"
            )
        return self


class SensorStream(StreamBase):
    """Channels measured over time, for one or many machines."""

    OWN: ClassVar[Mapping[str, Mapping[str, Any]]] = {"model": {"architecture": "aer", "linear": True}}

    kind: Literal["sensor"]
    """`sensor`: channels measured over time."""
    fields: SensorFields
    """Which columns mean what."""
    grid: Grid = Grid()
    """The regular UTC grid the records are put on."""
    watch: SensorWatch = SensorWatch()
    """What is watched beside the model: `auto` (learned from the history), a duration, or `never`."""

    @model_validator(mode="after")
    def _patient(self) -> Self:
        for name in ("silence", "flatline"):
            patience = getattr(self.watch, name)
            if isinstance(patience, timedelta) and patience <= self.grid.step:
                said, step = format_duration(patience), format_duration(self.grid.step)
                raise at("watch", name, problem=f"{name} {said} is not longer than grid.step {step}")
        return self

    @model_validator(mode="after")
    def _dated(self) -> Self:
        sparkplug = isinstance(self.source, MqttSource) and self.source.format == "sparkplug"
        if sparkplug and (column := self.fields.time.column) != "$timestamp":
            problem = f"Sparkplug dates each metric itself: expected $timestamp, not {column}"
            raise at("fields", "time", "column", problem=problem)
        return self

    @property
    def channels(self) -> tuple[str, ...]:
        """Names people know the channels by."""
        return tuple(c.name for c in self.fields.channels)

    @property
    def limits(self) -> dict[str, Limits]:
        """Low and high of each channel that has a limit of its own."""
        return {c.name: (c.low, c.high) for c in self.fields.channels if (c.low, c.high) != (None, None)}

    @property
    def units(self) -> dict[str, str]:
        """Unit of each channel."""
        return {c.name: c.unit for c in self.fields.channels}


class TransactionStream(StreamBase):
    """Payments or orders, each with an id, an amount and categories, in an entity's history."""

    OWN: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "window": {"length": 16, "stride": 1, "delay": 0},
        "model": {"hide": 1},
        "watch": {"silence": "never"},  # a card that is not used is not silent
    }

    kind: Literal["transaction"]
    """`transaction`: single events with an amount, each in the history of its entity."""
    fields: TransactionFields
    """Which columns mean what."""

    @model_validator(mode="after")
    def _single(self) -> Self:
        if isinstance(self.source, MqttSource) and self.source.format == "sparkplug":
            raise at("source", "format", problem="Sparkplug's metrics are of sensors: expected json or csv")
        return self

    @property
    def channels(self) -> tuple[str, ...]:
        """Names people know the channels by."""
        return ("amount", "pace", "time of day", *self.fields.categories)

    @property
    def units(self) -> dict[str, str]:
        """Unit of each channel."""
        return {"amount": self.fields.unit}

    @property
    def limits(self) -> dict[str, Limits]:
        """Low and high of the amount, where it has a limit."""
        low, high = self.fields.low, self.fields.high
        return {} if low is None and high is None else {"amount": (low, high)}


Stream = SensorStream | TransactionStream


@cache
def know_plugins() -> None:
    """Let streams have the sources of installed packages too; once, and at no cost where there are none."""
    usable, _ = plugins.installed()
    for kind in (StreamBase, SensorStream, TransactionStream) if usable else ():
        field = kind.model_fields["source"]
        for made in usable.values():
            field.annotation = field.annotation | made.Config
        kind.model_rebuild(force=True)


def parse_stream(text: str | bytes) -> Stream:
    """Read a stream back from its own `model_dump_json`; ValueError (pydantic's, or JSON's) if it is none."""
    know_plugins()
    data = _as_yaml_gives(json.loads(text))
    kind = data.get("kind") if isinstance(data, dict) else None
    model = TransactionStream if kind == "transaction" else SensorStream  # which says what is wrong else
    return model.model_validate(data)


def _as_yaml_gives(data: Any) -> Any:
    """Return JSON with its lists as tuples, which strict models ask for."""
    if isinstance(data, dict):
        return {key: _as_yaml_gives(value) for key, value in data.items()}
    return tuple(map(_as_yaml_gives, data)) if isinstance(data, list) else data
