"""`PaymentDetector`: the detector of transaction streams; 1 is the threshold.

In: `Payments`, rows in order of entity and time: the model's errors and foresight, what the entity usually
pays, what others did at the same terminal, what became known. Out: score, raw score and shares per row. What
it learned is frozen. A row depends on itself and the 16 rows of its entity before it, within `joint.MEMORY`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.detect import calibrate, joint
from pipeline.detect.clusters import Scores
from pipeline.detect.confirmed import Confirmed, fit_confirmed
from pipeline.detect.detector import Scored
from pipeline.detect.surprise import Surprise, fit_surprise, outlying
from pipeline.detect.threshold import MIN_ROWS, Threshold, fit_threshold
from pipeline.errors import BundleError, DataError, NotEnoughData

Floats = NDArray[np.float64]

FLOOR = 1.0
FORMAT = "payments/2"
MOST_AMOUNT = 1e75
MOST_NATS = 20.0  # further out, labels cannot tell one row from another
PRIOR = 4.0  # payments with the usual share of frauds that every terminal and card is taken to have had
SCORE_KNOTS, PACE_KNOTS, RISK_KNOTS = (3.0, 6.0, 9.0, 12.0), (3.0,), (1.0, 2.0, 4.0)
TRUST = np.linspace(0, 1, 11)
AMOUNTS = ("own", "all")
PLAIN = (*AMOUNTS, "pace")
MOST_OBVIOUS = 0.05  # of held-out rows
DAYS_US = 3 * 86_400_000_000  # a history must span to say which hours are odd
NEVER = Surprise(np.array([0.0, 1e300]), np.zeros(2))


@dataclass(frozen=True)
class Payments:
    """Rows in order of entity and time.

    entity is a code and time int64 us UTC [T]; errors are squared errors per channel [T, C]; amount is what
    was paid and foreseen what the model expected [T], NaN where unknown; evidence [T, K] has the preparer's
    columns; label [T] is above 0 for fraud, NaN for unknown, None for a stream without labels: `fit` alone
    looks at it.
    """

    entity: NDArray[np.int64]
    time: NDArray[np.int64]
    errors: NDArray[np.floating[Any]]
    amount: Floats
    foreseen: Floats
    evidence: Floats
    label: Floats | None = None

    def __len__(self) -> int:
        return len(self.time)

    def since(self, moment: int | None) -> Payments:
        """Return the rows from a moment on (microseconds UTC)."""
        if moment is None:
            return self
        kept = self.time >= moment
        return replace(self, **{k: v[kept] for k, v in vars(self).items() if v is not None})


class PaymentDetector:
    """Calibrates what tells of a payment, and turns an alert budget into a threshold.

    Each quantity becomes surprise in nats (`surprise`), and they become one score (`joint`). What is expected
    of an entity's amount is a mixture of the LSTM's foresight and of the entity's own mean, weighted by how
    well both foresaw held-out payments (Bates and Granger, "The Combination of Forecasts", 1969). Where
    labels are known, a regression on all of it and on what was known of both sides takes over (`confirmed`).

    Args:
        columns: names of the evidence: own, spread, pace, same; `others <field>` of each categorical field;
            and, for a stream with labels, `known <key> <days>` and `fraud <key> <days>`.
        fields: the categorical fields, in the order of their channels.
    """

    trust_: float
    """Weight of the model's foresight in what was expected."""
    curves_: dict[str, Surprise]
    """From each quantity to nats."""
    outlying_: dict[str, Surprise]
    """From each quantity but those of amount and pace to how much of an outlier it makes a row, in nats."""
    confirmed_: Confirmed | None
    base_: float
    """Share of frauds among the transactions whose labels were known."""
    threshold_: Threshold

    def __init__(self, columns: Sequence[str], fields: Sequence[str]) -> None:
        self.columns, self.fields = tuple(columns), tuple(fields)
        self._fraud = [i for i, name in enumerate(self.columns) if name.startswith("fraud ")]
        self._known = [i for i, name in enumerate(self.columns) if name.startswith("known ")]

    @property
    def memory(self) -> timedelta:
        """How far back the first row to be scored needs earlier ones."""
        return joint.MEMORY

    def fit(
        self,
        rows: Payments,
        *,
        since: int,
        per_second: float,
        merge_us: int,
        learn_since: int | None = None,
        known_until: int | None = None,
    ) -> Self:
        """Learn curves, weights and threshold.

        Args:
            rows: the history; up to 5 % of it may be anomalies.
            since: rows from then on (microseconds UTC) are held out: the model did not learn from them.
            per_second: alert budget, false alarms over all entities together.
            merge_us: flags closer than this are one alarm.
            learn_since: rows before it are context.
            known_until: labels of earlier rows are known, of later ones not looked at.

        Raises:
            NotEnoughData: too few rows were held out.
        """
        learned = rows.since(learn_since)
        held = learned.since(since)
        if not len(held):
            raise NotEnoughData("nothing was held out to calibrate on")
        self.confirmed_, self.base_ = None, 0.0
        self.trust_ = self._trust(held)
        self._learn_curves(learned, held)
        if known_until is not None and self._fraud:
            self._learn_labels(rows, learn_since, min(since, known_until))
        scores, least = self._normal(rows, since, known_until)
        self.threshold_ = fit_threshold(
            scores,
            per_second=per_second,
            seconds=float(np.ptp(scores.time)) / 1e6,
            gap_us=merge_us,
            floor=least,
        )
        if known_until is not None and self._fraud:  # calibrated on what it did not learn; now on all of it
            self._learn_labels(rows, learn_since, known_until)
        return self

    def _normal(self, rows: Payments, since: int, known_until: int | None) -> tuple[Scores, float]:
        """Return the scores of held-out rows that are normal, and the least that their threshold may be.

        Frauds in the history would raise the threshold beyond their own reach. Where labels tell, these are
        the rows known to be honest. Elsewhere rows are left out whose amount, or another channel but pace,
        lies where far more do than should, if they are not too many; no threshold is then below them.
        """
        score, held, least = self._joint(rows)[0], rows.time >= since, FLOOR
        if rows.label is not None and known_until is not None and self.confirmed_ is not None:
            honest = held & (rows.label <= 0) & (rows.time < known_until)
            if honest.sum() >= MIN_ROWS:
                return Scores.of(rows.entity[honest], rows.time[honest], score[honest]), least
        obvious = held & self._obvious(rows, held)
        if 0 < obvious.sum() <= MOST_OBVIOUS * held.sum():
            held &= ~obvious
            least = max(FLOOR, float(score[obvious].min()))
        return Scores.of(rows.entity[held], rows.time[held], score[held]), least

    def _obvious(self, rows: Payments, held: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return rows [T] that are outliers in amount, or any channel but pace, among those held out."""
        odd = self._odd(rows)
        amount = {name: outlying(self.curves_[name], odd[name][held]) for name in AMOUNTS}
        found = [curve(odd[name]) > 0 for name, curve in {**amount, **self.outlying_}.items()]
        return np.asarray(np.any(found, axis=0), np.bool_)

    def score(self, rows: Payments) -> Scored:
        """Judge rows; of each entity the first `memory` serve those that follow.

        Raises:
            DataError: other evidence was learned from.
        """
        if rows.evidence.shape[1] != len(self.columns):
            raise DataError(f"{rows.evidence.shape[1]} columns of evidence, {len(self.columns)} learned")
        score, channels = self._joint(rows)
        level = (score / self.threshold_.value).astype(np.float32)
        flag = (level >= 1) & self._reason(channels)
        return Scored(score=level, raw=level, share=calibrate.shares(np.square(channels)), flag=flag)

    def _reason(self, channels: Floats) -> NDArray[np.bool_]:
        """Return which rows [T] may be flagged: an ordinary payment is no alarm for those before it alone."""
        if self.confirmed_ is not None:
            return np.ones(len(channels), np.bool_)
        return np.asarray(channels.max(axis=1) >= joint.EVEN, np.bool_)

    def _column(self, rows: Payments, name: str) -> Floats:
        return np.asarray(rows.evidence[:, self.columns.index(name)], np.float64)

    def _trust(self, held: Payments) -> float:
        """Return the weight of the model's foresight that errs least on a typical held-out payment."""
        spread, amount = self._column(held, "spread"), _amount(held)
        own, model = (amount - self._column(held, "own")) / spread, (amount - held.foreseen) / spread
        both = np.isfinite(own) & np.isfinite(model)
        if not both.any():
            return 0.0
        return float(TRUST[np.argmin([_typical(w * model[both] + (1 - w) * own[both]) for w in TRUST])])

    def _odd(self, rows: Payments) -> dict[str, Floats]:
        """Return each quantity that has a curve [T]; high is odd, NaN is unknown."""
        own, spread, amount = self._column(rows, "own"), self._column(rows, "spread"), _amount(rows)
        foreseen = np.where(np.isfinite(rows.foreseen), rows.foreseen, own)
        expected = self.trust_ * foreseen + (1 - self.trust_) * own
        plain = (np.abs(amount - expected) / spread, np.abs(amount), self._column(rows, "pace"))
        roots = calibrate.roots(rows.errors, np.zeros(rows.errors.shape[1])).astype(np.float64)
        return {
            **dict(zip(PLAIN, plain, strict=True)),
            **{f"error {c}": roots[:, c] for c in range(1, roots.shape[1])},
            **{f"others {f}": self._column(rows, f"others {f}") for f in self.fields},
        }

    def _learn_curves(self, learned: Payments, held: Payments) -> None:
        """Learn curves: of the model's errors on rows it did not learn from, of all else on every row.

        What hours are odd cannot be told from a day or two: the next evening would be all outliers.
        """
        every, apart = self._odd(learned), self._odd(held)
        values = {name: (apart if name.startswith("error ") else every)[name] for name in every}
        self.curves_ = {name: fit_surprise(found) for name, found in values.items()}
        self.outlying_ = {n: outlying(self.curves_[n], values[n]) for n in values if n not in PLAIN}
        if np.ptp(learned.time) < DAYS_US:
            self.outlying_[f"error {joint.HOUR}"] = NEVER

    def _joint(self, rows: Payments) -> tuple[Floats, Floats]:
        """Return the joint score [T], and each channel's part in it [T, C]."""
        nats, channels, score, memory = self._surprise(rows)
        if self.confirmed_ is None:
            return score, channels
        risks = self._risks(rows)
        odds = self.confirmed_(_told(score, memory, nats, risks))
        sides = np.maximum(risks, 0).reshape(len(risks), len(self.fields) + 1, -1).max(axis=2)
        channels[:, joint.CATEGORIES :] += sides[:, 1:]
        return np.logaddexp(0, odds), channels

    def _surprise(self, rows: Payments) -> tuple[dict[str, Floats], Floats, Floats, Floats]:
        """Return nats by quantity, by channel [T, C], of all together, and of the rows before each [T]."""
        odd = self._odd(rows)
        nats = {name: self.curves_[name](odd[name]) for name in PLAIN}
        nats["pace"] = joint.hasty(nats["pace"], self._column(rows, "same"))
        outliers = {name: curve(odd[name]) for name, curve in self.outlying_.items()}
        channels = joint.of_channels(nats, outliers, rows.errors.shape[1], self.fields)
        memory = joint.remembered(nats["own"], rows.entity, rows.time)
        return nats, channels, joint.together(nats, outliers, memory), memory

    def _learn_labels(self, rows: Payments, since: int | None, until: int) -> None:
        """Learn what confirmed frauds look like from the labels of [since, until)."""
        if rows.label is None:
            return
        known = ~np.isnan(rows.label) & (rows.time < until)
        known &= True if since is None else rows.time >= since
        fraud = rows.label[known] > 0
        self.base_ = float(fraud.mean()) if len(fraud) else 0.0
        if not 0 < self.base_ < 1:
            self.base_ = 0.0
            return
        nats, _, score, memory = self._surprise(rows)
        columns = _told(score, memory, nats, self._risks(rows))[known]
        self.confirmed_ = fit_confirmed(columns, fraud, self._knots())

    def _risks(self, rows: Payments) -> Floats:
        """Return log odds of fraud at each key in each window, over the usual ones [T, keys * windows]."""
        known, fraud = rows.evidence[:, self._known], rows.evidence[:, self._fraud]
        share = (fraud + PRIOR * self.base_) / (known + PRIOR)
        return np.asarray(_odds(share) - _odds(self.base_), np.float64)

    def _knots(self) -> list[tuple[float, ...]]:
        return [SCORE_KNOTS, SCORE_KNOTS, SCORE_KNOTS, PACE_KNOTS, ()] + [RISK_KNOTS] * len(self._fraud)

    @property
    def diagnostics(self) -> dict[str, float]:
        """How the threshold came about, as numbers for MLflow."""
        found = {name: float(value) for name, value in asdict(self.threshold_).items()}
        return found | {"trust": self.trust_, "confirmed": float(self.confirmed_ is not None)}

    def to_dict(self) -> dict[str, Any]:
        """Return what was learned, JSON-able; `from_dict` gives the same scores."""
        return {
            "format": FORMAT,
            "columns": list(self.columns),
            "fields": list(self.fields),
            "trust": self.trust_,
            "curves": {name: self.curves_[name].to_dict() for name in PLAIN},
            "outlying": {name: curve.to_dict() for name, curve in self.outlying_.items()},
            "confirmed": self.confirmed_.to_dict() if self.confirmed_ else None,
            "base": self.base_,
            "threshold": asdict(self.threshold_),
        }

    @classmethod
    def from_dict(cls, learned: Mapping[str, Any]) -> Self:
        """Rebuild a fitted detector.

        Raises:
            BundleError: a part is missing, of another format, or no usable number.
        """
        try:
            if learned["format"] != FORMAT:
                raise BundleError(f"detector format {learned['format']!r} is not {FORMAT}")
            made = cls([str(c) for c in learned["columns"]], [str(f) for f in learned["fields"]])
            made.trust_, made.base_ = float(learned["trust"]), float(learned["base"])
            made.curves_ = {name: Surprise.from_dict(learned["curves"][name]) for name in PLAIN}
            made.outlying_ = {str(k): Surprise.from_dict(v) for k, v in learned["outlying"].items()}
            made.threshold_ = Threshold(**learned["threshold"])
            level, told = float(made.threshold_.value), learned["confirmed"]
            wanted = {f"error {c}" for c in range(1, joint.CATEGORIES + len(made.fields))}
            wanted |= {f"others {f}" for f in made.fields}
        except (KeyError, TypeError, ValueError, AttributeError) as e:
            raise BundleError(f"detector calibration is damaged: {e!r}") from e
        made.confirmed_ = Confirmed.from_dict(told, len(made._knots())) if told is not None else None
        if made.outlying_.keys() != wanted or not (
            0 <= made.trust_ <= 1 and 0 <= made.base_ < 1 and 0 < level < np.inf
        ):
            raise BundleError("detector calibration lacks a curve, or holds a number that cannot be used")
        return made


def _told(score: Floats, memory: Floats, nats: Mapping[str, Floats], risks: Floats) -> Floats:
    """Return the columns that labels are learned on [T, D]; `_knots` has an entry for each."""
    plain = [np.minimum(v, MOST_NATS) for v in (score, nats["own"], nats["all"])]
    return np.column_stack([*plain, nats["pace"], memory, risks])


def _amount(rows: Payments) -> Floats:
    return np.clip(rows.amount, -MOST_AMOUNT, MOST_AMOUNT)


def _typical(errors: Floats) -> float:
    """Return the mean error, each held to ten times the median one."""
    size = np.abs(errors)
    return float(np.minimum(size, 10 * np.median(size)).mean())


def _odds(share: Floats | float) -> Floats:
    return np.asarray(np.log(share) - np.log1p(-np.asarray(share)), np.float64)
