"""Links that answer: signed, expiring, used once. Whoever has the link may answer, without a login.

In: an anomaly, an answer and a secret key. Out: a token for a URL; read back, what it asks for. A mail
scanner that follows the link must change nothing: the page behind it shows a form, and that answers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

from itsdangerous import BadData, SignatureExpired, TimestampSigner, URLSafeTimedSerializer

from pipeline import clock, log
from pipeline.config.receivers import Links
from pipeline.errors import DataError, TerminalError
from pipeline.events import ACKNOWLEDGED, FALSE_ALARM, SNOOZED

EXPIRES = timedelta(days=7)
SNOOZE = timedelta(hours=8)
OFFERED = (ACKNOWLEDGED, SNOOZED, FALSE_ALARM)
"""Answers that an alert offers links for."""
LEAST_SECRET = 16
"""Characters of a secret that cannot be guessed."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What a link asks for."""

    anomaly: str
    what: str
    nonce: str
    """Used up by the answer; the same in each repeat of the same alert to the same receiver."""
    receiver: str = ""
    """Whom the link was sent to."""
    snooze: int = 0
    """Seconds, of a snooze."""


class _Signer(TimestampSigner):
    def get_timestamp(self) -> int:
        """Return our clock's time, which tests and replays may set."""
        return int(clock.now().timestamp())


def sign(offer: Offer, secret: str) -> str:
    """Return the token of an offer, for a URL."""
    return str(_serializer(secret).dumps(asdict(offer)))


def verify(token: str, secret: str, *, expires: timedelta = EXPIRES) -> Offer:
    """Return what a token asks for; whether it was used already, the store knows.

    Raises:
        DataError: we did not sign it, or it is too old.
    """
    try:
        return Offer(**_serializer(secret).loads(token, max_age=int(expires.total_seconds())))
    except SignatureExpired:
        raise DataError(f"this link is older than {expires.days} days; open the anomaly to answer") from None
    except (BadData, TypeError):
        raise DataError("this is no link of ours; open the anomaly to answer") from None


def offers(
    anomaly: str, alert: str, receiver: str, links: Links, resolve: Callable[[str], str]
) -> Mapping[str, str]:
    """Return a URL for each answer that an alert offers; none where `links` has no page or no secret.

    A secret that cannot be had, or could be guessed, costs the links, never the alert: the log says so.

    Args:
        anomaly: id.
        alert: key of the alert they stand in.
        receiver: whom it goes to.
        links: of alerts.yaml.
        resolve: turns the reference to the secret into its value.
    """
    if links.page is None or links.secret is None:
        return {}
    try:
        secret = resolve(links.secret)
        tokens = {what: sign(_offer(anomaly, what, alert, receiver), secret) for what in OFFERED}
    except TerminalError as error:
        log.get().error("links_left_out", alert=alert, why=str(error))
        return {}
    return {what: f"{links.page.rstrip('/')}/answer/{token}" for what, token in tokens.items()}


def _offer(anomaly: str, what: str, alert: str, receiver: str) -> Offer:
    nonce = hashlib.sha256(f"{alert}\0{receiver}\0{what}".encode()).hexdigest()[:32]
    return Offer(anomaly, what, nonce, receiver, int(SNOOZE.total_seconds()) if what == SNOOZED else 0)


def _serializer(secret: str) -> Any:
    if len(secret) < LEAST_SECRET:
        raise DataError(
            f"links.secret of alerts.yaml is too short; expected {LEAST_SECRET} characters or more"
        )
    return URLSafeTimedSerializer(
        secret,
        salt="offbeat.answer",
        signer=_Signer,
        signer_kwargs={"key_derivation": "hmac", "digest_method": hashlib.sha256},
    )
