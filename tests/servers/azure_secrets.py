"""Secrets of the Azure double.

[about] learn.microsoft.com/azure/key-vault/secrets/about-secrets
[rest] learn.microsoft.com/rest/api/keyvault/secrets, one page per operation
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from tests.servers.azure_collection import Collection
from tests.servers.azure_objects import Named, Version, checked_tags
from tests.servers.azure_wire import Call, JsonMap, RefusedError, bad_parameter

# "a maximum size of 25k bytes each" [about]; number and message: github.com/Azure/azure-cli/issues/5639
MAX_VALUE: Final = 25_600
MAX_CONTENT_TYPE: Final = 255  # "The maximum length of this field is 255 characters." [about]


@dataclass
class Content:
    """What a version of a secret holds besides its attributes."""

    value: str = field(repr=False)
    content_type: str | None = None


class Secrets(Collection):
    """The operations on secrets that keys do not have."""

    kind = "secret"
    id_field = "id"

    def set(self, call: Call, name: str) -> JsonMap:
        """A new version. Nothing of the version before is inherited. [rest: Set Secret]"""
        body, now = call.body, self.objects.now()
        content = Content(_checked_value(body), _checked_type(body))
        version = Version(content, now, tags=checked_tags(body.get("tags")))
        version.change({"attributes": body.get("attributes")}, now)
        return self._whole(call, self.objects.add(name, version), version)

    def get(self, call: Call, name: str, version: str = "") -> JsonMap:
        """With its value. "get operation will work for not-yet-valid and expired secrets". [about]"""
        named, found = self.objects.version(name, version)
        if not found.enabled:
            # The body as github.com/Azure/azure-sdk-for-js/issues/24756 shows it. An update is still allowed.
            message = "Operation get is not allowed on a disabled secret."
            raise RefusedError(403, "Forbidden", message, "SecretDisabled")
        return self._whole(call, named, found)

    def update(self, call: Call, name: str, version: str = "") -> JsonMap:
        """Attributes, tags and content type, never the value; the newest where no version is named. [rest]"""
        named, found = self.objects.version(name, version)
        found.change(call.body, self.objects.now())
        if "contentType" in call.body:
            found.content.content_type = _checked_type(call.body)
        return self.bundle(call, named, found)  # the sample answer of Update Secret has no value

    def described(self, version: Version) -> JsonMap:
        """The content type."""
        kind = version.content.content_type
        return {} if kind is None else {"contentType": kind}

    def bundle(self, call: Call, named: Named, version: Version) -> JsonMap:
        """All but the value."""
        return self.item(call, named, version) | {"id": self.objects.identifier(call, named, version)}

    def _whole(self, call: Call, named: Named, version: Version) -> JsonMap:
        return {"value": version.content.value} | self.bundle(call, named, version)


def _checked_value(body: JsonMap) -> str:
    value = body.get("value")
    if not isinstance(value, str):
        raise bad_parameter("Property value has invalid value\r\n")
    if len(value.encode()) > MAX_VALUE:
        raise bad_parameter(f"Secret is beyond the maximum permitted length of {MAX_VALUE} characters.")
    return value


def _checked_type(body: JsonMap) -> str | None:
    content_type: str | None = body.get("contentType")
    if content_type is not None and len(content_type) > MAX_CONTENT_TYPE:
        raise bad_parameter(f"contentType is longer than {MAX_CONTENT_TYPE} characters")
    return content_type
