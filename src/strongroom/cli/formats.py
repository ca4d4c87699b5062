"""``.env``, JSON, YAML and TOML files as entries to import, or as variables.

Readers never raise while they hold the file's text: an error would carry it in its frames. They return what
is wrong as text that names lines and keys and quotes no value.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from strongroom.errors import BackendNotInstalledError, InvalidRequestError, SecretStoreError
from strongroom.value import SecretValue, is_utf8, take

if TYPE_CHECKING:
    from dotenv.parser import Binding


@dataclass(slots=True)
class Parsed:
    """What a file holds.

    Attributes:
        entries: keys as they stand in the file, in its order, with their values.
        empty: keys that have no value, such as ``PROXY=``.
        objects: keys whose value is an object, of which the entry is the JSON text.
        problems: why the file cannot be taken; nothing of it may be used then.
    """

    entries: dict[str, SecretValue] = field(default_factory=dict)
    empty: list[str] = field(default_factory=list)
    objects: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def add(self, key: str, value: SecretValue) -> None:
        """Take an entry; a key given twice is a problem, since only one of them can be meant."""
        if key in self.entries or key in self.empty:
            self.problems.append(f"{key} is given twice")
        elif value.matches(b""):
            self.empty.append(key)
        else:
            self.entries[key] = value


def read(data: SecretValue, kind: str, expand: bool | None) -> Parsed:
    """Parse `data` as ``env``, ``json``, ``yaml`` or ``toml``.

    `expand` says what ``${NAME}`` in a ``.env`` value means: True, an earlier key of the file; False, itself;
    None, a problem to be settled by the caller.

    Raises:
        InvalidRequestError: it is not of that format, or something in it is ambiguous; all of it is told.
        BackendNotInstalledError: the format needs a package that is not there.
    """
    parsed = parse(data, kind, expand)
    if parsed.problems:
        raise InvalidRequestError(
            f"the file cannot be taken in as {kind}: {'; '.join(parsed.problems[:5])}; nothing was written"
        )
    return parsed


def parse(data: SecretValue, kind: str, expand: bool | None) -> Parsed:
    """As `read`, with what is wrong in ``problems``.

    Raises:
        BackendNotInstalledError: the format needs a package that is not there.
    """
    parsed = READERS[kind](data, expand) if is_utf8(data.reveal()) else Parsed(problems=["it is not UTF-8"])
    if isinstance(parsed, SecretStoreError):
        raise parsed
    return parsed


def _read_env(data: SecretValue, expand: bool | None) -> Parsed | SecretStoreError:
    try:
        from dotenv.parser import parse_stream
    except ImportError:
        return _missing(".env files", "'strongroom[cli]'")
    from io import StringIO

    parsed = Parsed()
    for binding in parse_stream(StringIO(data.reveal_text())):
        _take_binding(parsed, binding, expand)
    return parsed


def _take_binding(parsed: Parsed, binding: Binding, expand: bool | None) -> None:
    where = f"line {binding.original.line}"
    if binding.error:
        parsed.problems.append(f"{where} is not KEY=VALUE")
    elif binding.key and binding.value is None:
        parsed.problems.append(f"{where}: {binding.key} has no =")
    elif binding.key and binding.value is not None:
        value = binding.value
        if "${" in value and expand is not False:
            value = _expanded(parsed, value, where) if expand else ""
            if expand is None:
                parsed.problems.append(f"{where}: {binding.key} holds ${{...}}; say --expand or --literal")
                return
        parsed.add(binding.key, SecretValue(value))


def _expanded(parsed: Parsed, value: str, where: str) -> str:
    """`value` with earlier keys put in; never the environment's, which is another person's on another day."""
    from dotenv.variables import Variable, parse_variables

    known = {key: entry.reveal_text() for key, entry in parsed.entries.items()}
    atoms = list(parse_variables(value))
    for atom in atoms:
        if isinstance(atom, Variable) and atom.name not in known and atom.default is None:
            parsed.problems.append(f"{where}: ${{{atom.name}}} is no earlier key of the file")
    return "".join(atom.resolve(known) for atom in atoms)


def _read_json(data: SecretValue, _: bool | None) -> Parsed | SecretStoreError:
    try:
        document = json.loads(data.reveal(), object_pairs_hook=_unique)
    except (ValueError, RecursionError):  # JSONDecodeError.doc is the file
        return Parsed(problems=["it is not JSON, or a key is given twice"])
    return _from_mapping(document)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError
    return dict(pairs)


def _read_yaml(data: SecretValue, _: bool | None) -> Parsed | SecretStoreError:
    try:
        import yaml
    except ImportError:
        return _missing("YAML files", "pyyaml")
    try:
        document = yaml.safe_load(data.reveal_text())
    except (yaml.YAMLError, ValueError, RecursionError):  # a mark quotes the line
        return Parsed(problems=["it is not YAML"])
    return _from_mapping(document)


def _read_toml(data: SecretValue, _: bool | None) -> Parsed | SecretStoreError:
    import tomllib

    try:
        document = tomllib.loads(data.reveal_text())
    except (tomllib.TOMLDecodeError, RecursionError):  # its document is the file
        return Parsed(problems=["it is not TOML, or a key is given twice"])
    return _from_mapping(document)


def _from_mapping(document: object) -> Parsed:
    if not isinstance(document, dict):
        return Parsed(problems=["the top level must map names to values"])
    parsed = Parsed()
    for key, value in document.items():
        if not isinstance(key, str) or not isinstance(value, (str, dict)):
            # 1.10 and 0123 are not what was typed any more once a parser made numbers of them.
            parsed.problems.append(f"{str(key)[:80]} is neither text nor an object; quote it")
            continue
        taken = take(value)
        if isinstance(taken, SecretStoreError):
            parsed.problems.append(f"{key} holds what JSON cannot")
        else:
            parsed.add(key, taken)
            parsed.objects += [key] * isinstance(value, dict)
    return parsed


def _missing(what: str, package: str) -> BackendNotInstalledError:
    return BackendNotInstalledError(f"{what} need a package that is not here", hint=f"pip install {package}")


READERS: Final[dict[str, Callable[[SecretValue, bool | None], Parsed | SecretStoreError]]] = {
    "env": _read_env,
    "json": _read_json,
    "yaml": _read_yaml,
    "toml": _read_toml,
}


def format_of(path: str) -> str:
    """The format that a file's name promises; what is none of the others is taken for ``.env``."""
    suffix = path.rsplit(".", 1)[-1].lower()
    return {"json": "json", "yaml": "yaml", "yml": "yaml", "toml": "toml"}.get(suffix, "env")
