"""Links that answer: ours alone, for seven days, and the same link in each repeat of an alert."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest

from pipeline import clock
from pipeline.alerts.links import OFFERED, Offer, offers, sign, verify
from pipeline.config.receivers import Links
from pipeline.config.secrets import resolve
from pipeline.errors import DataError

SECRET = "0123456789abcdef-canary"
NOW = datetime(2026, 3, 1, tzinfo=UTC)
OFFER = Offer("a1", "snoozed", "n1", "ops", 3600)
LINKS = Links(page="https://offbeat.example/", secret="${env:S}")


def test_a_token_says_what_it_was_signed_for():
    assert verify(sign(OFFER, SECRET), SECRET) == OFFER


def test_every_changed_character_is_refused():
    token = sign(OFFER, SECRET)
    for place in range(len(token) - 1):  # the last one holds spare bits
        other = "A" if token[place] != "A" else "B"
        with pytest.raises(DataError, match="no link of ours"):
            verify(token[:place] + other + token[place + 1 :], SECRET)
    for token in ("", "....", sign(OFFER, SECRET + "x")):
        with pytest.raises(DataError, match="no link of ours"):
            verify(token, SECRET)


def test_a_link_is_good_for_seven_days():
    with clock.frozen(NOW):
        token = sign(OFFER, SECRET)
    with clock.frozen(NOW + timedelta(days=7)):
        assert verify(token, SECRET) == OFFER
    with (
        clock.frozen(NOW + timedelta(days=7, seconds=2)),
        pytest.raises(DataError, match="older than 7 days"),
    ):
        verify(token, SECRET)


def test_a_repeat_of_an_alert_offers_the_same_answers_once():
    with clock.frozen(NOW):
        first = offers("a1", "a1-firing", "ops", LINKS, lambda _: SECRET)
    with clock.frozen(NOW + timedelta(hours=1)):
        again = offers("a1", "a1-firing", "ops", LINKS, lambda _: SECRET)
        other = offers("a1", "a1-firing", "mail", LINKS, lambda _: SECRET)
        assert set(first) == set(OFFERED)
        for what, url in first.items():
            assert url.startswith("https://offbeat.example/answer/")
            nonces = [verify(urlsplit(found[what]).path.split("/")[-1], SECRET).nonce for found in
                      (first, again, other)]  # fmt: skip
            assert nonces[0] == nonces[1] != nonces[2]


def test_without_a_page_or_a_secret_there_are_no_links():
    for links in (Links(), Links(page="https://x.example"), Links(secret="${env:S}")):
        assert offers("a1", "k", "ops", links, lambda _: SECRET) == {}


@pytest.mark.parametrize("environment", [{}, {"S": ""}, {"S": "short"}])
def test_a_secret_that_cannot_be_used_costs_the_links_and_not_the_alert(environment):
    assert offers("a1", "k", "ops", LINKS, lambda text: resolve(text, environment)) == {}


def test_a_secret_that_could_be_guessed_is_refused():
    with pytest.raises(DataError, match="too short"):
        sign(OFFER, "secret")
