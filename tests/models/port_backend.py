"""A `Backend` whose provider is the KV version 2 model, so that the checker runs the real
`strongroom.stages`.

A companion's bytes are kept as `Held` or `Done`, decoded and encoded by the code under test itself, so that
traces can be read and the rules of `companion_model` apply.
"""

from __future__ import annotations

from collections.abc import Sequence

from strongroom.backend import Absent, Backend, Capability, Secret, SecretVersion, Stage
from strongroom.companion import Frame
from strongroom.errors import SecretConflictError, SecretNotFoundError, UnavailableError
from strongroom.names import Companion, Key
from strongroom.value import SecretValue
from tests.models.kv2 import COMPANION, KV, SECRET, Claimed, Done, Found, Held, Value
from tests.models.ledger import ConflictError, UnknownError

CAPABILITIES = Capability.VERSIONS | Capability.PUT | Capability.CREATE_ONLY | Capability.CAS


class PortBackend(Backend):
    """Speaks to one secret and its companion."""

    scheme = "model"
    capabilities = CAPABILITIES
    newest_is_current = True

    def __init__(self, kv: KV) -> None:
        self._kv = kv

    def get(self, key: Key, version: str | Stage) -> Secret:
        number = 0 if isinstance(version, Stage) else int(version)
        found = self._kv.read(_slot(key), number)
        if found is not None and version is Stage.PREVIOUS:
            found = self._kv.read(_slot(key), found.number - 1)
        if found is None or found.data is None:
            raise SecretNotFoundError("no such version")
        return Secret(str(key), _decode(found), str(found.number))

    def put(
        self, key: Key, value: SecretValue, if_version: str | Absent | None, record: str | None = None
    ) -> SecretVersion:
        cas = None if if_version is None else 0 if isinstance(if_version, Absent) else int(if_version)
        problem: SecretConflictError | UnavailableError
        try:
            return SecretVersion(str(self._kv.put(_slot(key), _encode(key, value, cas), cas)))
        except ConflictError:
            problem = SecretConflictError("check-and-set did not match")
        except UnknownError:
            problem = UnavailableError("the answer was lost", performed=None)
        raise problem

    def retire(self, key: Key, version: str) -> None:
        lost = False
        try:
            self._kv.destroy(_slot(key), int(version))
        except UnknownError:
            lost = True
        if lost:
            raise UnavailableError("the answer was lost", performed=None)

    def versions_after(self, key: Key, base: str) -> Sequence[SecretVersion]:
        """One version is enough: the one right after the base."""
        after = self._kv.read(_slot(key), int(base) + 1)
        return [] if after is None else [SecretVersion(str(after.number))]


def _slot(key: Key) -> int:
    return COMPANION if isinstance(key, Companion) else SECRET


def _encode(key: Key, value: SecretValue, base: int | None) -> Value | Claimed | Held | Done:
    if not isinstance(key, Companion):
        text = value.reveal_text()
        return Value(text, text.partition(" by ")[0], base)
    frame, inner = Frame.split(value)
    if frame.claimed:
        return Claimed(frame.rotation_id, frame.epoch or 0)
    if frame.held:
        return Held(frame.rotation_id, int(frame.base or 0), inner.reveal_text())
    return Done(frame.rotation_id, frame.version, frame.was)


def _decode(found: Found) -> SecretValue:
    data = found.data
    if isinstance(data, Value):
        return SecretValue(data.text)
    if isinstance(data, Held):
        return Frame(data.rotation, True, str(data.base)).with_value(SecretValue(data.text))
    if isinstance(data, Claimed):
        return Frame(data.rotation, False, epoch=data.epoch).with_value(SecretValue(""))
    assert isinstance(data, Done)
    version = None if data.outcome is None else str(data.outcome)
    was = None if data.was is None else str(data.was)
    return Frame(data.rotation, False, version=version, was=was).with_value(SecretValue(""))
