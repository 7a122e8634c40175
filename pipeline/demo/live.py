"""`offbeat up` and `down`: the demo's streams, growing, under Airflow and MLflow that stay.

In: a home. Out: running servers, and where they are.
"""

from __future__ import annotations

import os

from pipeline import services
from pipeline.config.loader import DEFAULTS
from pipeline.demo import stage
from pipeline.home import Home

DAYS, SEED = 21, 7


def up(base: Home, *, speedup: float) -> list[str]:
    """Start everything; return what to tell the user.

    Raises:
        Unavailable: a server did not come up.
    """
    home = stage.home_of(base, real=False)
    if not (home.configs / DEFAULTS).exists():
        stage.simulated(home, base.configs, days=DAYS, seed=SEED)
    stage.streams(home, base.configs, live=True)
    runs = any(services.status(home).values())
    where = (services.load_addresses(home) if runs else None) or services.Addresses.choose()
    stage.alerts(home, where, None)
    os.environ["MLFLOW_TRACKING_URI"] = where.mlflow_url
    feed = (str(home.project / "data"), "--speedup", f"{speedup:g}", "--seed", str(SEED))
    running = services.start(home, triggerer=True, simulate=feed, addresses=where)
    return [
        f"Airflow  {running.addresses.airflow_url}  user admin, password {running.password}",
        f"page     {running.addresses.airflow_url}/anomalies/",
        f"MLflow   {running.addresses.mlflow_url}",
        f"alerts   {home.alerts}/<stream>.jsonl",
        "New records come in every minute of yours; `make down` stops everything.",
    ]


def down(base: Home) -> list[str]:
    """Stop the servers of both demos; return their names."""
    return [name for real in (False, True) for name in services.stop(stage.home_of(base, real=real))]
