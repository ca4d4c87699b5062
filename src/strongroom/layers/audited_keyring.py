"""A keyring whose changes are operations of the audit; its wraps are told where it is used as a key."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from strongroom.envelope.keyring import Keyring

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.envelope.keyring import Rewrapped

T = TypeVar("T")


class Recorder(Protocol):
    """A share of the audit of the process."""

    def record(self, operation: str, name: str, call: Callable[[], T]) -> T:
        """Run a call as an operation that is recorded."""
        ...

    def close(self) -> None:
        """Safe to repeat."""
        ...


class AuditedKeyring(Keyring):
    """Records ``keyring.rotate`` and ``keyring.rewrap`` before they are begun, and how they went."""

    _recorder: Recorder

    def rotate(self) -> str:
        return self._recorder.record("keyring.rotate", self.name, super().rotate)

    def rewrap(self, *, drop_roots: bool = False) -> Rewrapped:
        again = super().rewrap
        return self._recorder.record("keyring.rewrap", self.name, lambda: again(drop_roots=drop_roots))

    def close(self) -> None:
        with ExitStack() as ends:
            ends.callback(self._recorder.close)
            ends.callback(super().close)


def audited_maker(recorder: Recorder, *, create: bool) -> Callable[..., Keyring]:
    """What stands for ``Keyring.create`` or ``Keyring.open``; its keyring ends the recorder's use."""

    def make(*args: Any, name: str, **kwargs: Any) -> Keyring:
        with ExitStack() as opened:
            opened.callback(recorder.close)
            made = _made(*args, name=name, **kwargs)
            made._recorder = recorder  # noqa: SLF001  (ours)
            opened.pop_all()
            return made

    def _made(*args: Any, name: str, **kwargs: Any) -> AuditedKeyring:
        if not create:
            found = AuditedKeyring.open(*args, name=name, **kwargs)
        else:
            found = recorder.record(
                "keyring.create", name, lambda: AuditedKeyring.create(*args, name=name, **kwargs)
            )
        assert isinstance(found, AuditedKeyring)
        return found

    return make
