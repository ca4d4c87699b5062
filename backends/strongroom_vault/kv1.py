"""Secrets in a KV version 1 engine: one value a name, no versions, no bin, no compare-and-set."""

from __future__ import annotations

import hashlib
import hmac
import os
from typing import TYPE_CHECKING, Any

from strongroom.backend import Absent, Backend, Capability, Secret, SecretInfo, SecretVersion, Stage
from strongroom.errors import SecretNotFoundError

from . import layout
from .kv import VaultKV
from .place import join
from .transport import Answer, Request, json_body

if TYPE_CHECKING:
    from strongroom.names import Key
    from strongroom.value import SecretValue

# Tells one foreign value from another without being a fingerprint of it that others could try values against.
_FINGERPRINT_KEY = os.urandom(32)


class VaultKV1(VaultKV):
    """``vault://HOST:PORT/MOUNT/PREFIX?kv=1``.

    A version's id is the write id in the map. A map that something else wrote has an id of its own in each
    process, which changes when the value does.
    """

    capabilities = Capability.LIST | Capability.PUT | Capability.PURGE

    delete = Backend.delete
    restore = Backend.restore
    retire = Backend.retire
    versions = Backend.versions
    versions_after = Backend.versions_after
    describe = Backend.describe
    set_tags = Backend.set_tags

    def get(self, key: Key, version: str | Stage) -> Secret:
        answer = self._answer(key)
        stored = layout.decode(answer.data) if answer.ok else None
        if stored is None:
            raise self._missing()
        found = _id(stored)
        if version not in (Stage.CURRENT, found):
            raise SecretNotFoundError("no such version: KV version 1 keeps only one")
        stage = version if isinstance(version, Stage) else None
        return self._secret(key, stored, found, stage)

    def put(
        self, key: Key, value: SecretValue, if_version: str | Absent | None, record: str | None = None
    ) -> SecretVersion:
        self._check_engine()
        write_id = layout.new_write_id()
        body = json_body(layout.encode(value, record, write_id))
        self._client.write(self._request("put", "POST", "", key, body), lambda: self._holds(key, write_id))
        return SecretVersion(write_id, None, frozenset({Stage.CURRENT}))

    def purge(self, key: Key) -> None:
        if not self._answer(key).ok:
            raise self._missing()
        self._client.write(self._request("purge", "DELETE", "", key), lambda: not self._answer(key).ok)

    def _list_path(self, folder: str) -> str:
        return join(self._address.mount, folder)

    def _listed(self, key: Key, detail: bool) -> SecretInfo | None:
        if not detail:
            return SecretInfo(key)
        answer = self._answer(key)
        if not answer.ok:
            return None
        stored = layout.decode(answer.data)
        newest = SecretVersion(_id(stored), None, frozenset({Stage.CURRENT}))
        return SecretInfo(key, {}, newest, None, stored.record)

    def _holds(self, key: Key, write_id: str) -> bool:
        answer = self._answer(key)
        return answer.ok and layout.decode(answer.data).write_id == write_id

    def _answer(self, key: Key) -> Answer:
        return self._client.read(self._request("get", "GET", "", key), missing_ok=True)

    def _request(
        self, operation: str, method: str, kind: str, key: Key, body: SecretValue | None = None, **more: Any
    ) -> Request:
        path = f"{self._address.mount}/{self._path(key)}"
        return Request(operation, method, path, body, grant=self._grant(key))


def _id(stored: layout.Stored) -> str:
    if stored.write_id:
        return stored.write_id
    return hmac.new(_FINGERPRINT_KEY, stored.value.reveal(), hashlib.sha256).hexdigest()[:32]
