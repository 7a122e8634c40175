"""A plant and a card business whose scores and anomalies were stored by hand: no network is trained here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from starlette.testclient import TestClient

from pipeline import clock, schemas
from pipeline.events import Context, Contribution, Event
from pipeline.home import Home
from pipeline.steps import Offbeat
from pipeline.store import anomalies
from pipeline.store.observations import State
from pipeline.web import Keeper, application
from pipeline.web.people import User, Users, password_hash, token_hash

NOW = datetime(2026, 3, 8, 0, 5, tzinfo=UTC)
START = datetime(2026, 3, 5, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
EVIL = "<script>alert(1)</script>"
TOKEN = "t" * 40
SECRET = "a secret of more than sixteen characters"
PASSWORD = "correct horse"
HASH = password_hash(PASSWORD)
PLANT = """
kind: sensor
description: "Pumps & <b>more</b>"
owner: Plant engineering
source: {path: data/plant}
fields: {entity: pump, channels: [{name: flow, unit: m3/h}, {name: power, unit: kW}]}
alert: {merge: 10m}
"""
CARDS = """
kind: transaction
source: {path: data/cards}
fields: {id: id, entity: card, amount: amount, unit: EUR, categories: [country]}
"""
ALERTS = "receivers: {log: {type: log}}\nlinks: {page: 'https://offbeat.example', secret: '${env:LINKS}'}\n"


def observe(work: Offbeat, name: str, rows: pa.Table) -> None:
    store = work.observations(work.stream(name))
    nothing = schemas.REJECTS.empty_table().drop_columns(["batch"])
    store.append(State(), rows, nothing, len(rows), {})


def score(work: Offbeat, name: str, rows: pa.Table, value: np.ndarray, ids: pa.Array | None = None) -> None:
    count = len(rows)
    part = {"channel": "flow" if ids is None else "amount", "share": 0.9, "expected": 1.0, "actual": 2.0}
    table = {
        "entity": rows["entity"],
        "time": rows["time"],
        "id": pa.nulls(count, pa.string()) if ids is None else ids,
        "score": value,
        "raw": value,
        "flag": value > 1,
        "contributions": pa.array([[part]] * count, pa.list_(schemas.CONTRIBUTION)),
        "version": np.ones(count, np.int32),
        "date": rows["time"].cast(pa.date32()),
    }
    work.scores(work.stream(name)).write(pa.table(table).cast(schemas.SCORES))


def plant(work: Offbeat) -> None:
    """Three days of two machines, one of which has a name that is markup."""
    minutes = int((NOW - START) / MINUTE)
    time = [START + k * MINUTE for k in range(minutes)]
    flow = 10 + np.sin(np.arange(minutes) / 100)
    flow[3000:3060] = 0
    both = pa.table(
        {
            "entity": ["pump-1"] * minutes + [EVIL] * minutes,
            "time": pa.array(time * 2, schemas.TIME),
            "flow": np.concatenate([flow, flow + 5]),
            "power": np.concatenate([flow / 2, flow / 3]),
        }
    )
    observe(work, "plant", both)
    score(work, "plant", both, np.where(np.concatenate([flow, flow]) == 0, 2.5, 0.3))


def cards(work: Offbeat) -> None:
    """Three days of forty cards; one payment is far too high."""
    count = 400
    time = [START + k * 10 * MINUTE for k in range(count)]
    amount, ids = 10.0 + np.arange(count) % 7, [f"t{k}" for k in range(count)]
    amount[390] = 900
    rows = pa.table(
        {
            "id": ids,
            "entity": [f"card-{k % 40}" for k in range(count)],
            "time": pa.array(time, schemas.TIME),
            "amount": amount,
            "country": ["DE", EVIL] * (count // 2),
        }
    )
    observe(work, "cards", rows)
    score(work, "cards", rows, np.where(amount > 100, 3.0, 0.1), pa.array(ids))


def event(entity: str, first: int, minutes: int, **more: object) -> Event:
    begin = START + first * MINUTE
    channels = (Contribution("flow", 0.8, 10.0, 0.0, "m3/h"), Contribution("power", 0.2, 5.0, 0.0, "kW"))
    facts = {"channels": channels, "severity": "high", "open": False, "peak_score": 2.5} | more
    return Event(entity=entity, start=begin, end=begin + minutes * MINUTE, peak=begin, **facts)


def record(work: Offbeat) -> None:
    said = {"now": NOW, "receivers": ["log"]}
    found = [
        event("pump-1", 3000, 60), event(EVIL, 3000, 60), event("pump-1", 1000, 20, severity="low"),
        event("pump-1", 4200, 120, open=True, severity="critical"),
    ]  # fmt: skip
    anomalies.record(
        work.database, "plant", found, context=Context.of(work.stream("plant"), version=1), **said
    )
    fraud = Event(
        "card-30", START + 3900 * MINUTE, START + 3900 * MINUTE, START + 3900 * MINUTE, 3.0, "high",
        (Contribution("amount", 1.0, 12.0, 900.0, "EUR"),), False, ("t390",),
    )  # fmt: skip
    anomalies.record(
        work.database, "cards", [fraud], context=Context.of(work.stream("cards"), version=1), **said
    )


@pytest.fixture(scope="session")
def plant_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    root: Path = tmp_path_factory.mktemp("page")
    (root / "configs" / "streams").mkdir(parents=True)
    (root / "configs" / "alerts.yaml").write_text(ALERTS)
    for name, text in (("plant", PLANT), ("cards", CARDS), ("broken", "kind: sensor\nsauce: {}\n")):
        (root / "configs" / "streams" / f"{name}.yaml").write_text(text)
    home = Home(root / "home", root)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("OFFBEAT_CONFIGS", "OFFBEAT_DATABASE", "OFFBEAT_TABLES", "MLFLOW_TRACKING_URI"):
            patch.delenv(name, raising=False)
        patch.delenv("OFFBEAT_WEB_SECRET", raising=False)
        patch.setenv("LINKS", SECRET)
        patch.setattr(clock, "now", lambda: NOW)
        work = Offbeat.open(home)
        plant(work)
        cards(work)
        record(work)
        yield home


@pytest.fixture(scope="session")
def keeper(plant_home: Home) -> Keeper:
    made = Keeper(lambda: Offbeat.open(plant_home))
    made.look()
    made.start = lambda: None  # type: ignore[method-assign] - the tests say when it looks
    return made


USERS = Users(
    {
        "ada": User("ada", "operator", HASH),
        "bob": User("bob", "viewer", HASH),
        "robot": User("robot", "operator", token=token_hash(TOKEN)),
    }
)


@pytest.fixture
def stranger(keeper: Keeper) -> TestClient:
    return TestClient(application(keeper, users=USERS), follow_redirects=False)


def csrf(page: str) -> str:
    found = re.search(r'name="csrf" (?:value|content)="([^"]+)"', page)
    assert found
    return found[1]


def logged_in(browser: TestClient, name: str) -> TestClient:
    token = csrf(browser.get("/login").text)
    answer = browser.post("/login", data={"name": name, "password": PASSWORD, "csrf": token})
    assert answer.status_code == 303, answer.text
    return browser


@pytest.fixture
def operator(stranger: TestClient) -> TestClient:
    return logged_in(stranger, "ada")


@pytest.fixture
def viewer(keeper: Keeper) -> TestClient:
    return logged_in(TestClient(application(keeper, users=USERS), follow_redirects=False), "bob")


@pytest.fixture
def fault(keeper: Keeper) -> str:
    """Id of the fault of pump-1 that is over."""
    found = keeper.work.anomalies("plant", limit=20)
    return next(a["id"] for a in found if a["entity"] == "pump-1" and a["severity"] == "high")
