"""The exam every trial sits: how well it finds faults that were put into held-out data, and reconstructs it.

In: a stream and its history. Out: for each trial, two numbers that need no label.

*Detection* is what people want of the detector, so it is what is searched by: the average precision with
which rows of injected faults stand out from the same held-out rows as they were, averaged over kinds of
fault. For each kind it is taken as if one row in twenty were faulty: a kind of long faults is no easier than
one of short ones, and chance is 0.05 on every stream. The *error*, held-out
expected against actual over how much actual varies, is only a tie-breaker (a hundredth of it is taken off):
a model that copies its input has the smallest error of all, and finds nothing. It decides where two
trials detect alike.

Nothing is learned from what is judged, but scales and threshold are calibrated on it, as in every training;
that is the same in each trial. All trials are judged on the same rows, after the embargo of the longest
window tried. Faults come in two sets of different seeds. The search sees the first; the second, *fresh*, only
tells whether its winner really is better than what is there, or was lucky in the best of many draws.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from sklearn.metrics import average_precision_score

from pipeline.config.models import SensorStream
from pipeline.errors import NotEnoughData
from pipeline.learning import Learned, held_out_error, learn
from pipeline.prepare import cut_time, new_preparer
from pipeline.scoring import Scorer, micros, moment
from pipeline.tuning import payments, sensors
from pipeline.tuning.faults import Copy
from pipeline.tuning.space import Space

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pipeline.config.models import Stream
    from pipeline.models.progress import Epoch

TIE = 0.01
"""Weight of the error: less than detection moves by when a training is begun from another seed."""
SHARE = 0.05
"""Of faulty rows, by weight, for each kind."""
_LATER = 1_000_003  # from the seed of one set of faults to that of the other


@dataclass(frozen=True)
class Exam:
    """What trials are judged by; the same for all of them."""

    history: pa.Table
    """All records, to learn from."""
    since: int
    """Microseconds UTC: rows from here on are judged."""
    clean: pa.Table
    """Held-out records of some entities, with what comes before them as context."""
    copies: tuple[Copy, ...]
    """The same with faults in them."""
    fresh: tuple[Copy, ...]
    """The same with other faults, which the search does not see."""


@dataclass(frozen=True)
class Result:
    """What a trial made of the exam."""

    detection: float
    """Average precision of injected faults, mean over their kinds: 0 to 1."""
    fresh: float
    """The same on faults that the search does not see."""
    error: float
    """Held-out error: 0 perfect, 1 as good as a mean."""
    faults: dict[str, float]
    """Average precision of each kind."""
    epochs: int
    seconds: float
    """Of training."""
    parameters: int

    @property
    def value(self) -> float:
        """What the search makes as large as it can."""
        return value(self.detection, self.error)


def value(detection: float, error: float) -> float:
    """Return what is searched by: detection, less a hundredth of the error."""
    return detection - TIE * (min(error, 1.0) if np.isfinite(error) else 1.0)


def prepare(space: Space, history: pa.Table, seed: int) -> Exam:
    """Set the exam for a stream: find the rows to judge by, and put faults into copies of them.

    Raises:
        NotEnoughData: too little is held out to put a fault into.
    """
    stream = space.apply({"window.length": max(space.lengths)})
    cut = cut_time(history, stream.training.holdout)
    since = cut + micros(moment(0) + new_preparer(stream).fit(history, until=cut).embargo)
    newest = micros(pc.max(history["time"]).as_py())
    if isinstance(stream, SensorStream):
        latest = sensors.MOST_PLACES * sensors.PLACE * stream.grid.step
        since = max(since, newest - micros(moment(0) + latest))
    clean = _context(stream, history, cut, since, seed)
    copies, fresh = (tuple(_inject(stream, clean, since, s)) for s in (seed, seed + _LATER))
    if not (copies and fresh):
        span = f"{moment(cut):%Y-%m-%d %H:%M} to {moment(newest):%Y-%m-%d %H:%M} UTC"
        raise NotEnoughData(
            f"{stream.name}: what is held out ({span}) is too short to put faults into, or nothing moves "
            "in it: wait for more history"
        )
    return Exam(history, since, clean, copies, fresh)


def _context(stream: Stream, history: pa.Table, cut: int, since: int, seed: int) -> pa.Table:
    """Return the records that judging from `since` on needs, of entities that have room for a fault."""
    draw = np.random.default_rng([seed, 2])
    if isinstance(stream, SensorStream):
        history = history.filter(pc.greater_equal(history["time"].cast(pa.int64()), cut))
        names = sensors.entities(stream, history, since, draw)
    else:
        names = payments.entities(stream, history, since, draw)
    return history.filter(pc.is_in(history["entity"], pa.array(names, pa.string())))


def _inject(stream: Stream, clean: pa.Table, since: int, seed: int) -> list[Copy]:
    if isinstance(stream, SensorStream):
        return sensors.inject(stream, clean, since, seed)
    return payments.inject(stream, clean, since, seed)


def sit(
    stream: Stream, exam: Exam, folder: Path, *, on_epoch: Callable[[Epoch], None] | None = None
) -> Result:
    """Train with the stream's settings and judge the outcome.

    Args:
        stream: with the settings of a trial.
        exam: what it is judged by.
        folder: for the bundle and its parts.
        on_epoch: called after each epoch.

    Raises:
        NotEnoughData: there is too little history for these settings.
        OffbeatError: whatever the training raised.
    """
    learned = learn(stream, exam.history, folder, on_epoch=on_epoch)
    scorer, error = Scorer.of(learned.bundle), held_out_error(learned.held_out, moment(exam.since))
    normal = _normal(scorer, exam)
    found, fresh = (_detected(scorer, each, exam.since, normal) for each in (exam.copies, exam.fresh))
    return Result(_mean(found), _mean(fresh), error, found, **_told(learned))


def glance(
    stream: Stream, exam: Exam, folder: Path, *, on_epoch: Callable[[Epoch], None] | None = None
) -> float:
    """Return the value after a quarter of the epochs on a quarter of the windows: a first look, cheap."""
    model = stream.model
    small = {"epochs": -(-model.epochs // 4), "max_windows": max(100, model.max_windows // 4)}
    less = stream.model_copy(update={"model": model.model_copy(update=small)})
    learned = learn(less, exam.history, folder, on_epoch=on_epoch)
    scorer, error = Scorer.of(learned.bundle), held_out_error(learned.held_out, moment(exam.since))
    return value(_mean(_detected(scorer, exam.copies, exam.since, _normal(scorer, exam))), error)


def _mean(precision: dict[str, float]) -> float:
    return float(np.mean(list(precision.values())))


def _told(learned: Learned) -> dict[str, Any]:
    own = learned.trained[""]
    seconds = sum(each.seconds for each in learned.trained.values())
    return {"epochs": own.epochs, "seconds": round(seconds, 2), "parameters": own.parameters}


def _normal(scorer: Scorer, exam: Exam) -> NDArray[np.float32]:
    """Return the scores of the judged rows as they were, without gaps."""
    judged = scorer.judge(exam.clean, start=moment(exam.since))
    late = [each.scored.score[each.rows.series.time >= exam.since] for each in judged]
    scores = np.concatenate(late)
    return np.asarray(scores[np.isfinite(scores)])


def _detected(
    scorer: Scorer, copies: tuple[Copy, ...], since: int, normal: NDArray[np.float32]
) -> dict[str, float]:
    """Return the average precision of each kind of fault against normal rows, by kind in order of name."""
    faulty: dict[str, list[NDArray[np.float32]]] = {}
    for copy in copies:
        judged = scorer.judge(copy.records, start=moment(since))
        for fault in copy.faults:
            mine = [
                each.scored.score[fault.rows(each.rows.series)]
                for each in judged
                if each.rows.series.entity == fault.entity
            ]
            faulty.setdefault(fault.kind, []).extend(mine)
    return {kind: _precision(np.concatenate(faulty[kind]), normal) for kind in sorted(faulty)}


def _precision(faulty: NDArray[np.float32], normal: NDArray[np.float32]) -> float:
    faulty = faulty[np.isfinite(faulty)]
    if not len(faulty):
        return 0.0
    weight = SHARE / (1 - SHARE) * len(normal) / len(faulty)
    return float(
        average_precision_score(
            np.repeat([1, 0], [len(faulty), len(normal)]),
            np.concatenate([faulty, normal]),
            sample_weight=np.repeat([weight, 1.0], [len(faulty), len(normal)]),
        )
    )
