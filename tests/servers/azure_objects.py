"""What secrets and keys of the Azure double share: versions, attributes, lists in pages, soft delete.

[soft] learn.microsoft.com/azure/key-vault/general/soft-delete-overview
[rest] learn.microsoft.com/rest/api/keyvault/secrets (and /keys), one page per operation
[sdk] the public azure-sdk-for-net, sdk/keyvault/samples: error bodies as its tests record them
"""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

from strongroom.backend import Clock
from tests.servers.azure_wire import VERSION, Call, JsonMap, RefusedError, bad_parameter, checked_name

T = TypeVar("T")
PAGE: Final = 25  # "up to 25 results" a page, also the most a client may ask for [rest: Get Secrets]
MAX_TAGS: Final = 15
# learn.microsoft.com/azure/key-vault/secrets/about-secrets says 512, other editions of the page 256: the
# double takes what both take.
MAX_TAG: Final = 256
DAY: Final = 86_400


@dataclass
class Version:
    """One version: its attributes, and in `content` what the kind holds."""

    content: Any = field(repr=False)
    created: int
    tags: dict[str, str] | None = None
    enabled: bool = True
    nbf: int | None = None
    exp: int | None = None
    updated: int = 0
    id: str = field(default_factory=lambda: uuid.uuid4().hex)

    def change(self, body: JsonMap, now: int) -> None:
        """Take the attributes and tags that `body` names; tags are replaced whole. [rest: Update Secret]"""
        attributes = body.get("attributes") or {}
        self.enabled = attributes.get("enabled", self.enabled)
        self.nbf, self.exp = attributes.get("nbf", self.nbf), attributes.get("exp", self.exp)
        if "tags" in body:
            self.tags = checked_tags(body["tags"])
        self.updated = now


@dataclass
class Named:
    """An object with all its versions, oldest first; in the bin if `deleted` says since when."""

    name: str
    versions: list[Version] = field(default_factory=list)
    deleted: int | None = None
    moving: int = 0


def checked_tags(tags: Any) -> dict[str, str] | None:
    """At most 15, at most 256 characters each."""
    if tags is None:
        return None
    if len(tags) > MAX_TAGS or any(len(text) > MAX_TAG for pair in tags.items() for text in pair):
        raise bad_parameter(f"At most {MAX_TAGS} tags of {MAX_TAG} characters are allowed")
    return dict(tags)


