"""Keys of the Azure double.

[attributes] learn.microsoft.com/azure/key-vault/keys/about-keys-details, "Key attributes"
[rest] learn.microsoft.com/rest/api/keyvault/keys, one page per operation
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.servers.azure_collection import Collection
from tests.servers.azure_crypto import Material, decoded, encoded, generated, imported
from tests.servers.azure_objects import Named, Version, checked_tags
from tests.servers.azure_wire import Call, JsonMap, RefusedError, bad_parameter


@dataclass
class Content:
    """What a version of a key holds besides its attributes."""

    material: Material
    key_ops: list[str]
    request: JsonMap


class Keys(Collection):
    """The operations on keys that secrets do not have.

    Attributes:
        managed_hsm: whether this is a Managed HSM, which alone has symmetric keys, and nothing but keys in
            hardware: "Software-protected keys [...] Not supported".
            learn.microsoft.com/azure/key-vault/general/about-keys-secrets-certificates
    """

    kind = "key"
    id_field = "kid"
    managed_hsm = False

    def create(self, call: Call, name: str) -> JsonMap:
        """A new version with a new key. [rest: Create Key]"""
        body = call.body
        self._check_type(str(body.get("kty", "")))
        return self._add(call, name, generated(body), body)

    def import_(self, call: Call, name: str) -> JsonMap:
        """A new version with a key made elsewhere. [rest: Import Key]"""
        body, jwk = call.body, call.body["key"]
        self._check_type(str(jwk.get("kty", "")))
        again = {fact: jwk.get(fact) for fact in ("kty", "crv", "key_ops")}
        return self._add(call, name, imported(jwk), body | again)

    def rotate(self, call: Call, name: str) -> JsonMap:
        """A new version of the same kind. "available only on Key Vault resources". [rest: Rotate Key]"""
        if self.managed_hsm:
            raise bad_parameter("Rotation is not supported on a Managed HSM")
        request = self.objects.version(name)[1].content.request
        return self._add(call, name, generated(request), request)

    def get(self, call: Call, name: str, version: str = "") -> JsonMap:
        """The public half. [rest: Get Key]"""
        named, found = self.objects.version(name, version)
        _check_enabled(found, "get")
        return self.bundle(call, named, found)

    def update(self, call: Call, name: str, version: str = "") -> JsonMap:
        """Attributes, tags and permitted operations, never the key. [rest: Update Key]"""
        named, found = self.objects.version(name, version)
        body = call.body
        found.change(body, self.objects.now())
        found.content.key_ops = body.get("key_ops") or found.content.key_ops
        return self.bundle(call, named, found)

    def wrapkey(self, call: Call, name: str, version: str = "") -> JsonMap:
        """[rest: Wrap Key]"""
        named, found, body = self._use(call, name, version, "wrapKey")
        result = found.content.material.wrap(body["alg"], decoded(body["value"]))
        return self._result(call, named, found, result)

    def unwrapkey(self, call: Call, name: str, version: str = "") -> JsonMap:
        """[rest: Unwrap Key]"""
        named, found, body = self._use(call, name, version, "unwrapKey")
        result = found.content.material.unwrap(body["alg"], decoded(body["value"]))
        return self._result(call, named, found, result)

    def sign(self, call: Call, name: str, version: str = "") -> JsonMap:
        """[rest: Sign]"""
        named, found, body = self._use(call, name, version, "sign")
        result = found.content.material.sign(body["alg"], decoded(body["value"]))
        return self._result(call, named, found, result)

    def verify(self, call: Call, name: str, version: str = "") -> JsonMap:
        """[rest: Verify]"""
        _, found, body = self._use(call, name, version, "verify")
        signature, digest = decoded(body["value"]), decoded(body["digest"])
        return {"value": found.content.material.verify(body["alg"], digest, signature)}

    def described(self, version: Version) -> JsonMap:
        """Nothing."""
        return {}

    def bundle(self, call: Call, named: Named, version: Version) -> JsonMap:
        """{"key": JSON Web Key, "attributes", "tags"}."""
        key = {
            "kid": self.objects.identifier(call, named, version),
            "kty": version.content.material.kty,
            "key_ops": version.content.key_ops,
        }
        item = self.item(call, named, version)
        del item["kid"]
        return {"key": key | version.content.material.public()} | item

    def _add(self, call: Call, name: str, material: Material, body: JsonMap) -> JsonMap:
        now = self.objects.now()
        content = Content(material, list(body.get("key_ops") or material.key_ops), body)
        version = Version(content, now, tags=checked_tags(body.get("tags")))
        version.change({"attributes": body.get("attributes")}, now)
        return self.bundle(call, self.objects.add(name, version), version)

    def _use(self, call: Call, name: str, version: str, operation: str) -> tuple[Named, Version, JsonMap]:
        named, found = self.objects.version(name, version)
        _check_enabled(found, operation)
        self._check_window(found, operation)
        if operation not in found.content.key_ops:
            message = f"Operation {operation} is not permitted on this key."
            raise RefusedError(403, "Forbidden", message, "KeyOperationForbidden")
        return named, found, call.body

    def _result(self, call: Call, named: Named, version: Version, result: bytes) -> JsonMap:
        """The answer names the version that was used: the public SDK's KeyOperationResult."""
        return {"kid": self.objects.identifier(call, named, version), "value": encoded(result)}

    def _check_type(self, kty: str) -> None:
        hardware = kty.endswith("-HSM")
        if (self.managed_hsm and not hardware) or (kty.startswith("oct") and not self.managed_hsm):
            raise bad_parameter("Property kty has invalid value\r\n")

    def _check_window(self, version: Version, operation: str) -> None:
        """Outside nbf and exp a key only decrypts, unwraps, verifies and is released. [attributes]"""
        early = version.nbf is not None and self.objects.now() < version.nbf
        late = version.exp is not None and self.objects.now() >= version.exp
        if (early or late) and operation not in {"unwrapKey", "verify"}:
            what = "not yet valid" if early else "expired"
            message = f"Operation {operation} is not allowed on a key that is {what}."
            raise RefusedError(403, "Forbidden", message, "KeyNotYetValid" if early else "KeyExpired")


def _check_enabled(version: Version, operation: str) -> None:
    # The secrets' body, with the key's name for it; clients of both record "Operation ... on a disabled key."
    if not version.enabled:
        message = f"Operation {operation} is not allowed on a disabled key."
        raise RefusedError(403, "Forbidden", message, "KeyDisabled")
