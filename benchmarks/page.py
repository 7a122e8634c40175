"""How quick the Anomalies page is: a year of one-second readings, panned, and a thousand streams at once.

Real Delta tables, real SQL, the real app in this process; times are those of whole requests, login included.
 `python -m benchmarks.page [--days 365] [--streams 1000] [--out benchmarks/results/page.md]`
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from starlette.testclient import TestClient

from pipeline import clock, schemas
from pipeline.home import Home
from pipeline.steps import Offbeat
from pipeline.store.observations import State
from pipeline.web import Keeper, application
from pipeline.web.people import User, Users, token_hash

END = datetime(2026, 3, 1, tzinfo=UTC)
STREAM = """
kind: sensor
source: {{path: data/{name}}}
fields:
  entity: machine
  channels: [{{name: pressure, unit: bar}}, {{name: flow, unit: m3/h}}, {{name: power, unit: kW}}]
grid: {{step: {step}}}
"""
CHANNELS = ("pressure", "flow", "power")
TOKEN = "bench"
PANS = 40
TARGETS = {"pan": 200, "home": 500}  # ms


def readings(first: int, seconds: int, step: int = 1) -> pa.Table:
    """Return one machine's readings: days, shifts, noise."""
    time_us = (np.arange(first, first + seconds, step, dtype=np.int64)) * 1_000_000
    rng, day = np.random.default_rng(first), 2 * np.pi * (time_us / 86_400e6)
    signals = {
        c: 10 * (k + 1) + 2 * np.sin(day + k) + rng.normal(size=len(time_us)).astype(np.float32) / 4
        for k, c in enumerate(CHANNELS)
    }
    entity = pa.array(["m1"]).take(pa.array(np.zeros(len(time_us), np.int64)))
    return pa.table({"entity": entity, "time": pa.array(time_us).cast(schemas.TIME), **signals})


def scores(records: pa.Table) -> pa.Table:
    """Return a score for each reading, by no model: the page reads them all the same."""
    count, value = len(records), np.abs(records["flow"].to_numpy() - 20) / 3
    return pa.table(
        {
            "entity": records["entity"], "time": records["time"], "id": pa.nulls(count, pa.string()),
            "score": value, "raw": value, "flag": value > 1, "contributions": pa.nulls(count),
            "version": np.ones(count, np.int32), "date": records["time"].cast(pa.date32()),
        }
    ).cast(schemas.SCORES)  # fmt: skip


def fill(work: Offbeat, name: str, days: int, step: int, chunk: int = 30) -> int:
    """Store readings and scores of so many days up to END."""
    stream, state, rows = work.stream(name), State(), 0
    store, first = work.observations(stream), int(END.timestamp()) - days * 86_400
    for day in range(0, days, chunk):
        part = readings(first + day * 86_400, min(chunk, days - day) * 86_400, step)
        nothing = schemas.REJECTS.empty_table().drop_columns(["batch"])
        state = store.append(state, part, nothing, len(part), {"read": day})
        work.scores(stream).write(scores(part))
        rows += len(part)
    return rows


def timed(ask: Callable[[], Any]) -> float:
    """Return the milliseconds that a call takes."""
    began = time.perf_counter()
    ask()
    return (time.perf_counter() - began) * 1000


def described(times: list[float]) -> str:
    """Say the median and the 95th percentile."""
    return f"{statistics.median(times):.0f} ms, p95 {sorted(times)[int(0.95 * (len(times) - 1))]:.0f} ms"


