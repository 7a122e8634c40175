"""`offbeat demo`: streams with known faults through real Airflow and MLflow, and what was found of them.

In: simulated feeds, or a folder of public labelled data. Out: a table, figures, one alert as it arrived.
An entry point like cli.py: it calls the DAGs, and the steps only to look at what they stored.
"""

from pipeline.demo.run import Options, run

__all__ = ["Options", "run"]
