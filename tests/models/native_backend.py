"""A `Backend` with pending values of its own, as `strongroom.memory` specifies it, behind a checker's port.

One secret, one rotation. Writes can be lost as any call can.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

from strongroom.backend import Absent, Backend, Capability, Secret, SecretVersion, Stage
from strongroom.errors import SecretConflictError, SecretNotFoundError, UnavailableError
from strongroom.names import Key
from strongroom.value import SecretValue
from tests.models.replay import Call, Lost, Port, Refused

WRITES = frozenset({"native.put", "native.hold", "native.promote", "native.discard", "native.retire"})


class Native(NamedTuple):
    """`texts[n-1]` is version n, None once retired; `ended` what the rotation became: a version, or 0."""

    texts: tuple[str | None, ...] = ("old",)
    held: str | None = None
    base: int = 0
    ended: int | None = None


def apply(state: Native, call: Call) -> tuple[Native, Hashable]:
    """One call, atomically."""
    done: tuple[Native, Hashable] = _CALLS[call.name](state, *call.args)
    return done


def _get(state: Native, number: int) -> tuple[Native, Hashable]:
    number = number or len(state.texts)
    text = state.texts[number - 1] if 0 < number <= len(state.texts) else None
    return state, Refused("missing") if text is None else (text, number)


def _put(state: Native, text: str, cas: int | None) -> tuple[Native, Hashable]:
    if cas not in (None, len(state.texts)):
        return state, Refused("conflict")
    return state._replace(texts=(*state.texts, text)), len(state.texts) + 1


def _hold(state: Native, text: str, base: int) -> tuple[Native, Hashable]:
    if state.ended is not None or (state.held is None and base != len(state.texts)):
        return state, Refused("conflict")
    if state.held is not None:
        return state, "ok" if state.held == text else Refused("conflict")
    return state._replace(held=text, base=base), "ok"


def _held(state: Native) -> tuple[Native, Hashable]:
    return state, Refused("missing") if state.held is None else state.held


def _promote(state: Native) -> tuple[Native, Hashable]:
    if state.ended:
        return state, state.ended
    if state.held is None:
        return state, Refused("missing")
    if state.base != len(state.texts):
        return state, Refused("conflict")
    number = len(state.texts) + 1
    return Native((*state.texts, state.held), None, 0, number), number


def _discard(state: Native) -> tuple[Native, Hashable]:
    if state.ended:
        return state, Refused("conflict")
    return (state._replace(held=None, ended=0) if state.held is not None else state), "ok"


def _retire(state: Native, number: int) -> tuple[Native, Hashable]:
    texts = tuple(None if at == number else text for at, text in enumerate(state.texts, 1))
    return state._replace(texts=texts), "ok"


_CALLS: Mapping[str, Any] = {
    "native.get": _get,
    "native.put": _put,
    "native.hold": _hold,
    "native.held": _held,
    "native.promote": _promote,
    "native.discard": _discard,
    "native.retire": _retire,
}


class NativeBackend(Backend):
    """Speaks to one secret."""

    scheme = "model"
    capabilities = Capability.VERSIONS | Capability.PUT | Capability.CAS | Capability.NATIVE_PENDING

    def __init__(self, port: Port) -> None:
        self._port = port

    def _call(self, name: str, *args: Hashable) -> Any:
        answer = self._port.call(f"native.{name}", *args)
        if isinstance(answer, Lost):
            raise UnavailableError("the answer was lost", performed=None)
        if isinstance(answer, Refused):
            raise (SecretNotFoundError if answer.why == "missing" else SecretConflictError)(answer.why)
        return answer

    def get(self, key: Key, version: str | Stage) -> Secret:
        number = 0 if isinstance(version, Stage) else int(version)
        text, found = self._call("get", number)
        if version is Stage.PREVIOUS:
            text, found = self._call("get", found - 1 or -1)
        return Secret(str(key), SecretValue(text), str(found))

    def put(
        self, key: Key, value: SecretValue, if_version: str | Absent | None, record: str | None = None
    ) -> SecretVersion:
        cas = int(if_version) if isinstance(if_version, str) else None
        return SecretVersion(str(self._call("put", value.reveal_text(), cas)))

    def put_pending(
        self, key: Key, rotation_id: str, value: SecretValue, base_version: str, record: str | None = None
    ) -> SecretVersion:
        self._call("hold", value.reveal_text(), int(base_version))
        return SecretVersion("pending", stages=frozenset({Stage.PENDING}))

    def get_pending(self, key: Key, rotation_id: str) -> Secret:
        return Secret(str(key), SecretValue(self._call("held")), "pending", Stage.PENDING)

    def promote_pending(self, key: Key, rotation_id: str) -> SecretVersion:
        return SecretVersion(str(self._call("promote")))

    def discard_pending(self, key: Key, rotation_id: str) -> None:
        self._call("discard")

    def retire(self, key: Key, version: str) -> None:
        self._call("retire", int(version))

    def versions(self, key: Key) -> Sequence[SecretVersion]:
        raise NotImplementedError
