"""What is wrong with a file, in words that say where it is and how to mend it.

In: pydantic's errors and the document they are about. Out: a `ConfigError` each, gathered in `ConfigErrors`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from pipeline.config import plugins
from pipeline.config.credentials import looks_secret, named_secret
from pipeline.config.document import MOST, Document, Where, dotted, plain
from pipeline.config.locate import Located, keys_of, locate
from pipeline.config.receivers import TYPES
from pipeline.config.scalars import COLUMN, NAME, NAME_WORDS
from pipeline.errors import ConfigError

Details = Mapping[str, Any]

_PATTERNS = {
    NAME: NAME_WORDS,
    COLUMN: "letters, digits, _ . and -, at most 128, with a letter or _ first",
    r"^https?://[^\s@]+$": "an address such as https://airflow.example.org",
}
_TYPES = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "tuple_type": "a list",
    "model_type": "a mapping of keys",
    "model_attributes_type": "a mapping of keys",
    "dict_type": "a mapping of keys",
}


class ConfigErrors(ConfigError):
    """Everything wrong with one file; as an error itself it is the first, and `others` are the rest."""

    def __init__(self, errors: Sequence[ConfigError]) -> None:
        first = errors[0]
        super().__init__(
            first.problem,
            file=first.file,
            line=first.line,
            key=first.key,
            expected=first.expected,
            hint=first.hint,
        )
        self.errors: tuple[ConfigError, ...] = tuple(errors)

    @property
    def others(self) -> tuple[ConfigError, ...]:
        """All errors but the first."""
        return self.errors[1:]

    def __reduce__(self) -> tuple[type[ConfigErrors], tuple[tuple[ConfigError, ...]]]:
        return type(self), (self.errors,)


def explain(errors: Iterable[ConfigError]) -> str:
    """Return one line for each error, in the order of files and lines, each once."""
    return "\n".join(str(e) for e in ordered(errors))


def ordered(errors: Iterable[ConfigError]) -> list[ConfigError]:
    """Return errors by file and line, each once."""
    once = {str(e): e for e in errors if not isinstance(e, ConfigErrors)}
    once |= {str(e): e for many in errors if isinstance(many, ConfigErrors) for e in many.errors}
    return sorted(once.values(), key=lambda e: (e.file, e.line or 0))


def nearest(word: str, choices: Iterable[str]) -> str:
    """Return a hint with the choice that looks most like `word`, or nothing."""
    near = difflib.get_close_matches(word[:64], list(choices), n=1, cutoff=0.6)
    return f"did you mean {near[0]}?" if near else ""


def listed(choices: Iterable[str]) -> str:
    """Return choices for people: `one of a, b, c`."""
    names = sorted(choices)
    if len(names) > 40:
        return "a known name"
    return f"one of {', '.join(names)}" if len(names) > 1 else "".join(names) or "nothing here"


def show(value: Any, where: Where = (), *, secret: bool = False) -> str:
    """Say what was found, never a secret: lists, mappings and what may be a secret are named by kind only."""
    if value is None or isinstance(value, (dict, list, tuple)):
        return "nothing" if value is None else "a mapping" if isinstance(value, dict) else "a list"
    if isinstance(value, bool):
        return "true" if value else "false"
    kind = "text" if isinstance(value, str) else "number"
    named = any(isinstance(step, str) and named_secret(step) for step in where)
    if secret or named or looks_secret(str(value)):
        return f"a {kind} (not shown)"
    return f"the text '{plain(value)}'" if kind == "text" else f"the number {value}"


def problem_at(doc: Document, where: Where, problem: str, expected: str = "", hint: str = "") -> ConfigError:
    """Return an error about the value at `where`, with the file and line it came from."""
    mark = doc.mark(where)
    key = dotted(where)
    return ConfigError(problem, file=mark.file, line=mark.line, key=key, expected=expected, hint=hint)


def translate(
    error: ValidationError, model: type[BaseModel], doc: Document, *, part: bool = False
) -> list[ConfigError]:
    """Return pydantic's errors as errors of the file; at most `MOST`; none on what YAML refused already.

    With `part`, what is left out, or wrong only together with the rest, is no error.
    """
    out: list[ConfigError] = []
    for details in error.errors(include_url=False):
        found = locate(model, details["loc"], doc.data)
        if not doc.could_read(found.where) or _echo(details) or (part and _of_whole(details)):
            continue
        if len(out) == MOST:
            out.append(problem_at(doc, (), f"more than {MOST} problems"))
            break
        out.append(_one(details, found, doc))
    return out


def _of_whole(details: Details) -> bool:
    listed = any(isinstance(step, int) for step in details["loc"])  # lists are never merged
    return details["type"] in ("missing", "together") and not listed


def _echo(details: Details) -> bool:
    """Tell whether pydantic only says that a list is too short because its items are wrong."""
    context = details.get("ctx", {})
    if details["type"] != "too_short":
        return False
    return len(details["input"]) >= int(context.get("min_length", 0))


def _one(details: Details, found: Located, doc: Document) -> ConfigError:
    kind, where = details["type"], found.where
    context: Details = details.get("ctx", {})
    if kind == "extra_forbidden":
        return _unknown(found, doc)
    if kind == "missing":
        return _missing(found, doc)
    if kind == "together":
        return problem_at(doc, where + tuple(context["at"]), context["problem"])
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return _tag(details, found, doc)
    if details["loc"][-1:] == ("[key]",):
        return problem_at(doc, where, "not a name", _PATTERNS[NAME])
    # whatever stands where a receiver should be may be its address
    secret = found.reference is not None or (
        where[:1] == ("receivers",) and (found.parent is None or len(where) == 1)
    )
    got = f"got {show(details['input'], where, secret=secret)}"
    return problem_at(doc, where, got, _expected(details), _hint(details, found, secret=secret))


def _unknown(found: Located, doc: Document) -> ConfigError:
    known = list(keys_of(found.parent)) if found.parent else []
    hint = nearest(str(found.where[-1]), known)
    if not hint and found.where[-1] == "<<":
        hint = "merge keys are not supported: write the values out, or put them in defaults.yaml"
    return problem_at(doc, found.where, "unknown key", listed(known), hint)


def _missing(found: Located, doc: Document) -> ConfigError:
    return problem_at(doc, found.where, "required key is missing", hint=found.description.lower())


def _tag(details: Details, found: Located, doc: Document) -> ConfigError:
    """Say which `type` a receiver may have; the value in the file may be anything, so it is not shown."""
    where = (*found.where, "type")
    if details["type"] == "union_tag_not_found":
        return problem_at(doc, where, "required key is missing", listed(TYPES))
    choices, tag = re.findall(r"'([^']+)'", details["ctx"]["expected_tags"]), str(details["ctx"]["tag"])
    _, unusable = plugins.installed()
    hint = unusable.get(tag, "") or nearest(tag, choices)
    return problem_at(doc, where, "unknown type", listed(choices), hint)


def _expected(details: Details) -> str:
    kind, context = details["type"], details.get("ctx", {})
    if kind in _TYPES:
        return _TYPES[kind]
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(context["pattern"], f"text like {context['pattern']}")
    if kind == "literal_error":
        return listed(_choices(details))
    if kind == "choice":
        return str(context["what"])
    text = str(details["msg"]).removeprefix("Value error, ").removeprefix("expected ")
    return re.sub(r"^(Input|String|Value|Tuple|List) should (be |have )?", "", text)


def _hint(details: Details, found: Located, *, secret: bool) -> str:
    kind, value = details["type"], details["input"]
    if value is None and found.field and not found.field.is_required():
        return "delete the key to use the default"
    if secret:
        return ""
    if kind == "string_type" and isinstance(value, (int, float)):
        return "put it in quotes"
    if kind == "bool_type" and str(value).lower() in ("yes", "no", "on", "off"):
        return "YAML 1.2 knows only true and false"
    return nearest(str(value), _choices(details))


def _choices(details: Details) -> Sequence[str]:
    """Return the texts that would have been right."""
    if details["type"] == "literal_error":
        return re.findall(r"'([^']+)'", details["ctx"]["expected"])
    return tuple(details["ctx"]["choices"]) if details["type"] == "choice" else ()
