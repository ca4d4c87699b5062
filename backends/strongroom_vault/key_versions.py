"""Rotates a key of a transit engine: a new version beside the old ones, which then only verify or decrypt."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from strongroom.errors import IntegrityError, InvalidRequestError, PermissionDeniedError, UnavailableError
from strongroom.rotation.fields import fields
from strongroom.rotation.rotator import Rotator

from ._transit import b64
from .rotating import Operator, segment
from .transport import json_body

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.rotation.rotator import Rotation, Source
    from strongroom.value import SecretValue

    from .client import VaultClient

_SIGNS: Final = ("ecdsa-", "ed25519", "rsa-")


class TransitKeyRotator(Rotator):
    """Adds a version to a key of Vault's transit engine.

    The secret says which version is in use: JSON of key, version and public half, none of them secret. Vault
    signs and encrypts with its newest version unless it is told another, so an application needs the
    secret only to know what to verify with. When the old version's grace is over, no version before the new
    one signs or encrypts any more (``min_encryption_version``); all verify and decrypt on. What they still
    open, ``min_decryption_version`` ends: that is an act of its own, since what is under them is lost by it.

    The rotator's login needs "read" on ``MOUNT/keys/KEY``, and "update" on ``MOUNT/keys/KEY/rotate``,
    ``MOUNT/keys/KEY/config`` and ``MOUNT/sign/KEY`` with ``MOUNT/verify/KEY``, of a key that encrypts
    ``MOUNT/encrypt/KEY`` with ``MOUNT/decrypt/KEY``.

    Args:
        address: ``https://HOST:PORT``; plain HTTP on loopback alone.
        key: its name; not a derived key.
        mount: of the transit engine.
        credential: the secret part of the login: a token, or what `auth` says.
        auth: the rest of it, such as ``{"method": "approle", "role_id": …}``.
        namespace: of HashiCorp Vault Enterprise or OpenBao.
        ca: path of a PEM file with the authorities to trust instead of the system's.
    """

    slots = "version"

    def __init__(
        self,
        *,
        address: str,
        key: str,
        mount: str = "transit",
        credential: Source | None = None,
        auth: Mapping[str, str] | None = None,
        namespace: str = "",
        ca: str | None = None,
    ):
        self._key = segment(key, "a key")
        self._operator = Operator(
            address, mount, credential=credential, auth=auth, namespace=namespace, ca=ca
        )

    def create_secret(self, r: Rotation) -> dict[str, Any]:
        """Add a version; one that the current value does not know was added by an attempt that crashed."""
        known = self._version(r.current)
        with self._operator.client(r) as vault:
            newest = self._facts(vault)["latest_version"]
            if known is None or newest <= known:
                r.check()
                self._operator.write(vault, f"keys/{self._key}/rotate", json_body({}))
            return self._described(self._facts(vault))

    def test_secret(self, r: Rotation, value: SecretValue) -> None:
        """Return if the version signs or encrypts, and Vault verifies or decrypts what it made.

        Raises:
            PermissionDeniedError: Vault does not use that version any more.
            IntegrityError: the secret names another public key than Vault.
        """
        version = self._version(value)
        if version is None:
            raise PermissionDeniedError("the secret names no version of the key", name=r.name)
        with self._operator.client(r) as vault:
            facts = self._facts(vault)
            if version > facts["latest_version"] or version < facts["min_encryption_version"]:
                raise PermissionDeniedError("Vault does not use this version of the key")
            if fields(value).get("public_key") != _public(facts, version):
                raise IntegrityError("Vault has another public key than the secret names")
            try:
                return self._use(vault, facts, version)
            except PermissionDeniedError as error:
                hint = error.hint
        raise UnavailableError("the rotator may not use the key", hint=hint)

    def revoke_secret(self, r: Rotation, previous: SecretValue) -> None:
        """Let no version up to this one sign or encrypt.

        Raises:
            IntegrityError: it is the version in use, or a later one.
        """
        version, now = self._version(previous), self._version(r.pending)
        if version is None:
            return
        if now is not None and now <= version:
            raise IntegrityError("the new value names no later version than the one that is to be ended")
        with self._operator.client(r) as vault:
            facts = self._facts(vault)
            if facts["latest_version"] <= version:
                raise IntegrityError("there is no later version: it would be the last one that is ended")
            if facts["min_encryption_version"] <= version:
                r.check()
                body = json_body({"min_encryption_version": version + 1})
                self._operator.write(vault, f"keys/{self._key}/config", body)

    def refuses(self, r: Rotation, value: SecretValue) -> bool:
        """Whether Vault refuses to sign or encrypt with the version, which is tried."""
        version = self._version(value)
        if version is None:
            return True
        with self._operator.client(r) as vault:
            facts = self._facts(vault)
            try:
                self._use(vault, facts, version)
                return False
            except (InvalidRequestError, PermissionDeniedError) as error:
                hint = error.hint
        if facts["min_encryption_version"] <= version <= facts["latest_version"]:
            # Of the rotator itself: no word about the version.
            raise UnavailableError("the rotator may not use the key", hint=hint)
        return True

    def _use(self, vault: VaultClient, facts: Mapping[str, Any], version: int) -> None:
        data = b64(os.urandom(32))
        signs = facts["type"].startswith(_SIGNS)
        verb, field = ("sign", "signature") if signs else ("encrypt", "ciphertext")
        sent = {"input": data} if signs else {"plaintext": data}
        made = self._ask(vault, f"{verb}/{self._key}", {**sent, "key_version": version}).get(field)
        if signs:
            answer = self._ask(vault, f"verify/{self._key}", {"input": data, "signature": made})
        else:
            answer = self._ask(vault, f"decrypt/{self._key}", {"ciphertext": made})
        if answer.get("valid") is not True and answer.get("plaintext") != data:
            raise IntegrityError("what the key makes does not verify")

    def _ask(self, vault: VaultClient, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        answer = self._operator.read(vault, path, json_body(body))
        return answer.data if answer else {}

    def _facts(self, vault: VaultClient) -> Mapping[str, Any]:
        """What the key is. A `min_encryption_version` of 0 ends no version."""
        answer = self._operator.read(vault, f"keys/{self._key}")
        if answer is None:
            raise InvalidRequestError(
                "no such transit key", hint="make it with: bao write -f transit/keys/NAME"
            )
        if answer.data.get("derived"):
            raise InvalidRequestError("a derived key has another key for each context", hint="name another")
        if not isinstance(answer.data.get("latest_version"), int):
            raise UnavailableError("Vault's answer makes no sense")
        return {"min_encryption_version": 0, **answer.data}

    def _described(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        version = facts["latest_version"]
        public = _public(facts, version)
        known = {"key": f"{self._operator.mount}/{self._key}", "version": version, "type": facts["type"]}
        return {**known, **({"public_key": public} if public else {})}

    def _version(self, value: SecretValue | None) -> int | None:
        """The version that a secret names; None if it names none.

        Raises:
            IntegrityError: of another key.
        """
        found = fields(value) if value is not None else {}
        version = found.get("version")
        if not isinstance(version, int):
            return None
        if found.get("key") != f"{self._operator.mount}/{self._key}":
            raise IntegrityError("the secret names a key that this rotation has nothing to do with")
        return version


def _public(facts: Mapping[str, Any], version: int) -> str | None:
    found = facts.get("keys", {}).get(str(version))
    return found.get("public_key") or None if isinstance(found, dict) else None
