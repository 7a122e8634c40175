"""Each file in broken/ says at its head what must be said about it: line, key and phrases."""

from pathlib import Path

import pytest

from pipeline.config.loader import load_alerts, load_defaults, load_stream
from pipeline.config.problems import ConfigErrors, ordered
from pipeline.errors import ConfigError

BROKEN = Path(__file__).parent / "broken"
FILES = sorted(BROKEN.glob("*/*.yaml"))


def expectations(path: Path) -> list[list[str]]:
    lines = path.read_text().splitlines()
    return [[p.strip() for p in x[9:].split(" | ")] for x in lines if x.startswith("# expect:")]


def said(path: Path) -> list[ConfigError]:
    if path.parent.name == "defaults":
        return ordered(load_defaults(path).all_errors())
    with pytest.raises(ConfigErrors) as caught:
        load_alerts(path) if path.parent.name == "alerts" else load_stream(path, known=("log", "pager"))
    return list(caught.value.errors)


def test_there_are_enough_broken_files() -> None:
    assert len(FILES) >= 40


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_a_broken_file_gets_file_line_key_and_what_was_expected(path: Path) -> None:
    errors = said(path)
    for line, key, *phrases in expectations(path):
        found = [e for e in errors if str(e.line) == line and e.key == key]
        assert found, f"nothing at {line} {key}; said: {[str(e) for e in errors]}"
        for phrase in phrases:
            assert phrase in str(found[0])
        assert f"{path.name}:{line}: " in str(found[0])


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_nothing_else_is_said(path: Path) -> None:
    expected = [(line, key) for line, key, *_ in expectations(path)]
    assert sorted((str(e.line), e.key) for e in said(path)) == sorted(expected)


@pytest.mark.parametrize("path", FILES, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_every_error_is_one_line_and_shows_no_secret(path: Path) -> None:
    for error in said(path):
        assert "\n" not in str(error)
        assert "canary" not in str(error) + repr(error.__cause__)
