"""One file, learned from and scored, without YAML, Airflow or MLflow: `offbeat detect`.

In: a table, and what its columns mean. Out: a score for every row; a report that a colleague can open.
"""

from pipeline.oneshot.ask import Ask
from pipeline.oneshot.detect import Found, detect

__all__ = ["Ask", "Found", "detect"]
