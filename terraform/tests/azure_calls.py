"""What our code asks of Key Vault, as data actions: recorded where the SDK sends, refused where denied.

The operations: https://learn.microsoft.com/rest/api/keyvault/. The actions:
https://learn.microsoft.com/azure/role-based-access-control/permissions/security#microsoftkeyvault. What is in
the bin is described by `readMetadata`: its value is not told.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from azure.core.exceptions import HttpResponseError

from strongroom_azure._transport import Transport

_SECRETS, _KEYS = "Microsoft.KeyVault/vaults/secrets", "Microsoft.KeyVault/vaults/keys"
_OPERATIONS = [
    ("GET", r"/secrets", f"{_SECRETS}/readMetadata/action"),
    ("GET", r"/secrets/[^/]+/versions", f"{_SECRETS}/readMetadata/action"),
    ("GET", r"/secrets/[^/]+(/[0-9a-f]{32})?", f"{_SECRETS}/getSecret/action"),
    ("PUT", r"/secrets/[^/]+", f"{_SECRETS}/setSecret/action"),
    ("PATCH", r"/secrets/[^/]+(/[0-9a-f]{32})?", f"{_SECRETS}/update/action"),
    ("DELETE", r"/secrets/[^/]+", f"{_SECRETS}/delete"),
    ("GET", r"/deletedsecrets/[^/]+", f"{_SECRETS}/readMetadata/action"),
    ("POST", r"/deletedsecrets/[^/]+/recover", f"{_SECRETS}/recover/action"),
    ("DELETE", r"/deletedsecrets/[^/]+", f"{_SECRETS}/purge/action"),
    ("GET", r"/keys/[^/]+(/[0-9a-f]{32})?", f"{_KEYS}/read"),
    ("POST", r"/keys/[^/]+(/[0-9a-f]{32})?/wrapkey", f"{_KEYS}/wrap/action"),
    ("POST", r"/keys/[^/]+(/[0-9a-f]{32})?/unwrapkey", f"{_KEYS}/unwrap/action"),
]


def action(method: str, path: str) -> str:
    """The data action that an operation needs.

    Raises:
        LookupError: the operation is not known here.
    """
    path = path.rstrip("/").lower()
    for known, pattern, needed in _OPERATIONS:
        if method == known and re.fullmatch(pattern, path):
            return needed
    raise LookupError(f"{method} {path}")


@dataclass
class Recorder:
    """Sits before Azure's transport.

    Attributes:
        actions: what decides now; None lets everything pass and keeps nothing.
        asked: the actions that were asked for.
        refused: those that are not granted.
    """

    actions: frozenset[str] | None = None
    asked: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def under(self, actions: Iterable[str]) -> Iterator[None]:
        """All calls of the block are judged by these."""
        self.actions = frozenset(actions)
        try:
            yield
        finally:
            self.actions = None

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """From now on each request asks here first."""
        send = Transport.send

        def judged(transport: Transport, request: Any, **how: Any) -> Any:
            if self.actions is not None:
                self._judge(action(request.method, urlsplit(request.url).path))
            return send(transport, request, **how)

        monkeypatch.setattr(Transport, "send", judged)

    def _judge(self, needed: str) -> None:
        assert self.actions is not None
        with self._lock:
            self.asked.add(needed)
            self.refused |= {needed} - self.actions
        if needed not in self.actions:
            raise _denial()


def _denial() -> HttpResponseError:
    error = HttpResponseError("Forbidden")
    error.status_code = 403
    return error
