"""A made-up pump station and a made-up card business with labelled faults, for the demo and `offbeat up`.

In: a seed and a day. Out: daily CSV files that grow like a real feed, and labels beside them, not among them.
The same seed and day always give the same lines, so that a live feed goes on where the written history ends.
"""

from __future__ import annotations

from pipeline.simulate.cards import CardStream
from pipeline.simulate.feed import Day, Fault, Feed, Labels
from pipeline.simulate.live import live
from pipeline.simulate.pumps import PumpStation
from pipeline.simulate.writer import FEEDS, read_labels, write_history

__all__ = [
    "FEEDS",
    "CardStream",
    "Day",
    "Fault",
    "Feed",
    "Labels",
    "PumpStation",
    "live",
    "read_labels",
    "write_history",
]
