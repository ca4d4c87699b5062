"""The edge of key services: what a KMS's or an HSM's client raises is translated here, once.

As at the edge of a backend, nothing of the provider's exception travels on: its frames hold data keys.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from strongroom import observing
from strongroom.errors import InvalidRequestError
from strongroom.keys import DataKey, KeyWrapper, ProviderKey, Signer, WrappedKey
from strongroom.quiet import hush, release

from .edge import translated

if TYPE_CHECKING:
    from collections.abc import Mapping

T = TypeVar("T")
K = TypeVar("K", bound=ProviderKey)


class _Edge(Generic[K]):
    """Forwards to `inner`, translating its errors; its SDK does not log requests while it is open."""

    inner: K

    def _enclose(self, inner: K) -> None:
        self.inner = inner
        self._hushed = hush(inner.loggers) if inner.loggers else ()
        self._closed = False

    def _call(self, operation: str, method: Callable[..., T], *args: Any) -> T:
        try:
            if self._closed and operation != "close":  # its SDK would connect again, and may log by now
                raise InvalidRequestError("the key is closed")
            return method(*args)
        except Exception as exc:  # noqa: BLE001  (whatever an SDK raises)
            error = translated(exc, operation, self.inner.error_for)
        args = ()  # this frame travels with the error, and a data key may be among them
        error.operation = error.operation or operation
        error.backend = error.backend or getattr(self.inner, "provider_id", None)
        raise error

    def _asked(self, operation: str, method: Callable[..., T], *args: Any) -> T:
        observer = observing.observer
        try:
            if observer is None:
                return self._call(operation, method, *args)
            with observer.request(operation, getattr(self.inner, "provider_id", ""), None):
                return self._call(operation, method, *args)
        except BaseException:
            args = ()  # as there
            raise

    def after_fork(self) -> None:
        self.inner.after_fork()

    def close(self) -> None:
        self._closed = True
        try:
            self._call("close", self.inner.close)
        finally:
            hushed, self._hushed = self._hushed, ()
            release(hushed)

    def __repr__(self) -> str:
        return repr(self.inner)


class KeyEdge(_Edge[KeyWrapper], KeyWrapper):
    """The edge around a key encryption key."""

    def __init__(self, inner: KeyWrapper):
        self._enclose(inner)
        self.provider_id = inner.provider_id
        self.algorithm, self.context, self.largest = inner.algorithm, inner.context, inner.largest
        self.remote = inner.remote
        self.longest = inner.longest

    @property
    def key_id(self) -> str:  # type: ignore[override]  # an alias is known by its key once it answered
        return self.inner.key_id

    @property
    def symmetric(self) -> bool:  # type: ignore[override]  # some providers tell only when asked
        return self._call("open", lambda: self.inner.symmetric)

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> WrappedKey:
        try:
            return self._asked("wrap", self.inner.wrap, data_key, context)
        except BaseException:
            data_key = b""  # this frame travels with the error
            raise

    def unwrap(self, wrapped: WrappedKey, context: Mapping[str, str]) -> bytes:
        return self._asked("unwrap", self.inner.unwrap, wrapped, context)

    def generate_data_key(self, context: Mapping[str, str]) -> DataKey:
        return self._asked("generate_data_key", self.inner.generate_data_key, context)

    def matches(self, wrapped: WrappedKey) -> bool:
        return self._call("matches", self.inner.matches, wrapped)

    def is_primary(self, wrapped: WrappedKey) -> bool:
        return self._call("matches", self.inner.is_primary, wrapped)

    def room(self) -> int:
        return self._call("open", self.inner.room)


class SignerEdge(_Edge[Signer], Signer):
    """The edge around a signing key."""

    def __init__(self, inner: Signer):
        self._enclose(inner)
        self.provider_id = inner.provider_id

    @property
    def key_id(self) -> str:  # type: ignore[override]
        return self.inner.key_id

    @property
    def algorithm(self) -> str:  # type: ignore[override]  # some providers tell only when asked
        return self._call("open", lambda: self.inner.algorithm)

    def sign(self, message: bytes) -> bytes:
        return self._asked("sign", self.inner.sign, message)

    def sign_digest(self, digest: bytes) -> bytes:
        return self._asked("sign", self.inner.sign_digest, digest)

    def public_key(self) -> bytes | None:
        return self._call("public_key", self.inner.public_key)