@contextmanager
def project(**streams: str) -> Iterator[Home]:
    """Give a home with these streams, for the length of the block."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "configs" / "streams").mkdir(parents=True)
        for name, text in streams.items():
            (root / "configs" / "streams" / f"{name}.yaml").write_text(text)
        yield Home(root / "home", root)


def client(keeper: Keeper) -> TestClient:
    """Return somebody who is logged in."""
    users = Users({"bench": User("bench", "viewer", token=token_hash(TOKEN))})
    return TestClient(application(keeper, users=users), headers={"authorization": f"Bearer {TOKEN}"})


def panning(days: int) -> list[tuple[str, str]]:
    """Measure a year of one second: how long its levels take, then pans at each width."""
    with project(plant=STREAM.format(name="plant", step="1s")) as home:
        work = Offbeat.open(home)
        began = time.perf_counter()
        rows = fill(work, "plant", days, 1)
        print(f"stored {rows:,} rows and scores in {time.perf_counter() - began:.0f} s", flush=True)
        made = timed(lambda: work.make_levels("plant")) / 1000
        told = [("rows", f"{rows:,}"), ("levels of all days, made once", f"{made:.1f} s")]
        told.append(("levels of one more day", f"{timed(lambda: _again(work)):.0f} ms"))
        size = sum(p.stat().st_size for p in home.page.rglob("*") if p.is_file())
        told.append(("levels on disk", f"{size / 2**20:.0f} MiB"))
        keeper = Keeper(lambda: work)
        keeper.look()  # as the page's thread has, by the time somebody pans
        keeper.start = lambda: None  # type: ignore[method-assign]
        with client(keeper) as browser:
            for label, width in (("hour", 1 / 24), ("day", 1), ("week", 7), ("month", 30), ("year", days)):
                told.append((f"pan, a {label} wide, 3 channels", described(_pans(browser, width, days))))
    return told


def _again(work: Offbeat) -> None:
    newest = sorted((work.home.page / "plant" / "observations").glob("*/*.arrow"))[-1]
    newest.unlink()
    work.make_levels("plant")


def _pans(browser: TestClient, width: float, days: int) -> list[float]:
    rng = np.random.default_rng(0)

    def pan() -> None:
        back = float(rng.uniform(0, max(days - width, 0.5)))
        end = END - timedelta(days=back)
        query = {"entity": "m1", "from": (end - timedelta(days=width)).isoformat(), "to": end.isoformat()}
        answer = browser.get("/api/v1/streams/plant/series", params=query)
        assert answer.status_code == 200, answer.text
        assert len(answer.json()["channels"][0]["time"]) > 300

    pan()
    return [timed(pan) for _ in range(PANS)]


def front(count: int) -> list[tuple[str, str]]:
    """Measure the first page of many streams, each with a week of minutes."""
    names = [f"line_{k:04}" for k in range(count)]
    with project(**{n: STREAM.format(name=n, step="1m") for n in names}) as home:
        work = Offbeat.open(home)
        fill(work, names[0], 7, 60)
        tables = home.root / "tables"
        for name in names[1:]:  # Delta's paths are relative: a copy is a table of its own
            shutil.copytree(tables / names[0], tables / name)
        clock_was, clock.now = clock.now, lambda: END + timedelta(minutes=5)
        try:
            keeper = Keeper(lambda: work)
            first, again = timed(keeper.look) / 1000, timed(keeper.look) / 1000
            told = [("first look at all streams, behind", f"{first:.1f} s")]
            told.append(("a look at which nothing is new", f"{again:.1f} s"))
            keeper.start = lambda: None  # type: ignore[method-assign]
            with client(keeper) as browser:
                told.append(("the first page, cold", f"{timed(lambda: browser.get('/')):.0f} ms"))
                times = [timed(lambda: browser.get("/")) for _ in range(10)]
                page = browser.get("/")
                assert page.text.count("<svg") == count
            told.append(("the first page", described(times)))
            told.append(("its size", f"{len(page.content) / 1024:.0f} KiB"))
        finally:
            clock.now = clock_was
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    lines = ["| what | measured |", "| --- | --- |"]
    year, many = f"**{options.days} days of one second**", f"**{options.streams:,} streams**"
    for title, target, measure in (
        (year, f"target: a pan in {TARGETS['pan']} ms", lambda: panning(options.days)),
        (many, f"target: {TARGETS['home']} ms", lambda: front(options.streams)),
    ):
        table = [(title, target), *measure()]
        for what, figure in table:
            print(f"{what:<44} {figure}", flush=True)
            lines.append(f"| {what} | {figure} |")
    if options.out:
        head = "# The Anomalies page\n\n`python -m benchmarks.page`: whole requests, one process.\n\n"
        options.out.write_text(head + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
