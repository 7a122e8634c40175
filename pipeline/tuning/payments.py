"""Faults put into a copy of transactions: what a stolen card, a bot or a broken till does to a history.

In: held-out transactions and a seed. Out: copies with named faults; the same seed gives the same ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.tuning.faults import Copy, Fault, Seat, deal

if TYPE_CHECKING:
    from pipeline.config.models import TransactionStream

Row = dict[str, Any]
Ints = NDArray[np.int64]
EACH = 40
"""Faults of one kind."""
PLACE = 32
"""Transactions that one fault has for itself, so that few windows see two."""
MOST_ENTITIES = 160
LEAST_BEFORE = 4
"""Transactions an entity must have had: whoever has no history has no habits."""
UNKNOWN = "never seen before"
HOUR, DAY = 3_600_000_000, 86_400_000_000
TIME = "time"


@dataclass(frozen=True)
class Spot:
    """Where a fault strikes: transaction `row` of an entity's own, in order of time."""

    own: list[Row]
    row: int
    words: dict[str, list[str]]
    """Every value of each category, in the whole stream."""
    mark: str
    """Begins the ids of transactions that are put in."""
    draw: np.random.Generator


@dataclass(frozen=True)
class Change:
    """What a fault does: the rows in place of the one struck, which of them are wrong, in what, how much."""

    rows: list[Row]
    wrong: tuple[str, ...]
    channels: tuple[str, ...]
    size: float


def amount_multiplied(at: Spot) -> Change:
    """One transaction of three to twenty times the amount; the size is how many times."""
    struck = at.own[at.row]
    times = float(np.exp(at.draw.uniform(np.log(3), np.log(20))))
    changed = {**struck, "amount": struck["amount"] * times}
    return Change([changed], (struck["id"],), ("amount",), times)


def burst(at: Spot) -> Change:
    """Four to eight more within minutes, of amounts that are usual; the size is how many."""
    struck = at.own[at.row]
    count = int(at.draw.integers(4, 9))
    later = struck[TIME] + np.cumsum(at.draw.integers(15_000_000, 90_000_000, count))
    amounts = at.draw.choice([row["amount"] for row in at.own[: at.row + 1]], count)
    more = [
        {**struck, "id": f"{at.mark}{i}", TIME: int(when), "amount": float(amount)}
        for i, (when, amount) in enumerate(zip(later, amounts, strict=True))
    ]
    return Change([struck, *more], tuple(row["id"] for row in more), ("pace",), float(count))


def new_category(at: Spot) -> Change:
    """One category has a value that this entity never had: one that others have, if there is such."""
    struck = at.own[at.row]
    name = str(at.draw.choice(sorted(at.words)))
    known = {row[name] for row in at.own}
    others = [word for word in at.words[name] if word not in known]
    word = str(at.draw.choice(others)) if others else UNKNOWN
    return Change([{**struck, name: word}], (struck["id"],), (name,), 1.0)


