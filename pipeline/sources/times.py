"""Times from columns of any Arrow type. In: a column and how it is written. Out: microseconds UTC, and masks.

Vectorised where a whole column is written one way; else told apart value by value, to the same result.
Times without an offset are in the stream's zone: of the two that a clock set back shows, the earlier is
meant; one that a clock set forward skips is no time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config.models import TimeField
from pipeline.sources.epoch import Mask, Micros, from_floats, from_integers
from pipeline.sources.numeric import NULLS, NUMBER, mask

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RULES_END = 2_145_916_800 * 10**6  # 2038: Arrow does not apply a zone's rules to later years
_TWO_DAYS = 2 * 86_400 * 10**6
_WHOLE = 9 * 10**18  # integers from here on are read as decimals: not all of them fit in 64 bits
_INTEGER = r"^[+-]?0*(\d{1,18}|[1-8]\d{18})$"
_ISO = re.compile(
    r"\d{4}-\d\d-\d\d(?:[T ]\d\d(?::?\d\d(?::?\d\d(?:[.,]\d+)?)?)?(?: ?(?:Z|z|UTC|[+-]\d\d(?::?\d\d)?))?)?",
    re.ASCII,
)


@dataclass(frozen=True)
class Times:
    """`micros` int64 since 1970 (0 where there is none); masks over all rows."""

    micros: Micros
    missing: Mask
    wrong: Mask


class TimeReader:
    """Reads one stream's time column."""

    def __init__(self, field: TimeField) -> None:
        self.format = field.format
        self.zone = ZoneInfo(field.timezone)

    @property
    def expected(self) -> str:
        """What a time must look like, for people."""
        if self.format == "iso8601":
            return "ISO 8601 such as 2024-05-01T12:00:00Z"
        if self.format == "auto":
            return "ISO 8601, or a number of s, ms, us or ns since 1970"
        return f"a number of {self.format} since 1970"

    def read(self, column: pa.Array) -> Times:
        """Read a column as times."""
        kind = column.type
        if pa.types.is_string(kind):
            return self._alike(column) or self._mixed(column)
        if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            return self._typed(column)
        return self._numbers(column)

    def _numbers(self, column: pa.Array) -> Times:
        missing = mask(pc.is_null(column, nan_is_null=True))
        none = np.zeros(len(column), np.int64)
        if self.format == "iso8601":
            return Times(none, missing, ~missing)
        if pa.types.is_integer(column.type):
            found, ok = from_integers(
                _numpy(pc.fill_null(column, 0).cast(pa.int64(), safe=False)), self.format
            )
        elif pa.types.is_floating(column.type) or pa.types.is_decimal(column.type):
            found, ok = from_floats(_numpy(pc.fill_null(column.cast(pa.float64()), 0.0)), self.format)
        else:
            return Times(none, missing, ~missing)
        return _times(found, missing, ~ok & ~missing)

    def _typed(self, column: pa.Array) -> Times:
        missing = mask(pc.is_null(column))
        kind = pa.timestamp("ms") if pa.types.is_date(column.type) else column.type
        found, ok = from_integers(_micros(column.cast(kind)), kind.unit)
        found = np.maximum(found, -_TWO_DAYS)  # all alike too early, and so inside what datetime can say
        placed = found if kind.tz else self._place(pa.array(found).cast(pa.timestamp("us")))
        if placed is not None:
            return _times(placed, missing, ~ok & ~missing)
        each = [self._localize(v) for v in pa.array(found).cast(pa.timestamp("us")).to_pylist()]
        wrong = (np.array([v is None for v in each], bool) | ~ok) & ~missing
        return _times(np.array([v or 0 for v in each], np.int64), missing, wrong)

    def _place(self, naive: pa.Array) -> Micros | None:
        """Put times without an offset in the stream's zone; None where one of them never was."""
        if self.zone.key == "UTC":
            return _micros(naive)
        if _micros(naive).max(initial=0) >= _RULES_END:
            return None
        try:
            return _micros(
                pc.assume_timezone(naive, self.zone.key, ambiguous="earliest", nonexistent="raise")
            )
        except pa.ArrowInvalid:
            return None

    def _alike(self, column: pa.Array) -> Times | None:
        """Read strings that are all written alike; None where they are not."""
        if not len(column) or column.null_count:
            return None
        iso = column[0].as_py()[4:5] == "-"
        found = self._alike_iso(column) if iso else self._alike_integers(column)
        if found is None or found.min() < 0:  # before 1970 Arrow takes years that Python does not know
            return None
        none = np.zeros(len(column), bool)
        return Times(found, none, none)

    def _alike_integers(self, column: pa.Array) -> Micros | None:
        if self.format == "iso8601" or pc.any(pc.match_substring(column, "x", ignore_case=True)).as_py():
            return None  # Arrow would read 0x10 as a number
        try:
            whole = _numpy(column.cast(pa.int64()))
        except pa.ArrowInvalid:
            return None
        found, ok = from_integers(whole, self.format)
        return found if ok.all() and whole.max() < _WHOLE else None

    def _alike_iso(self, column: pa.Array) -> Micros | None:
        if self.format not in ("auto", "iso8601"):
            return None
        for kind in (pa.timestamp("us"), pa.timestamp("us", "UTC")):
            try:
                stamps = column.cast(kind)
            except pa.ArrowInvalid:
                continue
            return _micros(stamps) if kind.tz else self._place(stamps)
        return None

    def _mixed(self, column: pa.Array) -> Times:
        """Read strings written in several ways, and say which of them are no times."""
        text = pc.ascii_trim_whitespace(column)
        missing = mask(pc.or_(pc.is_null(text), pc.fill_null(pc.is_in(text, pa.array(NULLS)), True)))
        integer = mask(pc.fill_null(pc.match_substring_regex(text, _INTEGER), False))
        decimal = mask(pc.fill_null(pc.match_substring_regex(text, NUMBER), False)) & ~integer
        micros, wrong = np.zeros(len(column), np.int64), ~missing
        if self.format != "iso8601":
            plain = pc.ascii_ltrim(text, characters="+")
            ints, floats = _pick(plain, integer, pa.int64()), _pick(plain, decimal, pa.float64())
            micros[integer], wrong[integer] = _wrong(*from_integers(ints, self.format))
            micros[decimal], wrong[decimal] = _wrong(*from_floats(floats, self.format))
        if self.format in ("auto", "iso8601"):
            rest = np.flatnonzero(~missing & ~integer & ~decimal)
            for i, value in zip(rest, text.take(pa.array(rest)).to_pylist(), strict=True):
                if (found := self._one(value)) is not None:
                    micros[i], wrong[i] = found, False
        return _times(micros, missing, wrong)

    def _one(self, text: str) -> int | None:
        """Read one ISO 8601 time: the meaning that `_alike_iso` agrees with."""
        if not _ISO.fullmatch(text):
            return None
        try:
            found = datetime.fromisoformat(_canonical(text))
        except ValueError:
            return None
        return self._localize(found) if found.tzinfo is None else micros(found)

    def _localize(self, naive: datetime) -> int | None:
        try:
            placed = naive.replace(tzinfo=self.zone)
            exists = placed.astimezone(UTC).astimezone(self.zone).replace(tzinfo=None) == naive
        except OverflowError:
            return None
        return micros(placed) if exists else None


def _canonical(text: str) -> str:
    """Write `12:00:00 UTC`, `12:00:00z` and `12:00:00 +02` the way Python reads them."""
    day, clock = text[:11], text[11:]
    return day + clock.replace(" ", "").replace("UTC", "Z").replace("z", "Z")


def micros(moment: datetime) -> int:
    """Return an aware time as microseconds since 1970, UTC."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _times(micros: Micros, missing: Mask, wrong: Mask) -> Times:
    gone = missing | wrong
    return Times(np.where(gone, 0, micros) if gone.any() else micros, missing, wrong)


def _wrong(micros: Micros, ok: Mask) -> tuple[Micros, Mask]:
    return micros, ~ok


def _pick(text: pa.Array, chosen: Mask, kind: pa.DataType) -> np.ndarray:
    return _numpy(text.filter(pa.array(chosen)).cast(kind))


def _micros(stamps: pa.Array) -> Micros:
    return _numpy(pc.fill_null(stamps.cast(pa.int64()), 0))


def _numpy(column: pa.Array) -> np.ndarray:
    return np.asarray(column.to_numpy(zero_copy_only=False))
