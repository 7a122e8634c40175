"""The Anomalies page inside Airflow's UI, behind Airflow's login: copy or mount into Airflow's `plugins/`.

In: requests that Airflow has mounted below /anomalies. Out: the page, made when somebody first asks: all
Airflow's processes load plugins, and only the API server shows one. Who may trigger DAGs may answer.
"""

from __future__ import annotations

from typing import Any

from airflow.plugins_manager import AirflowPlugin

PREFIX = "/anomalies"


async def _page(scope: Any, receive: Any, send: Any) -> None:
    """Answer one request (ASGI)."""
    from starlette.concurrency import run_in_threadpool

    if _made.get("app") is None:
        _made["app"] = await run_in_threadpool(_make)
    await _made["app"](scope, receive, send)


_made: dict[str, Any] = {}


def _make() -> Any:
    from pipeline.steps import Offbeat
    from pipeline.web import Keeper, application
    from pipeline.web.guard import Door

    return application(Keeper(Offbeat.open), door=Door(_person, login=False, inside=True))


async def _person(request: Any) -> Any:
    """Return who Airflow says it is; None for whom it does not know."""
    from airflow.api_fastapi.app import get_auth_manager
    from airflow.api_fastapi.core_api.security import bearer_scheme, get_user
    from fastapi import HTTPException

    from pipeline.web.people import OPERATOR, VIEWER, Person

    try:
        shown = await bearer_scheme(request)
        user = await get_user(request, None, shown)
    except HTTPException:
        return None
    manager = get_auth_manager()
    if not manager.is_authorized_dag(method="GET", user=user):
        return None
    role = OPERATOR if manager.is_authorized_dag(method="POST", user=user) else VIEWER
    name = user.get_name()
    return Person(name, role, "" if shown else f"airflow {user.get_id()}")


class OffbeatPage(AirflowPlugin):
    """A page and its place in the navigation."""

    name = "offbeat"
    fastapi_apps = [{"app": _page, "url_prefix": PREFIX, "name": "Offbeat"}]  # noqa: RUF012 - as Airflow reads it
    external_views = [  # noqa: RUF012
        {
            "name": "Anomalies",
            "href": f"{PREFIX}/",
            "destination": "nav",
            "category": "browse",
            "url_route": "anomalies",
        }
    ]
