"""Reads Sigma rule files: those shipped in ``strongroom/audit/rules`` and an operator's own.

A rule may say three things of its own under ``strongroom``, which Sigma allows as a custom attribute:

- ``key``: the fields whose values make two findings the same (a correlation's are its ``group-by``);
- ``quiet``: how long after a detection the same is not told again (a correlation's ``timespan`` by default);
- ``learn``: ``habit``: what was found while learning is normal; ``peak``: the count reached then is normal.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from strongroom.errors import BackendNotInstalledError, InvalidRequestError

from .conditions import Predicate, compile_condition
from .matching import compile_part
from .spans import parse_span

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LEVELS: Final = ("informational", "low", "medium", "high", "critical")
_KINDS: Final = ("event_count", "value_count", "temporal", "temporal_ordered")
_LIMIT: Final = 1 << 20


@final
@dataclass(frozen=True, slots=True)
class Correlation:
    """What has to come together.

    Attributes:
        kind: ``event_count``, ``value_count``, ``temporal`` or ``temporal_ordered``.
        rules: names of the rules whose matches count, in their order.
        group_by: fields whose values the matches share.
        span: nanoseconds within which they come.
        at_least: how many events, or different values of `field`.
        field: of a ``value_count``.
    """

    kind: str
    rules: tuple[str, ...]
    group_by: tuple[str, ...]
    span: int
    at_least: int = 1
    field: str = ""


@final
@dataclass(frozen=True, slots=True)
class Rule:
    """One rule, ready to run.

    Attributes:
        name: what detections and suppressions call it.
        id: its UUID.
        title: one line for people.
        level: ``informational`` to ``critical``.
        alerts: whether a match is a detection; else it is only an ingredient of a correlation.
        matches: its predicate over an event's fields; None for a correlation.
        correlation: None for a plain rule.
        key: fields that make two findings the same; empty: each is one of its own.
        quiet: nanoseconds.
        learn: ``habit``, ``peak`` or empty.
    """

    name: str
    id: str
    title: str
    level: str
    alerts: bool
    matches: Predicate | None
    correlation: Correlation | None
    key: tuple[str, ...]
    quiet: int
    learn: str


def load_rules(folder: Path | None = None) -> tuple[Rule, ...]:
    """The shipped rules and those in a folder, by name; one of the folder replaces the shipped of its name.

    Raises:
        InvalidRequestError: a file is no rule this engine can run. The message says which, and why.
        BackendNotInstalledError: PyYAML is missing.
    """
    shipped = [
        (entry.name, entry.read_text("utf-8"))
        for entry in files("strongroom.audit").joinpath("rules").iterdir()
    ]
    given = {rule["name"]: rule for name, text in sorted(shipped) for rule in _documents(name, text)}
    for path in _own(folder):
        given |= {rule["name"]: rule for rule in _documents(path.name, _read(path))}
    used = [(name, correlation) for rule in given.values() for name, correlation in _used(rule)]
    unknown = sorted({name for name, _ in used} - given.keys())
    if unknown:
        raise InvalidRequestError(f"no rule is named {unknown[0]!r}, which a correlation needs")
    silent = {name for name, correlation in used if correlation.get("generate") is not True}
    return tuple(_rule(given[name], name not in silent) for name in sorted(given))


def _own(folder: Path | None) -> list[Path]:
    if folder is None:
        return []
    if not folder.is_dir():
        raise InvalidRequestError(f"{folder} is no folder of rules")
    return sorted(path for path in folder.iterdir() if path.suffix in (".yml", ".yaml"))


def _read(path: Path) -> str:
    try:
        if path.stat().st_size <= _LIMIT:
            return path.read_text("utf-8")
    except (OSError, ValueError):
        pass
    raise InvalidRequestError(f"{path.name}: not a readable rule file of at most 1 MiB")


def _documents(file: str, text: str) -> Iterator[dict[str, Any]]:
    for document in _yaml(file, text):
        if not isinstance(document, dict) or not isinstance(document.get("title"), str):
            raise InvalidRequestError(f"{file}: a rule is a mapping with a title")
        name = document.setdefault("name", document.get("id"))
        if not isinstance(name, str) or not name:
            raise InvalidRequestError(f"{file}: the rule {document['title']!r} has neither name nor id")
        document["_where"] = f"{file}: {name}"
        yield document


def _yaml(file: str, text: str) -> list[Any]:
    try:
        import yaml
    except ImportError:
        raise BackendNotInstalledError(
            "rules are YAML files, and PyYAML is not installed", hint="pip install 'strongroom[audit]'"
        ) from None
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where libyaml was at hand
    try:
        return list(yaml.load_all(text, Loader=loader))
    except (yaml.YAMLError, RecursionError, ValueError):  # a mark would quote the line
        pass
    raise InvalidRequestError(f"{file}: not YAML")


def _used(document: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    """The rules that a correlation uses up, unless it says `generate: true`."""
    correlation = document.get("correlation")
    names = correlation.get("rules") if isinstance(correlation, dict) else None
    return [(str(name), correlation) for name in names] if correlation and isinstance(names, list) else []


def _rule(document: Mapping[str, Any], alerts: bool) -> Rule:
    where = document["_where"]
    level = document.get("level", "informational")
    if level not in LEVELS:
        raise InvalidRequestError(f"{where}: {level!r} is no level", hint=", ".join(LEVELS))
    correlation = _correlation(document["correlation"], where) if "correlation" in document else None
    own = _attributes(document, where)
    return Rule(
        name=document["name"],
        id=str(document.get("id", "")),
        title=document["title"],
        level=level,
        alerts=alerts,
        matches=None if correlation else _matches(document, where),
        correlation=correlation,
        key=correlation.group_by if correlation else tuple(map(str, own.get("key", ()))),
        quiet=parse_span(own["quiet"], where) if "quiet" in own else correlation.span if correlation else 0,
        learn=str(own.get("learn", "")),
    )


def _attributes(document: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    own = document.get("strongroom", {})
    if not isinstance(own, dict) or own.keys() - {"key", "quiet", "learn"}:
        raise InvalidRequestError(f"{where}: `strongroom` holds key, quiet and learn")
    if not isinstance(own.get("key", []), list) or own.get("learn", "") not in ("", "habit", "peak"):
        raise InvalidRequestError(f"{where}: `key` is a list of fields, and `learn` habit or peak")
    return own


def _matches(document: Mapping[str, Any], where: str) -> Predicate:
    detection = document.get("detection")
    if not isinstance(detection, dict) or "condition" not in detection:
        raise InvalidRequestError(f"{where}: no detection with a condition")
    parts = {str(name): compile_part(part, where) for name, part in detection.items() if name != "condition"}
    condition = detection["condition"]
    choices = condition if isinstance(condition, list) else [condition]
    found = [compile_condition(str(one), parts, where) for one in choices]
    return found[0] if len(found) == 1 else lambda fields: any(choice(fields) for choice in found)


def _correlation(given: object, where: str) -> Correlation:
    if not isinstance(given, dict) or given.get("type") not in _KINDS:
        raise InvalidRequestError(
            f"{where}: a correlation of a type this engine does not know", hint=", ".join(_KINDS)
        )
    if given.keys() - {"type", "rules", "group-by", "timespan", "condition", "generate"}:
        raise InvalidRequestError(f"{where}: the correlation has a key this engine does not know")
    rules, group_by = given.get("rules"), given.get("group-by", [])
    if not isinstance(rules, list) or not rules or not isinstance(group_by, list):
        raise InvalidRequestError(f"{where}: a correlation lists its rules, and its group-by fields")
    span = parse_span(given.get("timespan"), where)
    at_least, field = (1, "") if given["type"].startswith("temporal") else _condition(given, where)
    return Correlation(
        given["type"], tuple(map(str, rules)), tuple(map(str, group_by)), span, at_least, field
    )


def _condition(given: Mapping[str, Any], where: str) -> tuple[int, str]:
    """Only `gt` and `gte`: that something has *not* happened is known of no stream's end."""
    condition = given.get("condition")
    found = (
        {key: value for key, value in condition.items() if key != "field"}
        if isinstance(condition, dict)
        else {}
    )
    field = condition.get("field", "") if isinstance(condition, dict) else ""
    key, count = next(iter(found.items()), ("", 0))
    if len(found) != 1 or key not in ("gt", "gte") or type(count) is not int or count < 0:
        raise InvalidRequestError(f"{where}: the condition of a correlation is `gt` or `gte` and a number")
    if (given["type"] == "value_count") != bool(field) or not isinstance(field, str):
        raise InvalidRequestError(f"{where}: a value_count, and nothing else, names one field")
    return max(1, count + (key == "gt")), field
