"""Webhooks: signed so that no bit can change, and no server can hang, fool or slow us."""

from __future__ import annotations

import base64
import json
import time
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from pipeline.alerts.message import Gone, Throttled
from pipeline.alerts.post import retry_after
from pipeline.alerts.webhook_receiver import PICTURE_LIMIT, WebhookReceiver, body_of
from pipeline.errors import ConfigError, DeliveryFailed, DeliveryRefused

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def receiver(hooks, secret):
    def make(path="/ok", seconds=5.0, **more):
        return WebhookReceiver(hooks.url(path, **more), secret, timedelta(seconds=seconds))

    return make


def test_a_post_verifies_and_says_everything(hooks, receiver, message, secret):
    sent = message()
    receiver().send(sent)
    (post,) = hooks.posts
    said = Webhook(secret).verify(post.body, post.headers)
    assert post.key == sent.key
    assert abs(int(post.headers["webhook-timestamp"]) - time.time()) < 60
    assert (said["type"], said["data"]["title"]) == ("anomaly.firing", sent.title)
    assert base64.b64decode(said["data"]["picture"]["base64"]) == sent.picture
    assert said["data"]["anomaly"] == {"entity": "pump-7"}


def test_every_retry_carries_the_same_key(hooks, receiver, message):
    for _ in range(3):
        receiver().send(message())
    assert {post.key for post in hooks.posts} == {message().key}


def _flips(data: bytes):
    for index in range(len(data)):
        for bit in range(8):
            yield data[:index] + bytes([data[index] ^ 1 << bit]) + data[index + 1 :]


def test_every_flipped_bit_is_refused(hooks, receiver, message, secret):
    receiver().send(message(picture=None, text="short", data={}))
    (post,) = hooks.posts
    verify, headers = Webhook(secret).verify, dict(post.headers)
    verify(post.body, headers)
    tried = 0

    def refused(body, changed):
        nonlocal tried
        tried += 1
        with pytest.raises((WebhookVerificationError, ValueError)):
            verify(body, headers | changed, json_parse=False)

    for body in _flips(post.body):
        refused(body, {})
    for name in ("webhook-id", "webhook-timestamp"):
        for flipped in _flips(post.headers[name].encode()):
            refused(post.body, {name: flipped.decode("latin-1")})
    signature = base64.b64decode(post.headers["webhook-signature"].removeprefix("v1,"))
    for flipped in _flips(signature):
        refused(post.body, {"webhook-signature": "v1," + base64.b64encode(flipped).decode()})
    assert tried > 2000


@pytest.mark.parametrize("between", [" ", ",", ", ", "\n"])
def test_both_keys_verify_while_rotating_and_no_third(hooks, message, secret, between):
    new, other = ("whsec_" + base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))
    WebhookReceiver(hooks.url("/ok"), between.join([secret, new]), timedelta(seconds=5)).send(message())
    (post,) = hooks.posts
    for known in (secret, new):
        Webhook(known).verify(post.body, post.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(other).verify(post.body, post.headers)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
def test_any_2xx_is_delivered(receiver, message, status):
    receiver(f"/{status}", status=status).send(message())


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 413, 422, 451])
def test_other_4xx_are_refusals(receiver, message, status):
    with pytest.raises(DeliveryRefused, match=f"HTTP {status}"):
        receiver(f"/{status}", status=status).send(message())


@pytest.mark.parametrize("status", [300, 304, 408, 409, 425, 429, 500, 502, 503, 504, 599])
def test_what_may_work_later_is_a_failure(receiver, message, status):
    with pytest.raises(DeliveryFailed, match=f"HTTP {status}"):
        receiver(f"/{status}", status=status).send(message())


def test_410_means_gone(receiver, message):
    with pytest.raises(Gone):
        receiver("/gone", status=410).send(message())


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(hooks, receiver, message, status):
    where = {"location": hooks.url("/elsewhere")}
    with pytest.raises(DeliveryFailed):
        receiver("/moved", status=status, headers=where).send(message())
    assert hooks.to("/elsewhere") == []


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured(receiver, message, status):
    with pytest.raises(Throttled) as caught:
        receiver("/busy", status=status, headers={"retry-after": "120"}).send(message())
    assert caught.value.retry_after == timedelta(minutes=2)