class Objects:
    """All objects of one kind, "secret" or "key".

    Attributes:
        recovery_level, recoverable_days: what the vault's settings say; "Recoverable" alone is purge
            protection. The levels are the public SDK's DeletionRecoveryLevel.
        moves: how many reads find a deletion or a recovery still under way, which takes the service seconds.
    """

    recovery_level = "Recoverable+Purgeable"
    recoverable_days = 90  # "7 to 90 days, 90 days by default" [soft]
    moves = 0

    def __init__(self, kind: str, clock: Clock) -> None:
        self.kind = kind
        self._clock = clock
        self._all: dict[str, Named] = {}
        self._stale: dict[str, Named] | None = None

    def now(self) -> int:
        """Whole seconds: created and updated are IntDates (RFC 7519 NumericDate without a fraction)."""
        return int(self._clock.now().timestamp())

    @contextmanager
    def stale_lists(self) -> Iterator[None]:
        """Lists answer what stands here now until the block ends; reads by name stay true."""
        self._stale = copy.deepcopy(self._all)
        try:
            yield
        finally:
            self._stale = None

    def clear(self) -> None:
        """Forget everything."""
        self._all.clear()
        self._stale = None
        self.moves = 0

    def add(self, name: str, version: Version) -> Named:
        """The newest version of `name`, which must not be in the bin."""
        self._drop_expired()
        named = self._all.get(checked_name(name).lower())
        if named and named.deleted is not None:
            self._refuse_reserved(named)
        named = named or self._all.setdefault(name.lower(), Named(name))
        named.versions.append(version)
        return named

    def named(self, name: str) -> Named:
        """The live object; names differ in more than case."""
        self._drop_expired()
        named = self._all.get(checked_name(name).lower())
        if named is None or named.deleted is not None or self._still_moving(named):
            raise self._not_found(name)
        return named

    def version(self, name: str, version: str = "") -> tuple[Named, Version]:
        """That version, or the newest."""
        if version and not VERSION.match(version):
            raise bad_parameter(f"The request URI contains an invalid version: {version}")
        named = self.named(name)
        for each in reversed(named.versions):
            if version in {"", each.id}:
                return named, each
        raise self._not_found(f"{name}/{version}")

    def delete(self, name: str) -> Named:
        """All versions go into the bin together; one alone cannot be deleted. [rest: Delete Secret]"""
        named = self.named(name)
        named.deleted, named.moving = self.now(), self.moves
        return named

    def in_bin(self, name: str) -> Named:
        """The object in the bin."""
        self._drop_expired()
        named = self._all.get(checked_name(name).lower())
        if named is None or named.deleted is None or self._still_moving(named):
            raise self._not_found(name)
        return named

    def recover(self, name: str) -> Named:
        """Take it out of the bin, all versions as they were."""
        named = self.in_bin(name)
        named.deleted, named.moving = None, self.moves
        return named

    def purge(self, name: str) -> None:
        """Remove it for ever, unless the vault has purge protection. [soft]"""
        named = self.in_bin(name)
        if "Purgeable" not in self.recovery_level:
            raise RefusedError(
                403, "Forbidden", 'Operation "purge" is not permitted on this vault.', "ForbiddenByPolicy"
            )
        del self._all[named.name.lower()]

    def listed(self, *, deleted: bool) -> list[Named]:
        """What a list shows, which is not always what is."""
        self._drop_expired()
        source = self._all if self._stale is None else self._stale
        return [source[name] for name in sorted(source) if (source[name].deleted is not None) is deleted]

    def listed_versions(self, name: str) -> tuple[Named, list[Version]]:
        """In no useful order: the service promises none. [rest: Get Secret Versions]"""
        source = self._all if self._stale is None else self._stale
        named = source.get(checked_name(name).lower())
        if named is None or named.deleted is not None:
            raise self._not_found(name)
        return named, sorted(named.versions, key=lambda version: version.id)

    def attributes(self, version: Version) -> JsonMap:
        """As answers and lists carry them."""
        optional = {"nbf": version.nbf, "exp": version.exp}
        return {
            "enabled": version.enabled,
            **{name: value for name, value in optional.items() if value is not None},
            "created": version.created,
            "updated": version.updated or version.created,
            "recoveryLevel": self.recovery_level,
            "recoverableDays": self.recoverable_days,
        }

    def identifier(self, call: Call, named: Named, version: Version | None = None) -> str:
        """https://<vault>/<kind>s/<name>[/<version>]; the name as it was first written."""
        base = f"{call.base}/{self.kind}s/{named.name}"
        return f"{base}/{version.id}" if version else base

    def bin_fields(self, call: Call, named: Named) -> JsonMap:
        """What a bundle carries in the bin; the public SDK's DeletedSecretBundle."""
        if named.deleted is None:
            return {}
        return {
            "recoveryId": f"{call.base}/deleted{self.kind}s/{named.name}",
            "deletedDate": named.deleted,
            "scheduledPurgeDate": named.deleted + self.recoverable_days * DAY,
        }

    def page(self, call: Call, path: str, found: Sequence[T], shown: Callable[[T], JsonMap]) -> JsonMap:
        """One page, and where the next begins; the service's links carry the token in $skiptoken."""
        size = int(call.query.get("maxresults", PAGE))
        if not 1 <= size <= PAGE:
            raise bad_parameter(f"maxresults must be between 1 and {PAGE}")
        start = int(call.query.get("$skiptoken", 0))
        page: JsonMap = {"value": [shown(each) for each in found[start : start + size]], "nextLink": None}
        if start + size < len(found):
            query = dict(call.query) | {"$skiptoken": str(start + size)}
            page["nextLink"] = f"{call.base}{path}?{urlencode(query)}"
        return page

    def _drop_expired(self) -> None:
        kept = self.now() - self.recoverable_days * DAY
        for key in [k for k, n in self._all.items() if n.deleted is not None and n.deleted <= kept]:
            del self._all[key]

    def _still_moving(self, named: Named) -> bool:
        named.moving, before = max(0, named.moving - 1), named.moving
        return before > 0

    def _refuse_reserved(self, named: Named) -> None:
        label = self.kind.capitalize()
        if named.moving:
            raise RefusedError(
                409,
                "Conflict",
                f"{label} {named.name} is currently being deleted and cannot be re-created; retry later.",
                "ObjectIsBeingDeleted",
            )
        # The whole body stands in [sdk] Sample4_ErrorResponse.
        raise RefusedError(
            409,
            "Conflict",
            f"{label} {named.name} is currently in a deleted but recoverable state, and its name cannot be "
            f"reused; in this state, the {self.kind} can only be recovered or purged.",
            "ObjectIsDeletedButRecoverable",
        )

    def _not_found(self, name: str) -> RefusedError:
        message = (
            f"A {self.kind} with (name/id) {name} was not found in this key vault. If you recently deleted "
            f"this {self.kind} you may be able to recover it using the correct recovery command. For help "
            "resolving this issue, please see https://go.microsoft.com/fwlink/?linkid=2125182"
        )
        return RefusedError(404, f"{self.kind.capitalize()}NotFound", message)
