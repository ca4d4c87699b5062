"""Keys and signers whose every use is told to audit hooks, as a store's operations are."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from strongroom.audit.actor import current, traceparent
from strongroom.audit.event import AuditEvent, Auditor
from strongroom.keys import DataKey, KeyWrapper, Signer, WrappedKey

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from strongroom.audit.event import AuditHook
    from strongroom.clock import Clock

T = TypeVar("T")
K = TypeVar("K", bound=KeyWrapper | Signer)


class Closable(Protocol):
    """What ends with a key."""

    def close(self) -> None:
        """Safe to repeat."""
        ...


class _Audited(Generic[K]):
    """Runs each use of a key between its hooks.

    Args:
        inner: the key.
        name: what the caller calls it.
        hooks: told before and after each use.
        clock: gives the events their times.
        owned: closed after the key, the last first.
    """

    inner: K

    def __init__(
        self, inner: K, name: str, hooks: Sequence[AuditHook], clock: Clock, owned: Sequence[Closable] = ()
    ):
        self.inner, self._name = inner, name
        self._clock, self._owned = clock, tuple(owned)
        self._auditor = Auditor(hooks)
        self.provider_id = inner.provider_id

    def _run(self, operation: str, call: Callable[[], T]) -> T:
        event = AuditEvent(
            operation,
            self._name,
            "intent",
            self._clock.now(),
            backend=self.provider_id,
            location=self.inner.key_id,
            actor=current(),
            trace=traceparent(),
        )
        self._auditor.intent(event)
        return self._auditor.run(event, call, self._clock)

    def after_fork(self) -> None:
        self._auditor.after_fork()
        self.inner.after_fork()

    def close(self) -> None:
        with ExitStack() as ends:
            for one in self._owned:
                ends.callback(one.close)
            ends.callback(self.inner.close)

    def __repr__(self) -> str:
        return repr(self.inner)


class AuditedKey(_Audited[KeyWrapper], KeyWrapper):
    """A key encryption key; its operations are ``key.wrap``, ``key.unwrap`` and ``key.generate_data_key``."""

    @property
    def key_id(self) -> str:  # type: ignore[override]  # some keys tell it only when they were asked
        return self.inner.key_id

    @property
    def algorithm(self) -> str:  # type: ignore[override]
        return self.inner.algorithm

    @property
    def symmetric(self) -> bool:  # type: ignore[override]
        return self.inner.symmetric

    @property
    def context(self) -> str:  # type: ignore[override]
        return self.inner.context

    @property
    def largest(self) -> int | None:  # type: ignore[override]
        return self.inner.largest

    @property
    def longest(self) -> int:  # type: ignore[override]
        return self.inner.longest

    @property
    def remote(self) -> bool:  # type: ignore[override]
        return self.inner.remote

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> WrappedKey:
        held, data_key = [data_key], b""
        try:
            return self._run("key.wrap", lambda: self.inner.wrap(held[0], context))
        finally:
            held.clear()  # the frames of an error hold no data key

    def unwrap(self, wrapped: WrappedKey, context: Mapping[str, str]) -> bytes:
        return self._kept("key.unwrap", lambda: self.inner.unwrap(wrapped, context))

    def generate_data_key(self, context: Mapping[str, str]) -> DataKey:
        return self._kept("key.generate_data_key", lambda: self.inner.generate_data_key(context))

    def _kept(self, operation: str, call: Callable[[], T]) -> T:
        """Keep the key out of the frames that tell the hooks: an interrupt there would carry it along."""
        held: list[T] = []
        try:
            self._run(operation, lambda: held.append(call()))
            return held[0]
        finally:
            held.clear()

    def matches(self, wrapped: WrappedKey) -> bool:
        return self.inner.matches(wrapped)

    def is_primary(self, wrapped: WrappedKey) -> bool:
        return self.inner.is_primary(wrapped)

    def room(self) -> int:
        return self.inner.room()


class AuditedSigner(_Audited[Signer], Signer):
    """A signing key; each signature is a ``sign``."""

    @property
    def key_id(self) -> str:  # type: ignore[override]  # some keys tell it only when they were asked
        return self.inner.key_id

    @property
    def algorithm(self) -> str:  # type: ignore[override]
        return self.inner.algorithm

    def sign(self, message: bytes) -> bytes:
        return self._run("sign", lambda: self.inner.sign(message))

    def sign_digest(self, digest: bytes) -> bytes:
        return self._run("sign", lambda: self.inner.sign_digest(digest))

    def public_key(self) -> bytes | None:
        return self.inner.public_key()
