"""The docs are true: they name every command, every dependency, every key, and files that exist."""

import re
import tomllib
from pathlib import Path

import pytest
from typer.main import get_command

from pipeline.cli import app
from pipeline.config.reference import reference

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
DOCS = README + "".join(path.read_text() for path in (ROOT / "docs").glob("*.md"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def commands():
    top = get_command(app).commands
    groups = ("rejects", "maintenance")
    return [*top, *(f"{group} {name}" for group in groups for name in top[group].commands)]


@pytest.mark.parametrize("command", commands())
def test_the_docs_name_every_command(command):
    assert f"offbeat {command}" in DOCS or f"`{command}`" in DOCS


@pytest.mark.parametrize("requirement", PROJECT["dependencies"])
def test_the_readme_says_why_each_dependency_is_there(requirement):
    name = re.match(r"[a-z0-9-]+", requirement)[0]
    table = README[README.index("## Dependencies") : README.index("## Where to go next")]
    assert re.search(rf"(^\| |, ){re.escape(name)}[ ,]", table, re.M), name


def test_the_keys_of_a_stream_are_documented_as_they_are():
    assert (ROOT / "docs" / "streams.md").read_text() == reference(), "run `make schema`"


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_the_readme_links_to_files_that_exist(path):
    assert (ROOT / path).exists()


def test_every_promise_points_at_tests_that_exist():
    text = (ROOT / "docs" / "architecture.md").read_text()
    named = re.findall(r"`(tests/[\w/.-]+)`", text)
    assert len(named) >= 10
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_make_target_that_is_named_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"`make ([a-z-]+)", DOCS)) <= targets
