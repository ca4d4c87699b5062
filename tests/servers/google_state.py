"""What the Google double keeps of Secret Manager, and an older view of it for what Google answers late."""

from __future__ import annotations

import copy
import itertools
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from google.cloud import secretmanager_v1 as api
from google.iam.v1 import policy_pb2

from strongroom.backend import Clock
from tests.servers.google_refusal import not_found

State: Any = api.SecretVersion.State  # proto-plus gives its members no type of their own
LATEST = "latest"


@dataclass
class Version:
    """A version: what Google tells of it, and its payload until it is destroyed."""

    shown: api.SecretVersion
    payload: bytes | None = field(repr=False)
    checksum: int | None = None

    def settle(self, now: datetime) -> None:
        """Destroy it if its scheduled time has come."""
        due = self.shown.scheduled_destroy_time
        if "scheduled_destroy_time" in self.shown and due <= now:
            self.destroy(due)

    def destroy(self, at: datetime) -> None:
        """Remove the payload for good."""
        self.payload = self.checksum = None
        del self.shown.scheduled_destroy_time
        self.shown.state, self.shown.destroy_time = State.DESTROYED, at


@dataclass
class Entry:
    """A secret with its versions by number."""

    shown: api.Secret
    order: int
    versions: dict[int, Version] = field(default_factory=dict)
    policy: Any = field(default_factory=policy_pb2.Policy)

    def number(self, text: str) -> int | None:
        """The number that `text` (a number, an alias or ``latest``) stands for now.

        ``latest`` is "an alias to the most recently created SecretVersion" (AccessSecretVersionRequest.name),
        whatever its state.
        """
        if text == LATEST:
            return max(self.versions, default=None)
        return int(text) if text.isdecimal() else self.shown.version_aliases.get(text)


class Account:
    """All projects. Resource names hold the project's number in answers, whatever the request said."""

    def __init__(self, clock: Clock):
        self.clock = clock
        self._entries: dict[str, Entry] = {}
        self._count = itertools.count(1)

    def add(self, shown: api.Secret) -> Entry:
        """Keep a new secret under its canonical name."""
        entry = self._entries[shown.name] = Entry(shown, next(self._count))
        return entry

    def get(self, name: str) -> Entry | None:
        """The secret of this canonical name, unless it expired."""
        entry = self._entries.get(name)
        if entry is None:
            return None
        if "expire_time" in entry.shown and entry.shown.expire_time <= self.clock.now():
            del self._entries[name]  # "the secret is deleted": secret-manager/docs/secret-expiration
            return None
        for version in entry.versions.values():
            version.settle(self.clock.now())
        return entry

    def need(self, name: str) -> Entry:
        """Like `get`, but NOT_FOUND if there is none."""
        entry = self.get(name)
        if entry is None:
            raise not_found(name)
        return entry

    def remove(self, name: str) -> None:
        """Forget it with all its versions, for good."""
        self._entries.pop(name, None)

    def under(self, parent: str) -> Iterator[Entry]:
        """The secrets of a project, or of one location in it; newest first, as ListSecretsResponse says."""
        names = [name for name in self._entries if name.rpartition("/secrets/")[0] == parent]
        yield from sorted(filter(None, map(self.get, names)), key=lambda entry: -entry.order)

    def snapshot(self) -> Account:
        """A copy to answer from later."""
        twin = Account(self.clock)
        twin._entries = copy.deepcopy(self._entries)
        return twin


def canonical(name: str) -> str:
    """`name` with its project's number in place of its id.

    Answers name resources so: ``projects/123/secrets/…`` (secret-manager/docs/data-integrity), while requests
    may say either.
    """
    kind, project, rest = [*name.split("/", 2), ""][:3]
    return "/".join([kind, project_number(project), rest]).rstrip("/")


def project_number(project: str) -> str:
    """A stable number for a project id; a number stands for itself."""
    return project if project.isdecimal() else str(100_000_000_000 + zlib.crc32(project.encode()))


def etags() -> Iterator[str]:
    """New etags; they "include quotes" (secret-manager/docs/etags)."""
    return (f'"{number:x}"' for number in itertools.count(0x5F0000000001))


def newest_first(versions: Iterable[Version]) -> list[Version]:
    """As ListSecretVersionsResponse says: "sorted in reverse by create_time"."""
    return sorted(versions, key=lambda version: -int(version.shown.name.rpartition("/")[2]))
