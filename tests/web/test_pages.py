"""What people see and do: streams, anomalies, the day's list, answers, signed links; all without a script."""

from __future__ import annotations

import re

from starlette.testclient import TestClient

from pipeline.alerts.links import Offer, sign
from pipeline.web import Keeper
from tests.web.conftest import EVIL, NOW, SECRET, csrf


def test_the_first_page_has_every_stream_the_worst_first(operator: TestClient) -> None:
    page = operator.get("/").text
    order = [page.index(f">{name}<") for name in ("broken", "plant", "cards")]
    assert order == sorted(order)
    assert "1 critical" in page
    assert "cannot be" not in page
    assert page.count('<svg class="strip"') == 2
    assert "above the threshold in 1 of 84 cells" in page
    assert ">cards<" not in operator.get("/?q=plant").text


def test_the_first_page_reads_no_table(operator: TestClient, monkeypatch) -> None:
    """However many streams there are: SQL is asked twice, Delta and MLflow not at all."""
    from pipeline.registry import Registry
    from pipeline.store import delta

    def refuse(*_: object) -> None:
        raise AssertionError("read")

    monkeypatch.setattr(delta, "find", refuse)
    monkeypatch.setattr(Registry, "champions", refuse)
    assert operator.get("/").status_code == 200


def test_what_was_seen_is_there_after_a_restart(keeper: Keeper) -> None:
    again = Keeper(lambda: keeper.work)
    assert again.glances == keeper.glances
    assert again.seen == ""


def test_a_changed_config_is_seen_at_the_next_look(keeper: Keeper) -> None:
    path = keeper.work.home.configs / "streams" / "new.yaml"
    path.write_text((path.parent / "plant.yaml").read_text())
    try:
        keeper.look()
        assert [r["health"] for r in keeper.rows() if r["stream"] == "new"] == ["empty"]
    finally:
        path.unlink()
        keeper.look()
    assert "new" not in keeper.glances


def test_a_stream_shows_its_signal_entities_and_data(operator: TestClient) -> None:
    page = operator.get("/streams/plant", params={"entity": "pump-1"}).text
    assert page.count('<svg class="line"') == 3, "two channels and the score"
    assert "8,650" in page, "records"
    assert "offbeat train plant" in page
    assert page.count('class="shade"') > 3


def test_range_and_channels_are_in_the_address(operator: TestClient) -> None:
    query = {
        "entity": "pump-1",
        "from": "2026-03-07T01:00",
        "to": "2026-03-07T05:00+01:00",
        "channels": "power",
    }
    page = operator.get("/streams/plant", params=query).text
    assert "2026-03-07 01:00 UTC" in page
    assert "2026-03-07 04:00 UTC" in page
    assert page.count('<svg class="line"') == 2
    earlier = re.search(r'data-move="earlier" href="([^"]+)"', page)
    assert earlier
    assert "2026-03-06 23:30 UTC" in operator.get(earlier[1].replace("&amp;", "&")).text


def test_an_impossible_range_is_said_and_no_error_of_ours(operator: TestClient) -> None:
    for query in (
        {"from": "2026-03-07", "to": "2026-03-06"},
        {"from": "yesterday"},
        {"to": "0001-01-01T00:00"},
    ):
        answer = operator.get("/streams/plant", params=query)
        assert answer.status_code in (409, 422), query
        assert "Not" in answer.text
    assert operator.get("/streams/nothing").status_code == 404
    assert operator.get("/anomalies/nothing").status_code == 404
    assert operator.get("/streams/broken").status_code == 404


def test_an_anomaly_has_the_alerts_words_and_what_was_like_it(operator: TestClient, fault: str) -> None:
    page = operator.get(f"/anomalies/{fault}").text
    assert "plant: pump-1 flow 0 m3/h, expected 10" in page
    assert "Found by       the model: it could not reconstruct this" in page
    assert "80 %" in page
    assert "pending" in page, "who is told"
    similar = page.partition("Similar ones")[2]
    assert similar.count("/anomalies/") >= 2
    assert similar.index("pump-1") < similar.index("&lt;script&gt;"), "the same machine first"


