"""Pictures of the Anomalies page, by a browser without a screen, where one is installed.

In: a workspace with anomalies. Out: PNG files. The page is served on a free port of this machine meanwhile,
to one browser: the one whose name for itself was drawn a moment ago.
"""

from __future__ import annotations

import secrets
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from pipeline.web import Keeper, Person, application
from pipeline.web.guard import Door
from pipeline.web.people import OPERATOR

if TYPE_CHECKING:
    from starlette.requests import Request

    from pipeline.steps import Offbeat

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
DESK, PHONE = (1280, 1000), (480, 1000)
PATIENCE = 60  # seconds of one picture


def browser() -> str | None:
    """Return a browser that takes pictures, or None."""
    return next(filter(None, map(shutil.which, BROWSERS)), None)


def write(folder: Path, work: Offbeat, sensors: str, payments: str) -> list[Path]:
    """Take the pictures; none where there is no browser. Streams that are not there are left out."""
    program = browser()
    if program is None:
        return []
    worst = sorted(work.anomalies(sensors, limit=200), key=lambda a: -a["peak_score"])[:1]
    wanted = {"page-streams": ("/", (DESK[0], 420))}
    for found in worst:
        wanted["page-anomaly"] = (f"/anomalies/{found['id']}", DESK)
        wanted["page-phone"] = (f"/anomalies/{found['id']}", PHONE)
    if payments in work.project.streams:
        wanted["page-transactions"] = (f"/streams/{payments}/transactions", DESK)
    name = f"Offbeat pictures {secrets.token_hex(16)}"
    with _served(work, name) as address:
        return [
            _taken(program, name, f"{address}{path}", size, folder / f"{picture}.png")
            for picture, (path, size) in wanted.items()
        ]


@contextmanager
def _served(work: Offbeat, name: str) -> Iterator[str]:
    async def person(request: Request) -> Person | None:
        known = secrets.compare_digest(request.headers.get("user-agent", "").encode(), name.encode())
        return Person("ada", OPERATOR, "pictures") if known else None

    keeper = Keeper(lambda: work)
    keeper.look()
    app = application(keeper, door=Door(person, login=False))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while thread.is_alive() and not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def _taken(program: str, name: str, url: str, size: tuple[int, int], path: Path) -> Path:
    with tempfile.TemporaryDirectory() as profile:
        options = (
            "--headless", "--no-sandbox", "--hide-scrollbars", "--disable-gpu", f"--user-agent={name}",
            f"--user-data-dir={profile}", f"--window-size={size[0]},{size[1]}", f"--screenshot={path}",
            "--virtual-time-budget=10000",
        )  # fmt: skip
        subprocess.run([program, *options, url], check=True, capture_output=True, timeout=PATIENCE)  # noqa: S603
    return path
