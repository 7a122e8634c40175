"""`Detector`: learns on held-out normal errors what is usual, then scores; 1 is the threshold.

In: squared errors per view, row and channel. Out: score, flag, raw score and shares per row. What it learned
is frozen: nothing is ever fitted on the rows being judged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.detect import calibrate
from pipeline.detect.clusters import Scores
from pipeline.detect.looks import PRESENT, at_present, drift, flags, looks, reach
from pipeline.detect.threshold import MIN_ROWS, Threshold, fit_threshold
from pipeline.errors import BundleError, DataError, NotEnoughData

MEDIAN_FLOOR = 1.0  # of a joint: where most rows hardly err, only what is above usual is drift
DOUBT = 2.0  # of a spread that was seen once: it may be three times as wide
NARROWING = 0.35  # power of its span that a look narrows with where rows depend on one another; else 0.5
OFTEN = 8  # times a look must have been held out for its own spread to be believed
TAIL_TIMES = 20.0  # so many times a look must have been held out for half a belief in its tail
LEAST_SPREAD = 0.0025  # of a look's median: what never varied may vary by a hundredth
DEVIATIONS = 4.0  # a look's level lies so many spreads above its median
ONE_DEVIATION = 0.8413  # quantile of a normal distribution that lies one deviation above its median
MARGIN = 1.2  # what people call normal stays so far below a threshold: the next time it reaches further
FORMAT = 2

Errors = NDArray[np.floating[Any]]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class HeldOut:
    """Normal errors of one entity that training did not see.

    entity names it; time is int64 us UTC [T]; errors are squared errors per view and channel [V, T, C], NaN
    where there is none. An entity may come in several pieces.
    """

    entity: str
    time: NDArray[np.int64]
    errors: Errors


@dataclass(frozen=True)
class Scored:
    """Rows judged: score and raw (the row alone) float32 [T], 1 = threshold; share float32 [T, C]; flag [T].

    Numbers are NaN in a row where no channel was observed; such a row has no flag.
    """

    score: NDArray[np.float32]
    raw: NDArray[np.float32]
    share: NDArray[np.float32]
    flag: NDArray[np.bool_]


class Detector:
    """Calibrates errors, and turns an alert budget into a threshold.

    A model takes one or several views of a row (it reconstructs it, it predicts it). In each view a channel's
    error is the root of its squared error, beyond the channel's `slack`, in units of what is usual for it,
    held to 30. The view's joint is half the mean over channels and half the mean of the `top` largest,
    each half over its own usual value: the mean sees a fault that spreads thinly, the top one that
    strikes few channels of many. A row's joint is the mean over views; 1 is usual.

    Streams drift. Where the median joint of the last `memory` rows of a view is above its usual one, the view
    is divided by as many times: the threshold begins to follow a change that has lasted half as long, and has
    followed one that has lasted as long.

    The joint is looked at over several `spans` of rows: a short one sees what is sharp, a long one what is
    faint and lasts. Each look has a threshold of its own for its share of the alert budget (one of fewer
    than 16 rows has half of a longer one's), never below four spreads above its median on held-out normal
    rows; a longer one learns it without the rows that shorter ones flag, or short faults among them would
    blind it. A row's score is the highest look. A flag asks for more: what is over the threshold in a long
    look must still show in a short one, and must not come from rows that shorter ones have flagged before,
    or a fault would go on long after it has ended.

    Args:
        spans: of the looks, in rows, each a multiple of the one before; `(1,)` for no smoothing.
        lookahead: later rows a look may wait for; with 0 it is causal.
        memory: rows that drift is told from; 0 for none.
        slack: root error [C] forgiven per channel, in scaled units, at any time: the step of a command-like
            channel, which nobody can foresee. Channels with slack are context and in no mean.
        top: how many of the largest channel errors the second half averages; by default the cube
            root of the number of channels without slack, rounded up.
        weight: of the second half, 0 to 1.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> time = np.arange(5000) * 60_000_000
        >>> held_out = HeldOut("pump", time, rng.normal(size=(1, 5000, 3)) ** 2)
        >>> detector = Detector().fit([held_out], per_second=1 / 86400, merge_us=600_000_000)
        >>> bool(detector.score(np.full((1, 100, 3), 50.0)).flag.all())
        True
    """

    def __init__(
        self,
        spans: Sequence[int] = (1, 4, 16, 64, 256),
        lookahead: int = 0,
        memory: int = 1024,
        *,
        slack: Sequence[float] | Floats | None = None,
        top: int | None = None,
        weight: float = 0.5,
    ) -> None:
        self.spans, self.lookahead, self.memory = tuple(spans), lookahead, memory
        self.top, self.weight = top, weight
        self.slack = None if slack is None else np.asarray(slack, np.float64)

    @property
    def context_rows(self) -> int:
        """Earlier rows that the first row to be scored needs."""
        return self.memory + self.reach_rows

    @property
    def later_rows(self) -> int:
        """Later rows that the last row to be scored needs."""
        return reach(self.spans, self.lookahead)[1]

    def fit(
        self,
        held_out: Sequence[HeldOut],
        *,
        per_second: float,
        merge_us: int,
        step_us: int | None = None,
        seconds: float | None = None,
    ) -> Self:
        """Learn scales, levels and threshold from normal errors held out in time.

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
        views, _, channels = held_out[0].errors.shape
        self.slack_ = np.zeros(channels) if self.slack is None else self.slack
        if not self._measured.any():
            self.slack_ = np.zeros(channels)  # nothing but commands: then they are what is watched
        self.top_ = self.top or math.ceil(np.cbrt(self._measured.sum()) - 1e-9)
        sample = _sample(held_out)
        self.scale_ = np.stack(
            [
                calibrate.channel_scales(calibrate.roots(sample[v], self.slack_), self._measured)
                for v in range(views)
            ]
        )
        parts = (calibrate.parts(self._units(sample[v], v), self.top_, self._measured) for v in range(views))
        self.usual_ = np.stack([_usual(each) for each in parts])
        self.median_ = np.array([_median(self._view(sample[v], v)) for v in range(views)])
        joint = [self.followed(self.joints(h.errors)[0]) for h in held_out]
        self.thresholds_ = []
        for number in range(len(self.spans)):
            seen = [looks(each, self.spans, self.lookahead) for each in joint]
            levels = _levels(np.concatenate(seen, axis=1), self.spans)
            if number == len(levels):
                break
            scores = _lay_out(held_out, [look[number] for look in seen])
            seconds = seconds or _watched(scores.time, step_us)
            found = fit_threshold(
                scores,
                per_second=per_second * _shares(self.spans[: len(levels)])[number],
                seconds=seconds,
                gap_us=gap_us(merge_us, step_us),
                floor=float(levels[number]),
                trust=_trust(seen, number, self.spans),
            )
            self.thresholds_.append(found)
            joint = [_quiet(each, look[number], found) for each, look in zip(joint, seen, strict=True)]
        self.spans = self.spans[: len(self.thresholds_)]
        return self

    def allow(self, normal: Sequence[tuple[HeldOut, NDArray[np.bool_]]], *, most: float) -> float:
        """Raise each look's threshold over what rows reach that people call normal, by so much at most.

        Args:
            normal: pieces of series with the `context_rows` before, and which of their rows are meant [T].
            most: times the learned threshold that the raised one may be.

        Returns:
            The most that a threshold was raised, as a factor: 1 is not at all.
        """
        seen = [
            looks(self.followed(self.joints(piece.errors)[0]), self.spans, self.lookahead)[:, meant]
            for piece, meant in normal
        ]
        peaks = np.nan_to_num(np.concatenate(seen, axis=1)).max(axis=1, initial=0.0)
        learned = [one.value for one in self.thresholds_]
        factors = np.clip(MARGIN * peaks / learned, 1.0, most)
        self.thresholds_ = [
            replace(one, value=float(one.value * factor))
            for one, factor in zip(self.thresholds_, factors, strict=True)
        ]
        return float(factors.max())

    @property
    def threshold_(self) -> Threshold:
        """That of the look that tells what is there now, of at most 16 rows, and how it came about."""
        return self.thresholds_[at_present(self.spans)]

    def score(self, errors: Errors) -> Scored:
        """Judge the rows of one series, in time order.

        Args:
            errors: squared errors per view and channel [V, T, C], NaN where there is none. The first
                `context_rows` and the last `later_rows` serve the looks of those between.

        Raises:
            DataError: as many views and channels were not learned.
        """
        joints, share = self.joints(errors)
        return self.judge(self.followed(joints), share)

    def joints(self, errors: Errors) -> tuple[Floats, NDArray[np.float32]]:
        """Return each view's joint of each row [V, T], and its channels' shares [T, C]: rows on their own.

        Args:
            errors: squared errors per view and channel [V, T, C], NaN where there is none.

        Raises:
            DataError: as many views and channels were not learned.
        """
        views, rows, channels = errors.shape
        if (views, channels) != self.scale_.shape:
            known = " views and ".join(map(str, self.scale_.shape))
            raise DataError(f"errors [V, T, C] {errors.shape} to judge; learned were {known} channels")
        joints, share = np.empty((views, rows)), np.empty((rows, channels), np.float32)
        for block in calibrate.blocks(rows):
            power = np.zeros(share[block].shape)
            for view in range(views):
                units = self._units(errors[view, block], view)
                joints[view, block] = self._of_units(units, view)
                power = power + np.square(units, dtype=np.float64)
            share[block] = calibrate.shares(power)
        return joints, share

    def followed(self, joints: Floats, context: int = 0) -> Floats:
        """Return the joint of rows [..., T] from row `context` on: the mean over views, each over its drift.

        Args:
            joints: of each view and row in time order [V, ..., T], of one series or several side by side; a
                row that is not there is NaN, as one in a gap.
            context: the first rows, at least `memory`, which serve the others.
        """
        followed = [
            one[..., context:] / drift(one, self.memory, usual, context)
            for one, usual in zip(joints, self.median_, strict=True)
        ]
        return np.asarray(sum(followed) / len(joints))

    def judge(self, joint: Floats, share: NDArray[np.float32], context: int = 0) -> Scored:
        """Judge rows by what they and those around them are.

        Args:
            joint: of each row in time order, as `followed` gives it [..., T].
            share: of the rows to be judged, handed on.
            context: the first rows, which serve the looks of the others and are not judged themselves.
        """
        seen = looks(joint, self.spans, self.lookahead)
        reached = np.array([threshold.value for threshold in self.thresholds_])
        highest = np.fmax.reduce([look / least for look, least in zip(seen, reached, strict=True)])
        flag = flags(joint, seen, reached, self.spans, self.lookahead)
        return Scored(
            score=highest[..., context:].astype(np.float32),
            raw=(joint / self.threshold_.value)[..., context:].astype(np.float32),
            share=share,
            flag=flag[..., context:],
        )

    @property
    def reach_rows(self) -> int:
        """Earlier rows that the first row's looks need."""
        return reach(self.spans, self.lookahead)[0]

    @property
    def _measured(self) -> NDArray[np.bool_]:
        return np.asarray(self.slack_ == 0)

    def _units(self, errors: Errors, view: int) -> NDArray[np.float32]:
        units = calibrate.roots(errors, self.slack_) / self.scale_[view].astype(np.float32)
        return np.asarray(np.minimum(units, calibrate.UNIT_CAP))

    def _of_units(self, units: NDArray[np.float32], view: int) -> Floats:
        mean, top = calibrate.parts(units, self.top_, self._measured)
        usual_mean, usual_top = self.usual_[view]
        return np.asarray((1 - self.weight) * mean / usual_mean + self.weight * top / usual_top)

    def _view(self, errors: Errors, view: int) -> Floats:
        return self._of_units(self._units(errors, view), view)

    @property
    def diagnostics(self) -> dict[str, float]:
        """How the threshold came about, as numbers for MLflow."""
        each = zip(self.spans, self.thresholds_, strict=True)
        named = {f"{key}.{span}": value for span, one in each for key, value in asdict(one).items()}
        return {key: float(value) for key, value in (asdict(self.threshold_) | named).items()}

    def to_dict(self) -> dict[str, Any]:
        """Return settings and what was learned, JSON-able; `from_dict` gives the same scores."""
        return {
            "format": FORMAT,
            "spans": list(self.spans),
            "lookahead": self.lookahead,
            "memory": self.memory,
            "top": self.top_,
            "weight": self.weight,
            "slack": self.slack_.tolist(),
            "scale": self.scale_.tolist(),
            "usual": self.usual_.tolist(),
            "median": self.median_.tolist(),
            "thresholds": [asdict(one) for one in self.thresholds_],
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
            made = cls(
                tuple(int(span) for span in learned["spans"]),
                int(learned["lookahead"]),
                int(learned["memory"]),
                top=int(learned["top"]),
                weight=float(learned["weight"]),
            )
            made.top_ = int(learned["top"])
            made.slack_, made.scale_, made.usual_, made.median_ = (
                np.asarray(learned[key], np.float64) for key in ("slack", "scale", "usual", "median")
            )
            made.thresholds_ = [Threshold(**one) for one in learned["thresholds"]]
            looks(np.zeros(1), made.spans, made.lookahead)
            views, channels = made.scale_.shape
            fits = made.slack_.shape == (channels,) and made.usual_.shape == (views, 2)
            fits &= made.median_.shape == (views,) and len(made.thresholds_) == len(made.spans)
            fits &= made.lookahead >= 0 and made.memory >= 0
            positive = [
                *np.concatenate([a.ravel() for a in (made.scale_, made.usual_, made.median_)]),
                *(float(one.value) for one in made.thresholds_),
                made.top_,
            ]
        except (KeyError, IndexError, TypeError, ValueError, DataError) as e:
            raise BundleError(f"detector calibration is damaged: {e!r}") from e
        sound = np.isfinite(positive).all() and min(positive) > 0 and np.isfinite(made.slack_).all()
        if not (fits and sound and made.slack_.min(initial=0) >= 0 and 0 <= made.weight <= 1):
            raise BundleError("detector calibration holds a number that is not positive and finite")
        return made


def _quiet(joint: Floats, look: Floats, threshold: Threshold) -> Floats:
    """Return the joint [T] without the rows that a look flags: they need no longer one."""
    with np.errstate(invalid="ignore"):
        return np.where(look >= threshold.value, np.nan, joint)


def gap_us(merge_us: int, step_us: int | None) -> int:
    """Return how far apart flags of one anomaly may lie: rows next to each other always belong."""
    return max(merge_us, step_us or 0)


def _sample(held_out: Sequence[HeldOut]) -> NDArray[np.float32]:
    """Return errors of rows spread evenly over all pieces [V, N, C]."""
    sizes = np.array([h.errors.shape[1] for h in held_out])
    begins = np.cumsum(sizes) - sizes
    rows = calibrate.spread_evenly(int(sizes.sum()))
    own = [rows[(rows >= b) & (rows < b + n)] - b for b, n in zip(begins, sizes, strict=True)]
    parts = [h.errors[:, chosen] for h, chosen in zip(held_out, own, strict=True)]
    return np.concatenate(parts, axis=1).astype(np.float32)


def _usual(parts: tuple[Floats, Floats]) -> Floats:
    """Return the usual mean and the usual top of a row [2]."""
    usual = np.array([calibrate.body_mean(part) for part in parts])
    if np.isnan(usual).any():
        raise NotEnoughData("no held-out row was observed")
    return np.asarray(np.maximum(usual, calibrate.USUAL_FLOOR))


def _median(joint: Floats) -> float:
    return max(float(np.nanmedian(joint)), MEDIAN_FLOOR)


def _shares(spans: Sequence[int]) -> Floats:
    """Return each look's share of the alert budget; one of fewer than 16 rows has half of a longer one's.

    Those that are sharp see much the same, so that the budget is divided as if there were but one of them.
    """
    sharp = np.asarray(spans) < PRESENT
    return np.asarray(np.where(sharp, 0.5, 1.0) / ((~sharp).sum() + 0.5 * bool(sharp.any())))


def _levels(seen: Floats, spans: Sequence[int]) -> Floats:
    """Return where looks [S, N] begin to be unusual, the shortest at least; not those held out too briefly.

    By quantiles, which a few anomalies among the held-out rows do not move. A long look was held out only a
    few times over: its spread is at least what averaging so many rows leaves of the shortest's. Where it was
    held out less than eight times, what is usual may wander more slowly than was seen (errors have a long
    memory: Beran, "Statistics for Long-Memory Processes", 1994), and averaging leaves more.
    """
    known = [look[~np.isnan(look)] for look in seen]
    enough = [known[0], *(look for look in known[1:] if len(look) >= MIN_ROWS)]
    if not len(known[0]):
        raise NotEnoughData("no held-out row was observed")
    middle, high = np.array([np.quantile(look, (0.5, ONE_DEVIATION)) for look in enough]).T
    spread, rows = high - middle, np.asarray(spans[: len(enough)])
    times = np.maximum(np.array([len(look) for look in enough]) / rows, 0.5)
    least = np.maximum(rows**-0.5, rows**-NARROWING * np.minimum(1, np.sqrt(OFTEN / times)))
    spread = np.maximum.reduce([spread, spread[0] * least / least[0], LEAST_SPREAD * middle])
    return np.asarray(np.maximum(1.0, middle + DEVIATIONS * spread * (1 + DOUBT / np.sqrt(times))))


def _trust(seen: Sequence[Floats], number: int, spans: Sequence[int]) -> float:
    """Return how far a look's tail is believed: half where it was held out twenty times over."""
    times = sum(int((~np.isnan(look[number])).sum()) for look in seen) / spans[number]
    return times / (times + TAIL_TIMES)


def _lay_out(held_out: Sequence[HeldOut], joint: Sequence[Floats]) -> Scores:
    code = {name: i for i, name in enumerate(sorted({h.entity for h in held_out}))}
    entity = np.concatenate([np.full(len(h.time), code[h.entity]) for h in held_out])
    return Scores.of(entity, np.concatenate([h.time for h in held_out]), np.concatenate(joint))


def _watched(time: NDArray[np.int64], step_us: int | None) -> float:
    if len(time) == 0:
        return 0.0
    if step_us:
        return len(np.unique(time)) * step_us / 1e6
    return float(time.max() - time.min()) / 1e6
