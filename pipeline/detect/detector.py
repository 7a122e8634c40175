"""`Detector`: learns on held-out normal errors what is usual, then scores; 1 is the threshold.

In: squared reconstruction errors per row and channel. Out: score, raw score and shares per row. What it
learned is frozen: nothing is ever fitted on the rows being judged.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.detect import calibrate
from pipeline.detect.clusters import Scores
from pipeline.detect.threshold import MIN_ROWS, Threshold, fit_threshold
from pipeline.errors import BundleError, DataError, NotEnoughData

FLOOR = 1.0  # joint score of usual rows: no threshold lies below what is usual
SUPPORT = 0.6  # of the slow look's weight that a row needs behind it: some `slow / 2` rows
SETTINGS: dict[str, type] = {"span": int, "top": int, "weight": float, "slow": int}
FORMAT = 1


@dataclass(frozen=True)
class HeldOut:
    """Normal errors of one entity that training did not see.

    entity names it; time is int64 us UTC [T]; errors are squared errors per channel [T, C], NaN where
    there is none. An entity may come in several pieces.
    """

    entity: str
    time: NDArray[np.int64]
    errors: NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Scored:
    """Rows judged: score and raw (before smoothing) float32 [T], 1 = threshold; share float32 [T, C].

    All are NaN in a row where no channel was observed.
    """

    score: NDArray[np.float32]
    raw: NDArray[np.float32]
    share: NDArray[np.float32]

    @property
    def flag(self) -> NDArray[np.bool_]:
        """Rows at or above the threshold [T]; never a row without a score."""
        with np.errstate(invalid="ignore"):
            return np.asarray(self.score >= 1)


class Detector:
    """Calibrates reconstruction errors, and turns an alert budget into a threshold.

    The joint score of a row is half the mean over channels of root errors, each over its own usual
    error, and half the mean of the `top` largest of them; each half is over its own usual value, so
    that 1 is usual for both. The mean sees a fault that spreads thinly, the top one that strikes few
    channels of many. It rises with every channel's error.

    It is looked at twice: smoothed over `span` rows, which sees what is sharp, and over `slow` rows, which
    sees what is faint and lasts. Each look has its own threshold for half the alert budget, and a row's
    score is the higher of the two. The slow look sees no more of a row than the fast one's threshold, and
    only what the last `span` rows still show: a spike is not smeared over the hour that follows it, and a
    fault is over when it is over.

    Args:
        span: of the fast look's exponential smoothing, in rows; 1 for none, as for transactions.
        slow: of the slow look's; 8 times `span` by default, and none where `span` is 1.
        top: how many of the largest channel errors the second half averages; by default the root of
            the number of channels, rounded up, between one channel and all.
        weight: of the second half, 0 to 1.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> time = np.arange(5000) * 60_000_000
        >>> held_out = HeldOut("pump", time, rng.normal(size=(5000, 3)) ** 2)
        >>> detector = Detector().fit([held_out], per_second=1 / 86400, merge_us=600_000_000)
        >>> bool(detector.score(np.full((100, 3), 50.0)).flag.all())
        True
    """

    slow_: Threshold | None
    """Of the slow look; None where there is none, or too little was held out for it."""

    def __init__(
        self, span: int = 8, top: int | None = None, weight: float = 0.5, slow: int | None = None
    ) -> None:
        self.span, self.top, self.weight = span, top, weight
        self.slow = slow if slow is not None else (8 * span if span > 1 else 1)

    @property
    def context_rows(self) -> int:
        """Earlier rows that the first row to be scored needs."""
        return len(calibrate.kernel(max(self.span, self.slow))) - 1

    def fit(
        self,
        held_out: Sequence[HeldOut],
        *,
        per_second: float,
        merge_us: int,
        step_us: int | None = None,
        seconds: float | None = None,
    ) -> Self:
        """Learn scales and threshold from normal errors held out in time.

        Args:
            held_out: pieces of series; up to 5 % of their rows may be anomalies.
            per_second: alert budget, false alarms over all entities together.
            merge_us: flags closer than this are one alarm.
            step_us: grid step of a sensor stream.
            seconds: how long the stream was watched; by default the steps in which anything was
                observed, or the time from the first row to the last.

        Raises:
            NotEnoughData: fewer than 50 rows were observed, or all at one moment.
        """
        if not held_out:
            raise NotEnoughData("nothing was held out to calibrate on")
        self.top_ = self.top or math.ceil(math.sqrt(held_out[0].errors.shape[1]))
        self.scale_ = calibrate.channel_scales(b for h in held_out for b in calibrate.root_blocks(h.errors))
        self.usual_ = _usual([calibrate.parts(u, self.top_) for h in held_out for u in self._units(h.errors)])
        raw = [self._joint(h.errors) for h in held_out]
        looks = 2 if self.slow > 1 else 1

        def level(joint: list[NDArray[np.float64]]) -> Threshold:
            scores = _lay_out(held_out, joint)
            return fit_threshold(
                scores,
                per_second=per_second / looks,
                seconds=seconds or _watched(scores.time, step_us),
                gap_us=gap_us(merge_us, step_us),
                floor=FLOOR,
            )

        self.threshold_, self.slow_ = level([calibrate.smooth(joint, self.span) for joint in raw]), None
        if looks == 2:
            slow = [self._slow(joint) for joint in raw]
            known = sum(int(np.count_nonzero(~np.isnan(joint))) for joint in slow)
            self.slow_ = level(slow) if known >= MIN_ROWS else None
        return self

    def _slow(self, joint: NDArray[np.float64]) -> NDArray[np.float64]:
        held = np.minimum(joint, self.threshold_.value)
        return np.minimum(calibrate.smooth(held, self.slow, SUPPORT), calibrate.smooth(held, self.span))

    def score(self, errors: NDArray[np.floating[Any]]) -> Scored:
        """Judge the rows of one series, in time order.

        Args:
            errors: squared errors per channel [T, C], NaN where there is none. The first
                `context_rows` serve the smoothing of those after them.

        Raises:
            DataError: as many channels were not learned.
        """
        if errors.shape[1] != len(self.scale_):
            raise DataError(f"{errors.shape[1]} channels to judge, {len(self.scale_)} learned")
        raw = self._joint(errors)
        level = self.threshold_.value
        score, alone = calibrate.smooth(raw, self.span) / level, raw / level
        if self.slow_:
            score = np.fmax(score, self._slow(raw) / self.slow_.value)
            alone = np.fmax(alone, np.minimum(raw, level) / self.slow_.value)
        share = [calibrate.shares(units) for units in self._units(errors)]
        return Scored(
            score=score.astype(np.float32),
            raw=alone.astype(np.float32),
            share=np.concatenate([np.empty((0, len(self.scale_)), np.float32), *share]),
        )

    def _units(self, errors: NDArray[np.floating[Any]]) -> Iterator[NDArray[np.float32]]:
        """Yield errors in units of their channel's usual one, in blocks of rows."""
        for block in calibrate.root_blocks(errors):
            yield np.minimum(block / self.scale_.astype(np.float32), np.float32(calibrate.UNIT_CAP))

    def _joint(self, errors: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        return np.concatenate([np.empty(0), *(self._joint_block(units) for units in self._units(errors))])

    def _joint_block(self, units: NDArray[np.float32]) -> NDArray[np.float64]:
        mean, top = calibrate.parts(units, self.top_)
        return (1 - self.weight) * mean / self.usual_[0] + self.weight * top / self.usual_[1]

    @property
    def diagnostics(self) -> dict[str, float]:
        """How the threshold came about, as numbers for MLflow."""
        looks = {"": self.threshold_} | ({"slow.": self.slow_} if self.slow_ else {})
        return {f"{look}{k}": float(v) for look, one in looks.items() for k, v in asdict(one).items()}

    def to_dict(self) -> dict[str, Any]:
        """Return settings and what was learned, JSON-able; `from_dict` gives the same scores."""
        return {
            "format": FORMAT,
            "span": self.span,
            "top": self.top_,
            "weight": self.weight,
            "scale": self.scale_.tolist(),
            "usual": list(self.usual_),
            "threshold": asdict(self.threshold_),
            "slow": self.slow,
            "slow_threshold": asdict(self.slow_) if self.slow_ else None,
        }

    @classmethod
    def from_dict(cls, learned: Mapping[str, Any]) -> Self:
        """Rebuild a fitted detector.

        Raises:
            BundleError: a part is missing, of another format, or no positive finite number.
        """
        try:
            if learned["format"] != FORMAT:
                raise BundleError(f"detector format {learned['format']!r} is not {FORMAT}")
            made = cls(*(kind(learned[k]) for k, kind in SETTINGS.items()))
            made.top_ = int(learned["top"])
            made.scale_ = np.asarray(learned["scale"], np.float64)
            made.usual_ = (float(learned["usual"][0]), float(learned["usual"][1]))
            made.threshold_ = Threshold(**learned["threshold"])
            made.slow_ = Threshold(**learned["slow_threshold"]) if learned["slow_threshold"] else None
            levels = [float(one.value) for one in (made.threshold_, made.slow_) if one]
            numbers = [*made.scale_.ravel(), *made.usual_, *levels, made.span, made.slow, made.top_]
        except (KeyError, IndexError, TypeError, ValueError) as e:
            raise BundleError(f"detector calibration is damaged: {e!r}") from e
        if (
            made.scale_.ndim != 1
            or not all(np.isfinite(numbers))
            or min(numbers) <= 0
            or not 0 <= made.weight <= 1
        ):
            raise BundleError("detector calibration holds a number that is not positive and finite")
        return made


def gap_us(merge_us: int, step_us: int | None) -> int:
    """Return how far apart flags of one anomaly may lie: rows next to each other always belong."""
    return max(merge_us, step_us or 0)


def _usual(pieces: Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]) -> tuple[float, float]:
    """Return a row's usual mean and usual top; at least those of channels that err as their scale says."""
    mean, top = (np.concatenate(p) for p in zip(*pieces, strict=True))
    if np.isnan(mean).all():
        raise NotEnoughData("no held-out row was observed")
    return max(1.0, float(np.nanmean(mean))), max(1.0, float(np.nanmean(top)))


def _lay_out(held_out: Sequence[HeldOut], joint: Sequence[NDArray[np.float64]]) -> Scores:
    code = {name: i for i, name in enumerate(sorted({h.entity for h in held_out}))}
    entity = np.concatenate([np.full(len(h.time), code[h.entity]) for h in held_out])
    return Scores.of(entity, np.concatenate([h.time for h in held_out]), np.concatenate(joint))


def _watched(time: NDArray[np.int64], step_us: int | None) -> float:
    if len(time) == 0:
        return 0.0
    if step_us:
        return len(np.unique(time)) * step_us / 1e6
    return float(time.max() - time.min()) / 1e6
