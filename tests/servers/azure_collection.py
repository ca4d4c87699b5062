"""Operations that secrets and keys of the Azure double share; each takes a `Call` and the name in its path.

[rest] learn.microsoft.com/rest/api/keyvault/secrets and /keys, one page per operation
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from strongroom.backend import Clock
from tests.servers.azure_objects import Named, Objects, Version
from tests.servers.azure_wire import Call, JsonMap


class Collection(ABC):
    """Lists, and the way into the bin and out of it.

    Attributes:
        kind: "secret" or "key".
        id_field: what identifiers are called in a list.
        objects: what is there.
    """

    kind: ClassVar[str]
    id_field: ClassVar[str]

    def __init__(self, clock: Clock) -> None:
        self.objects = Objects(self.kind, clock)

    @abstractmethod
    def described(self, version: Version) -> JsonMap:
        """What lists tell of a version beyond its attributes and tags."""

    @abstractmethod
    def bundle(self, call: Call, named: Named, version: Version) -> JsonMap:
        """A version as an operation answers it, without a secret's value."""

    def list(self, call: Call) -> JsonMap:
        """Base identifiers with the newest version's attributes. [rest: Get Secrets, Get Keys]"""
        found = self.objects.listed(deleted=False)
        shown = lambda named: self.item(call, named, named.versions[-1])  # noqa: E731
        return self.objects.page(call, f"/{self.kind}s", found, shown)

    def versions(self, call: Call, name: str) -> JsonMap:
        """Every version's attributes. [rest: Get Secret Versions, Get Key Versions]"""
        named, versions = self.objects.listed_versions(name)

        def shown(version: Version) -> JsonMap:
            identifier = self.objects.identifier(call, named, version)
            return self.item(call, named, version) | {self.id_field: identifier}

        return self.objects.page(call, f"/{self.kind}s/{name}/versions", versions, shown)

    def delete(self, call: Call, name: str) -> JsonMap:
        """Into the bin. [rest: Delete Secret, Delete Key]"""
        return self._deleted(call, self.objects.delete(name))

    def get_deleted(self, call: Call, name: str) -> JsonMap:
        """What is in the bin; a value leaves it by recovery only. [rest: Get Deleted Secret]"""
        return self._deleted(call, self.objects.in_bin(name))

    def list_deleted(self, call: Call) -> JsonMap:
        """All of the bin. [rest: Get Deleted Secrets, Get Deleted Keys]"""

        def shown(named: Named) -> JsonMap:
            return self.item(call, named, named.versions[-1]) | self.objects.bin_fields(call, named)

        return self.objects.page(call, f"/deleted{self.kind}s", self.objects.listed(deleted=True), shown)

    def recover(self, call: Call, name: str) -> JsonMap:
        """Out of the bin. [rest: Recover Deleted Secret, Recover Deleted Key]"""
        named = self.objects.recover(name)
        return self.bundle(call, named, named.versions[-1])

    def purge(self, call: Call, name: str) -> None:
        """Gone; 204 without a body. [rest: Purge Deleted Secret, Purge Deleted Key]"""
        self.objects.purge(name)

    def item(self, call: Call, named: Named, version: Version) -> JsonMap:
        """As lists show a version, under its base identifier."""
        item = {
            self.id_field: self.objects.identifier(call, named),
            "attributes": self.objects.attributes(version),
        }
        tags = {} if version.tags is None else {"tags": version.tags}
        return item | tags | self.described(version)

    def _deleted(self, call: Call, named: Named) -> JsonMap:
        return self.bundle(call, named, named.versions[-1]) | self.objects.bin_fields(call, named)
