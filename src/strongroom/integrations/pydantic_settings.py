"""``SecretsSource``: settings of pydantic-settings from a store (``pip install 'strongroom[pydantic]'``).

::

    class Settings(BaseSettings):
        db_password: SecretStr  # the secret db/password
        exchange: Exchange  # a model; its field api_key is exchange/api-key

        @classmethod
        def settings_customise_sources(cls, settings_cls, init_settings, env_settings, **others):
            return init_settings, env_settings, SecretsSource(settings_cls, "prod")
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from strongroom.backend import Secret
from strongroom.declared import Ref, name_of, parts
from strongroom.errors import (
    BackendNotInstalledError,
    InvalidRequestError,
    SecretNotFoundError,
    SecretStoreError,
)
from strongroom.loading import Answer, ConfigFile, Errors, Source, attempt, failure, read
from strongroom.value import SecretValue

try:
    from pydantic import AliasChoices, BaseModel, SecretBytes, SecretStr
    from pydantic_settings import BaseSettings, PydanticBaseSettingsSource
except ImportError:
    installed = False
else:
    installed = True
if not installed:
    raise BackendNotInstalledError(
        "pydantic-settings is not installed", hint="pip install 'strongroom[pydantic]'"
    )

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo


class SecretsSource(PydanticBaseSettingsSource):
    """Fills every field that no earlier source has, by one ``get_many``.

    The field ``db_password`` is the secret ``db/password``: the first ``_`` stands for ``/``, each other for
    ``-``, as in ``strongroom import``. A field of a nested model has its own segment: ``db.pool_key`` is
    ``db/pool-key``. An alias stands for the field's name; of several, the first whose secret exists counts.
    ``Annotated[SecretStr, Ref("any/name")]`` names a secret outright.

    A secret that does not exist leaves the field to the next source or its default. Anything else, such as
    denied or unavailable, stops the start. ``SecretStr``, ``SecretBytes`` and ``SecretValue`` are filled. A
    secret found for a field of another type is refused, unless ``Ref(…, reveal=True)`` asks for it: such a
    field is ``Field(repr=False)``, and the settings have ``hide_input_in_errors=True``.

    Args:
        settings_cls: as ``settings_customise_sources`` gets it.
        store: a store, or an alias or URL that is opened for the moment; by default the default store.
        prefix: what the names begin with, such as ``"billing"`` for ``billing/db/password``; not a ``Ref``'s.
        skip: top-level fields that hold no secret and are not asked for.
        config: as for ``strongroom.open``.

    Raises:
        InvalidRequestError: the settings are declared wrongly.
        PartialFailureError: when called: which fields failed, and why; ``errors`` is by field.
    """

    def __init__(
        self,
        settings_cls: type[BaseSettings],
        store: Source = None,
        *,
        prefix: str = "",
        skip: Iterable[str] = (),
        config: ConfigFile = None,
    ):
        super().__init__(settings_cls)
        self._store, self._config = store, config
        self._fields = list(_fields(settings_cls, (), prefix, frozenset(skip)))
        hidden = bool(settings_cls.model_config.get("hide_input_in_errors"))
        problems = [*_ambiguous(self._fields), *(p for each in self._fields for p in each.problems(hidden))]
        if problems:
            raise InvalidRequestError(f"{settings_cls.__name__}: {'; '.join(problems)}", operation="load")

    def __call__(self) -> dict[str, Any]:
        """Read all fields that are still without a value."""
        filled, errors = self._read()
        if errors:
            filled = {}  # a revealed value must not stand in the traceback
            raise failure(self.settings_cls, errors)
        return filled

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Nothing: all fields are read at once, when the source is called."""
        return None, field_name, False

    def _read(self) -> tuple[dict[str, Any], Errors]:
        wanted = [field for field in self._fields if not field.stands_in(self.current_state)]
        answers = read((ref for field in wanted for ref in field.refs.values()), self._store, self._config)
        filled: dict[str, Any] = {}
        errors: Errors = {}
        for field in wanted:
            key, ref, made = field.outcome(answers, is_json=self.field_is_complex(field.info))
            if isinstance(made, SecretStoreError):
                errors[field.path] = ref, made
            elif made is not None:
                _put(filled, (*field.above, key), made)
        return filled, errors


