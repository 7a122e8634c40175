"""From reconstruction errors to calibrated scores, events and contributions.

In: windows with their reconstructions, as numpy arrays. Out: scores on one scale (1 is the threshold),
who contributed, and events. Pure functions and frozen thresholds: no files, no clock, no network.
"""

from pipeline.detect.contributions import contributions
from pipeline.detect.detector import Detector, HeldOut, Scored
from pipeline.detect.events import events
from pipeline.detect.lanes import Lanes, Strip
from pipeline.detect.onset import onsets
from pipeline.detect.payments import PaymentDetector, Payments
from pipeline.detect.rows import RowMeans, channel_errors, squared_errors
from pipeline.detect.threshold import Threshold

__all__ = [
    "Detector",
    "HeldOut",
    "Lanes",
    "PaymentDetector",
    "Payments",
    "RowMeans",
    "Scored",
    "Strip",
    "Threshold",
    "channel_errors",
    "contributions",
    "events",
    "onsets",
    "squared_errors",
]
