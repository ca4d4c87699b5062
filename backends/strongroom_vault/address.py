"""Where a store is: server, namespace, mount and prefix, taken from its URL and settings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from strongroom.errors import InvalidRequestError
from strongroom.names import check_prefix, is_loopback

if TYPE_CHECKING:
    from strongroom.backend import Settings
    from strongroom.names import StoreURL

_KEY_FORM = (
    "vault-transit://HOST:PORT/MOUNT/KEY, or vault-transit:///MOUNT/KEY?endpoint=http://127.0.0.1:8200"
)
_KEY_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?")
"""Vault's own rule for names (framework.GenericNameRegex), in ASCII."""
_FORM = "vault://HOST:PORT/MOUNT/PREFIX, or vault:///MOUNT/PREFIX?endpoint=http://127.0.0.1:8200"


@dataclass(frozen=True, slots=True)
class Address:
    """A place in a Vault.

    Attributes:
        endpoint: scheme, host and port; plain HTTP on loopback only.
        namespace: sent as ``X-Vault-Namespace``; ``""`` is the root.
        mount: where the KV engine is mounted.
        prefix: what every name begins with below the mount; of a key, its name.
        kv: the engine's version, 1 or 2; 0 if it is no KV engine.
    """

    endpoint: str
    namespace: str
    mount: str
    prefix: str
    kv: int

    @classmethod
    def of(cls, url: StoreURL, settings: Settings) -> Address:
        """Read ``vault://HOST:PORT/MOUNT/PREFIX?kv=1&namespace=team``, without I/O.

        A mount of several segments is named apart: ``vault://HOST:PORT/PREFIX?mount=team/kv``.

        Raises:
            InvalidRequestError: it could climb, it names a plain HTTP server elsewhere, or it is incomplete.
        """
        url.allow("endpoint", "kv", "mount", "namespace")
        mount, prefix = _mount_and_prefix(url)
        if not mount:
            raise InvalidRequestError("the URL names no mount", hint=_FORM)
        kv = str(_option(url, settings, "kv") or "2")
        if kv not in ("1", "2"):
            raise InvalidRequestError("the KV engine's version is 1 or 2", hint="write ?kv=1 or ?kv=2")
        prefix = check_prefix(prefix.rstrip("/"), settings.names)
        return cls(*_server(url, settings), check_prefix(mount, "native"), prefix, int(kv))

    @classmethod
    def of_key(cls, url: StoreURL, settings: Settings) -> Address:
        """Read ``vault-transit://HOST:PORT/MOUNT/KEY?namespace=team``, without I/O.

        Raises:
            InvalidRequestError: as `of` does, or what should be the key's name cannot be one.
        """
        url.allow("endpoint", "mount", "namespace")
        mount, key = _mount_and_prefix(url)
        if not mount or not _KEY_NAME.fullmatch(key):
            raise InvalidRequestError("the URL names no mount and key", hint=_KEY_FORM)
        return cls(*_server(url, settings, _KEY_FORM), check_prefix(mount, "native"), key, 0)

    @classmethod
    def of_engine(cls, url: StoreURL, settings: Settings) -> Address:
        """Read ``vault-leased://HOST:PORT/MOUNT?namespace=team``, whose mount may have several segments.

        Raises:
            InvalidRequestError: as `of` does.
        """
        url.allow("endpoint", "namespace")
        form = f"{url.scheme}://HOST:PORT/MOUNT, or {url.scheme}:///MOUNT?endpoint=http://127.0.0.1:8200"
        mount = (url.path if url.host else url.path.removeprefix("/")).strip("/")
        if not mount:
            raise InvalidRequestError("the URL names no mount", hint=form)
        return cls(*_server(url, settings, form), check_prefix(mount, "native"), "", 0)

    @classmethod
    def of_mount(cls, endpoint: str, mount: str, namespace: str = "") -> Address:
        """An engine or auth method at ``https://HOST:PORT``, for what is no store.

        Raises:
            InvalidRequestError: as `of` does.
        """
        inside = check_prefix(namespace.strip("/"), "native")
        return cls(_checked(endpoint, "https://HOST:PORT"), inside, check_prefix(mount, "native"), "", 0)

    @property
    def host(self) -> str:
        """Host and port, as written."""
        return urlsplit(self.endpoint).netloc

    @property
    def server(self) -> str:
        """Host and port in one form, however they were written."""
        _, host, port = _origin(self.endpoint) or ("", "", 0)
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def origin(self) -> str:
        """What answers say of where they came from."""
        return "/".join(part for part in (f"vault:{self.host}", self.namespace, self.mount) if part)

    @property
    def loopback(self) -> bool:
        """Whether the server is this machine."""
        return is_loopback(self.endpoint)


def same_origin(one: str, other: str) -> bool:
    """Whether two URLs name the same scheme, host and port: who may see a token meant for the other."""
    first = _origin(one)
    return first is not None and first == _origin(other)


def _origin(url: str) -> tuple[str, str, int] | None:
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    except (ValueError, KeyError):
        return None
    return (parts.scheme, parts.hostname, port) if parts.hostname else None


def _mount_and_prefix(url: StoreURL) -> tuple[str, str]:
    path = url.path if url.host else url.path.removeprefix("/")
    apart = url.option("mount")
    if apart is not None:
        return apart.strip("/"), path
    mount, _, prefix = path.partition("/")
    return mount, prefix


def _server(url: StoreURL, settings: Settings, form: str = _FORM) -> tuple[str, str]:
    """Endpoint and namespace."""
    endpoint = settings.endpoint or url.endpoint or (url.host and f"https://{url.host}")
    namespace = str(_option(url, settings, "namespace") or "").strip("/")
    return _checked(endpoint, form), check_prefix(namespace, "native")


def _checked(endpoint: str | None, form: str) -> str:
    if not endpoint:
        raise InvalidRequestError("the URL names no server", hint=form)
    parts = urlsplit(endpoint) if _origin(endpoint) else None
    if parts is None or "@" in parts.netloc or "\\" in endpoint or parts.query or parts.path.strip("/"):
        raise InvalidRequestError("the endpoint is not an http(s)://HOST:PORT", hint=form)
    if parts.scheme != "https" and not is_loopback(endpoint):
        raise InvalidRequestError(
            "plain HTTP only to this machine: anybody on the way could read every secret",
            hint="use https, or a literal 127.0.0.0/8 or [::1]",
        )
    return f"{parts.scheme}://{parts.netloc}"


def _option(url: StoreURL, settings: Settings, name: str) -> Any:
    in_url = url.option(name)
    return settings.options.get(name) if in_url is None else in_url
