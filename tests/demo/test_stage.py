"""The demo plays with the shipped configs, in a home of its own."""

from pathlib import Path

from pipeline.config.loader import load_project
from pipeline.demo import stage
from pipeline.home import Home
from pipeline.services import Addresses

SHIPPED = Path(__file__).parents[2] / "configs"
WHERE = Addresses(8081, 5001)


def test_the_simulated_stage_is_valid_and_trains_on_normal_data_alone(tmp_path):
    home = stage.home_of(Home(tmp_path, tmp_path), real=False)
    labels = stage.simulated(home, SHIPPED, days=8, seed=1)
    stage.alerts(home, WHERE, "http://127.0.0.1:9/alerts")
    project = load_project(home.configs)
    assert project.errors() == []
    for name, stream in project.streams.items():
        assert stream.training.until == labels[name].normal_until.isoformat()
        assert set(stream.alert.receivers) == {"log", "desk"}
        assert min(fault.start for fault in labels[name].faults) >= labels[name].normal_until


def test_when_the_desk_closes_nothing_waits_for_it(tmp_path):
    home = stage.home_of(Home(tmp_path, tmp_path), real=False)
    stage.simulated(home, SHIPPED, days=8, seed=1)
    stage.alerts(home, WHERE, "http://127.0.0.1:9/alerts")
    stage.alerts(home, WHERE, None)
    project = load_project(home.configs)
    assert set(project.alerts.receivers) == {"log"}
    assert {stream.alert.receivers for stream in project.streams.values()} == {("log",)}


def test_live_the_streams_take_records_every_minute(tmp_path):
    home = stage.home_of(Home(tmp_path, tmp_path), real=False)
    stage.simulated(home, SHIPPED, days=8, seed=1)
    stage.streams(home, SHIPPED, live=True)
    stage.alerts(home, WHERE, None)
    for stream in load_project(home.configs).streams.values():
        assert (stream.schedules.ingest, stream.training.until) == ("1m", None)
