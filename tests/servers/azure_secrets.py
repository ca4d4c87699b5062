"""Secrets of the Azure double.

[about] learn.microsoft.com/azure/key-vault/secrets/about-secrets
[rest] learn.microsoft.com/rest/api/keyvault/secrets, one page per operation
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from strongroom.backend import Clock
from tests.servers.azure_objects import Named, Objects, Version, checked_tags
from tests.servers.azure_wire import Call, JsonMap, RefusedError, bad_parameter

MAX_VALUE: Final = 25_600  # "a maximum size of 25k bytes each" [about]
MAX_CONTENT_TYPE: Final = 255  # "The maximum length of this field is 255 characters." [about]


@dataclass
class Content:
    """What a version of a secret holds besides its attributes."""

    value: str = field(repr=False)
    content_type: str | None = None


class Secrets:
    """The operations on secrets, each given a `Call` and the name from its path."""

    def __init__(self, clock: Clock) -> None:
        self.objects = Objects("secret", clock)

    def set(self, call: Call, name: str) -> JsonMap:
        """A new version. Nothing of the version before is inherited. [rest: Set Secret]"""
        body, value = call.body, call.body.get("value")
        if not isinstance(value, str):
            raise bad_parameter("Property value has invalid value\r\n")
        if len(value.encode()) > MAX_VALUE:
            raise bad_parameter("Property value has invalid value\r\n: The secret value is too long")
        content = Content(value, _checked_type(body))
        now = self.objects.now()
        version = Version(content, now, tags=checked_tags(body.get("tags")))
        version.change({"attributes": body.get("attributes")}, now)
        return self._bundle(call, self.objects.add(name, version), version)

    def get(self, call: Call, name: str, version: str = "") -> JsonMap:
        """With its value. "get operation will work for not-yet-valid and expired secrets". [about]"""
        named, found = self.objects.version(name, version)
        if not found.enabled:
            # The body as github.com/Azure/azure-sdk-for-js/issues/24756 shows it. An update is still allowed.
            message = "Operation get is not allowed on a disabled secret."
            raise RefusedError(403, "Forbidden", message, "SecretDisabled")
        return self._bundle(call, named, found)

    def update(self, call: Call, name: str, version: str = "") -> JsonMap:
        """Attributes, tags and content type, never the value; the newest where no version is named. [rest]"""
        named, found = self.objects.version(name, version)
        found.change(call.body, self.objects.now())
        if "contentType" in call.body:
            found.content.content_type = _checked_type(call.body)
        bundle = self._bundle(call, named, found)
        del bundle["value"]  # the operation's sample answer has none
        return bundle

    def list(self, call: Call) -> JsonMap:
        """Base identifiers with the newest version's attributes; values never. [rest: Get Secrets]"""
        items = [self._item(call, named, named.versions[-1]) for named in self.objects.listed(deleted=False)]
        return self.objects.page(call, "/secrets", items)

    def versions(self, call: Call, name: str) -> JsonMap:
        """Every version's attributes. [rest: Get Secret Versions]"""
        named, versions = self.objects.listed_versions(name)
        items = [
            self._item(call, named, version) | {"id": self.objects.identifier(call, named, version)}
            for version in versions
        ]
        return self.objects.page(call, f"/secrets/{name}/versions", items)

    def delete(self, call: Call, name: str) -> JsonMap:
        """Into the bin. [rest: Delete Secret]"""
        return self._deleted(call, self.objects.delete(name))

    def get_deleted(self, call: Call, name: str) -> JsonMap:
        """Attributes of what is in the bin: a value leaves it by recovery only. [rest: Get Deleted Secret]"""
        return self._deleted(call, self.objects.in_bin(name))

    def list_deleted(self, call: Call) -> JsonMap:
        """All of the bin. [rest: Get Deleted Secrets]"""
        items = [
            self._item(call, named, named.versions[-1]) | self.objects.bin_fields(call, named)
            for named in self.objects.listed(deleted=True)
        ]
        return self.objects.page(call, "/deletedsecrets", items)

    def recover(self, call: Call, name: str) -> JsonMap:
        """Out of the bin. [rest: Recover Deleted Secret]"""
        named = self.objects.recover(name)
        return self._item(call, named, named.versions[-1]) | {
            "id": self.objects.identifier(call, named, named.versions[-1])
        }

    def purge(self, call: Call, name: str) -> None:
        """Gone; 204 without a body. [rest: Purge Deleted Secret]"""
        self.objects.purge(name)

    def _item(self, call: Call, named: Named, version: Version) -> JsonMap:
        item = {"id": self.objects.identifier(call, named), "attributes": self.objects.attributes(version)}
        if version.tags is not None:
            item["tags"] = version.tags
        if version.content.content_type is not None:
            item["contentType"] = version.content.content_type
        return item

    def _bundle(self, call: Call, named: Named, version: Version) -> JsonMap:
        identifier = {"id": self.objects.identifier(call, named, version)}
        return {"value": version.content.value} | self._item(call, named, version) | identifier

    def _deleted(self, call: Call, named: Named) -> JsonMap:
        bundle = self._bundle(call, named, named.versions[-1])
        del bundle["value"]
        return bundle | self.objects.bin_fields(call, named)


def _checked_type(body: JsonMap) -> str | None:
    content_type: str | None = body.get("contentType")
    if content_type is not None and len(content_type) > MAX_CONTENT_TYPE:
        raise bad_parameter(f"contentType is longer than {MAX_CONTENT_TYPE} characters")
    return content_type
