"""compose.yaml is valid by the Compose Specification, keeps no secret, and opens nothing to the network."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "compose.yaml").read_text()
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SCHEMA = ROOT / "tests" / "vendor" / "compose-spec" / "compose-spec.json"
EXPECTED = {"api-server", "scheduler", "dag-processor", "triggerer", "worker", "setup"}
EXPECTED |= {"mlflow", "postgres", "redis", "kafka", "mosquitto"}


def test_it_is_valid_by_the_compose_specification() -> None:
    validator = jsonschema.validators.validator_for(schema := json.loads(SCHEMA.read_text()))(schema)
    assert [f"{list(e.path)}: {e.message}" for e in validator.iter_errors(COMPOSE)] == []
    assert list(validator.iter_errors({"services": {"x": {"imagee": "y"}}})), "the schema does check"


def test_it_has_all_parts() -> None:
    assert set(SERVICES) == EXPECTED


@pytest.mark.parametrize("name", sorted(EXPECTED - {"setup"}))
def test_every_server_restarts_and_says_whether_it_is_well(name: str) -> None:
    assert SERVICES[name]["restart"] == "unless-stopped"
    assert SERVICES[name]["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_what_a_service_refers_to_exists(name: str) -> None:
    service = SERVICES[name]
    assert set(service.get("depends_on", {})) <= set(SERVICES)
    assert set(service.get("secrets", [])) <= set(COMPOSE["secrets"])
    for volume in service.get("volumes", []):
        source = volume.split(":")[0]
        known = (
            source == "./data" or (ROOT / source).exists()
            if source.startswith("./")
            else source in COMPOSE["volumes"]
        )
        assert known, f"{name}: {source}"
    for other, how in service.get("depends_on", {}).items():
        if how["condition"] == "service_healthy":
            assert "healthcheck" in SERVICES[other]


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_ports_are_open_to_this_machine_only(name: str) -> None:
    assert [p for p in SERVICES[name].get("ports", []) if not p.startswith("127.0.0.1:")] == []


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_images_are_pinned(name: str) -> None:
    assert re.search(r":\d+\.\d+", SERVICES[name]["image"])


def test_secrets_come_from_the_environment_and_are_all_explained() -> None:
    variables = set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", TEXT)) | {
        s["environment"] for s in COMPOSE["secrets"].values()
    }
    explained = dict(re.findall(r"^([A-Z_]+)=(.*)$", (ROOT / ".env.example").read_text(), re.M))
    assert variables == set(explained)
    secret = [name for name in explained if re.search("PASSWORD|KEY|SECRET", name)]
    assert {explained[name] for name in secret} == {""}
    assert ".env" in (ROOT / ".gitignore").read_text().split()


def test_the_image_is_built_from_a_lock_with_hashes() -> None:
    dockerfile = (ROOT / "docker" / "Dockerfile").read_text()
    assert "--require-hashes -r" in dockerfile
    for copied in re.findall(r"^COPY (?:--\S+ )?(\S+) ", dockerfile, re.M):
        assert (ROOT / copied).exists(), copied
