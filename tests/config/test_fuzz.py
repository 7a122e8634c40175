"""Whatever bytes a file holds: a stream, or errors; never another exception."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.config.loader import (
    DEFAULTS,
    SensorStream,
    TransactionStream,
    load_alerts,
    load_defaults,
    load_stream,
)
from pipeline.config.problems import ConfigErrors

ROOT = Path(__file__).parents[2]
SEEDS = [p.read_bytes() for p in sorted((ROOT / "configs").rglob("*.yaml"))]
SEEDS += [p.read_bytes() for p in sorted((Path(__file__).parent / "broken").rglob("*.yaml"))]
KEYS = [
    "kind",
    "name",
    "source",
    "path",
    "fields",
    "channels",
    "entity",
    "id",
    "amount",
    "min",
    "max",
    "column",
]
KEYS += ["window", "length", "stride", "alert", "receivers"]
WORDS = [
    "sensor",
    "transaction",
    "log",
    "5m",
    "0s",
    "1/week",
    "${env:X}",
    "${",
    "* * * * *",
    "no",
    "UTC",
    ".nan",
]
fuzz = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "fuzzed.yaml"


def holds(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    try:
        assert isinstance(
            load_stream(path, {"sensor": {"grid": {"step": "5m"}}}), SensorStream | TransactionStream
        )
    except ConfigErrors as broken:
        assert all(e.file.endswith("fuzzed.yaml") and "\n" not in str(e) for e in broken.errors)
    try:
        load_alerts(path)
    except ConfigErrors as broken:
        assert broken.errors
    load_defaults(path)


@fuzz
@given(content=st.binary(max_size=400))
def test_any_bytes(path: Path, content: bytes) -> None:
    holds(path, content)


@fuzz
@given(content=st.text(alphabet=st.sampled_from("ab:-[]{}&*!|>'\"%@`#,? \n\t\\xuU0~<=.1"), max_size=120))
def test_any_text_of_yamls_own_letters(path: Path, content: str) -> None:
    holds(path, content.encode())


@fuzz
@given(
    seed=st.sampled_from(SEEDS),
    cuts=st.lists(st.tuples(st.integers(0, 3000), st.binary(max_size=4)), max_size=4),
)
def test_any_damage_to_a_real_file(path: Path, seed: bytes, cuts: list[tuple[int, bytes]]) -> None:
    for where, piece in cuts:
        seed = seed[: where % (len(seed) + 1)] + piece + seed[where % (len(seed) + 1) + len(piece) :]
    holds(path, seed)


leaves = st.one_of(
    st.sampled_from(WORDS), st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=12)
)
trees = st.recursive(
    leaves,
    lambda t: st.one_of(st.lists(t, max_size=3), st.dictionaries(st.sampled_from(KEYS), t, max_size=5)),
    max_leaves=25,
)


@fuzz
@given(
    tree=st.dictionaries(st.sampled_from(KEYS), trees, max_size=8),
    kind=st.sampled_from(["sensor", "transaction"]),
)
def test_any_tree_of_known_keys(path: Path, tree: dict[str, Any], kind: str) -> None:
    holds(path, yaml.safe_dump(tree | {"kind": kind}, allow_unicode=True).encode("utf-8", "replace"))


def test_the_seeds_are_there() -> None:
    assert len(SEEDS) > 40
    assert DEFAULTS == "defaults.yaml"
