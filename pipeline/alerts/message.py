"""What goes to a receiver, and what a receiver is.

In: a rendered alert. Out: nothing when the receiver has it; an exception when not.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from pipeline.errors import DeliveryFailed, DeliveryRefused


@dataclass(frozen=True, slots=True)
class Message:
    """One alert as people and machines read it."""

    key: str
    """Stable idempotency key: a repeat has the same."""
    event: str
    """`firing`, `resolved` or `meta`."""
    stream: str
    title: str
    """One line that says what is wrong."""
    text: str
    """Plain text of some twenty lines."""
    severity: str
    data: dict[str, Any]
    """JSON-able facts: the anomaly, `links`, and the stream's `description` and `owner`."""
    created_at: datetime
    picture: bytes | None = None
    """PNG."""
    thread: str = ""
    """Stable: the same for all that is said of one anomaly, or of one incident, from firing to resolved."""


@dataclass(frozen=True, slots=True)
class About:
    """What the YAML of a stream says for people: what is watched, what to do, who answers for it."""

    description: str = ""
    owner: str = ""


class Receiver(Protocol):
    """Somebody who is told. `send` may be called again with the same key."""

    timeout: timedelta
    """The longest a `send` takes."""

    def send(self, message: Message) -> None:
        """Deliver, and return once the receiver has it.

        Raises:
            DeliveryFailed: it may work later; `Throttled` says when.
            DeliveryRefused: it never will; `Gone` if nothing else will either.
        """


class Throttled(DeliveryFailed):
    """The receiver asked to be left alone for a while."""

    def __init__(self, problem: str, retry_after: timedelta) -> None:
        super().__init__(problem)
        self.retry_after = retry_after


class Gone(DeliveryRefused):
    """The receiver says that it exists no more."""
