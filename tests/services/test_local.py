"""Real servers: Airflow's scheduler runs a stream's DAGs, assets wake scoring, a backfill repeats nothing."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from pipeline import services
from pipeline.errors import Unavailable
from pipeline.home import Home
from pipeline.services import processes, settings
from pipeline.simulate import write_history

pytestmark = pytest.mark.slow
CHROMIUM = Path("/usr/bin/chromium")
END = datetime(2026, 3, 1, tzinfo=UTC)
PUMPS = {
    "kind": "sensor",
    "source": {"type": "files", "path": "data/pump_station", "pattern": "*.csv*", "settle": "0s"},
    "fields": {
        "time": {"column": "time"},
        "entity": "pump",
        "channels": [{"name": "pressure", "unit": "bar"}, {"name": "flow", "unit": "m3/h"}],
    },
    "window": {"length": 16, "stride": 4, "delay": 3},
    "model": {"units": [8], "latent": 4, "epochs": 2, "max_windows": 500},
    "training": {"until": "2026-02-28T00:00:00+00:00"},
    "alert": {"false_alarms": "1/day"},
    "schedules": {"ingest": "1d", "train": "7d", "score": "1d"},
}
DOORS = PUMPS | {
    "source": {"type": "files", "path": "data/doors", "settle": "0s"},
    "schedules": {"ingest": "never", "wake": True, "train": "never", "score": "never", "watch": "never"},
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[services.Running]:
    root = tmp_path_factory.mktemp("project")
    write_history(root / "data", days=4, end=END, feeds=["pump_station"])
    (root / "configs" / "streams").mkdir(parents=True)
    (root / "configs" / "streams" / "pumps.yaml").write_text(yaml.safe_dump(PUMPS))
    (root / "configs" / "streams" / "doors.yaml").write_text(yaml.safe_dump(DOORS))
    home = Home(root / "home", root)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("OFFBEAT_CONFIGS", "OFFBEAT_DATABASE", "OFFBEAT_TABLES", "MLFLOW_TRACKING_URI"):
            patch.delenv(name, raising=False)
        up = services.start(home, addresses=services.Addresses.choose(airflow=0, mlflow=0))
        try:
            up.wait_for_dags(["ingest__pumps", "train__pumps", "score__pumps"])
            yield up
        finally:
            up.stop()


def scored(up: services.Running, kind: str) -> services.RunResult:
    """Wait for a run of that kind that found a model to score with."""
    ends = time.monotonic() + 180
    while time.monotonic() < ends:
        for found in up.airflow.runs("score__pumps"):
            if found["run_type"] == kind:
                result = up.airflow.wait("score__pumps", found["dag_run_id"], timeout=180)
                if ("plan", "success") in {(t.task_id, t.state) for t in result.tasks}:
                    return result
        time.sleep(0.5)
    raise AssertionError(f"no {kind} run of score__pumps scored anything")


def offbeat(up: services.Running, *arguments: str) -> Any:
    env = settings.environment(up.home, up.addresses)
    command = [sys.executable, "-m", "pipeline.cli", *arguments, "--json"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def test_a_stream_comes_alive_by_itself_and_a_backfill_changes_nothing_twice(
    running: services.Running,
) -> None:
    """Nobody triggers anything: ingest runs on time, and assets do the rest, down to the alert."""
    woken = scored(running, "asset_triggered")
    states = {t.task_id: t.state for t in woken.tasks}
    assert states.pop("ask_for_a_model") == "skipped"
    assert states.pop("watch") in ("success", "skipped"), "skipped where there is nothing to tell"
    assert states == dict.fromkeys(("plan", "score_shard", "flag"), "success")
    (ingested,) = [r["dag_run_id"] for r in running.airflow.runs("ingest__pumps")]
    answer = running.airflow.result("ingest__pumps", ingested, "ingest")
    assert answer["received"] == answer["stored"] + answer["duplicate"] + answer["rejected"] > 20_000
    found = offbeat(running, "anomalies")
    assert found
    alerts = running.home.alerts / "pumps.jsonl"
    processes.wait_until("the alert", alerts.exists, settings.folder(running.home), 120)

    backfill(running, "score__pumps", "2026-02-28", "2026-02-28")
    again = scored(running, "backfill")
    assert again.ok
    rescored = running.airflow.result("score__pumps", again.run_id, "score_shard", map_index=0)
    assert rescored["rows"] > 0
    assert (rescored["added"], rescored["changed"]) == (0, 0)
    assert running.airflow.result("score__pumps", again.run_id, "flag")["alerts"] == 0
    assert offbeat(running, "anomalies") == found


def test_what_comes_wakes_an_ingest_that_no_schedule_would_run(running: services.Running) -> None:
    folder = running.home.project / "data" / "doors"
    for number in (1, 2):
        folder.mkdir(exist_ok=True)
        (folder / f"{number}.csv").write_text(f"time,pump,pressure,flow\n2026-03-01T00:0{number}:00Z,a,1,2\n")
        dropped = time.monotonic()
        processes.wait_until(
            "the ingest", lambda n=number: ingested(running) == n, settings.folder(running.home), 120
        )
        print(f"read {time.monotonic() - dropped:.1f} s after it came")
    assert {run["run_type"] for run in running.airflow.runs("ingest__doors")} == {"asset_triggered"}


def ingested(up: services.Running) -> int:
    answers = [
        up.airflow.result("ingest__doors", run["dag_run_id"], "ingest") or {}
        for run in up.airflow.runs("ingest__doors")
    ]
    return sum(answer.get("stored", 0) for answer in answers)


def backfill(up: services.Running, dag_id: str, first: str, last: str) -> None:
    command = ["airflow", "backfill", "create", "--dag-id", dag_id, "--from-date", first, "--to-date", last]
    tool = [str(Path(sys.executable).with_name(command[0])), *command[1:], "--max-active-runs", "1"]
    env = settings.environment(up.home, up.addresses)
    subprocess.run(tool, env=env, check=True)


def test_servers_listen_on_this_machine_only(running: services.Running) -> None:
    folder = settings.folder(running.home)
    ours = [p for name in processes.names(folder) if (p := processes.running(folder, name))]
    assert len(ours) == 5
    listening = {
        c.laddr.ip
        for process in processes.family(ours)
        for c in process.net_connections(kind="inet")
        if c.status == psutil.CONN_LISTEN
    }
    assert listening == {"127.0.0.1"}


def test_secrets_are_readable_by_their_owner_only(running: services.Running) -> None:
    for name in ("passwords.json", "keys.json"):
        path = settings.airflow_home(running.home) / name
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    env = settings.environment(running.home, running.addresses)
    assert len(env["AIRFLOW__API_AUTH__JWT_SECRET"]) >= 64


def test_airflow_wants_a_login(running: services.Running) -> None:
    import httpx

    stranger = services.Airflow(running.addresses.airflow_url, "admin", "guess")
    with pytest.raises(httpx.HTTPStatusError):
        stranger.dags()


def test_the_anomalies_page_is_in_airflow_behind_its_login(running: services.Running) -> None:
    """Endpoints of plugins are open unless they close themselves: nobody unknown sees anything here."""
    import httpx

    scored(running, "asset_triggered")
    page = f"{running.addresses.airflow_url}/anomalies"
    for path in ("/", "/anomalies", "/streams/pumps", "/api/v1/streams", "/api/v1/openapi.json", "/nothing"):
        assert httpx.get(f"{page}{path}", timeout=60).status_code == 401, path
    assert httpx.get(f"{page}/health").json() == {"status": "healthy"}

    who = {"username": settings.USER, "password": running.password}
    token = httpx.post(f"{running.addresses.airflow_url}/auth/token", json=who).json()["access_token"]
    with httpx.Client(cookies={"_token": token}, timeout=60) as browser:
        home = browser.get(f"{page}/")
        assert home.status_code == 200
        assert 'href="/anomalies/streams/pumps"' in home.text
        assert "frame-ancestors 'self'" in home.headers["content-security-policy"]
        (newest, *_) = browser.get(f"{page}/api/v1/anomalies").json()
        form = {"what": "acknowledged", "why": "seen in Airflow"}
        where = f"{page}/anomalies/{newest['id']}/answers"
        assert browser.post(where, data=form).status_code == 403, "a form of another site"
        csrf = home.text.partition('name="csrf" content="')[2].partition('"')[0]
        assert browser.post(where, data=form | {"csrf": csrf}).status_code == 303
        (said,) = browser.get(f"{page}/api/v1/anomalies/{newest['id']}/answers").json()
        assert (said["what"], said["who"]) == ("acknowledged", settings.USER)
    views = running.airflow.call("GET", "/plugins")["plugins"]
    assert [v["url_route"] for p in views for v in p["external_views"]] == ["anomalies"]


@pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser at {CHROMIUM}")
def test_a_false_alarm_marked_in_airflows_own_page_is_normal_to_the_next_training(
    running: services.Running,
) -> None:
    """Log in to Airflow, open the page from its menu, mark an anomaly; the next training learns from it."""
    sync = pytest.importorskip("playwright.sync_api")
    scored(running, "asset_triggered")
    url, asked = running.addresses.airflow_url, list[str]()
    with sync.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.goto(url)
        page.get_by_label("Username").fill(settings.USER)
        page.get_by_label("Password").fill(running.password)
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("button", name="Browse").click()
        page.get_by_role("menuitem", name="Anomalies").click()
        ours = page.frame_locator("iframe")
        ours.get_by_role("link", name="Anomalies").click()
        ours.locator("a[href*='/anomalies/anomalies/']").first.click()
        ours.get_by_label("Why").fill("cleaning")
        ours.get_by_role("button", name="False alarm").click()
        ours.locator("#answers", has_text="cleaning").wait_for()
        browser.close()
    assert [each for each in asked if not each.startswith((url, "data:", "blob:"))] == []
    (marked,) = [a for a in offbeat(running, "anomalies") if a["verdict"] == "false_alarm"]
    assert marked["answered_by"] == settings.USER
    stream = running.home.project / "configs" / "streams" / "pumps.yaml"
    stream.write_text(yaml.safe_dump(PUMPS | {"training": {}}))  # up to now, so that it is in the history
    trained = offbeat(running, "train", "pumps")
    assert trained["feedback_repeats"] > 0, "its windows are among those that were learned from"


def test_the_gpu_pool_is_there(running: services.Running) -> None:
    assert running.airflow.call("GET", "/pools/gpu")["slots"] == 1


def test_starting_again_leaves_what_runs_as_it_is(running: services.Running) -> None:
    folder = settings.folder(running.home)
    before = {name: processes.running(folder, name) for name in processes.names(folder)}
    again = services.start(running.home)
    assert again.addresses == running.addresses
    assert {name: processes.running(folder, name) for name in processes.names(folder)} == before


def test_stopping_leaves_no_process_behind(running: services.Running) -> None:
    folder = settings.folder(running.home)
    ours = [p for name in processes.names(folder) if (p := processes.running(folder, name))]
    everyone = processes.family(ours)
    assert set(running.stop()) == {
        "mlflow",
        "api-server",
        "scheduler",
        "dag-processor",
        "triggerer",
    }
    assert [p for p in everyone if p.is_running() and p.status() != psutil.STATUS_ZOMBIE] == []
    assert services.status(running.home) == {}
    with socket.socket() as probe:
        assert probe.connect_ex((settings.HOST, running.addresses.airflow)) != 0


def test_a_pid_that_went_to_another_process_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "x.pid").write_text(json.dumps({"pid": os.getpid(), "born": 1.0}))
    assert processes.running(tmp_path, "x") is None
    assert processes.end(tmp_path) == []
    assert not (tmp_path / "x.pid").exists()


def test_a_service_that_ends_at_once_is_reported_with_its_log(tmp_path: Path) -> None:
    dying = processes.Service("dying", (sys.executable, "-c", "print('no such port')"))
    processes.launch(tmp_path, dying, os.environ)
    with pytest.raises(Unavailable, match="no such port"):
        processes.wait_until("dying", lambda: False, tmp_path, timeout=20)


def test_a_command_that_fails_is_reported_with_its_log(tmp_path: Path) -> None:
    failing = processes.Service("failing", (sys.executable, "-c", "raise SystemExit('no disk')"))
    with pytest.raises(Unavailable, match="no disk"):
        processes.run_to_end(tmp_path, failing, os.environ)


def test_a_stubborn_service_is_killed(tmp_path: Path) -> None:
    deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    code = f"{deaf}; print('up', flush=True); time.sleep(60)"
    processes.launch(tmp_path, processes.Service("stubborn", (sys.executable, "-c", code)), os.environ)
    processes.wait_until("stubborn", lambda: "up" in (tmp_path / "stubborn.log").read_text(), tmp_path, 20)
    child = processes.running(tmp_path, "stubborn")
    assert child
    assert processes.end(tmp_path, grace=0.5) == ["stubborn"]
    assert not child.is_running()


def test_a_taken_port_gives_way_to_a_free_one() -> None:
    with socket.socket() as taken:
        taken.bind((settings.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert settings.Addresses.choose(airflow=port, mlflow=0).airflow != port
