"""gRPC channels to Google's services: to which hosts, with whose credentials, and what a fork does to one."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar
from urllib.parse import urlsplit

from strongroom.backend import Settings
from strongroom.errors import InvalidRequestError
from strongroom.names import StoreURL, is_loopback
from strongroom.value import SecretValue

# Read once, when grpc is imported: without it a forked child inherits gRPC's threads' locks, and hangs.
# https://github.com/grpc/grpc/blob/master/doc/fork_support.md
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "1")
# Its core writes to stderr by itself: each connection that a server ends would be a line there.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

import grpc

with suppress(ImportError):  # older releases log nothing
    from google.api_core import client_logging

    # Now, and not at the first client: a "google" logger with a level, as an open store's clamp sets one, is
    # taken for the program's own and stays connected to the root. Whatever other clients of the process log
    # at DEBUG, values included, would go there once the store is closed.
    client_logging.initialize_logging()  # type: ignore[no-untyped-call]

T = TypeVar("T")
SCOPES: Final = ("https://www.googleapis.com/auth/cloud-platform",)
_GOOGLE_HOST: Final = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)*\.googleapis\.com")
_AUTH: Final = frozenset({"credentials", "token", "quota_project"})
_OPTIONS: Final = (
    # gRPC repeats calls by itself, also writes; ours is the one place that does.
    ("grpc.enable_retries", 0),
    # A service configuration from DNS could switch such repeats on again.
    ("grpc.service_config_disable_resolution", 1),
    # Its own pause between two attempts to connect grows to two minutes, in which no call is even tried.
    ("grpc.max_reconnect_backoff_ms", 5_000),
    # Connections of its own: closing this channel closes them.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.primary_user_agent", "strongroom"),
)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a service is.

    Attributes:
        target: host and port.
        secure: over TLS; only loopback may be without.
        local: on this machine.
    """

    target: str
    secure: bool = True
    local: bool = False

    @classmethod
    def of(cls, url: StoreURL, settings: Settings, host: str) -> Address:
        """The endpoint that the URL (loopback only) or the configuration names, else the service's own host.

        Google's SDK also follows ``GOOGLE_CLOUD_UNIVERSE_DOMAIN``: whoever can set it could have every value
        sent to his own host. Here the environment names no host.

        Raises:
            InvalidRequestError: plain HTTP to another machine, or a path.
        """
        endpoint = url.endpoint or settings.endpoint
        if endpoint is None:
            return cls(f"{host}:443")
        local, parts = is_loopback(endpoint), urlsplit(endpoint)
        if parts.scheme != "https" and not local:
            raise InvalidRequestError("plain HTTP is for loopback only", hint="use an https:// endpoint")
        if not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment or parts.username:
            raise InvalidRequestError("an endpoint is a host and a port", hint="as in https://HOST:PORT")
        secure = parts.scheme == "https"
        name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        return cls(f"{name}:{parts.port or (443 if secure else 80)}", secure, local)

    @property
    def is_google(self) -> bool:
        """Whether ambient credentials may go there."""
        return _GOOGLE_HOST.fullmatch(self.target.rpartition(":")[0].lower()) is not None


def check_auth(address: Address, settings: Settings) -> None:
    """Refuse credentials where they may not go, before anything is opened.

    Raises:
        InvalidRequestError: an unknown setting; a credential for plain HTTP, or an ambient one for a host
            that is not Google's.
    """
    unknown = sorted(settings.auth.keys() - _AUTH)
    if unknown:
        raise InvalidRequestError(
            f"unknown Google credential setting {unknown[0]!r}", hint=f"known: {', '.join(sorted(_AUTH))}"
        )
    if settings.auth and not address.secure:
        raise InvalidRequestError(
            "credentials do not travel over plain HTTP", hint="use an https:// endpoint, or leave auth away"
        )
    if not (settings.auth or address.local or address.is_google):
        raise InvalidRequestError(
            "ambient Google credentials go only to Google's own hosts", hint="give this store an auth table"
        )


