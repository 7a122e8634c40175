"""Files become streams: defaults beneath, one bad file alone, and errors that lead to the right file."""

import pickle
from datetime import timedelta
from pathlib import Path

import pytest

from pipeline.config.loader import load_project, load_stream
from pipeline.config.models import SensorStream, TransactionStream
from pipeline.config.problems import ConfigErrors, explain
from pipeline.errors import ConfigError

CARDS = "kind: transaction\nsource: {path: d}\nfields: {id: i, entity: card, amount: paid}\n"


def test_a_bad_stream_disables_itself_alone(make, sensor: str) -> None:
    project = load_project(make(good=sensor, bad=sensor + "grid: {step: 0s}\n", cards=CARDS))
    assert set(project.streams) == {"good", "cards"}
    assert set(project.broken) == {"bad"}
    assert project.broken["bad"].key == "grid.step"


def test_the_text_of_each_stream_is_kept(make, sensor: str) -> None:
    text = "# why\n" + sensor
    assert load_project(make(good=text)).sources == {"good": text}


def test_a_stream_wins_over_its_kind_and_the_kind_over_all(make, sensor: str) -> None:
    defaults = (
        "all: {model: {epochs: 3, latent: 4}, alert: {receivers: [log, pager]}}\n"
        "sensor: {model: {latent: 5}, grid: {step: 2m}}\n"
        "transaction: {window: {length: 20}}\n"
    )
    own = sensor + "model: {units: [8, 4]}\nalert: {receivers: [pager]}\n"
    project = load_project(make(defaults, plant=own, cards=CARDS))
    plant, cards = project.streams["plant"], project.streams["cards"]
    assert isinstance(plant, SensorStream)
    assert (plant.model.epochs, plant.model.latent, plant.model.units) == (3, 5, (8, 4))
    assert plant.grid.step == timedelta(minutes=2)
    assert plant.alert.receivers == ("pager",)
    assert isinstance(cards, TransactionStream)
    assert (cards.model.latent, cards.window.length) == (4, 20)


def test_a_transaction_that_sets_only_the_length_stays_causal(make) -> None:
    cards = load_project(make(cards=CARDS + "window: {length: 9}\n")).streams["cards"]
    assert (cards.window.length, cards.window.stride, cards.window.delay) == (9, 1, 0)


def test_an_error_in_a_default_names_defaults_and_disables_only_that_kind(make, sensor: str) -> None:
    configs = make("all: {shards: 2}\nsensor:\n  grid:\n    step: fast\n", plant=sensor, cards=CARDS)
    project = load_project(configs)
    assert set(project.streams) == {"cards"}
    assert set(project.broken) == {"plant", "defaults.yaml"}
    errors = project.errors()
    assert [(Path(e.file).name, e.line, e.key) for e in errors] == [
        ("defaults.yaml", 4, "sensor.grid.step"),
    ]


def test_defaults_that_are_no_yaml_disable_every_stream(make, sensor: str) -> None:
    project = load_project(make("all: [\n", plant=sensor, cards=CARDS))
    assert not project.streams
    assert set(project.broken) == {"plant", "cards", "defaults.yaml"}
    assert all(Path(e.file).name == "defaults.yaml" for e in project.errors())


def test_an_unknown_receiver_in_a_default_names_defaults(make, sensor: str) -> None:
    project = load_project(make("all:\n  alert:\n    receivers: [log, gone]\n", plant=sensor))
    error = project.broken["plant"]
    assert (Path(error.file).name, error.line, error.key) == ("defaults.yaml", 3, "alert.receivers[1]")


def test_values_that_clash_across_files_lead_to_the_line_that_stands(make, sensor: str) -> None:
    project = load_project(
        make("sensor: {window: {stride: 8, delay: 7}}\n", plant=sensor + "window:\n  delay: 2\n")
    )
    error = project.broken["plant"]
    assert (Path(error.file).name, error.line) == ("defaults.yaml", 1)
    assert "stride 8 does not divide delay + 1 = 3" in str(error)


def test_defaults_may_be_incomplete_where_streams_complete_them(make, sensor: str) -> None:
    project = load_project(make("sensor: {window: {stride: 8}}\n", plant=sensor + "window: {delay: 7}\n"))
    assert not project.broken
    assert project.streams["plant"].window.stride == 8


def test_bad_alerts_stop_what_tells_people_and_no_stream(make, sensor: str) -> None:
    project = load_project(make(alerts="receivers: {log: {type: lgo}}\n", plant=sensor))
    assert set(project.streams) == {"plant"}
    assert set(project.broken) == {"alerts.yaml"}
    with pytest.raises(ConfigError, match="did you mean log"):
        _ = project.alerts


