"""Editors complete from schemas that are true: fresh, valid, and of one mind with the loader."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from pipeline.config.schema import as_text, schemas, write_schemas

ROOT = Path(__file__).parents[2]
CONFIGS, BROKEN = ROOT / "configs", Path(__file__).parent / "broken"
SHIPPED = [*sorted(CONFIGS.glob("*.yaml")), *sorted(CONFIGS.glob("streams/*.yaml"))]


def schema_of(path: Path) -> jsonschema.Draft202012Validator:
    folder = path.parent.name
    name = {"streams": "stream", "alerts": "alerts", "defaults": "defaults"}.get(folder, path.stem)
    return jsonschema.Draft202012Validator(schemas()[f"{name}.schema.json"])


def as_editor_sees_it(path: Path) -> Any:
    class Loader(yaml.SafeLoader):
        """YAML as an editor's language server reads it: 1.2, so that `no` is text."""

    Loader.yaml_implicit_resolvers = {
        first: [(t, r) for t, r in found if t != "tag:yaml.org,2002:bool" or first in "tTfF"]
        for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    return yaml.load(path.read_text(), Loader)


@pytest.mark.parametrize("name", schemas())
def test_the_schemas_in_configs_are_fresh(name: str) -> None:
    stale = "run `offbeat schema`"
    assert (CONFIGS / "schema" / name).read_text() == as_text(schemas()[name]), stale


@pytest.mark.parametrize("name", schemas())
def test_the_schemas_are_schemas_of_draft_2020_12(name: str) -> None:
    schema = schemas()[name]
    assert schema["$schema"].endswith("2020-12/schema")
    jsonschema.Draft202012Validator.check_schema(schema)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_the_schema_accepts_what_is_shipped(path: Path) -> None:
    schema_of(path).validate(as_editor_sees_it(path))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda p: p.stem)
def test_each_shipped_file_begins_with_the_schema_editors_use(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    assert first.startswith("# yaml-language-server: $schema=")
    assert (path.parent / first.split("=")[1]).is_file()


def marked(word: str) -> list[Path]:
    return [p for p in sorted(BROKEN.glob("*/*.yaml")) if f"# schema: {word}\n" in p.read_text()]


@pytest.mark.parametrize("path", marked("rejects"), ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_the_schema_rejects_what_a_schema_can(path: Path) -> None:
    with pytest.raises(jsonschema.ValidationError):
        schema_of(path).validate(as_editor_sees_it(path))


@pytest.mark.parametrize("path", marked("accepts"), ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_what_a_schema_cannot_say_is_known(path: Path) -> None:
    schema_of(path).validate(as_editor_sees_it(path))


def test_every_key_is_described() -> None:
    for name, schema in schemas().items():
        for kind, definition in schema["$defs"].items():
            for key, facts in definition["properties"].items():
                described = "description" in facts or "$ref" in facts
                assert described, f"{name}: {kind}.{key} has no docstring"


def test_schemas_are_written_where_asked(tmp_path: Path) -> None:
    paths = write_schemas(tmp_path / "new")
    assert {p.name for p in paths} == set(schemas())
    assert all(p.read_text().endswith("}\n") for p in paths)
