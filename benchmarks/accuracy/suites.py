"""All suites, in the order of the table.

In: nothing. Out: modules and tracks by the name they have on the command line.
"""

from __future__ import annotations

from benchmarks.accuracy import budget, handbook, nab, root_cause, s_ffsd, skab, speed, tsb
from benchmarks.accuracy.work import Suite

ALL: tuple[Suite, ...] = (tsb.M, tsb.U, skab, nab, handbook, s_ffsd, root_cause, budget, speed)
SUITES = {suite.NAME: suite for suite in ALL}
