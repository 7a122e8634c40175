"""The demo's desk believes nobody without a signature."""

from datetime import UTC, datetime

import httpx
from standardwebhooks.webhooks import Webhook

from pipeline.demo.desk import open_desk


def post(desk, secret, body=b'{"type": "anomaly.firing"}', key="a-firing"):
    now = datetime.now(UTC)
    headers = {
        "webhook-id": key,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(key, now, body.decode()),
    }
    return httpx.post(desk.url, content=body, headers=headers).status_code


def test_a_signed_alert_is_kept_once_and_a_repeat_is_counted():
    with open_desk() as desk:
        assert [post(desk, desk.secret) for _ in range(2)] == [204, 204]
        assert list(desk.alerts) == ["a-firing"]
        assert desk.repeats == 1


def test_an_alert_signed_by_another_is_refused():
    with open_desk() as desk, open_desk() as other:
        assert post(desk, other.secret) == 401
        assert httpx.post(desk.url, content=b"{}").status_code == 401
        assert (desk.alerts, desk.refused) == ({}, 2)
