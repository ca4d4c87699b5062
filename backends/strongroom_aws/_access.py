"""What a client of AWS may talk to, and with whose credentials."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import urlsplit

import botocore.session
from botocore.config import Config

from strongroom.backend import Settings
from strongroom.errors import InvalidRequestError
from strongroom.names import StoreURL, is_loopback
from strongroom.value import SecretValue

_REGION = re.compile(r"[a-z]{2,}(-[a-z]+)+-\d{1,2}")
_AWS_HOST = re.compile(r"[a-z0-9.-]+\.(amazonaws\.com(\.cn)?|api\.aws|amazonaws\.eu)")
_AUTH = frozenset({"profile", "access_key_id", "secret_access_key", "session_token"})
_CONNECTIONS = 50


class Access:
    """Region, endpoint and credentials, checked before anything is sent.

    Args:
        url: its host is the region.
        settings: endpoint, credentials, certificate authorities, timeout.
        example: how such a URL is written, for the hint.
    """

    def __init__(self, url: StoreURL, settings: Settings, example: str):
        self.region = _region(url.host, example)
        self.endpoint = _endpoint(url, settings)
        self._settings = settings
        self._auth = _auth(settings, self.endpoint)

    def connect(self, service: str) -> Any:
        """A new boto client; it sends nothing yet."""
        with _Sessions.lock:  # boto's sessions are not safe across threads, its clients are
            return self._connect(_Sessions.fit_for(self._auth), service)

    def _connect(self, session: Any, service: str) -> Any:
        return session.create_client(
            service,
            region_name=self.region,
            endpoint_url=self.endpoint,
            aws_access_key_id=_shown(self._auth.get("access_key_id")),
            aws_secret_access_key=_shown(self._auth.get("secret_access_key")),
            aws_session_token=_shown(self._auth.get("session_token")),
            verify=self._settings.ca,
            config=Config(**self._options()),
        )

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {
            "connect_timeout": self._settings.timeout,
            "read_timeout": self._settings.timeout,
            "retries": {"total_max_attempts": 1, "mode": "standard"},
            "max_pool_connections": _CONNECTIONS,
            # Whoever can set AWS_ENDPOINT_URL could otherwise have every value sent to his own host.
            "ignore_configured_endpoint_urls": True,
            "user_agent_extra": "strongroom",
        }
        if self.endpoint is not None and is_loopback(self.endpoint):
            options["proxies"] = {}
        return options


class _Sessions:
    """What boto takes long to make: its table of handlers, 40 ms, and its parsed API models, 70 ms.

    The models are shared by the process. The handlers are shared by clients that were given their keys; with
    any others a session finds credentials in its surroundings and keeps them, so each store has its own.
    """

    lock: ClassVar = threading.Lock()
    _plain: ClassVar[Any] = None
    _models: ClassVar[Any] = None

    @classmethod
    def fit_for(cls, auth: Mapping[str, str | SecretValue]) -> Any:
        if "access_key_id" not in auth or "profile" in auth:
            return cls._new(auth.get("profile"))
        cls._plain = cls._plain or cls._new(None)
        return cls._plain

    @classmethod
    def _new(cls, profile: Any) -> Any:
        session = botocore.session.Session(profile=profile)
        cls._models = cls._models or session.get_component("data_loader")
        session.register_component("data_loader", cls._models)
        return session

    @classmethod
    def after_fork(cls) -> None:
        cls.lock = threading.Lock()  # the parent may be holding it


os.register_at_fork(after_in_child=_Sessions.after_fork)


def _region(host: str, example: str) -> str:
    if not _REGION.fullmatch(host):  # it becomes part of a host name
        raise InvalidRequestError(f"not an AWS region: {host[:60]!r}", hint=f"write {example}")
    return host


def _endpoint(url: StoreURL, settings: Settings) -> str | None:
    endpoint = url.endpoint or settings.endpoint
    if endpoint is None or is_loopback(endpoint):
        return endpoint
    if urlsplit(endpoint).scheme != "https":
        raise InvalidRequestError("plain HTTP is for loopback only", hint="use an https:// endpoint")
    return endpoint


def is_aws(endpoint: str | None) -> bool:
    """Whether an endpoint is one of AWS's own hosts, each of which serves one region."""
    return endpoint is not None and bool(_AWS_HOST.fullmatch(urlsplit(endpoint).hostname or ""))


def _auth(settings: Settings, endpoint: str | None) -> Mapping[str, Any]:
    unknown = sorted(settings.auth.keys() - _AUTH)
    if unknown:
        raise InvalidRequestError(
            f"unknown AWS credential setting {unknown[0]!r}", hint=f"known: {', '.join(sorted(_AUTH))}"
        )
    if settings.auth or endpoint is None:
        return settings.auth
    if is_loopback(endpoint):  # real credentials are not for whatever listens on this machine
        return {"access_key_id": "test", "secret_access_key": "test"}
    if not is_aws(endpoint):
        raise InvalidRequestError(
            "ambient AWS credentials go only to AWS's own hosts", hint="give this store an auth table"
        )
    return {}


def _shown(secret: str | SecretValue | None) -> str | None:
    return secret.reveal_text() if isinstance(secret, SecretValue) else secret
