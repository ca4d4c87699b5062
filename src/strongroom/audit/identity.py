"""Who acts where the program does not say: the cloud's identity, the pod's, the token's, the user's.

In this order, the first that is known: AWS STS, the Kubernetes service account, the provider's token, the
operating system's user. How it is known is part of what is recorded.
"""

from __future__ import annotations

import json
import os
import threading
from base64 import urlsafe_b64decode
from pathlib import Path
from typing import TYPE_CHECKING, Final

from strongroom.errors import SecretStoreError

from .actor import Actor

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.clock import Clock

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
_RETRY: Final = 600.0
"""Seconds for which a provider that did not say who we are is left alone: its timeout is a reader's wait."""
_HOW: Final = {"arn": "aws-sts", "vault": "vault"}


class Identity:
    """The actor of a process, as one store's backend and the machine tell it.

    Args:
        principal: asks the provider; `strongroom.backend.Backend.principal`.
        clock: injected in tests.
        token: the file in which Kubernetes puts the service account's token.
    """

    def __init__(self, principal: Callable[[], str | None], clock: Clock, token: Path = SERVICE_ACCOUNT):
        self._principal, self._clock, self._token = principal, clock, token
        self.after_fork()

    def after_fork(self) -> None:
        """Ask again, with a lock of our own."""
        self._lock = threading.Lock()
        self._known: Actor | None = None
        self._until: float | None = None

    def actor(self) -> Actor:
        """The actor; asked for once, and after the provider failed to answer every ten minutes."""
        if self._known is None or self._due():
            with self._lock:
                if self._known is None or self._due():
                    self._known = self._asked()
        return self._known

    def _due(self) -> bool:
        return self._until is not None and self._clock.monotonic() >= self._until

    def _asked(self) -> Actor:
        provider, self._until = None, None
        try:
            provider = self._principal()
        except SecretStoreError:  # who may read a secret need not be allowed to ask who he is
            self._until = self._clock.monotonic() + _RETRY
        how = _HOW.get((provider or "").partition(":")[0], "provider")
        if provider and how == "aws-sts":
            return Actor(provider, how)
        if account := service_account(self._token):
            return Actor(account, "kubernetes")
        return Actor(provider, how) if provider else Actor(_user(), "os")


def service_account(token: Path = SERVICE_ACCOUNT) -> str | None:
    """The ``sub`` of the pod's own token, such as ``system:serviceaccount:shop:api``, or None.

    The token is the machine's statement about itself, and it is not checked: whoever can write this file can
    act as the pod anyway.
    """
    try:
        claims = token.read_text().split(".")[1]
        subject = json.loads(urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["sub"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return subject if isinstance(subject, str) and subject else None


def _user() -> str:
    import pwd

    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # containers run as numbers that nobody has named
        name = f"uid-{os.getuid()}"
    return f"{name}@{os.uname().nodename}"
