"""Three kinds of card fraud, about four a day: testing stolen numbers, account takeover, a spree abroad.

In: a seed, a day, and each card with its home and usual amount. Out: the purchases of the thieves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np

from pipeline.simulate import feed

_SECOND = 1_000_000


@dataclass(frozen=True)
class Purchase:
    """One transaction: `time` in us UTC, `amount` in euros."""

    card: str
    time: int
    amount: float
    merchant: str
    country: str
    channel: str


Usual = tuple[str, str, float]
"""A card, its home country, its usual amount."""
Thief = Callable[[np.random.Generator, Usual, int], Iterator[Purchase]]


def card_testing(draw: np.random.Generator, victim: Usual, start: int) -> Iterator[Purchase]:
    """A robot tries the number with a dozen tiny amounts at shops the card has never seen, in minutes."""
    card, home, _ = victim
    time = start
    for _ in range(draw.integers(10, 22)):
        time += int(draw.integers(8, 45)) * _SECOND
        amount = float(draw.uniform(0.5, 2.5))
        yield Purchase(card, time, amount, f"webshop-{draw.integers(1, 40)}", home, "online")


def account_takeover(draw: np.random.Generator, victim: Usual, start: int) -> Iterator[Purchase]:
    """Somebody has the password: a handful of purchases far above what the card is used to."""
    card, home, usual = victim
    time = start
    for _ in range(draw.integers(4, 8)):
        time += int(draw.integers(3, 25)) * 60 * _SECOND
        shop = ("electronics-2", "giftcards-1", "jeweller-1")[draw.integers(3)]
        yield Purchase(card, time, usual * float(draw.uniform(7, 18)), shop, home, "online")


def spree_abroad(draw: np.random.Generator, victim: Usual, start: int) -> Iterator[Purchase]:
    """A copied card goes shopping in a country its owner is not in."""
    card, _, usual = victim
    country = ("BR", "NG", "PH", "MX")[draw.integers(4)]
    time = start
    for _ in range(draw.integers(6, 12)):
        time += int(draw.integers(4, 22)) * 60 * _SECOND
        shop, channel = (("cash-9", "atm"), ("mall-1", "pos"), ("clothes-21", "pos"))[draw.integers(3)]
        yield Purchase(card, time, usual * float(draw.uniform(1.5, 5)), shop, country, channel)


_THIEVES: dict[str, Thief] = {
    "card testing": card_testing,
    "account takeover": account_takeover,
    "spree abroad": spree_abroad,
}


def frauds(seed: int, day: date, cards: Sequence[Usual]) -> list[tuple[str, Purchase]]:
    """Return the day's fraudulent purchases with their kind; each victim is robbed once a day at most."""
    draw = feed.rng(seed, "fraud", feed.midnight(day) // feed.DAY)
    victims = draw.choice(len(cards), size=draw.integers(3, 6), replace=False)
    kinds = list(_THIEVES)
    offset = int(draw.integers(len(kinds)))
    stolen = []
    for number, victim in enumerate(victims.tolist()):
        kind = kinds[(number + offset) % len(kinds)]
        start = feed.midnight(day) + int(draw.integers(1, 19 * 60)) * 60 * _SECOND
        stolen += [(kind, purchase) for purchase in _THIEVES[kind](draw, cards[victim], start)]
    return stolen
