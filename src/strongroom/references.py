"""References: ``strongroom://ALIAS/NAME[?version=ID][#/json/pointer]`` where a secret should stand.

Only a whole text is a reference, never a part of one. What a reference stands for is never looked through for
further references: whoever may write one secret would else read every other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, final

from .errors import InvalidRequestError, PartialFailureError, SecretStoreError
from .value import SecretValue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .backend import Secret
    from .store import SecretStore

SCHEME: Final = "strongroom://"
_SHAPE: Final = "a reference reads strongroom://ALIAS/NAME[?version=ID][#/json/pointer]"
_ALIAS: Final = r"[a-z0-9]+(?:[._-][a-z0-9]+)*"
_LONGEST: Final = 4096
_ESCAPE: Final = rb"%([0-9A-Fa-f]{2})?"
_ENCODED_SLASH: Final = r"(?i)%2f"
_DEEPEST: Final = 100
_MOST_NODES: Final = 100_000

_Found = TypeVar("_Found")


def is_reference(text: object) -> bool:
    """Whether a value is meant as a reference: a text that begins with ``strongroom://``."""
    return isinstance(text, str) and text.startswith(SCHEME)


@dataclass(frozen=True)
class Reference:
    """One value in one configured store.

    Attributes:
        alias: what strongroom.toml calls the store; never a URL.
        name: the secret's name.
        version: a version id, or None for what is current.
        pointer: an RFC 6901 JSON pointer into the value; empty for the value as it is.
    """

    alias: str
    name: str
    version: str | None = None
    pointer: str = ""

    @classmethod
    def parse(cls, text: str) -> Reference:
        """Read a reference.

        Name, version and pointer are percent-decoded once, as UTF-8 (RFC 3986 section 2.1; RFC 6901 section 6
        for the pointer); ``+`` stands for itself. ``?``, ``#`` and ``%`` of a native name are written
        ``%3F``, ``%23`` and ``%25``; a slash is always written as it is. The alias is never decoded.

        Raises:
            InvalidRequestError: malformed, longer than 4,096 characters, or with an option other than
                ``version``; a pending value is nobody's to refer to.
        """
        if not is_reference(text) or len(text) > _LONGEST or not text.isprintable():
            raise _malformed("this is not a reference")
        body, _, fragment = text.removeprefix(SCHEME).partition("#")
        path, mark, query = body.partition("?")
        alias, _, name = path.partition("/")
        if not re.fullmatch(_ALIAS, alias) or not name:
            raise _malformed("this is not a reference")
        if re.search(_ENCODED_SLASH, name):
            raise _malformed("a slash in a name is written as it is")
        pointer = _decoded(fragment)
        if pointer and not pointer.startswith("/"):
            raise _malformed("the pointer of a reference starts with '/'")
        return cls(alias, _decoded(name), _version(query) if mark else None, pointer)

    def part_of(self, value: SecretValue) -> SecretValue:
        """What the pointer names in the value: a text as it is, anything else as JSON text.

        Raises:
            InvalidRequestError: the value is not JSON, or has nothing there.
        """
        return part(value, self.pointer)


def part(value: SecretValue, pointer: str) -> SecretValue:
    """What an RFC 6901 pointer names in the value, as `Reference.part_of`."""
    if not pointer:
        return value
    taken = _part(value, pointer)
    if isinstance(taken, InvalidRequestError):
        raise taken
    return taken


def _part(value: SecretValue, pointer: str) -> SecretValue | InvalidRequestError:
    """Never raises: the part would travel in this frame."""
    from json import dumps

    try:
        found = value.reveal_json(pointer)
        return SecretValue(found if isinstance(found, str) else dumps(found, ensure_ascii=False))
    except InvalidRequestError as error:
        return error.with_traceback(None)


def _version(query: str) -> str:
    key, _, version = query.partition("=")
    if key == "stage":
        raise InvalidRequestError(
            "a reference names no stage: it means what is current, or one version",
            hint="write ?version=ID; a pending value is read by its rotation alone",
        )
    if key != "version" or not version or "&" in version:
        raise _malformed("a reference has the one option 'version'")
    return _decoded(version)


def _decoded(text: str) -> str:
    raw = text.encode()
    if all(escape[1] for escape in re.finditer(_ESCAPE, raw)):
        with suppress(UnicodeDecodeError):
            return re.sub(_ESCAPE, lambda escape: bytes([int(escape[1], 16)]), raw).decode()
    raise _malformed("a '%' in a reference begins two hexadecimal digits of UTF-8 text")


def _malformed(problem: str) -> InvalidRequestError:
    return InvalidRequestError(problem, hint=_SHAPE)


