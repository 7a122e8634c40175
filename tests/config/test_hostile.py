"""YAML is plain data: nothing in a file runs, expands, hides, escapes or takes long."""

import time
from pathlib import Path

import pytest

from pipeline.config.loader import load_project, load_stream
from pipeline.config.problems import ConfigErrors
from pipeline.config.yaml_nodes import LIMIT, scalar

LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{chr(97 + i)}: &{chr(97 + i)} [{'*' + chr(96 + i)}, 1]\n" for i in range(1, 9)
)
HOSTILE = {
    "billion_laughs": (LAUGHS, "anchors"),
    "anchor_of_a_scalar": ("kind: &k sensor\n", "anchors"),
    "alias_as_root": ("*a", "aliases"),
    "alias_as_key": ("*a : b\n", "aliases"),
    "python_object": ("kind: !!python/object/apply:os.system [id]\n", "tags"),
    "python_name": ("kind: !!python/name:os.system\n", "tags"),
    "local_tag": ("kind: !secret x\n", "tags"),
    "core_tag": ("kind: !!str sensor\n", "tags"),
    "tag_directive": ("%TAG ! tag:evil,2026:\n---\nkind: sensor\n", "directives"),
    "yaml_directive": ("%YAML 1.1\n---\nkind: sensor\n", "directives"),
    "huge_version": ("%YAML 1." + "9" * 9000 + "\n---\nkind: sensor\n", "not YAML"),
    "duplicate_key": ("kind: sensor\nkind: transaction\n", "duplicate key (line 1)"),
    "duplicate_quoted": ("kind: sensor\n'kind': transaction\n", "duplicate key"),
    "number_as_key": ("1: x\n", "a key that is not text"),
    "null_as_key": ("~: x\n", "a key that is not text"),
    "list_as_key": ("[a]: x\n", "a key that is not text"),
    "long_key": ("k" * 1000 + ": x\n", "a key of 1000 characters"),
    "hidden_key": ('"a\\u202eb": x\n', "all visible"),
    "nul": ("kind: sen\0sor\n", "U+0000"),
    "nul_escaped": ('description: "a\\0b"\n', "U+0000"),
    "right_to_left": ("description: a\u202eb\n", "U+202E"),
    "lone_surrogate": ('description: "\\ud800"\n', "U+D800"),
    "beyond_unicode": ('description: "\\U00110000"\n', "not YAML"),
    "bom_inside": ("kind: sensor\ndescription: a\ufeffb\n", "U+FEFF"),
    "deep_lists": ("a: " + "[" * 5000, "nested more than"),
    "deep_lines": ("".join(" " * i + "a:\n" for i in range(200)), "nested more than"),
    "many_brackets": ("[" * LIMIT, "the file is a list"),
    "scalar_root": ("sensor", "one single value"),
    "empty": ("", "empty"),
    "only_comment": ("# nothing\n", "empty"),
    "empty_document": ("---\n", "one single value"),
    "unclosed": ("kind: [sensor\n", "not YAML"),
}


def said(path: Path) -> str:
    with pytest.raises(ConfigErrors) as caught:
        load_stream(path)
    return "\n".join(str(e) for e in caught.value.errors)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_yaml_is_refused_with_a_reason(name: str, tmp_path: Path) -> None:
    text, phrase = HOSTILE[name]
    path = tmp_path / f"{name}.yaml"
    path.write_bytes(text.encode())
    assert phrase in said(path)


