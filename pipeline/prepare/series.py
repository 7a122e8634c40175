"""What preparing makes: one entity's rows in time order, ready for the model.

Out: `Series` (scaled features, mask, values in own units) and `Features` (which channel each is of).
Times are int64 microseconds UTC everywhere in this room.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Objects = npt.NDArray[np.object_]

CLIP = 8.0
"""What a model sees stays within this: a broken sensor must not drown every other channel."""


@dataclass(frozen=True)
class Features:
    """Names of the F features, and for each the index of its channel in `stream.channels`."""

    names: tuple[str, ...]
    channel_of: npt.NDArray[np.int32]
    aspects: tuple[npt.NDArray[np.int32], ...] = ()
    """Features that together show every channel once, in its order; each such set is judged on its own.
    Empty: all features together are one."""

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True)
class Series:
    """One entity's rows in time order; for sensors without holes: row i+1 is one step after row i."""

    entity: str
    time: Ints
    """Microseconds UTC [T]: the start of a grid cell, or the moment of a transaction."""
    values: Singles
    """Scaled features [T, F], logarithmic beyond CLIP; 0 where masked."""
    mask: Bools
    """[T, F]; true where observed (or held)."""
    actual: Floats
    """Channel values in own units [T, C]; NaN where missing, and for categories."""
    ids: Objects | None = None
    """Transaction ids [T]."""
    own: Floats | None = None
    """Transactions [T, 4]: mean and spread of the entity's own log amounts and log gaps so far."""
    evidence: Floats | None = None
    """Transactions [T, K]: what tells of each beside the model's error (see `evidence.names`)."""
    label: Floats | None = None
    """Transactions [T], where the stream has labels: above 0 is fraud, NaN is unknown. Of training alone."""

    def __len__(self) -> int:
        return len(self.time)

    def rows(self, first: int, stop: int) -> Series:
        """Return rows first to stop (exclusive), sharing memory."""
        cut = slice(first, stop)
        ids = None if self.ids is None else self.ids[cut]
        own = None if self.own is None else self.own[cut]
        evidence = None if self.evidence is None else self.evidence[cut]
        label = None if self.label is None else self.label[cut]
        return Series(
            self.entity,
            self.time[cut],
            self.values[cut],
            self.mask[cut],
            self.actual[cut],
            ids,
            own,
            evidence,
            label,
        )


def squash(values: Floats) -> Singles:
    """Return scaled values as float32: as they are within ±CLIP, logarithmic beyond; NaN becomes 0.

    A value of twenty spreads must count for more than one of ten, and one of a million for not much more
    than one of a thousand.
    """
    size = np.nan_to_num(np.abs(values), nan=0.0, posinf=np.finfo(np.float64).max)
    beyond = CLIP * (1 + np.log(np.maximum(size, CLIP) / CLIP))
    return (np.sign(np.nan_to_num(values)) * np.where(size > CLIP, beyond, size)).astype(np.float32)