def odd_hour(at: Spot) -> Change:
    """Moved to the hour of the day, UTC, at which this entity does least; the size is by how many hours."""
    struck = at.own[at.row]
    hours = np.bincount([row[TIME] // HOUR % 24 for row in at.own], minlength=24)
    busy = hours + 0.5 * (np.roll(hours, 1) + np.roll(hours, -1))
    quiet = int(at.draw.choice(np.flatnonzero(busy == busy.min())))
    when = struck[TIME] // DAY * DAY + quiet * HOUR + int(at.draw.integers(HOUR))
    when += DAY if when < struck[TIME] else 0  # not before it is judged
    moved = (when - struck[TIME]) / HOUR
    return Change([{**struck, TIME: when}], (struck["id"],), ("time of day",), moved)


KINDS: dict[str, Callable[[Spot], Change]] = {
    "amount multiplied": amount_multiplied,
    "burst": burst,
    "new category": new_category,
    "odd hour": odd_hour,
}


def entities(
    stream: TransactionStream, records: pa.Table, since: int, draw: np.random.Generator
) -> list[str]:
    """Return entities with a history before `since` and transactions after it, at most 160 of them."""
    before, after = _counts(records, since)
    room = sorted(name for name in after if before[name] >= LEAST_BEFORE)
    return sorted(draw.permutation(room)[:MOST_ENTITIES].tolist())


def inject(stream: TransactionStream, records: pa.Table, since: int, seed: int) -> list[Copy]:
    """Put faults into copies of `records`, at `since` (microseconds UTC) or later, each into one entity.

    Returns:
        Copies, each of all the records; none where no entity has transactions at `since` or later.
    """
    _, after = _counts(records, since)
    kinds = [kind for kind in KINDS if kind != "new category" or stream.fields.categories]
    if not after:
        return []
    book = _Book.of(stream, records, since)
    places = {name: max(1, count // PLACE) for name, count in after.items()}
    seats = deal(kinds, places, EACH, np.random.default_rng([seed, 0]))
    copies = []
    for copy in range(1 + max(seat.copy for seat in seats)):
        mine = [(number, seat) for number, seat in enumerate(seats) if seat.copy == copy]
        struck = [book.strike(seat, places[seat.entity], seed, number) for number, seat in mine]
        changes = {row["id"]: change for row, change in struck}
        faults = [_fault(seat, change) for (_, seat), (_, change) in zip(mine, struck, strict=True)]
        copies.append(Copy(_table(book.rows, changes, records.schema), tuple(faults)))
    return copies


@dataclass(frozen=True)
class _Book:
    """All transactions, in order of entity and time, and by entity."""

    rows: list[Row]
    own: dict[str, list[Row]]
    words: dict[str, list[str]]
    since: int

    @classmethod
    def of(cls, stream: TransactionStream, records: pa.Table, since: int) -> _Book:
        rows = _rows(records)
        own = {name: list(group) for name, group in groupby(rows, key=lambda row: str(row["entity"]))}
        categories = stream.fields.categories
        words = {name: sorted({w for w in records[name].to_pylist() if w}) for name in categories}
        return cls(rows, own, words, since)

    def strike(self, seat: Seat, places: int, seed: int, number: int) -> tuple[Row, Change]:
        """Return the transaction that a fault strikes, and what becomes of it."""
        own, draw = self.own[seat.entity], np.random.default_rng([seed, 1, number])
        first = next(i for i, row in enumerate(own) if row[TIME] >= self.since)
        room = (len(own) - first) // places
        row = first + seat.place * room + int(draw.integers(room // 2, room))  # the later half of its place
        return own[row], KINDS[seat.kind](Spot(own, row, self.words, f"injected-{number}-", draw))


def _fault(seat: Seat, change: Change) -> Fault:
    times = [row[TIME] for row in change.rows if row["id"] in change.wrong]
    span = (min(times), max(times) + 1)
    return Fault(seat.kind, seat.entity, *span, change.channels, change.size, change.wrong)


def _counts(records: pa.Table, since: int) -> tuple[Counter[str], Counter[str]]:
    """Return how many transactions each entity has before `since`, and from then on."""
    late = records[TIME].cast(pa.int64()).to_numpy() >= since
    names = np.asarray(records["entity"].to_pylist(), dtype=object)
    return Counter(names[~late].tolist()), Counter(names[late].tolist())


def _rows(records: pa.Table) -> list[Row]:
    plain = records.set_column(
        records.column_names.index(TIME), TIME, records[TIME].cast(pa.int64())
    ).to_pylist()
    return sorted(plain, key=lambda row: (row["entity"], row[TIME], row["id"]))


def _table(rows: list[Row], changes: dict[str, Change], schema: pa.Schema) -> pa.Table:
    """Return rows with the changes made, in order of entity and time, under the records' own schema."""
    made = [new for row in rows for new in (changes[row["id"]].rows if row["id"] in changes else [row])]
    made.sort(key=lambda row: (row["entity"], row[TIME], row["id"]))
    columns = {name: [row[name] for row in made] for name in schema.names}
    arrays = [
        pa.array(columns[field.name], pa.int64()).cast(field.type)
        if field.name == TIME
        else pa.array(columns[field.name], field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)
