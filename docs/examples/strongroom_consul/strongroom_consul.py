"""HashiCorp Consul's KV store as a Strongroom backend: ``consul://HOST:PORT/PREFIX``.

Consul keeps one version of a key, and its ModifyIndex never repeats: it is the version id and what
compare-and-set compares. Writes go through ``/v1/txn``, since only its answer tells the new index.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
import ssl
from collections.abc import Iterator
from typing import Any, Self
from urllib.parse import quote

from strongroom import errors
from strongroom.backend import ABSENT, Absent, Backend, Secret, SecretInfo, SecretVersion, Settings, Stage
from strongroom.backend import Capability as Can
from strongroom.names import Key, StoreURL, check_prefix, is_loopback, key_path, path_key
from strongroom.value import SecretValue, is_utf8

KINDS = ("text", "binary")  # by Consul's flags, a number that an application may choose


class ConsulError(Exception):
    """Consul answered with a status that is no answer."""

    def __init__(self, status: int):
        super().__init__(f"HTTP {status}")
        self.status = status


class ConsulBackend(Backend):
    """One prefix of a Consul datacenter. Each request has its own connection: nothing to fork or share."""

    scheme = "consul"
    capabilities = Can.LIST | Can.DESCRIBE | Can.PUT | Can.CREATE_ONLY | Can.CAS | Can.PURGE

    def __init__(self, host: str, prefix: str, settings: Settings):
        self.origin = f"consul://{host}/{prefix}"
        self._host, self._prefix, self._settings = host, check_prefix(prefix, settings.names), settings

    @classmethod
    def from_url(cls, url: StoreURL, settings: Settings) -> Self:
        url.allow()
        if not url.host:
            raise errors.InvalidRequestError("no host", hint="write consul://127.0.0.1:8500/app")
        return cls(url.host, url.path.strip("/"), settings)

    @staticmethod
    def error_for(exc: Exception, operation: str) -> errors.SecretStoreError | None:
        status = exc.status if isinstance(exc, ConsulError) else None
        if status in (401, 403):
            return errors.PermissionDeniedError("the token is refused", hint="grant key:read or key:write")
        if status is not None and 400 <= status < 500 and status != 429:
            return errors.InvalidRequestError(f"Consul does not take the request (HTTP {status})")
        if not isinstance(exc, (ConsulError, OSError, http.client.HTTPException, ValueError)):
            return None
        unsent = isinstance(exc, ConnectionRefusedError) or status == 429 or operation not in ("put", "purge")
        return errors.UnavailableError("no useful answer", performed=False if unsent else None)

    def get(self, key: Key, version: str | Stage) -> Secret:
        found = self._entry(key)
        if version not in (Stage.CURRENT, str(found["ModifyIndex"])):
            raise errors.SecretNotFoundError("Consul keeps one version")
        data = base64.b64decode(found["Value"] or "")
        text = found["Flags"] != KINDS.index("binary") and is_utf8(data)
        value = SecretValue(data, "text" if text else "binary")
        return Secret(str(key), value, str(found["ModifyIndex"]), Stage.CURRENT, self.origin)

    def put(
        self, key: Key, value: SecretValue, if_version: str | Absent | None, record: str | None = None
    ) -> SecretVersion:
        if record is not None:
            raise errors.UnsupportedOperationError("Consul has no room for a replication record")
        data = base64.b64encode(value.reveal()).decode()
        write = {"Verb": "set", "Flags": KINDS.index(value.kind), "Value": data}
        if if_version is not None:
            write |= {"Verb": "cas", "Index": _index(if_version)}
        done = self._transaction(key, write)
        if done is None:
            raise errors.SecretConflictError("the key is not in that state")
        return SecretVersion(str(done[-1]["KV"]["ModifyIndex"]), stages=frozenset({Stage.CURRENT}))

    def purge(self, key: Key) -> None:
        if self._transaction(key, {"Verb": "get"}, {"Verb": "delete"}) is None:
            raise errors.SecretNotFoundError("no such secret")

    def list_info(self, prefix: str, detail: bool = False) -> Iterator[SecretInfo]:
        place = f"{self._prefix}/" if self._prefix else ""
        for found in self._request("GET", f"/v1/kv/{quote(place + prefix)}?recurse=true&consistent") or ():
            key = path_key(found["Key"], self._prefix, self._settings.names)
            if key is not None:
                yield self._info(key, found)

    def describe(self, key: Key) -> SecretInfo:
        return self._info(key, self._entry(key))

    def limit(self, key: Key) -> int | None:
        return 380_000  # a transaction of 512 KiB holds the value in base64

    def _entry(self, key: Key) -> Any:
        found = self._request("GET", f"/v1/kv/{quote(key_path(key, self._prefix))}?consistent")
        if found is None:
            raise errors.SecretNotFoundError("no such secret")
        return found[0]

    def _info(self, key: Key, found: Any) -> SecretInfo:
        newest = SecretVersion(str(found["ModifyIndex"]), stages=frozenset({Stage.CURRENT}))
        return SecretInfo(key, newest=newest)

    def _transaction(self, key: Key, *verbs: dict[str, Any]) -> Any:
        """All or nothing: the results, or None if one of them did not apply."""
        body = [{"KV": {"Key": key_path(key, self._prefix), **verb}} for verb in verbs]
        answer = self._request("PUT", "/v1/txn", body)
        return None if answer["Errors"] else answer["Results"]

    def _request(self, method: str, path: str, body: Any = None) -> Any:
        token = SecretValue.of(self._settings.auth.get("token", "")).reveal_text()
        headers = {"X-Consul-Token": token} if token else {}
        connection = self._connection()
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        if answer.status not in (200, 404, 409):
            raise ConsulError(answer.status)
        return None if answer.status == 404 else json.loads(content)

    def _connection(self) -> http.client.HTTPConnection:
        """Plain HTTP reaches this machine only; redirects are not followed."""
        if is_loopback(f"http://{self._host}"):
            return http.client.HTTPConnection(self._host, timeout=self._settings.timeout)
        trust = ssl.create_default_context(cafile=self._settings.ca)
        return http.client.HTTPSConnection(self._host, timeout=self._settings.timeout, context=trust)


def _index(version: str | Absent) -> int:
    """The ModifyIndex to compare; 0, which Consul takes for "absent", is never a version's id."""
    if version is not ABSENT and not re.fullmatch("[1-9][0-9]{0,18}", version):
        raise errors.SecretConflictError("not the current version")
    return 0 if version is ABSENT else int(version)
