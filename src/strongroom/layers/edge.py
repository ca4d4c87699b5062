"""Edge: where a provider's exceptions end and Strongroom's begin.

Whatever a backend raises is translated here, once. The new error is raised outside the ``except``, so
that neither ``__cause__`` nor ``__context__`` holds the SDK's exception, whose attributes and frames
carry request bodies; what may be said of it travels as a ``ProviderFault``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, TypeVar, cast

from strongroom import observing
from strongroom.backend import Backend
from strongroom.errors import PartialFailureError, ProviderFault, SecretStoreError
from strongroom.names import key_name
from strongroom.quiet import hush, release

from .layer import Layer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from strongroom.backend import Secret, SecretInfo
    from strongroom.keys import KeyWrapper
    from strongroom.names import Key

T = TypeVar("T")
_WRITES = frozenset(
    {"put", "purge", "delete", "restore", "retire", "set_tags"}
    | {"put_pending", "promote_pending", "discard_pending"}
)
_Translate = Callable[[Exception, str], SecretStoreError | None]


def edge(backend: Backend) -> Edge:
    """Put the edge around a backend, unless it has one."""
    return backend if isinstance(backend, Edge) else Edge(backend)


class Edge(Layer):
    """Translates the errors of a raw backend, and lets nothing else of them through.

    While it is open the backend's SDK does not log its requests.
    """

    def __init__(self, inner: Backend):
        super().__init__(inner)
        self._hushed = hush(inner.loggers) if inner.loggers else ()
        self._asks = not _is_over_an_edge(inner)  # where requests are told of

    def _call(self, operation: str, key: Key | None, method: Callable[..., T], *args: Any) -> T:
        observer = observing.observer
        if observer is None or not self._asks:
            return self._translating(operation, key, method, *args)
        name = None if key is None else str(key_name(key))
        with observer.request(operation, observing.scheme_of(self.inner.origin), name):
            return self._translating(operation, key, method, *args)

    def _translating(self, operation: str, key: Key | None, method: Callable[..., T], *args: Any) -> T:
        try:
            return method(*args)
        except Exception as exc:  # noqa: BLE001  (whatever an SDK raises)
            error = translated(exc, operation, self.inner.error_for)
        raise self._named(error, operation, key)

    def _named(self, error: SecretStoreError, operation: str, key: Key | None) -> SecretStoreError:
        error.operation = error.operation or operation
        error.backend = error.backend or self.inner.origin or type(self.inner).__name__
        if key is not None and error.name is None:
            error.name = str(key_name(key))
        return error

    def list_info(self, prefix: str, detail: bool = False) -> Iterator[SecretInfo]:
        pages = self._translating("list", None, self.inner.list_info, prefix, detail)
        end = object()
        item = self._call("list", None, lambda: next(pages, end))  # which asks for the first page
        while item is not end:
            yield cast("SecretInfo", item)
            item = self._translating("list", None, lambda: next(pages, end))

    def get_many(self, keys: Sequence[Key]) -> Mapping[Key, Secret | SecretStoreError]:
        outcomes = self._call("get_many", None, self.inner.get_many, keys)
        return {key: self._outcome(key, outcome) for key, outcome in outcomes.items()}

    def _outcome(self, key: Key, outcome: object) -> Secret | SecretStoreError:
        """An item's error is handed over, not raised: whatever exception stands there is translated."""
        if isinstance(outcome, Exception):
            return self._named(translated(outcome, "get", self.inner.error_for), "get", key)
        return cast("Secret", outcome)

    def refused(self, key: Key, version: str) -> None:
        self._call("refresh", key, self.inner.refused, key, version)

    def own_key(self) -> KeyWrapper | None:
        return self._translating("open", None, self.inner.own_key)

    def principal(self) -> str | None:
        return self._translating("principal", None, self.inner.principal)

    def close(self) -> None:
        try:
            self._translating("close", None, self.inner.close)
        finally:
            hushed, self._hushed = self._hushed, ()
            release(hushed)


def _is_over_an_edge(backend: Backend) -> bool:
    while isinstance(backend, Layer):
        if isinstance(backend, Edge):
            return True
        backend = backend.inner
    return False


def _forwarded(operation: str) -> Callable[..., Any]:
    def method(self: Edge, key: Key, *args: Any) -> Any:
        return self._call(operation, key, getattr(self.inner, operation), key, *args)

    return functools.update_wrapper(method, getattr(Layer, operation))


for _operation in (*sorted(_WRITES), "get", "versions", "versions_after", "describe", "get_pending"):
    setattr(Edge, _operation, _forwarded(_operation))


def translated(exc: Exception, operation: str, table: _Translate) -> SecretStoreError:
    """The error for a provider's exception, without traceback, context or the exception itself."""
    if isinstance(exc, SecretStoreError):
        return _bare(exc)
    fault = ProviderFault(
        type(exc).__qualname__, code=_code(exc), request_id=_request_id(exc), where=_where(exc)
    )
    error = _looked_up(exc, operation, table)
    if error is None:
        error = SecretStoreError(f"unexpected {fault.kind} from the provider's client")
        error.performed = None if operation in _WRITES else False
    error.request_id = error.request_id or fault.request_id
    error = _bare(error)
    error.__cause__ = fault
    return error


def _looked_up(exc: Exception, operation: str, table: _Translate) -> SecretStoreError | None:
    try:
        return table(exc, operation)
    except Exception:  # noqa: BLE001  (a table that stumbles would carry the SDK's exception as its context)
        return None


def _bare(error: SecretStoreError) -> SecretStoreError:
    """Cut off the traceback and every exception that is not ours."""
    cause = error.__cause__
    error.__cause__ = cause if isinstance(cause, ProviderFault) else None
    error.__context__ = None
    if isinstance(error, PartialFailureError):
        for part in error.errors.values():
            _bare(part)
    return error.with_traceback(None)


def _where(exc: Exception) -> str | None:
    last, at = None, exc.__traceback__
    while at is not None:
        path = PurePath(at.tb_frame.f_code.co_filename)
        if any(part.startswith("strongroom") for part in path.parts[-2:]):
            last = f"{path.parent.name}/{path.name}:{at.tb_lineno}"
        at = at.tb_next
    return last


def _code(exc: Exception) -> str | None:
    response = getattr(exc, "response", None)
    error = response.get("Error") if isinstance(response, dict) else None
    code = error.get("Code") if isinstance(error, dict) else None
    code = code or getattr(exc, "sqlite_errorname", None)
    return code if isinstance(code, str) and code.isidentifier() else None


def _request_id(exc: Exception) -> str | None:
    response = getattr(exc, "response", None)
    metadata = response.get("ResponseMetadata") if isinstance(response, dict) else None
    request_id = metadata.get("RequestId") if isinstance(metadata, dict) else None
    plain = isinstance(request_id, str) and request_id.replace("-", "").isalnum() and len(request_id) <= 80
    return request_id if plain else None
