"""Delivery: nothing lost, nobody delayed by another, bounded retries, and giving up is said out loud."""

from __future__ import annotations

import json
import threading
import time
from datetime import timedelta

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from pipeline.alerts.attempt import backoff
from pipeline.alerts.deliver import deliver
from pipeline.alerts.log_receiver import LogReceiver
from pipeline.alerts.message import About
from pipeline.alerts.receivers import open_receivers
from pipeline.alerts.webhook_receiver import WebhookReceiver
from pipeline.config.receivers import Alerts, AppriseReceiver, Delivery
from pipeline.config.receivers import WebhookReceiver as WebhookConfig
from pipeline.errors import ConfigError, Unavailable
from pipeline.store.database import deliveries, outbox, reading
from pipeline.store.outbox import Outbox

POLICY = Delivery(attempts=3, backoff=timedelta(minutes=1), backoff_max=timedelta(minutes=10))


@pytest.fixture
def webhook(hooks, secret):
    def make(path, seconds=5.0, **more):
        return WebhookReceiver(hooks.url(path, **more), secret, timedelta(seconds=seconds))

    return make


@pytest.fixture
def run(engine, at):
    """Deliver once, at minute `now`."""

    def go(receivers, now=20.0, policy=POLICY, **more):
        return deliver(Outbox(engine), receivers, policy, now=lambda: at(now), **more)

    return go


def states(engine, receiver="ops"):
    query = sa.select(deliveries.c.state).where(deliveries.c.receiver == receiver)
    with reading(engine) as connection:
        return sorted(connection.execute(query).scalars())


def keys(posts):
    return [post.key.split("-", 1)[1] for post in posts]


def test_what_is_due_is_sent_once_to_each(tmp_path, engine, hooks, webhook, record, run):
    record("ops", "log", pumps=5)
    receivers = {"ops": webhook("/ok"), "log": LogReceiver(tmp_path / "alerts")}
    done = run(receivers)
    assert (done.sent, done.failed, done.dead, done.waiting) == (10, 0, 0, 0)
    assert run(receivers).sent == 0
    assert len(hooks.posts) == len({post.key for post in hooks.posts}) == 5
    assert len((tmp_path / "alerts" / "pump_station.jsonl").read_text().splitlines()) == 5


def test_the_resolve_follows_its_firing_in_one_run(hooks, webhook, record, run):
    record("ops", open=False)
    assert run({"ops": webhook("/ok")}).sent == 2
    assert keys(hooks.posts) == ["firing", "resolved"]


@pytest.mark.parametrize("path", ["/500", "/reset", "/hang", "/drip", "/drivel"])
def test_a_server_that_fails_hangs_or_resets_gets_it_once_it_works(hooks, webhook, record, run, at, path):
    record("ops")
    bad = {"ops": webhook(path, seconds=0.4, status=500 if path == "/500" else None)}
    assert run(bad).failed == 1
    assert run(bad, now=20.4).failed == 0, "half a minute at least"
    assert run(bad, now=21.01).failed == 1
    hooks.behave.pop(path)
    done = run(bad, now=30)
    assert (done.sent, done.waiting) == (1, 0)
    assert len({post.key for post in hooks.posts}) == 1


def test_a_slow_receiver_delays_no_other(tmp_path, hooks, webhook, record, run):
    record("slow", "ops", pumps=6)
    began = time.monotonic()
    done = run({"slow": webhook("/hang", seconds=1.0), "ops": webhook("/ok")})
    assert (done.sent, done.failed) == (6, 3)
    assert max(post.at for post in hooks.to("/ok")) - began < 2.5
    assert len(hooks.to("/hang")) == 3, "after three failures in a row it is left alone until the next run"


class Stuck:
    """A receiver whose code never comes back."""

    timeout = timedelta(seconds=1)

    def __init__(self):
        self.free = threading.Event()

    def send(self, message):
        self.free.wait(30)


