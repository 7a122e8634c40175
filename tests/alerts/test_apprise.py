"""Apprise: real notifications over HTTP, and nothing of its address in what we say."""

from __future__ import annotations

import base64
import json
import logging

import pytest

from pipeline.alerts.apprise_receiver import AppriseReceiver
from pipeline.errors import ConfigError, DeliveryFailed

CANARY = "canary-9c2e77"


@pytest.fixture
def receiver(hooks):
    def make(path, **more):
        base = hooks.url(path, **more).removeprefix("http://")
        return AppriseReceiver(f"json://user:{CANARY}@{base}?rto=0.5&cto=2")

    return make


def test_a_notification_says_it_all_and_brings_the_picture(hooks, receiver, message):
    receiver("/chat").send(message())
    (post,) = hooks.posts
    said = json.loads(post.body)
    assert (said["title"], said["message"]) == (message().title, "line one\nline two")
    assert base64.b64decode(said["attachments"][0]["base64"]) == message().picture
    assert said["type"] == "failure"


def test_severity_and_event_choose_the_kind(hooks, receiver, message):
    for facts in ({"severity": "low"}, {"event": "resolved"}, {"event": "meta"}):
        receiver("/chat").send(message(**facts, picture=None))
    assert [json.loads(post.body)["type"] for post in hooks.posts] == ["warning", "success", "warning"]


@pytest.mark.parametrize("status", [404, 500])
def test_a_service_that_fails_is_said_with_its_status_alone(receiver, message, status):
    with pytest.raises(DeliveryFailed, match=rf"HTTP {status}\)$") as caught:
        receiver("/bad", status=status).send(message())
    assert CANARY not in repr(caught.value)


@pytest.mark.parametrize("path", ["/reset", "/hang"])
def test_a_service_that_resets_or_hangs_is_survived(receiver, message, path):
    with pytest.raises(DeliveryFailed, match=r"did not take it$"):
        receiver(path).send(message())


def test_apprise_logs_nowhere(receiver, message, caplog, capfd):
    with caplog.at_level(logging.DEBUG), pytest.raises(DeliveryFailed):
        receiver("/500", status=500).send(message())
    with pytest.raises(ConfigError) as caught:
        AppriseReceiver(f"nonsense://{CANARY}")
    assert CANARY not in caplog.text + "".join(capfd.readouterr()) + str(caught.value)


def test_hostile_text_is_only_text(hooks, receiver, message):
    odd = "<b>&amp;</b> {{x}} %s ${env:HOME} \u202e \x00" + "z" * 10_000
    receiver("/chat").send(message(title=odd[:300], text=f"t\n\n{odd}"))
    assert len(hooks.posts) == 1