def test_without_alerts_yaml_alerts_go_to_the_log(make, sensor: str) -> None:
    configs = make(plant=sensor)
    (configs / "alerts.yaml").unlink()
    project = load_project(configs)
    assert set(project.alerts.receivers) == {"log"}
    assert not project.broken


def test_a_missing_folder_is_an_error_and_an_empty_one_is_not(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        load_project(tmp_path / "nowhere")
    assert load_project(tmp_path).streams == {}


def test_a_file_that_ends_in_yml_is_not_passed_over_in_silence(make, sensor: str) -> None:
    configs = make()
    (configs / "streams" / "plant.yml").write_text(sensor)
    (configs / "streams" / ".plant.yaml.swp.yaml").write_text("half")
    (configs / "streams" / "README.md").write_text("read me")
    project = load_project(configs)
    assert set(project.broken) == {"plant.yml"}
    assert "does not end in .yaml" in str(project.broken["plant.yml"])


def test_all_errors_of_a_file_are_told_in_the_order_of_its_lines(make, sensor: str) -> None:
    project = load_project(make(plant=sensor + "shards: 0\ngrid: {stp: 1m}\nmodel: {epochs: 0}\nowner: 5\n"))
    broken = project.broken["plant"]
    assert [e.key for e in broken.errors] == ["shards", "grid.stp", "model.epochs", "owner"]
    assert broken.others == broken.errors[1:]
    assert explain([broken]).count("\n") == 3


def test_an_error_reads_as_one_line_for_people(make, sensor: str, monkeypatch: pytest.MonkeyPatch) -> None:
    configs = make(plant=sensor + "alert: {false_alarm: 1/week}\n")
    monkeypatch.chdir(configs.parent)
    assert str(load_project(configs).broken["plant"]) == (
        f"{configs.name}/streams/plant.yaml:9: alert.false_alarm: unknown key; "
        "expected one of false_alarms, merge, receivers; did you mean false_alarms?"
    )


def test_errors_survive_the_way_between_processes(make, sensor: str) -> None:
    error = load_project(make(plant=sensor + "shards: 0\nowner: 5\n")).broken["plant"]
    again = pickle.loads(pickle.dumps(error))
    assert [str(e) for e in again.errors] == [str(e) for e in error.errors]
    assert isinstance(again, ConfigErrors)
    assert again.exit_code == 3


def test_a_stream_loads_alone_with_defaults_from_a_path_a_mapping_or_nothing(make, sensor: str) -> None:
    configs = make("all: {shards: 3}\n", plant=sensor)
    path = configs / "streams" / "plant.yaml"
    assert load_stream(path).shards == 1
    assert load_stream(path, configs / "defaults.yaml").shards == 3
    assert load_stream(path, {"all": {"shards": 5, "alert": {"receivers": ["log"]}}}).shards == 5
    with pytest.raises(ConfigError, match=r"all\.shard: unknown key"):
        load_stream(path, {"all": {"shard": 5}})


def test_a_stream_cannot_be_changed(make, sensor: str) -> None:
    stream = load_project(make(plant=sensor)).streams["plant"]
    with pytest.raises(ValueError, match="frozen"):
        stream.shards = 2  # type: ignore[misc]


def test_a_card_that_is_not_used_is_not_silent_unless_said_so(make) -> None:
    project = load_project(
        make(cards=CARDS, sellers=CARDS + "watch: {silence: 7d}\n", late=CARDS + "watch: {late: 1h}\n")
    )
    said = {name: stream.watch.silence for name, stream in project.streams.items()}
    assert said == {"cards": "never", "sellers": timedelta(days=7), "late": "never"}


def test_defaults_say_what_is_watched_of_each_kind(make, sensor: str) -> None:
    folder = make(defaults="all: {watch: {late: never}}\nsensor: {watch: {flatline: 2h}}\n", plant=sensor)
    (plant,) = load_project(folder).streams.values()
    assert isinstance(plant, SensorStream)
    assert (plant.watch.silence, plant.watch.late, plant.watch.flatline) == (
        "auto",
        "never",
        timedelta(hours=2),
    )
    wrong = make(defaults="all: {watch: {flatline: 2h}}\n", plant=sensor)
    assert "all.watch.flatline" in str(load_project(wrong).errors()[0])


def test_limits_are_those_that_are_declared(make, sensor: str) -> None:
    text = sensor.replace("name: flow,", "name: flow, high: 90,")
    assert load_project(make(plant=text)).streams["plant"].limits == {"flow": (None, 90)}