def test_a_receiver_that_never_returns_does_not_hold_the_run(engine, webhook, record, run, at):
    record("stuck", "ops")
    stuck = Stuck()
    began = time.monotonic()
    done = run({"stuck": stuck, "ops": webhook("/ok")}, limit=timedelta(seconds=1.5))
    assert time.monotonic() - began < 4
    assert (done.sent, done.unfinished) == (1, ("stuck",))
    assert run({"stuck": webhook("/ok")}, now=21).sent == 0, "still leased"
    assert run({"stuck": webhook("/ok")}, now=24).sent == 1
    stuck.free.set()


class Buggy:
    """A receiver with a bug, and a secret in its message."""

    timeout = timedelta(seconds=1)

    def send(self, message):
        raise ZeroDivisionError("canary-5d11")


def test_a_bug_in_a_receiver_is_a_failure_and_its_words_are_not_kept(engine, webhook, record, run, logged):
    record("bug", "ops")
    assert (run({"bug": Buggy(), "ops": webhook("/ok")}).failed) == 1
    with reading(engine) as connection:
        said = connection.execute(sa.select(deliveries.c.last_error)).scalars().all()
    assert "a bug in the receiver: ZeroDivisionError" in said
    assert "canary" not in json.dumps([said, logged], default=str)


def test_giving_up_raises_a_meta_alert_to_the_others_and_never_a_meta_of_a_meta(
    engine, hooks, webhook, record, run
):
    record("ops")
    receivers = {
        "ops": webhook("/500", status=500),
        "chat": webhook("/chat"),
        "mail": webhook("/404", status=404),
    }
    dead = [run(receivers, now=now).dead for now in (20, 30, 40, 50)]
    assert dead == [0, 0, 2, 0], "the alert at its third failure, then the meta-alert that mail refused"
    assert states(engine) == ["dead"]
    (told,) = hooks.to("/chat")
    said = json.loads(told.body)
    assert said["type"] == "delivery.failed"
    assert said["data"]["title"] == "pump_station: ops could not be told, given up after 3 attempts"
    with reading(engine) as connection:
        assert sorted(connection.execute(sa.select(outbox.c.event)).scalars()) == ["firing", "meta"]


def test_a_refusal_is_not_tried_again(engine, hooks, webhook, record, run):
    record("ops")
    assert run({"ops": webhook("/404", status=404)}).dead == 1
    assert run({"ops": webhook("/404")}, now=999).sent == 0
    assert len(hooks.posts) == 1


def test_a_receiver_that_is_gone_is_asked_once_a_run(engine, hooks, webhook, record, run):
    record("ops", pumps=5)
    done = run({"ops": webhook("/410", status=410), "chat": webhook("/chat")})
    assert (done.dead, len(hooks.to("/410")), len(hooks.to("/chat"))) == (5, 1, 5)
    record("ops", pumps=6)
    assert run({"ops": webhook("/fixed")}).sent == 1, "a mended address is used at once"


def test_retry_after_leaves_the_receiver_alone_for_that_long(hooks, webhook, record, run):
    record("ops", pumps=3)
    busy = {"ops": webhook("/429", status=429, headers={"retry-after": "600"})}
    assert run(busy).failed == 1
    assert run(busy, now=29.9).failed == 0
    assert len(hooks.posts) == 1
    assert run({"ops": webhook("/ok")}, now=30.1).sent == 3


def test_an_unknown_receiver_waits_and_is_said_loudly(webhook, record, run, logged):
    record("typo", "ops", pumps=2)
    done = run({"ops": webhook("/ok")})
    assert (done.sent, done.waiting, done.unknown) == (2, 2, {"typo": 2})
    (loud,) = [line for line in logged if line["event"] == "receiver_unknown"]
    assert (loud["log_level"], loud["receiver"], loud["waiting"]) == ("error", "typo", 2)
    assert run({"typo": webhook("/ok")}).sent == 2


