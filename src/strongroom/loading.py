"""``strongroom.load``: what an application needs of its stores, as a dataclass, read once at its start.

::

    @dataclass(frozen=True)
    class App:
        password: Annotated[SecretValue, Ref("db/password")]
        sentry: Annotated[SecretValue | None, Ref("sentry/dsn")]
        user: Annotated[str, Ref("db/login", pointer="/user", reveal=True)] = field(repr=False)

    app = strongroom.load(App)
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeAlias, TypeVar, get_type_hints

from .backend import Secret
from .config import Config, open  # noqa: A004  (the module's main verb, as in gzip.open)
from .declared import JSON_TYPES, Declaration, Group, Leaf, Ref, has_default, is_dataclass, name_of, parts
from .errors import InvalidRequestError, PartialFailureError, SecretNotFoundError, SecretStoreError
from .store import SecretStore
from .value import SecretValue

T = TypeVar("T")
Source: TypeAlias = SecretStore | str | None
ConfigFile: TypeAlias = str | os.PathLike[str] | Config | None
Answer: TypeAlias = Secret | SecretStoreError
Errors: TypeAlias = dict[str, tuple[Ref | None, SecretStoreError]]
_ABSENT = object()


def load(cls: type[T], *, store: Source = None, config: ConfigFile = None) -> T:
    """Fill a dataclass from stores: one ``get_many`` for each, and every problem told at once.

    A field with a ``Ref`` is a ``SecretValue``. With ``reveal=True`` it may be ``str``, ``bytes`` (the whole
    value), ``int``, ``float``, ``bool`` (JSON), or a dataclass that takes the members of a JSON object; plain
    fields are then ``field(repr=False)``. A dataclass without a ``Ref`` groups fields that have one. Only a
    secret that does not exist lets a default, or the None of an optional field, stand.

    Args:
        cls: the dataclass.
        store: what a ``Ref`` without an alias is read from: a store, or an alias or URL that is opened for
            the moment; by default the default store.
        config: as for ``strongroom.open``.

    Raises:
        InvalidRequestError: ``cls`` is declared wrongly; nothing was read.
        PartialFailureError: some fields could not be filled; ``errors`` is by field, as ``"db.password"``.
    """
    if not is_dataclass(cls):
        raise InvalidRequestError("what is loaded is a dataclass, the class itself", operation="load")
    declared = Declaration(cls)
    if declared.problems:
        raise InvalidRequestError(f"{cls.__name__}: {'; '.join(declared.problems)}", operation="load")
    filling = _Filling(read((leaf.ref for leaf in declared.leaves), store, config))
    loaded = filling.group(declared.root)
    if filling.errors:
        raise failure(cls, filling.errors)
    return loaded  # type: ignore[no-any-return]


def read(refs: Iterable[Ref], store: Source, config: ConfigFile = None) -> dict[Ref, Answer]:
    """Ask each store once for all that is wanted of it; for each reference the secret, or why not."""
    wanted: dict[str, list[Ref]] = {}
    for ref in refs:
        given = store.alias if isinstance(store, SecretStore) else store
        wanted.setdefault("" if ref.store == given else ref.store, []).append(ref)
    answers: dict[Ref, Answer] = {}
    for alias, asked in wanted.items():
        found = _ask(alias, dict.fromkeys(ref.name for ref in asked), store, config)
        answers |= {ref: found[ref.name] for ref in asked}
    return answers


def failure(cls: type, errors: Errors) -> PartialFailureError:
    """One error for all the fields that could not be filled, naming field and secret."""
    told = [f"{path}{f' ({ref})' if ref else ''}: {_told(error)}" for path, (ref, error) in errors.items()]
    return PartialFailureError(
        f"{cls.__name__}: {'; '.join(told)}",
        results={},
        errors={path: error for path, (_, error) in errors.items()},
        operation="load",
        retryable=all(error.retryable for _, error in errors.values()),
    )


def converted(kind: Any, ref: Ref, value: SecretValue) -> Any:
    """The value as a field of this type takes it, or (never raised) why it cannot: frames here hold it."""
    if kind is SecretValue and not ref.pointer:
        return value
    return attempt(lambda: _plain(kind, ref, value))


class _Filling:
    """Makes the dataclass of the answers, and collects what is in the way."""

    def __init__(self, answers: Mapping[Ref, Answer]):
        self._answers = answers
        self.errors: Errors = {}

    def group(self, group: Group) -> Any:
        """The object, or None when there are errors."""
        filled = {name: self._member(member) for name, member in group.members.items()}
        if self.errors:
            return None
        given = {name: value for name, value in filled.items() if value is not _ABSENT}
        return self._good(
            group.path.removesuffix(".") or group.cls.__name__, None, attempt(lambda: group.cls(**given))
        )

    def _member(self, member: Leaf | Group) -> Any:
        if isinstance(member, Group):
            return self.group(member)
        answer = self._answers[member.ref]
        if isinstance(answer, SecretNotFoundError) and (member.optional or has_default(member.field)):
            return _ABSENT if has_default(member.field) else None
        if isinstance(answer, Secret):
            return self._good(member.path, member.ref, converted(member.kind, member.ref, answer.value))
        return self._good(member.path, member.ref, answer)

    def _good(self, path: str, ref: Ref | None, made: Any) -> Any:
        if isinstance(made, SecretStoreError):
            self.errors[path] = ref, made
            return None
        return made


def attempt(make: Callable[[], Any]) -> Any:
    """What is made, or why not; without the traceback, whose frames hold plain values."""
    try:
        return make()
    except SecretStoreError as error:
        return error.with_traceback(None)
    except Exception as exc:  # noqa: BLE001  (a __post_init__ may raise anything, and quote a value)
        return InvalidRequestError(f"the class refused what was read ({type(exc).__name__})")


def _plain(kind: Any, ref: Ref, value: SecretValue) -> Any:
    if kind is bytes:
        return value.reveal()
    if kind is str and not ref.pointer:
        return value.reveal_text()
    return _fitting(kind, value.reveal_json(ref.pointer), ref.pointer)


def _fitting(kind: Any, found: Any, at: str = "") -> Any:
    """What stands at a pointer of a JSON value, as the type that was asked for."""
    if kind is SecretValue and isinstance(found, str):
        return SecretValue(found)
    if is_dataclass(kind) and isinstance(found, dict):
        return kind(**_members(kind, found, at))
    if kind is float and type(found) is int:
        return float(found)
    if kind in JSON_TYPES and type(found) is kind:
        return found
    wanted = "a string" if kind is SecretValue else "an object" if is_dataclass(kind) else name_of(kind)
    raise InvalidRequestError(f"the JSON is not {wanted} at {at!r}")


def _members(cls: type, found: Mapping[str, Any], at: str) -> dict[str, Any]:
    hints = get_type_hints(cls, include_extras=True)
    made: dict[str, Any] = {}
    for field in dataclasses.fields(cls):
        kind, _, optional = parts(hints[field.name])
        if not field.init or (field.name not in found and has_default(field)):
            continue
        if optional and found.get(field.name) is None:
            made[field.name] = None
        elif field.name in found:
            made[field.name] = _fitting(kind, found[field.name], f"{at}/{field.name}")
        else:
            raise InvalidRequestError(f"the JSON has nothing at {f'{at}/{field.name}'!r}")
    return made


def _ask(alias: str, names: Iterable[str], store: Source, config: ConfigFile) -> dict[str, Answer]:
    try:
        with _opened(alias, store, config) as opened:
            return _many(opened, names)
    except SecretStoreError as error:  # it does not open, or does not answer at all
        return dict.fromkeys(names, error.with_traceback(None))


def _opened(alias: str, store: Source, config: ConfigFile) -> AbstractContextManager[SecretStore]:
    if isinstance(store, SecretStore):
        return open(alias, config=config) if alias else nullcontext(store)
    return open(alias or store, config=config)


def _many(store: SecretStore, names: Iterable[str]) -> dict[str, Answer]:
    answers: dict[str, Answer] = {}
    for name in names:
        try:
            store.is_warm(name)  # an illegal name would refuse the others too; this asks nobody
        except InvalidRequestError as error:
            answers[name] = error.with_traceback(None)
    try:
        answers.update(store.get_many(name for name in names if name not in answers))
    except PartialFailureError as partial:
        answers.update({**partial.results, **partial.errors})
    return answers


def _told(error: SecretStoreError) -> str:
    return f"{error.message} ({error.hint})" if error.hint else error.message
