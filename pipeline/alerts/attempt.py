"""One attempt at one delivery: render, send, and say in plain data how it went.

In: a claimed delivery and its receiver. Out: an `Outcome`; no receiver's failure gets past this file.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta

from pipeline import log
from pipeline.alerts.message import About, Gone, Message, Receiver, Throttled
from pipeline.alerts.render import render
from pipeline.config.receivers import Delivery, Links
from pipeline.errors import DeliveryFailed, DeliveryRefused, OffbeatError
from pipeline.events import Anomaly, Claimed

_dice = random.SystemRandom()

Picture = Callable[[Anomaly], bytes | None]
Answers = Callable[[str, str, str], Mapping[str, str]]
"""From an anomaly's id, an alert's key and a receiver: links to answer by."""
Before = Callable[[Anomaly], list[str]]
"""What was like an anomaly before, in lines."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an attempt went; with no error, it was delivered."""

    error: str = ""
    final: bool = False
    """No later attempt would do better."""
    gone: bool = False
    """Nor would any other alert."""
    pause: timedelta | None = None
    """How long the receiver asked to be left alone."""

    @property
    def sent(self) -> bool:
        """Whether the receiver has it."""
        return not self.error


def attempt(receiver: Receiver, claimed: Claimed, compose: Callable[[Claimed], Message]) -> Outcome:
    """Send once; every way it can go wrong becomes an outcome."""
    try:
        message = compose(claimed)
    except (KeyError, TypeError, ValueError) as error:
        return Outcome(f"the alert cannot be read: {type(error).__name__}", final=True)
    try:
        receiver.send(message)
    except DeliveryRefused as error:
        return Outcome(_said(error), final=True, gone=isinstance(error, Gone))
    except DeliveryFailed as error:
        return Outcome(_said(error), pause=error.retry_after if isinstance(error, Throttled) else None)
    except Exception as error:  # noqa: BLE001 - the outermost boundary of code that isn't ours
        return Outcome(f"a bug in the receiver: {type(error).__name__}")  # its text may hold secrets
    return Outcome()


def backoff(policy: Delivery, failures: int) -> timedelta:
    """Return the wait after one more failure: doubled each time, capped, and between half and all of it."""
    most = policy.backoff_max.total_seconds()
    doubled = min(policy.backoff.total_seconds() * 2.0**failures, most)
    return timedelta(seconds=doubled * _dice.uniform(0.5, 1.0))


class Composer:
    """Renders claimed deliveries, drawing each anomaly once for all its receivers."""

    def __init__(
        self,
        links: Links,
        picture: Picture | None,
        about: Mapping[str, About] | None = None,
        answers: Answers | None = None,
        before: Before | None = None,
    ) -> None:
        self._links, self._picture, self._about = links, picture, about or {}
        self._answers, self._before = answers, before
        self._drawn: dict[str, bytes | None] = {}
        self._lock = threading.Lock()

    def __call__(self, claimed: Claimed) -> Message:
        """Return the message to send."""
        picture = self._draw(claimed) if claimed.event == "firing" else None
        lost = claimed.payload.get("alert", {}) if claimed.event == "meta" else claimed.payload
        about = self._about.get(str(lost.get("stream")))
        if claimed.event != "firing":
            return render(claimed, self._links, picture, about)
        return render(
            claimed, self._links, picture, about, answers=self._to_answer(claimed), before=self._like(claimed)
        )

    def _to_answer(self, claimed: Claimed) -> Mapping[str, str]:
        anomaly = str(claimed.payload["id"])
        try:
            return self._answers(anomaly, claimed.key, claimed.receiver) if self._answers else {}
        except OffbeatError as error:  # an alert without links is still an alert
            log.get().warning("links_failed", alert=claimed.key, error=str(error))
            return {}

    def _like(self, claimed: Claimed) -> list[str]:
        try:
            return self._before(Anomaly.from_json(claimed.payload)) if self._before else []
        except OffbeatError as error:
            log.get().warning("history_failed", alert=claimed.key, error=str(error))
            return []

    def _draw(self, claimed: Claimed) -> bytes | None:
        with self._lock:
            if claimed.key not in self._drawn:
                self._drawn[claimed.key] = self._try(claimed)
            return self._drawn[claimed.key]

    def _try(self, claimed: Claimed) -> bytes | None:
        if self._picture is None:
            return None
        try:
            return self._picture(Anomaly.from_json(claimed.payload))
        except Exception as error:  # noqa: BLE001 - an alert without its picture is still an alert
            log.get().warning("picture_failed", alert=claimed.key, error=f"{type(error).__name__}: {error}")
            return None


def _said(error: Exception) -> str:
    return log.redact(str(error)) or type(error).__name__