def test_a_picture_is_drawn_once_for_all_and_its_failure_costs_only_itself(
    hooks, webhook, record, run, logged
):
    drawn = []

    def draw(anomaly):
        drawn.append(anomaly.entity)
        if anomaly.entity == "pump-1":
            raise ValueError("no scores")
        return b"png"

    record("a", "b", pumps=2)
    assert run({"a": webhook("/a"), "b": webhook("/b")}, picture=draw).sent == 4
    assert sorted(drawn) == ["pump-0", "pump-1"]
    pictures = [json.loads(post.body)["data"]["picture"] for post in hooks.posts]
    assert sum(picture is None for picture in pictures) == 2
    assert [line["event"] for line in logged if line["log_level"] == "warning"] == ["picture_failed"]


def test_an_alert_that_cannot_be_read_is_given_up_and_the_next_ones_are_sent(
    engine, hooks, webhook, record, run
):
    record("ops", pumps=3)
    with engine.begin() as connection:
        first = sa.select(sa.func.min(outbox.c.key)).scalar_subquery()
        connection.execute(sa.update(outbox).where(outbox.c.key == first).values(payload={"x": 1}))
    done = run({"ops": webhook("/ok")})
    assert (done.sent, done.dead, done.waiting) == (2, 1, 0)


def test_two_deliverers_at_once_send_each_once(engine, hooks, webhook, record, run):
    record("ops", pumps=40)
    together = threading.Barrier(2)

    def work() -> None:
        together.wait()
        run({"ops": webhook("/ok")})

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(hooks.posts) == len({post.key for post in hooks.posts}) == 40


class Broken(Outbox):
    """An outbox whose database goes away."""

    def claim(self, *_, **__):
        raise Unavailable("the database went away")


def test_an_outbox_that_fails_is_raised(engine, webhook, record, at):
    record("ops")
    with pytest.raises(Unavailable):
        deliver(Broken(engine), {"ops": webhook("/ok")}, POLICY, now=lambda: at(20))


@given(st.integers(0, 100), st.floats(1e-3, 3e9), st.floats(1, 3e9))
def test_the_wait_doubles_within_its_bounds(failures, least, times):
    most = min(least * times, 3e9)
    policy = Delivery(backoff=timedelta(seconds=least), backoff_max=timedelta(seconds=most))
    wait, whole = backoff(policy, failures).total_seconds(), min(least * 2.0**failures, most)
    assert whole * 0.5 - 1e-5 <= wait <= whole + 1e-5


def test_a_receiver_that_cannot_be_opened_is_said_and_the_others_open(tmp_path, hooks, secret, logged):
    def resolve(text: str) -> str:
        known = {"${env:GOOD}": secret, "${env:BAD}": "whsec_canary-e0e1"}
        if text == "${env:UNSET}":
            raise ConfigError("the environment has no UNSET")
        return known.get(text, text)

    def hook(reference: str) -> WebhookConfig:
        return WebhookConfig(type="webhook", url=hooks.url("/ok"), secret=reference)

    named = {
        "good": hook("${env:GOOD}"),
        "bad": hook("${env:BAD}"),
        "unset": hook("${env:UNSET}"),
        "nonsense": AppriseReceiver(type="apprise", url="${env:BAD}"),
        "chat": AppriseReceiver(type="apprise", url=hooks.url("/chat").replace("http", "json")),
    }
    receivers = open_receivers(Alerts(receivers=Alerts().receivers | named), resolve, tmp_path)
    assert set(receivers) == {"log", "good", "chat"}
    assert [line["receiver"] for line in logged] == ["bad", "unset", "nonsense"]
    assert "canary" not in json.dumps(logged)


def test_an_alert_carries_what_the_stream_says_of_itself(hooks, webhook, record, run):
    record("ops", open=False)
    run({"ops": webhook("/ok")}, about={"pump_station": About("Close the valve.", "Plant engineering")})
    posted = [json.loads(post.body)["data"] for post in hooks.posts]
    assert [(data["owner"], data["description"]) for data in posted] == [
        ("Plant engineering", "Close the valve.")
    ] * 2
    assert "Close the valve." in posted[0]["text"]