def open_channel(address: Address, settings: Settings) -> grpc.Channel:
    """A channel; nothing is sent before its first call, but ambient credentials are looked for now."""
    options = [*_OPTIONS, *([("grpc.enable_http_proxy", 0)] if address.local else [])]
    if not address.secure:
        return grpc.insecure_channel(address.target, options)
    roots = Path(settings.ca).read_bytes() if settings.ca else None
    secured = grpc.ssl_channel_credentials(root_certificates=roots)
    if settings.auth or not address.local:  # real credentials are not for whatever listens on this machine
        secured = grpc.composite_channel_credentials(secured, _call_credentials(address, settings))
    return grpc.secure_channel(address.target, secured, options)


def _call_credentials(address: Address, settings: Settings) -> grpc.CallCredentials:
    from google.auth.transport import grpc as transport
    from google.auth.transport.requests import Request

    request = Request()
    request.session.max_redirects = 0  # a redirect could carry what buys a token elsewhere
    if settings.ca:
        request.session.verify = settings.ca
    host = address.target.rpartition(":")[0]
    make: Any = transport.AuthMetadataPlugin
    plugin = make(credentials_for(settings.auth), request, default_host=host)
    return grpc.metadata_call_credentials(plugin)


def credentials_for(auth: Mapping[str, str | SecretValue]) -> Any:
    """What Google's SDKs ask for tokens: the named ones, or those of this program's surroundings."""
    found = _named_credentials(auth)
    if found is None:
        import google.auth

        found, _ = google.auth.default(scopes=SCOPES)
    if auth.get("quota_project") and hasattr(found, "with_quota_project"):
        return found.with_quota_project(str(auth["quota_project"]))
    return found


def _named_credentials(auth: Mapping[str, str | SecretValue]) -> Any:
    from google.oauth2 import credentials, service_account

    user: Any = credentials.Credentials
    service: Any = service_account.Credentials
    if "token" in auth:
        return user(_shown(auth["token"]))
    if "credentials" not in auth:
        return None
    info = _parsed(_shown(auth["credentials"]))
    kind = info.get("type") if isinstance(info, dict) else None
    try:
        if kind == "service_account":
            return service.from_service_account_info(info, scopes=SCOPES).with_always_use_jwt_access(True)
        if kind == "authorized_user":
            return user.from_authorized_user_info(info, scopes=SCOPES)
    except (ValueError, TypeError, KeyError, AttributeError):  # their messages may quote the key
        kind = None
    info = None
    raise InvalidRequestError(
        "the Google credentials are not usable",
        hint="give the JSON key of a service account, or of an authorized user",
    )


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:  # JSONDecodeError.doc is the key
        return None


def _shown(secret: str | SecretValue) -> str:
    return secret.reveal_text() if isinstance(secret, SecretValue) else secret


class Connection(Generic[T]):
    """What stands on one channel (an SDK client), made on first use and anew in a forked child."""

    def __init__(self, connect: Callable[[grpc.Channel], T], address: Address, settings: Settings):
        check_auth(address, settings)
        self._connect = connect
        self._address = address
        self._settings = settings
        self._open: tuple[grpc.Channel, T] | None = None
        self._lock = threading.Lock()

    def get(self) -> T:
        """The client. Raises what the SDK raises while credentials are looked for."""
        opened = self._open
        if opened is None:
            with self._lock:
                opened = self._open = self._open or self._make()
        return opened[1]

    def _make(self) -> tuple[grpc.Channel, T]:
        channel = open_channel(self._address, self._settings)
        return channel, self._connect(channel)

    def after_fork(self) -> None:
        """Forget the parent's channel without closing it."""
        if self._open is not None:
            _inherited.append(self._open)
        self._open = None
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the channel and its connections; it is made anew if it is used again."""
        opened, self._open = self._open, None
        if opened is not None:
            opened[0].close()


# A channel that is collected closes itself; the child would close what the parent uses.
_inherited: list[Any] = []
