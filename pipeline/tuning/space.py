"""The search space: which settings of a stream are tried, between which bounds.

In: a stream and how much history it has. Out: Optuna's distributions, a stream with a trial's settings,
and the YAML lines that say so. What a stream says now always lies within the bounds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import pyarrow as pa
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from pipeline.config.models import Model, SensorStream, Stream, parse_stream

VERSION = 1
"""Of space, faults and judgement together: trials of another version are not compared with these."""
LENGTHS = {"sensor": (16, 24, 32, 48, 64, 96, 128), "transaction": (8, 12, 16, 24, 32)}
UNITS = ((32,), (64,), (128,), (64, 32), (128, 64))
LATENT, LEARNING_RATE = (4, 64), (5e-4, 1e-2)
DROPOUT = (0.0, 0.1, 0.2, 0.3)
WINDOWS_A_HISTORY = 16
"""Sensors: a window is at most this part of what the median entity has to learn from."""
Params = dict[str, Any]


@dataclass(frozen=True)
class Space:
    """What may be tried for one stream; parameters are named as the YAML's keys: `model.latent`."""

    stream: Stream
    lengths: tuple[int, ...]

    @classmethod
    def of(cls, stream: Stream, records: pa.Table) -> Space:
        """Return the space of a stream with this history: windows are no longer than it can fill."""
        counts = np.unique(np.asarray(records["entity"].to_pylist(), dtype=np.str_), return_counts=True)[1]
        rows = int(np.median(counts)) if len(counts) else 0
        longest = rows // WINDOWS_A_HISTORY if isinstance(stream, SensorStream) else rows
        least = max(stream.window.delay, stream.model.hide)
        fit = {length for length in LENGTHS[stream.kind] if least < length <= longest}
        return cls(stream, tuple(sorted(fit | {stream.window.length})))

    @property
    def current(self) -> Params:
        """What the stream says now, as parameters."""
        model = self.stream.model
        return {
            "window.length": self.stream.window.length,
            "model.architecture": model.architecture,
            "model.units": _text(model.units),
            "model.latent": model.latent,
            "model.learning_rate": model.learning_rate,
            "model.dropout": model.dropout,
            "model.linear": model.linear,
        }

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """What Optuna draws from."""
        model = self.stream.model
        units = dict.fromkeys(map(_text, (*UNITS, model.units)))
        latent, rate = _widened(LATENT, model.latent), _widened(LEARNING_RATE, model.learning_rate)
        return {
            "window.length": CategoricalDistribution(self.lengths),
            "model.architecture": CategoricalDistribution(
                get_args(Model.model_fields["architecture"].annotation)
            ),
            "model.units": CategoricalDistribution(tuple(units)),
            "model.latent": IntDistribution(int(latent[0]), int(latent[1]), log=True),
            "model.learning_rate": FloatDistribution(*rate, log=True),
            "model.dropout": CategoricalDistribution(tuple(sorted({*DROPOUT, model.dropout}))),
            "model.linear": CategoricalDistribution((False, True)),
        }

    def settings(self, params: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Return parameters as sections of a stream's YAML; a rate has three digits, unless it is today's."""
        sections: dict[str, dict[str, Any]] = {}
        for name, value in params.items():
            section, key = name.split(".")
            sections.setdefault(section, {})[key] = self._value(name, value)
        return sections

    def apply(self, params: Mapping[str, Any]) -> Stream:
        """Return the stream with a trial's settings, checked as its YAML would be."""
        data = json.loads(self.stream.model_dump_json())
        for section, keys in self.settings(params).items():
            data[section] |= keys
        return parse_stream(json.dumps(data))

    def yaml(self, params: Mapping[str, Any], comments: Sequence[str] = ()) -> str:
        """Return the lines to put into the stream's file."""
        lines = [f"# {comment}" for comment in comments]
        for section, keys in self.settings(params).items():
            lines += [f"{section}:", *(f"  {key}: {_yaml(value)}" for key, value in keys.items())]
        return "\n".join(lines) + "\n"

    def _value(self, name: str, value: Any) -> Any:
        if value == self.current[name]:
            section, key = name.split(".")
            value = getattr(getattr(self.stream, section), key)
        elif name == "model.units":
            value = tuple(int(width) for width in value.split("-"))
        elif name == "model.learning_rate":
            value = float(f"{value:.3g}")
        return list(value) if isinstance(value, tuple) else value


def _text(units: Sequence[int]) -> str:
    return "-".join(map(str, units))


def _widened(bounds: tuple[float, float], now: float) -> tuple[float, float]:
    return min(bounds[0], now), max(bounds[1], now)


def _yaml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return np.format_float_positional(value, trim="0") if isinstance(value, float) else str(value)
