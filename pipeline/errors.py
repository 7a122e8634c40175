"""Every error Offbeat raises on purpose, terminal or transient.

OffbeatError
├── TerminalError            running it again changes nothing; somebody has to act
│   ├── ConfigError          a YAML file is wrong: file, line, key, expected, hint
│   ├── DataError            stored or given data cannot be used as asked
│   ├── NotFound             what was asked for by its id is not there
│   ├── NotEnoughData        too little history to train or calibrate on
│   ├── NoChampion           a stream has no model to score with yet
│   ├── BundleError          a detector bundle is damaged, hostile or does not match
│   └── DeliveryRefused      a receiver said no, and would say no again
└── TransientError           worth another try: Airflow retries these with backoff
├── Conflict             another run of the same step got there first
├── Unavailable          a store, server or broker does not answer
└── DeliveryFailed       a receiver failed, hung or reset
"""

from __future__ import annotations


class OffbeatError(Exception):
    """Anything Offbeat raises on purpose; `exit_code` is what the command line ends with."""

    exit_code = 1


class TerminalError(OffbeatError):
    """Running it again changes nothing; somebody has to act."""

    exit_code = 2


class ConfigError(TerminalError):
    """A YAML file is wrong. Every part a person needs to mend it is an attribute."""

    exit_code = 3

    def __init__(
        self,
        problem: str,
        *,
        file: str = "",
        line: int | None = None,
        key: str = "",
        expected: str = "",
        hint: str = "",
    ) -> None:
        self.problem, self.file, self.line = problem, file, line
        self.key, self.expected, self.hint = key, expected, hint
        where = f"{file}:{line}" if line else file
        parts = [p for p in (where, key, problem) if p]
        tail = "".join(f"; {w}" for w in (expected and f"expected {expected}", hint) if w)
        super().__init__(": ".join(parts) + tail)


class DataError(TerminalError):
    """Stored or given data cannot be used as asked."""

    exit_code = 4


class NotFound(DataError):
    """What was asked for by its id is not there."""


class NotEnoughData(DataError):
    """Too little history to train or calibrate on."""


class NoChampion(TerminalError):
    """A stream has no model to score with yet."""

    exit_code = 5


class BundleError(TerminalError):
    """A detector bundle is damaged, hostile, or does not match the stream."""

    exit_code = 6


class DeliveryRefused(TerminalError):
    """A receiver said no, and would say no again."""


class TransientError(OffbeatError):
    """Worth another try, later."""

    exit_code = 75  # EX_TEMPFAIL of sysexits.h


class Conflict(TransientError):
    """Another run of the same step got there first."""


class Unavailable(TransientError):
    """A store, server or broker does not answer."""


class DeliveryFailed(TransientError):
    """A receiver failed, hung or reset."""
