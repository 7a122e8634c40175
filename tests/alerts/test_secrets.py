"""A secret that is used appears nowhere: not in logs, errors, tables, files or messages."""

from __future__ import annotations

import base64
import logging
from datetime import timedelta

import pytest
import structlog

from pipeline import log
from pipeline.alerts.apprise_receiver import AppriseReceiver
from pipeline.alerts.deliver import deliver
from pipeline.alerts.log_receiver import LogReceiver
from pipeline.alerts.webhook_receiver import WebhookReceiver
from pipeline.config.receivers import Delivery
from pipeline.store.outbox import Outbox

CANARY = "canary-b1f0-do-not-tell"


@pytest.fixture(autouse=True)
def _log_as_before():
    """Other tests must not write to the stderr that this one captured."""
    yield
    structlog.reset_defaults()


@pytest.mark.parametrize(
    ("place", "status"),
    [("/a", 204), ("/a", 500), ("/a", 404), ("/a", 410), ("/a", 301), ("/reset", None), ("/drivel", None)],
)
def test_no_secret_in_logs_errors_tables_or_files(
    tmp_path, engine, hooks, record, at, capfd, caplog, place, status
):
    log.configure(json=True, level=logging.DEBUG)
    key = base64.b64encode(CANARY.encode() + b"!" * 8).decode()
    here = hooks.url(place, status).removeprefix("http://")
    with caplog.at_level(logging.DEBUG):
        receivers = {
            "hook": WebhookReceiver(
                f"http://u:{CANARY}@{here}?token={CANARY}", f"whsec_{key}", timedelta(seconds=2)
            ),
            "chat": AppriseReceiver(f"json://u:{CANARY}@{here}/{CANARY}?rto=1"),
            "log": LogReceiver(tmp_path / "alerts"),
        }
        record("hook", "chat", "log")
        done = deliver(Outbox(engine), receivers, Delivery(attempts=1), now=lambda: at(20))
    assert done.dead >= (0 if status == 204 else 2)
    with engine.connect() as connection:
        tables = [connection.exec_driver_sql(f"select * from {t}").all() for t in ("outbox", "deliveries")]
    files = [p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()]
    said = "".join(capfd.readouterr()) + caplog.text + repr(tables) + repr(files) + repr(receivers)
    assert "alert_sent" in said
    assert CANARY not in said
    assert key not in said