def test_an_answer_is_noted_once_and_shown(operator: TestClient, keeper: Keeper, fault: str) -> None:
    page = operator.get(f"/anomalies/{fault}").text
    form = {"what": "false_alarm", "why": "we cleaned it", "csrf": csrf(page)}
    for _ in range(2):
        answer = operator.post(f"/anomalies/{fault}/answers", data=form)
        assert answer.headers["location"] == f"/anomalies/{fault}#answers"
    said = [a for a in keeper.work.answers(fault) if a["why"] == "we cleaned it"]
    assert [(a["who"], a["what"]) for a in said] == [("ada", "false_alarm")]
    page = operator.get(f"/anomalies/{fault}").text
    assert "we cleaned it" in page
    assert (
        'value="false_alarm" title="It is normal: later trainings learn from it; closes" aria-pressed' in page
    )
    assert operator.post(f"/anomalies/{fault}/answers", data=form | {"what": "reopened"}).status_code == 303


def test_a_snooze_has_an_end(operator: TestClient, keeper: Keeper) -> None:
    still = next(a["id"] for a in keeper.work.anomalies("plant", limit=20) if a["status"] == "open")
    token = csrf(operator.get("/").text)
    answer = operator.post(f"/anomalies/{still}/answers", data={"what": "snoozed-8h", "csrf": token})
    assert answer.status_code == 303
    assert keeper.work.anomaly(still)["snoozed_until"] == "2026-03-08T08:05:00+00:00"


def test_an_answer_that_is_none_is_refused_with_what_was_expected(operator: TestClient, fault: str) -> None:
    token = csrf(operator.get("/").text)
    for what in ("snoozed", "snoozed-9y", "nonsense", "acknowledged-1h"):
        answer = operator.post(f"/anomalies/{fault}/answers", data={"what": what, "csrf": token})
        assert answer.status_code == 422, what
        assert 'role="alert"' in answer.text


def test_the_days_list_has_the_worst_first_and_each_cards_history(operator: TestClient) -> None:
    page = operator.get("/streams/cards/transactions?day=2026-03-07").text
    rows = page.partition("<tbody>")[2].split('<tr class="flagged">')
    assert len(rows) == 2
    assert "900.00 EUR" in rows[1]
    assert "/anomalies/" in rows[1]
    assert "payments before, up to" in rows[1]
    assert rows[1].partition("</details>")[0].count("EUR") > 8
    assert EVIL not in page
    assert "Nothing was scored" in operator.get("/streams/cards/transactions?day=2020-01-01").text
    assert operator.get("/streams/plant/transactions").status_code == 409


def test_a_signed_link_answers_once_and_only_when_asked_to(
    stranger: TestClient, keeper: Keeper, fault: str
) -> None:
    link = f"/answer/{sign(Offer(fault, 'acknowledged', 'nonce-1', 'log'), SECRET)}"
    before = len(keeper.work.answers(fault))
    for _ in range(3):
        page = stranger.get(link)
        assert page.status_code == 200
        assert "Acknowledged?" in page.text
    assert len(keeper.work.answers(fault)) == before, "a scanner follows links, and must change nothing"
    done = stranger.post(link, data={"who": "ada at night", "why": "on my way"})
    assert "Thank you" in done.text
    assert keeper.work.answers(fault)[-1]["who"] == "ada at night (link)"
    assert stranger.post(link, data={"who": "mallory"}).status_code == 410
    assert "was used before" in stranger.get(link).text
    assert len(keeper.work.answers(fault)) == before + 1
    assert stranger.get("/answer/forged").status_code == 410
    assert stranger.get("/").status_code == 303, "a link lets nobody in"


def test_the_pages_can_be_read_aloud(operator: TestClient, fault: str) -> None:
    """Every table says what it is, every figure what it shows, every field what goes in."""
    for path in ("/", "/anomalies", f"/anomalies/{fault}", "/streams/plant", "/streams/cards/transactions"):
        page = operator.get(path).text
        assert '<html lang="en">' in page
        assert page.count("<h1") == 1
        assert 'class="skip" href="#main"' in page
        assert page.count("<table") == page.count("<caption")
        for svg in re.findall(r"<svg[^>]*>", page):
            assert "aria-label" in svg or 'aria-hidden="true"' in svg
        for field in re.findall(r"<(?:input|select)[^>]*>", page):
            if 'type="hidden"' not in field:
                before = page[: page.index(field)]
                assert before.rfind("<label") > before.rfind("</label"), field
    assert NOW.isoformat() not in page