@pytest.mark.parametrize(
    ("value", "pause"),
    [
        ("120", timedelta(minutes=2)),
        (" 7 ", timedelta(seconds=7)),
        ("Sun, 01 Mar 2026 00:05:00 GMT", timedelta(minutes=5)),
        ("Sun, 01 Mar 2026 00:05:00", timedelta(minutes=5)),
        ("999999999", timedelta(days=1)),
        ("Sun, 01 Mar 9999 00:05:00 GMT", timedelta(days=1)),
        ("Sun, 01 Mar 2020 00:05:00 GMT", None),
        ("0", None),
        ("-5", None),
        ("1e3", None),
        ("soon", None),
        ("", None),
        ("9" * 400, None),
        ("١٢", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_of_at_most_a_day(value, pause):
    assert retry_after(value, NOW) == pause


@given(st.text(max_size=60))
def test_no_retry_after_can_break_us(value):
    pause = retry_after(value, NOW)
    assert pause is None or timedelta(0) < pause <= timedelta(days=1)


@pytest.mark.parametrize("path", ["/hang", "/drip"])
def test_a_server_that_hangs_or_drips_costs_no_more_than_the_timeout(receiver, message, path):
    began = time.monotonic()
    with pytest.raises(DeliveryFailed, match=r"no answer within 0\.5 s"):
        receiver(path, seconds=0.5).send(message())
    assert time.monotonic() - began < 4


@pytest.mark.parametrize("path", ["/reset", "/drivel"])
def test_a_server_that_resets_or_talks_nonsense_is_a_failure(receiver, message, path):
    with pytest.raises(DeliveryFailed, match="no answer"):
        receiver(path).send(message())


@pytest.mark.parametrize("host", ["127.0.0.1:1", "no-such-host.invalid"])
def test_a_server_that_is_not_there_is_a_failure(message, secret, host):
    with pytest.raises(DeliveryFailed, match="no answer") as caught:
        WebhookReceiver(f"http://{host}/canary", secret, timedelta(seconds=5)).send(message())
    assert "canary" not in repr(caught.value)


@pytest.mark.parametrize(
    "text", ["", "ftp://x/y", "//x", "http://", "http://[::1", "http://x:99999/", "/x\x00"]
)
def test_an_address_that_is_none_is_a_config_error(secret, text):
    with pytest.raises(ConfigError):
        WebhookReceiver(text, secret, timedelta(seconds=1))


@pytest.mark.parametrize(
    "bad", ["", " , ", "whsec_", "whsec_c2hvcnQ=", "whsec_!!!", "whsec_" + "A" * 400, "é"]
)
def test_a_secret_that_is_none_is_a_config_error_that_does_not_tell_it(hooks, bad):
    with pytest.raises(ConfigError) as caught:
        WebhookReceiver(hooks.url("/ok"), bad, timedelta(seconds=1))
    assert len(bad) < 8 or bad not in str(caught.value)


def test_a_picture_too_large_is_left_out_and_the_alert_is_not(message):
    big = b"x" * (PICTURE_LIMIT + 1)
    assert json.loads(body_of(message(picture=big)))["data"]["picture"] is None
    assert json.loads(body_of(message(picture=big[:-1])))["data"]["picture"]
    assert json.loads(body_of(message(picture=None)))["data"]["picture"] is None


def test_hostile_text_stays_inside_the_json(hooks, receiver, message):
    odd = "\r\nX-Evil: 1\r\n\r\n\x00\ud800\u2028</script>" + "z" * 10_000
    receiver().send(message(title=odd, text=odd, data={"anomaly": {"entity": odd}}))
    (post,) = hooks.posts
    assert "x-evil" not in post.headers
    assert json.loads(post.body)["data"]["title"] == odd
