"""Prepare: observations become regular, scaled, masked series, and windows of them; pure, no I/O.

In: Arrow tables of one stream. Out: `Series`, `Windows`, a split by time.
"""

from pipeline.prepare.evidence import names_of as evidence_names
from pipeline.prepare.feedback import Feedback, Stretch, touching
from pipeline.prepare.preparer import Preparer, load_preparer, new_preparer
from pipeline.prepare.sensor import SensorPreparer
from pipeline.prepare.series import Features, Series
from pipeline.prepare.splitting import Split, cut_time, shard, split
from pipeline.prepare.windows import Windows

__all__ = [
    "Features",
    "Feedback",
    "Preparer",
    "SensorPreparer",
    "Series",
    "Split",
    "Stretch",
    "Windows",
    "cut_time",
    "evidence_names",
    "load_preparer",
    "new_preparer",
    "shard",
    "split",
    "touching",
]
