"""An alert says what is wrong, in the stream's own words and units, whatever those words are."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from pipeline.alerts import before
from pipeline.alerts.message import About
from pipeline.alerts.render import firing_title, link_to, render, resolved_title
from pipeline.alerts.text import clean
from pipeline.config.receivers import Links
from pipeline.events import Claimed, Context, Contribution, Revision

CARDS = Context(stream_kind="transaction", noun="card", units={"amount": "EUR"})
PAID = (Contribution("amount", 0.9, 38.42, 912.0), Contribution("merchant", 0.1, None, None))


def claimed(anomaly, event="firing", payload=None):
    facts = anomaly.to_json() if payload is None else payload
    return Claimed(f"{anomaly.id}-{event}", "ops", event, facts, 0, anomaly.opened_at, "lease")


@pytest.fixture
def card(anomaly):
    def make(**facts):
        start = anomaly().start
        known = {"entity": "4711", "end": start, "open": False, "channels": PAID, "ids": ("tx-1", "tx-2")}
        return anomaly(stream="card_payments", context=CARDS, **(known | facts))

    return make


def test_the_title_of_a_sensor_says_where_what_since_when_and_how_bad(anomaly):
    wanted = "pump_station: pump-7 vibration 9.1 mm/s, expected 2.3, since 03:12 UTC for 12 min — high"
    assert firing_title(anomaly()) == wanted


def test_the_title_says_how_far_off_it_usually_is_where_that_is_known(anomaly):
    channels = (Contribution("vibration", 1.0, 2.3123, 9.1, spread=0.4123),)
    assert "vibration 9.1 mm/s, expected 2.3 ± 0.41, since 03:12 UTC for 12 min" in firing_title(
        anomaly(channels=channels)
    )


INCIDENT = {
    "key": "abc", "why": "firing", "count": 40, "open": 38, "streams": 1, "noun": "pump", "digest": False,
    "labels": {"line": "a\n", "stream": "pump_station"}, "lines": ["pump_station: pump-7 \x1b[31m"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("facts", "title"),
    [
        ({}, "pump_station: 40 pumps, line a: pump-7 vibration 9.1 mm/s, expected 2.3, since"),
        ({"noun": "", "streams": 2}, "40 anomalies, line a: pump-7 vibration"),
        ({"why": "repeat"}, "still open: pump_station: 40 pumps, line a: "),
        ({"why": "escalated", "count": 1}, "nobody has answered: pump_station: pump-7 vibration"),
        (
            {"digest": True, "count": 1, "labels": {}},
            "1 alert beyond the limit, the worst: pump_station: pump-7",
        ),
    ],
)
def test_an_incident_says_how_many_where_and_the_worst(anomaly, facts, title):
    told = claimed(anomaly(), payload=anomaly().to_json() | {"incident": INCIDENT | facts})
    message = render(told, Links())
    assert message.title.startswith(title)
    assert message.thread == "abc"
    assert "\x1b" not in message.text
    if not facts:
        assert "Incident       40 pumps, line a, 38 going on" in message.text
        assert "  and 39 more" in message.text


def test_the_end_of_an_incident_says_so(anomaly):
    told = claimed(anomaly(open=False), "resolved", anomaly(open=False).to_json() | {"incident": INCIDENT})
    assert render(told, Links()).title == "pump_station: 40 pumps, line a: all over — resolved"


def test_what_was_like_it_before_says_what_became_of_it(anomaly):
    day = timedelta(days=1)
    known = [
        replace(anomaly(), id="1", start=anomaly().start - day, answer="false_alarm", answered_by="Ann",
                verdict="false_alarm"),
        replace(anomaly(entity="pump-8"), id="2", start=anomaly().start - 2 * day),
        replace(anomaly(channels=(Contribution("pressure", 1.0, 1.0, 2.0),)), id="3"),
    ]  # fmt: skip
    said = before.lines(anomaly(), [*known, anomaly()])
    assert said[0] == "Before         2 like it, 1 of pump-7; 1 called a false alarm"
    assert said[1].startswith("  2026-02-28 03:12 UTC pump-7 vibration 9.1 mm/s")
    assert said[1].endswith("(called a false alarm by Ann)")
    assert len(said) == 4
    message = render(claimed(anomaly()), Links(), before=said, answers={"acknowledged": "https://x/answer/t"})
    assert said[0] in message.text
    assert "Acknowledge    https://x/answer/t" in message.text
    assert message.data["links"]["acknowledged"] == "https://x/answer/t"


def test_the_title_of_a_transaction_speaks_of_its_card(card):
    wanted = "card_payments: card 4711: amount 912.00 EUR, expected about 38, at 03:12 UTC — high"
    assert firing_title(card()) == wanted


def test_what_has_ended_already_says_from_when_and_for_how_long(anomaly):
    assert ", from 03:12 UTC for 12 min — high" in firing_title(anomaly(open=False))


def test_a_stream_of_one_machine_is_not_named_twice(anomaly):
    assert firing_title(anomaly(entity="pump_station")).startswith("pump_station: vibration 9.1 mm/s")


def test_a_category_is_unusual_and_has_no_number(card):
    assert "card 4711: unusual merchant, at" in firing_title(card(channels=PAID[1:]))
    assert "card 4711: unusual amount 9" in firing_title(card(channels=(Contribution("amount", 1, None, 9),)))
    assert "score 4.23 times the threshold" in firing_title(card(channels=()))


def test_an_old_anomaly_says_its_day(anomaly):
    start = anomaly().start - timedelta(days=400)
    assert "at 2025-01-25 03:12 UTC" in firing_title(anomaly(start=start, end=start, peak=start))


def test_the_body_says_severity_time_shares_expected_actual_and_where_to_look(anomaly):
    links = Links(airflow="https://air.example/", mlflow="https://ml.example")
    text = render(claimed(anomaly()), links).text
    for part in (
        "Severity       high, peak 4.23 times the threshold",
        "since 2026-03-01 03:12 UTC, for 12 min, still going on",
        "71%  vibration  9.1 mm/s   2.312 mm/s",
        "20%  pressure   998.4 hPa  1,013 hPa",
        " 9%  state      –          –",
        "version 3",
        "https://ml.example/#/runs/0a1b2c",
        "https://air.example/dags/score__pump_station/runs/scheduled__2026-03-01T00%3A00%3A00%2B00%3A00",
        "To silence",
        f"{anomaly().id}-firing",
    ):
        assert part in text, part


SILENT = {"kind": "silence", "channels": (), "usual": timedelta(seconds=60)}
FLAT = {"kind": "flatline", "channels": (Contribution("temperature", 0.5, None, 41.2, "°C"),) * 2}
HIGH = {"kind": "range", "channels": (Contribution("pressure", 1.0, 10, 12.345, "bar"),)}
LATE = {"kind": "late", "entity": "pump_station", "channels": (), "usual": timedelta(minutes=5)}


@pytest.mark.parametrize(
    ("facts", "wanted"),
    [
        (SILENT, "pump-7 has sent nothing since 03:12 UTC for 12 min; it usually sends every 60 s — high"),
        (
            SILENT | {"open": False},
            "pump-7 sent nothing from 03:12 UTC for 12 min; it usually sends every 60 s",
        ),
        (SILENT | {"usual": None}, "pump-7 has sent nothing since 03:12 UTC for 12 min — high"),
        (
            LATE,
            "pump_station: no new records since 03:12 UTC for 12 min; the newest is usually at most 5 min",
        ),
        (FLAT, "pump-7 temperature has been exactly 41.2 °C (and 1 more flat) since 03:12 UTC for 12 min"),
        (FLAT | {"usual": timedelta(0)}, "since 03:12 UTC for 12 min — high"),
        (HIGH, "pump-7 pressure 12.35 bar, above its limit of 10, since 03:12 UTC for 12 min — high"),
    ],
)
def test_what_a_watchdog_found_is_said_in_plain_words(anomaly, facts, wanted):
    assert wanted in firing_title(anomaly(**facts))


@pytest.mark.parametrize(
    ("facts", "wanted"),
    [
        (SILENT, "pump_station: pump-7 sends again since 03:24 UTC, after 12 min — resolved"),
        (LATE, "pump_station: records come again since 03:24 UTC, after 12 min — resolved"),
        (FLAT, "pump_station: pump-7 temperature moves again since 03:24 UTC, after 12 min — resolved"),
        (
            HIGH,
            "pump_station: pump-7 pressure within its limits again since 03:24 UTC, after 12 min — resolved",
        ),
    ],
)
def test_the_end_of_what_a_watchdog_found_is_said_as_what_it_is(anomaly, facts, wanted):
    assert resolved_title(anomaly(open=False, **facts)) == wanted


@pytest.mark.parametrize(
    ("ending", "wanted"),
    [
        ("silent", "pump_station: pump-7 vibration: nothing more is known, it has fallen silent — ended"),
        ("gone", "pump_station: pump-7 is taken to be gone: nothing for 12 min — ended"),
        ("unwatched", "pump_station: pump-7 vibration: not watched any more — ended"),
    ],
)
def test_an_end_that_nobody_saw_is_not_called_back_to_normal(anomaly, ending, wanted):
    assert resolved_title(replace(anomaly(open=False), ending=ending)) == wanted


@pytest.mark.parametrize("facts", [SILENT, LATE, FLAT, HIGH])
def test_the_body_says_what_found_it_and_how_to_hear_less(anomaly, facts):
    text = render(claimed(anomaly(context=Context(), **facts)), Links()).text
    assert "Found by       the watchdog of" in text
    assert "threshold" not in text
    assert ("watch: {" in text) == (facts is not HIGH)
    assert ("Worst reading" in text) == (facts is HIGH)


def test_the_stream_says_who_answers_for_it_and_what_to_do(anomaly):
    about = About("Booster pumps.\nA leak: close the valve.", "Plant engineering")
    lost = {"receiver": "ops", "attempts": 8, "error": "HTTP 500", "event": "firing"}
    meta = lost | {"alert": anomaly().to_json()}
    for event, payload in (("firing", None), ("resolved", None), ("meta", meta)):
        said = render(claimed(anomaly(), event, payload), Links(), about=about)
        assert said.data["description"] == "Booster pumps.\nA leak: close the valve."
        assert said.data["owner"] == "Plant engineering"
    text = render(claimed(anomaly()), Links(), about=about).text
    assert (
        "\nOwner          Plant engineering\nAbout          Booster pumps. A leak: close the valve.\n" in text
    )
    assert "Owner" not in render(claimed(anomaly()), Links()).text


def test_the_body_of_a_transaction_names_the_transactions(card):
    assert "Transactions   tx-1, tx-2" in render(claimed(card()), Links()).text
    many = render(claimed(card(ids=tuple(f"t{i}" for i in range(1000)))), Links())
    assert "t19 and 980 more" in many.text
    assert (len(many.data["anomaly"]["ids"]), many.data["anomaly"]["transactions"]) == (100, 1000)


def test_a_resolve_says_that_it_is_over(anomaly, card):
    wanted = "pump_station: pump-7 vibration back to normal since 03:24 UTC, after 12 min — resolved"
    assert resolved_title(anomaly(open=False)) == wanted
    assert (
        resolved_title(card()) == "card_payments: card 4711 amount back to normal after 03:12 UTC — resolved"
    )
    resolved = render(claimed(anomaly(open=False), "resolved"), Links(), picture=b"png")
    assert "2026-03-01 03:12 UTC to 2026-03-01 03:24 UTC, 12 min" in resolved.text
    assert resolved.picture is None


@pytest.mark.parametrize(
    ("ending", "why", "title", "fact"),
    [
        (
            "withdrawn",
            "late",
            "pump_station: pump-7 vibration: late records show that it was none — withdrawn",
            "withdrawn 2026-03-01 04:00 UTC, as late records show; it was 2026-03-01 03:00 UTC to 2026-03-01"
            " 03:30 UTC, critical",
        ),
        (
            "merged",
            "replay",
            "pump_station: pump-7 vibration: part of another anomaly by now — ended",
            "merged 2026-03-01 04:00 UTC, as scores of a replay show",
        ),
        (
            "",
            "late",
            "pump_station: pump-7 vibration back to normal since 03:24 UTC, after 12 min — resolved",
            "revised 2026-03-01 04:00 UTC, as late records show",
        ),
    ],
)
def test_what_late_records_or_a_replay_made_of_it_is_said(anomaly, ending, why, title, fact):
    at = datetime(2026, 3, 1, 3, tzinfo=UTC)
    was = Revision(at + timedelta(hours=1), why, at, at + timedelta(minutes=30), 9.0, "critical")
    changed = replace(anomaly(open=False), ending=ending, revised=was)
    assert resolved_title(changed) == title
    shown = render(claimed(changed, "resolved"), Links())
    assert fact in shown.text
    assert shown.data["anomaly"]["revised"]["why"] == why


def test_a_meta_alert_says_who_was_not_told_what_and_why(anomaly):
    lost = {"receiver": "ops", "attempts": 8, "error": "HTTP 500", "event": "firing"}
    meta = render(claimed(anomaly(), "meta", lost | {"alert": anomaly().to_json()}), Links())
    assert meta.title == "pump_station: ops could not be told, given up after 8 attempts"
    assert firing_title(anomaly()) in meta.text
    assert "HTTP 500" in meta.text


def test_links_need_runs_to_lead_to(anomaly):
    assert link_to(anomaly(context=Context()), Links()) == {}


def test_a_run_id_cannot_leave_its_place_in_a_link(anomaly):
    odd = Context(run="../../x?y#z", airflow_run="dag/../../\n<b>")
    where = link_to(anomaly(context=odd), Links())
    assert where["mlflow_run"] == "http://127.0.0.1:5000/#/runs/..%2F..%2Fx%3Fy%23z"
    assert where["airflow_run"] == "http://127.0.0.1:8080/dags/dag/runs/..%2F..%2F%0A%3Cb%3E"


HOSTILE = [
    "\r\nX-Evil: 1\r\n\r\n",
    "<script>alert(1)</script>",
    "\x1b]0;title\x07\x1b[2J",
    "a\u202etxt.exe",
    "\ud800",
    "\x00",
    "{0.__class__} %n %s ${env:HOME}",
    "z" * 10_000,
    "\n" * 10_000,
    "\U0001f4a5" * 100,
    "",
]


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
@pytest.mark.parametrize("event", ["firing", "resolved", "meta"])
@pytest.mark.parametrize("kind", ["reconstruction", "silence", "flatline", "late", "range"])
def test_hostile_names_stay_in_their_line(anomaly, event, name, kind):
    none = Contribution(name, 0.5, float("nan"), float("inf"), name)
    huge = Contribution(name, 0.5, 1e300, -1e-300, name)
    context = Context(noun=name, run=name, airflow_run=name)
    known = {"entity": name, "severity": name, "channels": (huge, none), "ids": (name,), "kind": kind}
    odd = anomaly(context=context, **known)
    plain = json.loads(json.dumps(odd.to_json(), allow_nan=False))
    meta = {"receiver": name, "attempts": 1, "error": name, "event": "firing", "alert": plain}
    about = About(name, name)
    said = render(claimed(odd, event, meta if event == "meta" else plain), Links(), about=about)
    assert len(said.title) < 600
    assert said.title == clean(said.title, 600)
    assert all(line.isprintable() for line in said.text.split("\n"))
    assert said.text.count("\n") < 30
    json.dumps(said.data, allow_nan=False)


@pytest.mark.parametrize("payload", [{}, {"id": 1}, {"channels": "x"}])
def test_a_payload_that_is_not_ours_is_an_error_we_expect(anomaly, payload):
    with pytest.raises((KeyError, TypeError, ValueError)):
        render(claimed(anomaly(), "firing", payload), Links())
