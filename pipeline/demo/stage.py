"""The stage: a home of its own, with the demo's configs and feeds in it.

In: where state may live. Out: a `Home` whose project holds `configs/` and `data/`, and the labels.
"""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from pipeline import clock
from pipeline.config.loader import ALERTS, DEFAULTS
from pipeline.home import Home
from pipeline.simulate import FEEDS, Labels, read_labels, write_history
from pipeline.simulate.replay import write_replays

if TYPE_CHECKING:
    from pipeline.services import Addresses

SECRET = "OFFBEAT_DEMO_SECRET"  # noqa: S105 - the name of the variable, not what it holds


def home_of(base: Home, *, real: bool) -> Home:
    """Return the demo's own home below the user's: nothing of theirs is touched."""
    root = base.root / ("demo-real" if real else "demo")
    return Home(root, root)


def clear(home: Home) -> None:
    """Forget an earlier demo."""
    if home.root.exists():
        shutil.rmtree(home.root)
    home.root.mkdir(parents=True)


def simulated(home: Home, shipped: Path, *, days: int, seed: int) -> dict[str, Labels]:
    """Write the simulated feeds and the shipped configs that read them."""
    labels = write_history(home.project / "data", days=days, seed=seed, end=_midnight())
    _copy(home, shipped)
    streams(home, shipped, live=False)
    return labels


def streams(home: Home, shipped: Path, *, live: bool) -> None:
    """Write the simulated streams' YAML: the shipped one, and when it runs and what it learns from.

    Live, records come in every minute. Else the demo says when, and training ends where faults begin.
    """
    for name in FEEDS:
        path = home.configs / "streams" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        shipped_text = (shipped / "streams" / path.name).read_text(encoding="utf-8")
        until = read_labels(home.project / "data", name).normal_until.isoformat()
        own = (
            {"schedules": {"ingest": "1m"}}
            if live
            else {
                "schedules": dict.fromkeys(("ingest", "train", "score", "watch"), "never"),
                "training": {"until": until},
            }
        )
        path.write_text(_with(shipped_text, own), encoding="utf-8")


def _with(text: str, more: dict[str, Any]) -> str:
    """Return a stream's YAML with sections added at its end, comments and all else left as they are."""
    taken = more.keys() & (yaml.safe_load(text) or {}).keys()
    assert not taken, f"a shipped example sets {taken} itself"
    return f"{text.rstrip()}\n\n# Set by the demo.\n{yaml.safe_dump(more, sort_keys=False)}"


def real(home: Home, shipped: Path, data: Path) -> dict[str, Labels]:
    """Write the public data sets in `data` as feeds, with a config for each."""
    labels = write_replays(data, home.root)
    _copy(home, shipped)
    return labels


def alerts(home: Home, addresses: Addresses, webhook: str | None) -> None:
    """Write alerts.yaml: the log, and while somebody listens a signed webhook; links that lead here."""
    receivers: dict[str, Any] = {"log": {"type": "log"}}
    if webhook:
        receivers["desk"] = {"type": "webhook", "url": webhook, "secret": f"${{env:{SECRET}}}"}
    links = {"airflow": addresses.airflow_url, "mlflow": addresses.mlflow_url}
    _dump(home.configs / ALERTS, {"receivers": receivers, "links": links})
    defaults = yaml.safe_load((home.configs / DEFAULTS).read_text(encoding="utf-8"))
    defaults["all"]["alert"]["receivers"] = list(receivers)
    _dump(home.configs / DEFAULTS, defaults)


def _dump(path: Path, what: Any) -> None:
    path.write_text(yaml.safe_dump(what, sort_keys=False, allow_unicode=True), encoding="utf-8")


def _copy(home: Home, shipped: Path) -> None:
    (home.configs / "streams").mkdir(parents=True, exist_ok=True)
    shutil.copy(shipped / DEFAULTS, home.configs / DEFAULTS)


def _midnight() -> Any:
    """Return the start of yesterday: `make up` goes on from there."""
    now = clock.now() - timedelta(days=1)
    return now.replace(hour=0, minute=0, second=0, microsecond=0)
