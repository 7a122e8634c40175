"""The judge: holds recorded anomalies against labelled faults.

In: anomalies and labels of one stream. Out: which faults were found, how soon, and the false alarms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from pipeline.events import Anomaly
from pipeline.simulate import Fault, Labels


@dataclass(frozen=True)
class Verdict:
    """What was found of what was there."""

    found: tuple[tuple[Fault, Anomaly], ...]
    """Each found fault with the first anomaly that points at it."""
    missed: tuple[Fault, ...]
    false_alarms: tuple[Anomaly, ...]
    """Anomalies that point at no fault."""

    @property
    def faults(self) -> int:
        """How many faults there were."""
        return len(self.found) + len(self.missed)


def judge(labels: Labels, anomalies: Sequence[Anomaly], *, slack: timedelta) -> Verdict:
    """Match anomalies to faults.

    An anomaly points at a fault of its entity that it overlaps, allowing `slack` after the fault's end, or
    shares a transaction with. A fault is found once, however many anomalies point at it.
    """
    ordered = sorted(anomalies, key=lambda a: a.start)
    hits = {fault: [a for a in ordered if _points_at(a, fault, slack)] for fault in labels.faults}
    pointing = {a.id for found in hits.values() for a in found}
    return Verdict(
        tuple((fault, found[0]) for fault, found in hits.items() if found),
        tuple(fault for fault, found in hits.items() if not found),
        tuple(a for a in ordered if a.id not in pointing),
    )


def _points_at(anomaly: Anomaly, fault: Fault, slack: timedelta) -> bool:
    if anomaly.entity != fault.entity:
        return False
    if fault.ids and anomaly.ids:
        return not set(fault.ids).isdisjoint(anomaly.ids)
    return anomaly.start <= fault.end + slack and anomaly.end >= fault.start
