"""The lock and pyproject.toml agree: run `make lock` where this fails."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
LOCK = (ROOT / "requirements.txt").read_text()
IMAGE = (ROOT / "docker" / "requirements.txt").read_text()
EXTRAS = ("dev", "kafka", "mqtt", "postgres")
PYTHONS = ("3.11", "3.12", "3.13")
HASH = re.compile(r"\s+--hash=sha256:[0-9a-f]{64}")


def stated() -> list[Requirement]:
    """What pyproject.toml asks for: the project's own requirements and those of the locked extras."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [r for extra in EXTRAS for r in project["optional-dependencies"][extra]]
    return [Requirement(r) for r in [*project["dependencies"], *extras]]


def entries(lock: str = LOCK) -> list[str]:
    """A lock's requirements, each on one line with its hashes."""
    lines = [line for line in lock.splitlines() if not line.strip().startswith("#")]
    return [e for e in "\n".join(lines).replace("\\\n", " ").splitlines() if e.strip()]


def pins(python: str, lock: str = LOCK) -> dict[str, Requirement]:
    """What a lock installs on Linux x86-64 for one Python."""
    platform = {"python_version": python, "python_full_version": f"{python}.0"}
    platform |= {"sys_platform": "linux", "platform_machine": "x86_64", "platform_system": "Linux"}
    found: dict[str, Requirement] = {}
    for pin in (Requirement(HASH.sub("", entry).strip()) for entry in entries(lock)):
        if pin.marker is None or pin.marker.evaluate(platform):
            assert canonicalize_name(pin.name) not in found, f"{pin.name} is pinned twice"
            found[canonicalize_name(pin.name)] = pin
    return found


def version(pin: Requirement) -> str:
    (specifier,) = pin.specifier
    assert specifier.operator == "==", f"{pin} is not exact"
    return specifier.version


@pytest.mark.parametrize("python", PYTHONS)
def test_the_lock_pins_every_stated_requirement_inside_its_range(python: str) -> None:
    locked = pins(python)
    for wanted in stated():
        pin = locked.get(canonicalize_name(wanted.name))
        assert pin, f"{wanted} is not in the lock"
        assert wanted.specifier.contains(version(pin), prereleases=True), f"{wanted} is locked as {pin}"


def test_the_lock_was_compiled_from_nothing_but_what_is_stated() -> None:
    """uv marks what is asked for directly; a requirement that left pyproject.toml must leave the lock."""
    blocks = re.findall(r"^([a-z0-9][a-z0-9._-]*)(?:\[.*?\])?==.*\n((?: .*\n?)*)", LOCK, re.M)
    direct = {canonicalize_name(name) for name, comment in blocks if "offbeat (pyproject.toml)" in comment}
    assert direct == {canonicalize_name(wanted.name) for wanted in stated()}


def test_the_image_has_the_versions_of_the_lock_and_what_celery_needs() -> None:
    image, lock = pins("3.11", IMAGE), pins("3.11")
    differ = {name: (pin, lock[name]) for name, pin in image.items() if name in lock}
    assert [pair for pair in differ.values() if version(pair[0]) != version(pair[1])] == []
    assert {"apache-airflow-providers-celery", "redis", "psycopg", "confluent-kafka"} <= set(image)
    assert not {"pytest", "mypy"} & set(image)


@pytest.mark.parametrize("lock", [LOCK, IMAGE], ids=["lock", "image"])
def test_every_pin_has_hashes(lock: str) -> None:
    assert [e.split()[0] for e in entries(lock) if not HASH.search(e)] == []


@pytest.mark.parametrize("lock", [LOCK, IMAGE], ids=["lock", "image"])
def test_a_lock_names_no_index_and_no_address(lock: str) -> None:
    left = "\n".join(HASH.sub("", entry) for entry in entries(lock))
    assert not re.search(r"^\s*-|://|@\s", left, re.M)