class _Field(NamedTuple):
    """A field that is no model.

    Attributes:
        above: the keys of the models around it.
        refs: the secrets that may fill it, by the key under which pydantic takes the value.
        explicit: whether the field names its secret itself.
    """

    path: str
    above: tuple[str, ...]
    info: FieldInfo
    kind: Any
    refs: dict[str, Ref]
    explicit: bool

    def problems(self, hidden: bool) -> Iterator[str]:
        """What is wrong with a field that shows its value."""
        if self.explicit and any(ref.reveal for ref in self.refs.values()) and not self.is_secret:
            if self.info.repr:
                yield f"{self.path} would be shown by repr: say Field(repr=False)"
            if not hidden:
                yield f"{self.path} would be shown by errors: set hide_input_in_errors=True in model_config"

    @property
    def is_secret(self) -> bool:
        """Whether its type does not show what it holds."""
        return isinstance(self.kind, type) and issubclass(self.kind, (SecretStr, SecretBytes, SecretValue))

    def stands_in(self, state: Any) -> bool:
        """Whether an earlier source has it."""
        for key in self.above:
            state = state.get(key) if isinstance(state, dict) else None
        names = {*self.refs, self.path.rpartition(".")[2]}
        return isinstance(state, dict) and not names.isdisjoint(state)

    def outcome(self, answers: Mapping[Ref, Answer], *, is_json: bool) -> tuple[str, Ref | None, Any]:
        """Under which key it is filled, by which secret, and the value, why not, or None."""
        for key, ref in self.refs.items():
            answer = answers[ref]
            if isinstance(answer, Secret):
                return key, ref, attempt(partial(self._made, ref, answer.value, is_json))
            if not isinstance(answer, SecretNotFoundError):
                return key, ref, answer
        return "", None, None

    def _made(self, ref: Ref, value: SecretValue, is_json: bool) -> Any:
        if not self.is_secret and not ref.reveal:
            raise InvalidRequestError(
                f"a secret would be shown by a field of type {name_of(self.kind)}",
                hint=f"declare it SecretStr, or Ref({ref.name!r}, reveal=True)",
            )
        if self.kind is bytes or (self.is_secret and issubclass(self.kind, SecretBytes)):
            return self.kind(value.reveal())
        if self.kind is SecretValue and not ref.pointer:
            return value
        part = value.reveal_json(ref.pointer) if ref.pointer or is_json else value.reveal_text()
        if self.is_secret and not isinstance(part, str):
            raise InvalidRequestError(f"the JSON is not a string at {ref.pointer!r}")
        return self.kind(part) if self.is_secret else part  # pydantic quotes the input that it refuses


def _fields(
    model: type[BaseModel], above: tuple[str, ...], prefix: str, skip: frozenset[str] = frozenset()
) -> Iterator[_Field]:
    for name, info in model.model_fields.items():
        kind, refs, _ = parts(info.annotation)
        refs += [mark for mark in info.metadata if isinstance(mark, Ref)]
        keys = _keys(name, info)
        if name in skip:
            continue
        if not refs and isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _fields(kind, (*above, keys[0]), prefix)
        else:
            names = {key: refs[0] if refs else Ref(_secret_name(key, above, prefix)) for key in keys}
            yield _Field(".".join((*above, name)), above, info, kind, names, bool(refs))


def _keys(name: str, info: FieldInfo) -> list[str]:
    """What pydantic takes the field by: its aliases, or its name."""
    alias = info.validation_alias or info.alias or name
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
    if strange := [choice for choice in choices if not isinstance(choice, str)]:
        raise InvalidRequestError(
            f"{name} has the alias {strange[0]!r}, a path", hint="use a plain alias, and Ref(…, pointer=…)"
        )
    return [choice for choice in choices if isinstance(choice, str)]


def _secret_name(key: str, above: tuple[str, ...], prefix: str) -> str:
    words = key.lower() if above else key.lower().replace("_", "/", 1)
    inside = "/".join([*map(str.lower, above), words]).replace("_", "-")
    return f"{prefix}/{inside}" if prefix else inside


def _ambiguous(fields: Iterable[_Field]) -> Iterator[str]:
    """Two fields whose names mean one secret: which of them it fills must be said."""
    seen: dict[Ref, str] = {}
    for field in fields:
        for ref in set() if field.explicit else set(field.refs.values()):
            other = seen.setdefault(ref, field.path)
            if other != field.path:
                yield f"{other} and {field.path} both mean {ref}: name the secret of one by Ref"


def _put(filled: dict[str, Any], path: tuple[str, ...], made: Any) -> None:
    *above, last = path
    for key in above:
        filled = filled.setdefault(key, {})
    filled[last] = made
