"""A card business: some hundred cards, each with its own purse, hours, shops and travels; and its thieves.

In: a day. Out: transactions of that day. A card's habits come from the seed alone, so that days can be
written in any order.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from pipeline.simulate import feed
from pipeline.simulate.fraud import Purchase, frauds

_SECOND = 1_000_000
_COUNTRIES = ("DE", "FR", "NL", "IT", "PL")
_ABROAD = ("ES", "US", "GB", "TR", "TH")
_MERCHANTS: dict[str, tuple[float, str, int]] = {  # typical amount, channel, how many of them
    "grocer": (38, "pos", 12),
    "bakery": (6, "pos", 10),
    "fuel": (62, "pos", 6),
    "cafe": (9, "pos", 12),
    "restaurant": (45, "pos", 14),
    "pharmacy": (18, "pos", 6),
    "clothes": (70, "pos", 8),
    "bookshop": (24, "online", 4),
    "electronics": (140, "online", 5),
    "streaming": (12, "online", 3),
    "travel": (210, "online", 4),
    "cash": (100, "atm", 5),
}
_SHOPS = [(f"{kind}-{n + 1}", *facts[:2]) for kind, facts in _MERCHANTS.items() for n in range(facts[2])]


@dataclass(frozen=True)
class Habits:
    """How one card is used."""

    card: str
    home: str
    purse: float
    """Multiplies what a merchant usually takes."""
    pace: float
    """Purchases a day."""
    shops: NDArray[np.int64]
    likes: NDArray[np.float64]
    hour: float
    """The middle of the card's day."""
    trip: tuple[int, str]
    """Phase of a five-day trip every eight weeks, and where to."""


class CardStream:
    """Some hundred cards. The same seed and day give the same transactions."""

    name = "card_payments"
    header = "transaction_id,card,time,amount,merchant,country,channel"

    def __init__(self, seed: int = 7, cards: int = 300) -> None:
        self.seed, self.cards = seed, cards
        self._habits = [_habits(seed, number) for number in range(cards)]

    def day(self, day: date, *, faults: bool) -> feed.Day:
        """Return a day's lines, with the frauds planned for it or without."""
        draw = feed.rng(self.seed, "cards", feed.midnight(day) // feed.DAY)
        bought = [(p, "") for habits in self._habits for p in _purchases(draw, habits, day)]
        if faults:
            bought += [(p, kind) for kind, p in frauds(self.seed, day, self._usual())]
        bought.sort(key=lambda item: item[0].time)
        ids = [f"{day:%Y%m%d}-{n:06d}" for n in range(len(bought))]
        time = np.array([p.time for p, _ in bought], dtype=np.int64)
        lines = [
            f"{i},{p.card},{stamp},{p.amount:.2f},{p.merchant},{p.country},{p.channel}"
            for i, (p, _), stamp in zip(ids, bought, feed.stamps(time).tolist(), strict=True)
        ]
        labels = _labels(ids, bought)
        return feed.arrive(draw, time, lines, self.header, labels)

    def _usual(self) -> list[tuple[str, str, float]]:
        return [(h.card, h.home, 40 * h.purse) for h in self._habits]


def _habits(seed: int, number: int) -> Habits:
    draw = feed.rng(seed, "habits", number)
    shops = draw.choice(len(_SHOPS), size=draw.integers(6, 14), replace=False)
    return Habits(
        card=f"card-{number + 1:04d}",
        home=_COUNTRIES[draw.choice(5, p=[0.6, 0.13, 0.12, 0.08, 0.07])],
        purse=float(draw.lognormal(0, 0.35)),
        pace=float(draw.uniform(2, 6)),
        shops=shops,
        likes=draw.dirichlet(np.full(len(shops), 0.8)),
        hour=float(draw.normal(14, 1.5)),
        trip=(int(draw.integers(56)), _ABROAD[draw.integers(5)]),
    )


def _purchases(draw: np.random.Generator, habits: Habits, day: date) -> Iterator[Purchase]:
    """Draw what a card buys in a day."""
    weekend = day.weekday() >= 5
    count = int(draw.poisson(habits.pace * (1.25 if weekend else 0.95)))
    hours = np.clip(draw.normal(habits.hour, 3.2, count), 0, 23.99)
    time = feed.midnight(day) + (hours * 3600 * _SECOND).astype(np.int64)
    curious = draw.random(count) < 0.06
    liked = draw.choice(habits.shops, count, p=habits.likes)
    shops = np.where(curious, draw.integers(len(_SHOPS), size=count), liked)
    amounts = draw.lognormal(0, 0.35, count) * habits.purse
    away = (feed.midnight(day) // feed.DAY + habits.trip[0]) % 56 < 5
    for when, shop, factor in zip(time.tolist(), shops.tolist(), amounts.tolist(), strict=True):
        merchant, typical, channel = _SHOPS[shop]
        country = habits.trip[1] if away and channel != "online" else habits.home
        yield Purchase(habits.card, when, max(0.5, typical * factor), merchant, country, channel)


def _labels(ids: list[str], bought: list[tuple[Purchase, str]]) -> list[feed.Fault]:
    """Return one label for each card and kind of fraud, naming its transactions."""
    found: dict[tuple[str, str], list[tuple[str, int]]] = {}
    for number, (purchase, kind) in zip(ids, bought, strict=True):
        if kind:
            found.setdefault((purchase.card, kind), []).append((number, purchase.time))
    return [
        feed.Fault(
            entity=card,
            kind=kind,
            start=feed.moment(members[0][1]),
            end=feed.moment(members[-1][1] + _SECOND),
            channels=("amount", "merchant", "country", "channel"),
            ids=tuple(number for number, _ in members),
        )
        for (card, kind), members in found.items()
    ]
