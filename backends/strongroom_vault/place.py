"""What both versions of the KV engine share: opening, paths, and walking the tree of names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from strongroom.backend import Backend, Secret, SecretInfo, Stage
from strongroom.errors import (
    InvalidRequestError,
    PermissionDeniedError,
    SecretNotFoundError,
    SecretStoreError,
)
from strongroom.names import RESERVED_ROOT, Companion, Key, Name, key_path, path_key

from . import _errors, layout
from .client import VaultClient
from .transport import Request

if TYPE_CHECKING:
    from strongroom.backend import Settings
    from strongroom.value import SecretValue

    from .address import Address

FRAME_BYTES = 1024
"""Room for the facts around a pending value in its companion."""
_NAMES = ("role_name", "role", "username", "service_account_name", "common_name")
"""Where auth methods put whom they let in (OpenBao: approle, jwt and aws, userpass, kubernetes, cert)."""
_COMPANION_LIMIT = layout.ENTRY_BYTES - layout.ENVELOPE_BYTES
# A companion's frame is binary, so base64 makes it a third larger than the value and the facts it holds.
_LIMIT = _COMPANION_LIMIT // 4 * 3 - FRAME_BYTES


class Place(Backend):
    """Keys under a mount and prefix of a Vault.

    Args:
        address: where.
        settings: how to get there.
    """

    scheme = "vault"
    loggers = ("hvac", "requests", "urllib3")
    newest_is_current = True

    def __init__(self, address: Address, settings: Settings):
        self.origin = address.origin
        self._address = address
        self._names = settings.names
        self._clock = settings.clock
        self._client = VaultClient(address, settings)
        self._engine_checked = False
        self._principal: str | None = None

    @staticmethod
    def error_for(exc: Exception, operation: str) -> SecretStoreError | None:
        return _errors.error_for(exc, operation)

    def locate(self, key: Key) -> str:
        return f"{self.origin}/{self._path(key)}"

    def limit(self, key: Key) -> int | None:
        return _LIMIT if isinstance(key, Name) else _COMPANION_LIMIT

    def size(self, value: SecretValue) -> int:
        return layout.size(value)

    def list_info(self, prefix: str, detail: bool = False) -> Iterator[SecretInfo]:
        for key in self._keys(prefix):
            info = self._listed(key, detail)
            if info is not None:
                yield info

    def principal(self) -> str | None:
        if self._principal is None:
            self._principal = whoami(self._client)
        return self._principal

    def after_fork(self) -> None:
        self._client.after_fork()

    def close(self) -> None:
        self._client.close()

    def _listed(self, key: Key, detail: bool) -> SecretInfo | None:
        """What a listing says of a key; None if it is not to be listed."""
        raise NotImplementedError

    def _list_path(self, folder: str) -> str:
        """Where to ask for the keys in a folder of the mount."""
        raise NotImplementedError

    def _path(self, key: Key) -> str:
        return key_path(key, self._address.prefix)

    def _grant(self, key: Key, kind: str = "") -> str:
        """The policy path that covers this key and its like."""
        mount, prefix = self._address.mount, self._address.prefix
        root = "" if isinstance(key, Name) else str(key).removesuffix(str(key.name))
        return join(mount, kind, root.rstrip("/"), prefix, "*")

    def _keys(self, prefix: str) -> Iterator[Key]:
        root, folder = self._address.prefix, prefix.rpartition("/")[0]
        start = join(root, folder)
        for path in self._walk(start):
            key = path_key(path, root, self._names)
            if isinstance(key, Name) and key.text.startswith(prefix):
                yield key
        try:
            companions = list(self._walk(join(RESERVED_ROOT, "pending", start)))
        except PermissionDeniedError:  # a grant on the prefix does not reach the reserved names, by design
            companions = []
        for path in companions:
            key = path_key(path, root, self._names)
            if isinstance(key, Companion) and key.name.text.startswith(prefix):
                yield key

    def _walk(self, folder: str) -> Iterator[str]:
        """Every path below a folder of the mount, in order, one LIST for each folder."""
        grant = join(self._list_path(self._address.prefix), "*")
        answer = self._client.read(
            Request("list", "LIST", self._list_path(folder), grant=grant), missing_ok=True
        )
        if not answer.ok:
            self._check_engine()
            return
        children = answer.data.get("keys")
        if not isinstance(children, list):  # an empty list would say that there is nothing
            raise _errors.garbage("list")
        for child in sorted(map(str, children)):
            path = join(folder, child)
            if child in ("./", "../") or path == f"{RESERVED_ROOT}/":
                continue
            if child.endswith("/"):
                yield from self._walk(path.rstrip("/"))
            else:
                yield path

    def _check_engine(self) -> None:
        """Once per client, before the first write or after a miss: is this a KV engine of our version?

        A KV1 engine would take a KV2 write as a secret named ``data/NAME``, and answer 204.
        """
        if self._engine_checked:
            return
        # Any token with some right below the mount may ask; the CLI does so before each call.
        request = Request("list", "GET", f"sys/internal/ui/mounts/{self._address.mount}")
        try:
            answer = self._client.read(request, missing_ok=True)
        except PermissionDeniedError:
            answer = None
        if answer is not None and answer.ok and answer.data:
            self._expect_engine(answer.data)
        self._engine_checked = True

    def _expect_engine(self, mount: Mapping[str, Any]) -> None:
        if mount.get("type") not in ("kv", "generic"):
            raise InvalidRequestError(f"what is mounted at {self._address.mount!r} is not a KV engine")
        found = str((mount.get("options") or {}).get("version") or "1")
        if found != str(self._address.kv):
            raise InvalidRequestError(
                f"the engine at {self._address.mount!r} is KV version {found}", hint=f"write ?kv={found}"
            )

    def _missing(self, hint: str | None = None) -> SecretNotFoundError:
        """The error for a miss, once it is sure that it was looked for in the right kind of place."""
        self._check_engine()
        return SecretNotFoundError("no such secret or version", hint=hint)

    def _secret(
        self,
        key: Key,
        stored: layout.Stored,
        version: str,
        stage: Stage | None,
        created: datetime | None = None,
    ) -> Secret:
        return Secret(
            str(key),
            stored.value,
            version,
            stage,
            self.origin,
            created,
            self._clock.now(),
            record=stored.record,
        )


def whoami(client: VaultClient) -> str:
    """``vault:`` and the token's display name, with the role, account or user it was given for."""
    asked = Request("get", "GET", "auth/token/lookup-self", grant="auth/token/lookup-self")
    return _named(client.read(asked).data)


def join(*parts: str) -> str:
    """The parts that are not empty, as a path."""
    return "/".join(part for part in parts if part)


def _named(token: Mapping[str, object]) -> str:
    told = token.get("meta")
    meta: Mapping[str, object] = told if isinstance(told, dict) else {}
    who = next((str(meta[key]) for key in _NAMES if meta.get(key)), "")
    return "/".join(filter(None, (f"vault:{token.get('display_name') or 'token'}", who)))