@final
class Resolver:
    """Reads references: every store is opened once, and its current values come in one request.

    Args:
        open_store: gives the store of an alias; this resolver closes it.
        allow: aliases that references may name; None for all that `open_store` knows, which is for a person's
            own command line alone.
        given: stores that are open already, by alias; they are left open.

    Attributes:
        doubts: what was said of answers that are not plainly current: ``stale``, ``degraded`` and so on.
    """

    def __init__(
        self,
        open_store: Callable[[str], SecretStore],
        allow: Iterable[str] | None,
        given: Mapping[str, SecretStore] | None = None,
    ):
        self._open_store = open_store
        self._allow = None if allow is None else frozenset(allow)
        self._stores = dict(given or {})
        self._opened = ExitStack()
        self.doubts: set[str] = set()

    def read(self, texts: Mapping[str, str | Reference]) -> dict[str, SecretValue]:
        """The value of each reference, by the place it stands at.

        Raises:
            PartialFailureError: some could not be read; all of them are told, by place.
        """
        outcomes = {place: _parsed(text, self._allow) for place, text in texts.items()}
        by_store: dict[str, dict[str, Reference]] = {}
        for place, outcome in outcomes.items():
            if isinstance(outcome, Reference):
                by_store.setdefault(outcome.alias, {})[place] = outcome
        results: dict[str, SecretValue] = {}
        errors = {place: bad for place, bad in outcomes.items() if isinstance(bad, SecretStoreError)}
        for alias, references in by_store.items():
            for place, got in self._read_store(alias, references).items():
                if isinstance(got, SecretValue):
                    results[place] = got
                else:
                    errors[place] = got
        if errors:
            problem = f"{len(errors)} of {len(texts)} references could not be resolved"
            raise PartialFailureError(
                problem, results=results, errors={p: errors[p] for p in texts if p in errors}
            )
        return {place: results[place] for place in texts}

    def store(self, alias: str) -> SecretStore:
        """The open store of an alias.

        Raises:
            SecretStoreError: it cannot be opened.
        """
        if alias not in self._stores:
            self._stores[alias] = self._open_store(alias)
            self._opened.callback(self._stores[alias].close)
        return self._stores[alias]

    def close(self) -> None:
        """Close every store that was opened. Safe to repeat."""
        self._stores.clear()
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _read_store(
        self, alias: str, references: Mapping[str, Reference]
    ) -> dict[str, SecretValue | SecretStoreError]:
        store = _outcome(lambda: self.store(alias))
        if isinstance(store, SecretStoreError):
            return dict.fromkeys(references, store)
        current = _current(store, [r.name for r in references.values() if r.version is None])
        found: dict[str, SecretValue | SecretStoreError] = {}
        for place, reference in references.items():
            got = current[reference.name] if reference.version is None else _exact(store, reference)
            found[place] = got if isinstance(got, SecretStoreError) else self._taken(got, reference)
        return found

    def _taken(self, secret: Secret, reference: Reference) -> SecretValue | SecretStoreError:
        facts = ("stale", "degraded", "behind", "audit_degraded")
        self.doubts |= {fact for fact in facts if getattr(secret, fact)}
        return _outcome(lambda: reference.part_of(secret.value))


def _parsed(text: str | Reference, allow: frozenset[str] | None) -> Reference | SecretStoreError:
    reference = text if isinstance(text, Reference) else _outcome(lambda: Reference.parse(text))
    if isinstance(reference, Reference) and allow is not None and reference.alias not in allow:
        known = ", ".join(sorted(allow)) or "none"
        return InvalidRequestError(f"store {reference.alias!r} is not allowed here", hint=f"allowed: {known}")
    return reference


def _current(store: SecretStore, names: Sequence[str]) -> dict[str, Secret | SecretStoreError]:
    if not names:
        return {}
    try:
        return {**store.get_many(names)}
    except PartialFailureError as error:
        return {**error.results, **error.errors}
    except InvalidRequestError:
        pass  # one name is illegal, and the others are to be told of as well
    except SecretStoreError as error:
        return dict.fromkeys(names, error.with_traceback(None))
    return {name: _outcome(partial(store.get, name)) for name in names}


def _exact(store: SecretStore, reference: Reference) -> Secret | SecretStoreError:
    return _outcome(lambda: store.get(reference.name, version=reference.version))


def _outcome(call: Callable[[], _Found]) -> _Found | SecretStoreError:
    try:
        return call()
    except SecretStoreError as error:
        return error.with_traceback(None)


@final
class Document:
    """A copy of nested mappings, lists and tuples in which each reference waits for its value.

    Attributes:
        references: the references by the place they stand at, an RFC 6901 pointer into the document.

    Raises:
        InvalidRequestError: it is nested deeper than 100 levels, as one that holds itself is, or has more
            than 100,000 parts.
    """

    def __init__(self, document: object):
        self.references: dict[str, str] = {}
        self._nodes = 0
        self._copy = self._copied(document, "", 0)

    def filled(self, values: Mapping[str, object]) -> Any:
        """A new copy, with these values where the references were."""
        return _filled(self._copy, values)

    def _copied(self, node: object, place: str, depth: int) -> object:
        self._nodes += 1
        if depth > _DEEPEST or self._nodes > _MOST_NODES:
            raise InvalidRequestError(
                f"the document holds itself, or goes deeper than {_DEEPEST} levels or {_MOST_NODES:,} parts"
            )
        if isinstance(node, str) and is_reference(node):
            return self._slot(place, node)
        if isinstance(node, Mapping):
            return {k: self._copied(v, f"{place}/{_step(k)}", depth + 1) for k, v in node.items()}
        if isinstance(node, (list, tuple)):
            parts = [self._copied(one, f"{place}/{n}", depth + 1) for n, one in enumerate(node)]
            return parts if isinstance(node, list) else tuple(parts)
        return node

    def _slot(self, place: str, text: str) -> _Slot:
        while place in self.references:  # the keys 1 and "1" of one mapping look alike
            place += "'"
        self.references[place] = text
        return _Slot(place)


@dataclass(frozen=True)
class _Slot:
    place: str


def _filled(node: object, values: Mapping[str, object]) -> Any:
    if isinstance(node, _Slot):
        return values[node.place]
    if isinstance(node, dict):
        return {key: _filled(one, values) for key, one in node.items()}
    if isinstance(node, list):
        return [_filled(one, values) for one in node]
    return tuple(_filled(one, values) for one in node) if isinstance(node, tuple) else node


def _step(key: object) -> str:
    return str(key).replace("~", "~0").replace("/", "~1")
