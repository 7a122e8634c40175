"""References become values when used, the environment is not read before, and no value is ever shown."""

import json
from pathlib import Path

import pytest

from pipeline import log
from pipeline.config.loader import load_alerts, load_project
from pipeline.config.problems import ConfigErrors
from pipeline.config.secrets import references, resolve
from pipeline.errors import ConfigError

CANARIES = ["whsec_canary5f2a", "https://user:canary@h.example", "canary9aZ7kQ2mX4pL8vT1w", "canary-weak"]
URI = "mailtos://bob:canary%40pw@mail.example:465/box?to=ops"
DATA = {"conn_type": "https", "host": "h.example", "login": "bob", "password": "canary@pw", "port": 8443}


def test_a_reference_is_replaced_by_what_the_environment_says_now() -> None:
    assert resolve("a ${env:ONE} b ${env:TWO}", {"ONE": "1", "TWO": "2"}) == "a 1 b 2"


def test_a_value_is_not_expanded_again() -> None:
    assert resolve("${env:ONE}", {"ONE": "${env:TWO}", "TWO": "no"}) == "${env:TWO}"


def test_the_environment_is_not_read_while_yaml_is(
    make, sensor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ROOT", "x\nshards: 9")
    stream = load_project(make(plant=sensor.replace("data/plant", "${env:ROOT}"))).streams["plant"]
    assert stream.source.path == "${env:ROOT}"
    assert stream.shards == 1


@pytest.mark.parametrize("known", [{}, {"NAME": ""}])
def test_a_missing_value_names_the_reference(known: dict[str, str]) -> None:
    with pytest.raises(
        ConfigError, match=r"\$\{env:NAME\}: the environment variable NAME is (not set|empty)"
    ):
        resolve("${env:NAME}", known)


@pytest.mark.parametrize(
    "text", ["${NAME}", "${env:}", "${env:A B}", "${file:/etc/passwd}", "${env:${env:A}}", "${"]
)
def test_what_is_no_reference_is_refused_without_showing_it(text: str) -> None:
    with pytest.raises(ConfigError, match="no reference") as caught:
        resolve(f"canary{text}", {"A": "B"})
    assert "canary" not in str(caught.value)


def test_a_connection_is_airflows_uri_or_its_parts() -> None:
    known = {"AIRFLOW_CONN_OPS_MAIL": URI}
    assert resolve("${connection:ops_mail}", known) == URI
    assert resolve("${connection:ops_mail:password}", known) == "canary@pw"
    assert resolve("${connection:ops_mail:login}", known) == "bob"
    assert resolve("${connection:ops_mail:port}", known) == "465"


@pytest.mark.parametrize("extra", [{"token": "t1"}, '{"token": "t1"}'])
def test_a_connection_as_json_becomes_a_uri(extra: object) -> None:
    known = {"AIRFLOW_CONN_HOOK": json.dumps(DATA | {"schema": "in", "extra": extra})}
    assert resolve("${connection:hook}", known) == "https://bob:canary%40pw@h.example:8443/in?token=t1"
    assert resolve("${connection:hook:extra.token}", known) == "t1"


def test_an_http_connection_may_hold_its_scheme_in_the_host() -> None:
    known = {"AIRFLOW_CONN_HOOK": json.dumps({"conn_type": "http", "host": "https://h.example/x"})}
    assert resolve("${connection:hook}", known) == "https://h.example/x"


BAD = [
    "canary",
    "{canary",
    "[]",
    '{"extra": "canary"}',
    '{"extra": ["canary"]}',
    "a://canary:x:y@[h",
    "a://h:canary",
]


@pytest.mark.parametrize("value", BAD)
def test_a_connection_that_cannot_be_read_is_named_not_shown(value: str) -> None:
    with pytest.raises(ConfigError, match=r"\$\{connection:hook:password\}") as caught:
        resolve("${connection:hook:password}", {"AIRFLOW_CONN_HOOK": value})
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_part_that_a_connection_lacks_is_named() -> None:
    with pytest.raises(ConfigError, match="no such part"):
        resolve("${connection:hook:password}", {"AIRFLOW_CONN_HOOK": "http://h.example"})


def test_what_was_resolved_is_hidden_from_logs_also_when_quoted() -> None:
    resolve("${env:S} ${connection:c}", {"S": "canary-env-1", "AIRFLOW_CONN_C": "x://u:canary%402@h"})
    line = log.redact("canary-env-1 canary@2 canary%402 x://u:canary%402@h")
    assert "canary" not in line


def test_a_folder_is_no_secret() -> None:
    assert resolve("${env:ROOT}/in", {"ROOT": "/srv/open-folder"}, secret=False) == "/srv/open-folder/in"
    assert log.redact("/srv/open-folder") == "/srv/open-folder"


def test_references_are_found() -> None:
    assert references("a${env:A}b${connection:c:password}") == ["${env:A}", "${connection:c:password}"]


PLACES = [
    "receivers: {h: {type: webhook, url: '%s', secret: '%s'}}",
    "receivers: {h: {type: apprise, url: '%s', secret: '%s'}}",
    "receivers: {h: '%s', i: ['%s']}",
    "receivers: {h: {type: '%s', password: '%s'}}",
    "receivers: ['%s', '%s']",
    "receivers: '%s'\nsecret: '%s'",
    "receivers: {h: {type: webhook, url: '%s' secret: '%s'}}",
    "receivers: {h: {type: webhook, url: !x '%s', secret: &a '%s'}}",
]


@pytest.mark.parametrize("canary", CANARIES)
@pytest.mark.parametrize("place", PLACES)
def test_no_secret_is_echoed_wherever_it_was_put(place: str, canary: str, tmp_path: Path) -> None:
    path = tmp_path / "alerts.yaml"
    path.write_text(place % (canary, canary))
    with pytest.raises(ConfigErrors) as caught:
        load_alerts(path)
    told = "\n".join(f"{e} {e.args} {e.__cause__!r} {e.__context__!r}" for e in caught.value.errors)
    assert "canary" not in told + repr(caught.value.__cause__) + repr(caught.value.__context__)


@pytest.mark.parametrize("canary", CANARIES[:3])
@pytest.mark.parametrize("key", ["shards", "kind", "schedules", "fields", "window", "owners", "alert"])
def test_a_secret_in_a_stream_is_not_echoed(key: str, canary: str, make, sensor: str) -> None:
    lines = [line for line in sensor.splitlines() if not line.startswith(key)]
    text = "\n".join(lines) if key != "fields" else "kind: sensor\nsource: {path: x}"
    error = load_project(make(plant=f"{text}\n{key}: '{canary}'\n")).broken["plant"]
    assert "canary" not in " ".join(str(e) for e in error.errors)


FINE = [
    "{type: webhook, url: 'https://h.example/offbeat', secret: '${env:S}'}",
    "{type: webhook, url: 'http://127.0.0.1:9000/x', secret: '${connection:h:password}'}",
    "{type: webhook, url: 'https://h.example/${env:TOKEN}', secret: '${env:S}'}",
    "{type: webhook, url: 'https://bob:${env:PW}@h.example', secret: '${env:S}'}",
    "{type: apprise, url: '${env:SLACK}'}",
    "{type: apprise, url: 'mailtos://bob:${env:PW}@mail.example?to=ops@mail.example'}",
    "{type: apprise, url: 'json://127.0.0.1:9000/alerts'}",
]


@pytest.mark.parametrize("receiver", FINE)
def test_references_and_bare_addresses_are_accepted(receiver: str, tmp_path: Path) -> None:
    path = tmp_path / "alerts.yaml"
    path.write_text(f"receivers: {{h: {receiver}}}\n")
    assert set(load_alerts(path).receivers) == {"h"}


CLEAR = [
    "{type: webhook, url: 'https://h.example', secret: 'x${env:S}'}",
    "{type: webhook, url: 'https://h.example', secret: '${env:S}${env:T}'}",
    "{type: webhook, url: 'https://hooks.example/T0AB12CD3/XyZ12345678901234567890', secret: '${env:S}'}",
    "{type: webhook, url: 'https://h.example/${env:A}?api_key=abc', secret: '${env:S}'}",
    "{type: webhook, url: 'https://bob@h.example', secret: '${env:S}'}",
    "{type: webhook, url: 'file:///etc/passwd', secret: '${env:S}'}",
    "{type: apprise, url: 'json://bob:pw@h.example'}",
    "{type: apprise, url: 'pover://user@token'}",
    "{type: apprise, url: 'discord://1/2'}",
]


@pytest.mark.parametrize("receiver", CLEAR)
def test_credentials_in_clear_are_refused(receiver: str, tmp_path: Path) -> None:
    path = tmp_path / "alerts.yaml"
    path.write_text(f"receivers: {{h: {receiver}}}\n")
    with pytest.raises(ConfigErrors):
        load_alerts(path)
