"""What our code asks of Secret Manager, as Google's IAM sees it: recorded, and refused where denied.

Each method's permission, and the resource that it is checked on, stand in
https://cloud.google.com/secret-manager/docs/access-control: creating and listing are checked on the project.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from google.api_core.exceptions import PermissionDenied

from strongroom_gcp._client import Client

NUMBER = "123456789012"
PERMISSIONS: Mapping[str, str] = {
    "AccessSecretVersion": "secretmanager.versions.access",
    "AddSecretVersion": "secretmanager.versions.add",
    "CreateSecret": "secretmanager.secrets.create",
    "DeleteSecret": "secretmanager.secrets.delete",
    "DestroySecretVersion": "secretmanager.versions.destroy",
    "GetSecret": "secretmanager.secrets.get",
    "GetSecretVersion": "secretmanager.versions.get",
    "ListSecretVersions": "secretmanager.versions.list",
    "ListSecrets": "secretmanager.secrets.list",
    "UpdateSecret": "secretmanager.secrets.update",
}
_STARTS = re.compile(r'resource\.name\.startsWith\("([^"]+)"\)')


@dataclass(frozen=True, slots=True)
class Asked:
    """One permission on one resource, by its name as conditions see it: with the project's number."""

    permission: str
    resource: str


@dataclass(frozen=True, slots=True)
class Grant:
    """A custom role bound on the project, under a condition or none."""

    permissions: tuple[str, ...]
    prefixes: tuple[str, ...]

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Grant:
        """As the module's output has it.

        Raises:
            ValueError: the condition is more than names joined by or.
        """
        parts = given["condition"].split(" || ") if given["condition"] else []
        found = [_STARTS.fullmatch(part) for part in parts]
        if not all(found):
            raise ValueError("a condition that is not judged here")
        return cls(tuple(given["permissions"]), tuple(match[1] for match in found if match))

    def covers(self, asked: Asked) -> bool:
        """Whether it allows that: without a condition, everywhere in the project."""
        named = not self.prefixes or asked.resource.startswith(self.prefixes)
        return asked.permission in self.permissions and named


@dataclass
class Recorder:
    """Sits before Google's client.

    Attributes:
        grants: what decides now; None lets everything pass and keeps nothing.
        asked: what was asked for under grants.
        refused: what they did not allow.
    """

    grants: Sequence[Grant] | None = None
    asked: list[Asked] = field(default_factory=list)
    refused: list[Asked] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def under(self, grants: Sequence[Grant]) -> Iterator[None]:
        """All calls of the block are judged by these."""
        self.grants = grants
        try:
            yield
        finally:
            self.grants = None

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """From now on each attempt asks here first."""
        send = Client._attempt

        def attempted(
            client: Client, method: str, make: Callable[[], Any], shape: Callable[[Any], Any], writes: bool
        ) -> Any:
            def judged() -> Any:
                request = make()
                self._judge(method, request)
                return request

            return send(client, method, judged, shape, writes)

        monkeypatch.setattr(Client, "_attempt", attempted)

    def _judge(self, method: str, request: Any) -> None:
        if self.grants is None:
            return
        asked = Asked(PERMISSIONS[method], _resource(request))
        allowed = any(grant.covers(asked) for grant in self.grants)
        with self._lock:
            self.asked.append(asked)
            self.refused += [] if allowed else [asked]
        if not allowed:
            raise PermissionDenied(f"Permission '{asked.permission}' denied")

    def unused(self, grants: Sequence[Grant]) -> list[tuple[str, str]]:
        """Each permission and prefix that nothing was asked under."""
        return [
            (permission, prefix)
            for grant in grants
            for permission in grant.permissions
            for prefix in grant.prefixes or ("projects/",)
            if not any(a.permission == permission and a.resource.startswith(prefix) for a in self.asked)
        ]


def _resource(request: Any) -> str:
    """Of an update the secret's, of creating and listing the project's."""
    name = getattr(request, "name", "") or getattr(request, "parent", "") or request.secret.name
    return re.sub(r"^projects/[^/]+", f"projects/{NUMBER}", str(name))