@pytest.mark.parametrize("content", [b"\xff\xfek\x00i\x00", b"kind: \xe9\n", "kind: sensor".encode("utf-16")])
def test_only_utf_8_is_read(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(content)
    assert "is not UTF-8" in said(path)


def test_a_file_of_256_kib_is_read_and_one_byte_more_is_not(tmp_path: Path, sensor: str) -> None:
    path = tmp_path / "x.yaml"
    full = sensor + "#" * (LIMIT - len(sensor))
    path.write_text(full)
    assert load_stream(path).name == "x"
    path.write_text(full + "#")
    assert "at most 256 KiB" in said(path)


def test_a_sparse_giant_is_not_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    with path.open("wb") as file:
        file.truncate(1 << 36)
    assert "at most 256 KiB" in said(path)


def test_a_byte_order_mark_and_windows_lines_are_fine(tmp_path: Path, sensor: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + sensor.replace("\n", "\r\n").encode())
    assert load_stream(path).name == "x"


NAMES = [
    "..",
    "a b",
    "Ä",
    "UPPER",
    "-a",
    "_a",
    "a.b",
    "ａ",
    "а",
    "a\n",
    "a" * 64,
    "$(id)",
    "a;drop",
    "a%2e",
    "${env:X}",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_cannot_have_a_name_that_escapes(name: str, tmp_path: Path, sensor: str) -> None:
    path = tmp_path / f"{name}.yaml"
    path.write_text(sensor)
    assert "the file's name, which names the stream, is no name" in said(path)


@pytest.mark.parametrize("name", ["../../etc/x", "/etc/passwd", "a/b", "a\\b", "..", "other", "", 5, "[a]"])
def test_a_name_inside_the_file_cannot_escape(name: object, tmp_path: Path, sensor: str) -> None:
    path = tmp_path / "plant.yaml"
    path.write_text(f"name: {name}\n" + sensor)
    assert "not the file's name" in said(path)


@pytest.mark.parametrize(
    "channel", ["'a; drop table x'", "../a", '"a\\nb"', "'a b'", "é", "ａ", "''", "x" * 129]
)
def test_a_channel_cannot_have_a_name_that_escapes(channel: str, tmp_path: Path, sensor: str) -> None:
    path = tmp_path / "plant.yaml"
    path.write_text(sensor + f"    - name: {channel}\n")
    assert "fields.channels[2].name: got the text" in said(path)


def test_errors_are_one_line_even_for_hostile_paths(tmp_path: Path) -> None:
    path = tmp_path / "a\nERROR all fine\x1b[31m.yaml"
    path.write_text("kind: sensor\n")
    assert all("\n" not in line and "\x1b" not in line for line in map(str, errors_of(path)))


def errors_of(path: Path) -> tuple[Exception, ...]:
    with pytest.raises(ConfigErrors) as caught:
        load_stream(path)
    return caught.value.errors


def test_what_is_not_a_file_is_said_and_not_waited_for(make, sensor: str) -> None:
    import os

    configs = make(good=sensor)
    (configs / "streams" / "folder.yaml").mkdir()
    os.mkfifo(configs / "streams" / "pipe.yaml")
    (configs / "streams" / "dangling.yaml").symlink_to("nowhere")
    project = load_project(configs)
    assert set(project.streams) == {"good"}
    assert {n: e.problem for n, e in project.broken.items()} == dict.fromkeys(
        ("folder", "pipe", "dangling"), "not a file"
    )


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"k{i}: 1\n" for i in range(25000)),
        "kind: sensor\n" + "".join(f"k{i}: 1\n" for i in range(25000)),
        "kind: sensor\n" + "".join(f"k{i}: &a 1\n" for i in range(20000)),
        "a: [" + "x, " * 80000 + "]\n",
        "kind: sensor\nshards: " + "9" * 200000 + "\n",
        '"' + "a" * 250000 + '": 1\n',
        "kind: sensor\nalert: {receivers: [" + "${, " * 50000 + "]}\n",
    ],
    ids=["keys", "unknown", "anchors", "items", "digits", "key", "dollars"],
)
def test_a_full_file_of_nonsense_is_refused_in_seconds_with_few_errors(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    began = time.perf_counter()
    assert len(errors_of(path)) <= 120
    assert time.perf_counter() - began < 20


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"), ("NO", "NO"), ("off", "off"), ("y", "y"), ("yes", "yes"), ("on", "on"),
        ("true", True), ("FALSE", False), ("null", None), ("~", None), ("", None),
        ("12", 12), ("-3", -3), ("+4", 4), ("010", 10), ("0o17", 15), ("0x1F", 31),
        ("1_000", "1_000"), ("1:30", "1:30"), ("190:20:30", "190:20:30"), ("0b11", "0b11"),
        ("1.5", 1.5), (".5", 0.5), ("1e3", 1000.0), ("1.", 1.0), ("-.inf", float("-inf")),
        ("2026-03-01", "2026-03-01"), ("1.2.3", "1.2.3"), ("=", "="), ("<<", "<<"), ("١٢", "١٢"),
    ],
)  # fmt: skip
def test_scalars_mean_what_yaml_1_2_says(text: str, value: object) -> None:
    assert scalar(text) == value
    assert type(scalar(text)) is type(value)
