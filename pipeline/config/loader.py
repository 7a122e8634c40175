"""From YAML files to streams: read strictly, lay over the defaults, check, and say everything that is wrong.

In: `configs/` with defaults.yaml, alerts.yaml and streams/<name>.yaml. Out: a `Project`. A broken stream
file is left out alone; defaults.yaml takes the streams that rest on it, alerts.yaml the delivery of alerts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipeline.config.checks import check, check_part, receivers
from pipeline.config.document import Document, below, overlay
from pipeline.config.models import (
    Alerts,
    SensorStream,
    Stream,
    StreamBase,
    TransactionStream,
    know_plugins,
)
from pipeline.config.problems import ConfigErrors, listed, nearest, ordered, problem_at
from pipeline.config.scalars import NAME_SHAPE, NAME_WORDS
from pipeline.config.yaml_nodes import LIMIT, parse
from pipeline.errors import ConfigError

Kind = Literal["sensor", "transaction"]
KINDS: dict[str, type[SensorStream] | type[TransactionStream]] = {
    "sensor": SensorStream,
    "transaction": TransactionStream,
}
SECTIONS: dict[str, type[StreamBase]] = {"all": StreamBase, **KINDS}
DEFAULTS, ALERTS = "defaults.yaml", "alerts.yaml"


@dataclass(frozen=True)
class Defaults:
    """What lies beneath each kind of stream, and what is wrong with it by section (`""`: the whole file)."""

    beneath: Mapping[str, Document] = field(default_factory=dict)
    errors: Mapping[str, list[ConfigError]] = field(default_factory=dict)

    def wrong_for(self, kind: str) -> list[ConfigError]:
        """Return the errors that a stream of `kind` cannot live with."""
        return [e for section in ("", "all", kind) for e in self.errors.get(section, [])]

    def all_errors(self) -> list[ConfigError]:
        """Return every error of the file."""
        return [e for errors in self.errors.values() for e in errors]


@dataclass(frozen=True)
class Project:
    """All of `configs/`: what can run, and what is wrong with the rest.

    Attributes:
        streams: Valid streams by name.
        broken: What is wrong, by the name of the stream; also under `defaults.yaml` and `alerts.yaml`.
        sources: Text of each valid stream's file.
        told: alerts.yaml; None when it is broken.
    """

    streams: dict[str, Stream]
    broken: dict[str, ConfigErrors]
    sources: dict[str, str]
    told: Alerts | None

    @property
    def alerts(self) -> Alerts:
        """alerts.yaml; raises ConfigError when it is broken, so that only what tells people stops."""
        if self.told is None:
            raise self.broken[ALERTS]
        return self.told

    def errors(self) -> list[ConfigError]:
        """Return every error of every file, each once, by file and line."""
        return ordered(self.broken.values())


def load_project(configs: Path) -> Project:
    """Read all of `configs/`. Nothing in the files raises; only a missing folder does.

    Raises:
        ConfigError: there is no such folder.
    """
    if not configs.is_dir():
        raise ConfigError(
            "no such folder", file=str(configs), hint="run in the project, or set OFFBEAT_CONFIGS"
        )
    know_plugins()
    broken: dict[str, ConfigErrors] = {}
    defaults, told = load_defaults(configs / DEFAULTS), _alerts(configs / ALERTS, broken)
    if wrong := defaults.all_errors():
        broken[DEFAULTS] = ConfigErrors(ordered(wrong))
    project = Project({}, broken, {}, told)
    for path in stream_files(configs):
        _add(path, defaults, project)
    return project


def stream_files(configs: Path) -> list[Path]:
    """Return what lies in `streams/` and means to be a stream, whatever its name or content."""
    found = (configs / "streams").glob("*")
    return sorted(p for p in found if p.suffix.lower() in (".yaml", ".yml") and not p.name.startswith("."))


def _add(path: Path, defaults: Defaults, project: Project) -> None:
    known = project.told.receivers if project.told else None
    try:
        content = read(path)
        project.streams[path.stem] = _stream(path, content, defaults, known)
        project.sources[path.stem] = content.decode("utf-8-sig")
    except ConfigErrors as errors:
        project.broken[path.stem if path.suffix == ".yaml" else path.name] = errors


def _alerts(path: Path, broken: dict[str, ConfigErrors]) -> Alerts | None:
    try:
        return load_alerts(path)
    except ConfigErrors as errors:
        broken[ALERTS] = errors
        return None


def load_alerts(path: Path) -> Alerts:
    """Read alerts.yaml; where there is none, alerts go to the log.

    Raises:
        ConfigErrors: everything wrong with it.
    """
    if not path.exists():
        return Alerts()
    alerts, errors = check(parse(read(path), shown(path)), Alerts)
    if alerts is None:
        raise ConfigErrors(ordered(errors))
    return alerts


def load_defaults(path: Path) -> Defaults:
    """Read defaults.yaml, or nothing where there is none; nothing is raised, errors are kept by section."""
    if not path.exists():
        return Defaults()
    try:
        return _defaults(parse(read(path), shown(path)))
    except ConfigErrors as unreadable:
        return Defaults(errors={"": list(unreadable.errors)})


def _defaults(doc: Document) -> Defaults:
    errors: dict[str, list[ConfigError]] = {"": list(doc.errors)}
    for name in doc.data if not doc.errors else ():
        errors[name] = _section(doc, name)
    common = below(doc, "all")
    beneath = {kind: overlay(common, below(doc, kind)) for kind in KINDS}
    return Defaults(beneath, errors)


def _section(doc: Document, name: str) -> list[ConfigError]:
    if name not in SECTIONS:
        return [problem_at(doc, (name,), "unknown section", listed(SECTIONS), nearest(name, SECTIONS))]
    if not isinstance(doc.data[name], dict):
        return [problem_at(doc, (name,), "not a mapping", "the keys of a stream", "delete an empty section")]
    return [_under(name, e) for e in check_part(below(doc, name), SECTIONS[name])]


def _under(section: str, e: ConfigError) -> ConfigError:
    key = f"{section}.{e.key}" if e.key else section
    return ConfigError(e.problem, file=e.file, line=e.line, key=key, expected=e.expected, hint=e.hint)


def load_stream(
    path: Path,
    defaults: Path | Mapping[str, Any] | Defaults | None = None,
    known: Collection[str] | None = None,
) -> Stream:
    """Read one stream's file over its defaults.

    Args:
        path: `<name>.yaml`.
        defaults: defaults.yaml: its path, its content by section, or as loaded.
        known: Names of receivers in alerts.yaml; unchecked when None.

    Raises:
        ConfigErrors: everything wrong with it.
    """
    if isinstance(defaults, Path):
        defaults = load_defaults(defaults)
    elif not isinstance(defaults, Defaults):
        defaults = _defaults(Document.of("defaults", defaults or {}))
    return _stream(path, read(path), defaults, known)


def shown(path: Path) -> str:
    """Return a path for people: from the current folder where that is above it, on one line."""
    here = Path.cwd()
    text = str(path.relative_to(here) if path.is_relative_to(here) else path)
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def read(path: Path) -> bytes:
    """Return a file's bytes, never more than one over the limit.

    Raises:
        ConfigErrors: it is no readable file.
    """
    try:
        if not path.is_file():
            raise ConfigErrors([ConfigError("not a file", file=shown(path))])
        with path.open("rb") as file:
            return file.read(LIMIT + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "bad path"
        raise ConfigErrors([ConfigError(f"cannot be read: {why}", file=shown(path))]) from error


def _stream(path: Path, content: bytes, defaults: Defaults, known: Collection[str] | None) -> Stream:
    own = parse(content, shown(path))
    errors = _name(path, own)
    kind = own.data.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ConfigErrors(ordered([*own.errors, *errors, *_kind(own), *defaults.wrong_for("all")]))
    doc = overlay(defaults.beneath[kind], own) if kind in defaults.beneath else own
    doc.data["name"] = path.stem if not errors else "unnamed"
    stream, wrong = check(doc, KINDS[kind])
    errors += defaults.wrong_for(kind)
    told = {(e.file, e.line) for e in errors}
    errors += [e for e in wrong if (e.file, e.line) not in told or e.file == own.file]
    if stream is not None and known is not None:
        errors += receivers(stream, known, doc)
    if errors or stream is None:
        raise ConfigErrors(ordered(errors))
    return stream


def _name(path: Path, doc: Document) -> list[ConfigError]:
    if path.suffix != ".yaml":
        return [problem_at(doc, (), "the file's name does not end in .yaml", f"{path.stem}.yaml")]
    if not NAME_SHAPE.fullmatch(path.stem):
        return [problem_at(doc, (), "the file's name, which names the stream, is no name", NAME_WORDS)]
    if doc.data.get("name", path.stem) != path.stem and doc.could_read(("name",)):
        return [problem_at(doc, ("name",), "not the file's name", path.stem, "leave it out")]
    return []


def _kind(doc: Document) -> list[ConfigError]:
    if not doc.could_read(("kind",)):
        return []
    if "kind" in doc.data:
        hint = nearest(str(doc.data["kind"]), KINDS)
        return [problem_at(doc, ("kind",), "unknown kind", listed(KINDS), hint)]
    near = nearest("kind", doc.data).replace("did you mean", "is it what you call")
    return [problem_at(doc, ("kind",), "required key is missing", listed(KINDS), near)]
