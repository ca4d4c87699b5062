"""Parameters of Powertools for AWS Lambda that come from a store (``pip install 'strongroom[powertools]'``).

::

    parameters = StrongroomProvider(store)
    parameters.get("db/login", transform="json")

A store's cache serves them: it is refreshed behind, and goes on in an outage within its bound.
"""

from __future__ import annotations

import base64
import json
import logging
import os
from typing import TYPE_CHECKING, Any, Final, TypeVar, final

from strongroom.clock import Clock
from strongroom.errors import (
    BackendNotInstalledError,
    PartialFailureError,
    SecretStoreError,
    UnavailableError,
)

try:
    from aws_lambda_powertools.utilities.parameters import BaseProvider
    from aws_lambda_powertools.utilities.parameters.exceptions import (
        GetParameterError,
        TransformParameterError,
    )
except ImportError:
    installed = False
else:
    installed = True
if not installed:
    raise BackendNotInstalledError(
        "aws-lambda-powertools is not installed", hint="pip install 'strongroom[powertools]'"
    )

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from strongroom.backend import Secret
    from strongroom.store import SecretStore
    from strongroom.value import SecretValue

T = TypeVar("T")
MAX_AGE: Final = "POWERTOOLS_PARAMETERS_MAX_AGE"
"""The environment variable with the default of ``max_age``, in seconds (Powertools' own)."""
_TRANSFORMS: Final[dict[str, Callable[[bytes], Any]]] = {"json": json.loads, "binary": base64.b64decode}
_NOTHING: Final = object()
LATELY: Final = 1.0
"""Seconds in which a store asks for a name once, however often it is told to."""
_log = logging.getLogger(__name__)


@final
class StrongroomProvider(BaseProvider):
    """A Powertools provider over a store; the provider itself keeps no value.

    ``max_age`` is how many seconds ago the answer must have been confirmed by the provider: an older one is
    asked for again, at most once a second. Without it, and without ``POWERTOOLS_PARAMETERS_MAX_AGE``, the
    store's own policy holds. Where the provider does not answer, what the store may still serve is returned,
    and logged by its name and age; ``force_fetch`` takes nothing but an answer.

    Args:
        store: has the parameters.
        clock: injected in tests.
    """

    def __init__(self, store: SecretStore, *, clock: Clock | None = None):
        super().__init__()  # type: ignore[no-untyped-call]
        self._secrets, self._clock = store, clock or Clock()

    def get(
        self,
        name: str,
        max_age: int | None = None,
        transform: str | None = None,
        force_fetch: bool = False,
        **sdk_options: Any,
    ) -> Any:
        """A secret's value: text, or bytes if it is binary.

        Args:
            name: the secret's name.
            max_age: how many seconds old the answer may be; None is the store's policy.
            transform: ``json``, ``binary`` (Base64), ``auto`` (by the name's end), or None.
            force_fetch: ask the provider now.
            sdk_options: none is known.

        Raises:
            GetParameterError: the store does not give it; its cause is the store's error.
            TransformParameterError: the value is no such thing; neither message nor cause holds it.
        """
        _none(sdk_options)
        return _transformed(self._secret(name, max_age, force_fetch).value, name, transform)

    def get_multiple(
        self,
        path: str,
        max_age: int | None = None,
        transform: str | None = None,
        raise_on_transform_error: bool = False,
        force_fetch: bool = False,
        **sdk_options: Any,
    ) -> dict[str, Any]:
        """The values of all secrets under a path, by what their names say after it.

        Args:
            path: what the names begin with, up to a ``/``.
            max_age: as ``get``.
            transform: as ``get``.
            raise_on_transform_error: raise instead of None for a value that is no such thing.
            force_fetch: as ``get``.
            sdk_options: none is known.

        Raises:
            GetParameterError: the store does not give one of them: nothing is left out silently.
            TransformParameterError: as ``get``.
        """
        _none(sdk_options)
        root = path.rstrip("/") + "/"
        names = _told(lambda: list(self._secrets.list_names(root)))
        _told(lambda: self._secrets.prefetch(names))
        found = {name: self._secret(name, max_age, force_fetch).value for name in names}
        lenient = not raise_on_transform_error
        return {
            name[len(root) :]: _transformed(value, name, transform, lenient) for name, value in found.items()
        }

    def _get(self, name: str, **sdk_options: Any) -> str | bytes:
        return _plain(self._secret(name, None, force=True).value)

    def _get_multiple(self, path: str, **sdk_options: Any) -> dict[str, Any]:
        return self.get_multiple(path, force_fetch=True)

    def _secret(self, name: str, max_age: int | None, force: bool) -> Secret:
        asked = not self._secrets.is_warm(name)
        secret = _told(lambda: self._secrets.get(name))
        bound = 0 if force else _bound(max_age)
        if bound is None or (asked and not secret.stale) or self._age(secret) <= bound:
            return self._served(secret)
        secret, error = self._again(secret)
        if error and (force or not isinstance(error, UnavailableError)):
            raise _failed(error) from error
        return self._served(secret, silent=error is not None)

    def _again(self, secret: Secret) -> tuple[Secret, SecretStoreError | None]:
        """What is current, and why it was not asked for if it was not."""
        try:
            found = self._secrets.refresh(secret.name, rejected=secret.version)
        except SecretStoreError as raised:
            return secret, raised
        late = self._age(found) > LATELY
        return found, UnavailableError("the provider did not answer a moment ago") if late else None

    def _served(self, secret: Secret, silent: bool = False) -> Secret:
        if secret.stale or silent:
            age = round(self._age(secret))
            _log.warning("%s is %d s old: the provider does not answer", secret.name, age)
        return secret

    def _age(self, secret: Secret) -> float:
        """Seconds since the provider said that this is the answer."""
        if secret.confirmed_at is None:
            return 0.0
        return (self._clock.now() - secret.confirmed_at).total_seconds()


def _told(call: Callable[[], T]) -> T:
    try:
        return call()
    except PartialFailureError as raised:
        error: SecretStoreError = next(iter(raised.errors.values()), raised)
    except SecretStoreError as raised:
        error = raised
    raise _failed(error) from error


def _failed(error: SecretStoreError) -> GetParameterError:
    """Powertools' own error, which handlers catch; the store's is its cause, and holds no value."""
    return GetParameterError(str(error))


def _none(options: Mapping[str, Any]) -> None:
    if options:
        raise TypeError(f"a store takes no options of an SDK: {', '.join(sorted(options))}")


def _bound(max_age: int | None) -> int | None:
    if max_age is None and (given := os.environ.get(MAX_AGE)):
        return int(given)
    return max_age


def _plain(value: SecretValue) -> str | bytes:
    return value.reveal_text() if value.kind == "text" else value.reveal()


def _transformed(value: SecretValue, name: str, transform: str | None, lenient: bool = False) -> Any:
    """What Powertools' `transform_value` makes of it, whose error holds the value in its cause."""
    if transform == "auto":
        ending = name.rpartition(".")[2]
        transform = ending if ending in _TRANSFORMS else None
    if transform is None:
        return _plain(value)
    if transform not in _TRANSFORMS:
        raise TransformParameterError(f"there is no transform {transform!r}: json, binary or auto")
    made = _made(value, transform)
    if made is _NOTHING and not lenient:
        raise TransformParameterError(f"{name} is nothing that {transform!r} can transform")
    return None if made is _NOTHING else made


def _made(value: SecretValue, transform: str) -> Any:
    """Never raises: the frame and the error of whoever did would travel with the value."""
    try:
        return _TRANSFORMS[transform](value.reveal())
    except ValueError:
        return _NOTHING
