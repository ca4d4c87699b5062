"""Cloud KMS's keys and their versions, by the documentation: creation, states, primary version.

A message's name stands for its docstring in the package google-cloud-kms, which is the API's own reference.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from google.cloud import kms_v1 as api

from strongroom.backend import Clock
from tests.servers.google_crypto import MAKERS, Mac, Material, purpose_of
from tests.servers.google_refusal import Refusal, invalid, precondition

State: Any = api.CryptoKeyVersion.CryptoKeyVersionState
_Purpose: Any = api.CryptoKey.CryptoKeyPurpose
_Algorithm: Any = api.CryptoKeyVersion.CryptoKeyVersionAlgorithm
_Level: Any = api.ProtectionLevel

_ID = re.compile(r"[a-zA-Z0-9_-]{1,63}")  # CreateCryptoKeyRequest.crypto_key_id
_LOCATION = re.compile(r"projects/[^/]+/locations/[^/]+")
_RING = re.compile(_LOCATION.pattern + r"/keyRings/[^/]+")
KEY = re.compile(_RING.pattern + r"/cryptoKeys/[^/]+")
VERSION = re.compile(KEY.pattern + r"/cryptoKeyVersions/[^/]+")
_HSM_ONLY = "EC_SIGN_SECP256K1_SHA256"  # CryptoKeyVersionAlgorithm: "only supported for HSM protection level"
_SCHEDULED = timedelta(days=30)  # CryptoKey.destroy_scheduled_duration: "If not specified … 30 days"


@dataclass
class KeyVersion:
    """A version: what Google tells of it, and its material until it is destroyed."""

    shown: api.CryptoKeyVersion
    material: Material | None = field(repr=False)

    @property
    def algorithm(self) -> str:
        """The name of its algorithm."""
        return str(_Algorithm(self.shown.algorithm).name)


@dataclass
class Key:
    """A key with its versions by number."""

    shown: api.CryptoKey
    versions: dict[str, KeyVersion] = field(default_factory=dict)


class Keys:
    """All key rings and keys of Cloud KMS; names in answers are as in the request."""

    def __init__(self, clock: Clock):
        self.reset(clock)

    def reset(self, clock: Clock) -> None:
        """Forget every key."""
        self.clock = clock
        self._rings: dict[str, api.KeyRing] = {}
        self._keys: dict[str, Key] = {}

    def make(self, name: str, algorithm: str = "GOOGLE_SYMMETRIC_ENCRYPTION", level: str = "") -> str:
        """For tests: make a key under this whole name, and its ring; the name of its first version."""
        ring, _, key_id = name.rpartition("/cryptoKeys/")
        location, _, ring_id = ring.rpartition("/keyRings/")
        if ring not in self._rings:
            self.create_key_ring(api.CreateKeyRingRequest(parent=location, key_ring_id=ring_id))
        level = level or ("HSM" if algorithm == _HSM_ONLY else "SOFTWARE")
        template = {"algorithm": algorithm, "protection_level": level}
        key = api.CryptoKey(purpose=purpose_of(algorithm), version_template=template)
        self.create_crypto_key(api.CreateCryptoKeyRequest(parent=ring, crypto_key_id=key_id, crypto_key=key))
        return f"{name}/cryptoKeyVersions/1"

    def import_mac(self, name: str, key: bytes) -> str:
        """For tests: an HMAC_SHA256 key with known bytes, as importing one does."""
        version = self.make(name, "HMAC_SHA256")
        self.version(version).material = Mac(key)
        return version

    def create_key_ring(self, request: api.CreateKeyRingRequest) -> api.KeyRing:
        """CreateKeyRing."""
        name = f"{_formed(request.parent, _LOCATION)}/keyRings/{_identifier(request.key_ring_id)}"
        if name in self._rings:
            raise Refusal("ALREADY_EXISTS", f"KeyRing {name} already exists.")
        self._rings[name] = api.KeyRing(name=name, create_time=self.clock.now())
        return self._rings[name]

    def create_crypto_key(self, request: api.CreateCryptoKeyRequest) -> api.CryptoKey:
        """CreateCryptoKey, with a first version unless skip_initial_version_creation."""
        parent = _formed(request.parent, _RING)
        if parent not in self._rings:
            raise _missing(parent)
        name = f"{parent}/cryptoKeys/{_identifier(request.crypto_key_id)}"
        if name in self._keys:
            raise Refusal("ALREADY_EXISTS", f"CryptoKey {name} already exists.")
        shown = _checked(request.crypto_key)
        shown.name, shown.create_time = name, self.clock.now()
        self._keys[name] = key = Key(shown)
        if not request.skip_initial_version_creation:
            self._primary(key, self._added(key))
        return key.shown

    def get_crypto_key(self, request: api.GetCryptoKeyRequest) -> api.CryptoKey:
        """GetCryptoKey."""
        return self.key(request.name).shown

    def create_crypto_key_version(self, request: api.CreateCryptoKeyVersionRequest) -> api.CryptoKeyVersion:
        """CreateCryptoKeyVersion; it does not become primary."""
        return self._added(self.key(request.parent)).shown

    def get_crypto_key_version(self, request: api.GetCryptoKeyVersionRequest) -> api.CryptoKeyVersion:
        """GetCryptoKeyVersion."""
        return self.version(request.name).shown

    def update_crypto_key_version(self, request: api.UpdateCryptoKeyVersionRequest) -> api.CryptoKeyVersion:
        """UpdateCryptoKeyVersion: of its state, between ENABLED and DISABLED."""
        version, wanted = self.version(request.crypto_key_version.name), request.crypto_key_version.state
        if list(request.update_mask.paths) != ["state"] or wanted not in (State.ENABLED, State.DISABLED):
            raise invalid("Only the state can be updated here, to ENABLED or DISABLED.")
        if version.shown.state not in (State.ENABLED, State.DISABLED):
            raise not_enabled(version)
        version.shown.state = wanted
        return self._shown_again(version)

    def update_crypto_key_primary_version(
        self, request: api.UpdateCryptoKeyPrimaryVersionRequest
    ) -> api.CryptoKey:
        """UpdateCryptoKeyPrimaryVersion, of a key for ENCRYPT_DECRYPT."""
        key = self.key(request.name)
        if key.shown.purpose != _Purpose.ENCRYPT_DECRYPT or request.crypto_key_version_id not in key.versions:
            raise invalid("The key has no such version that could be primary.")
        self._primary(key, key.versions[request.crypto_key_version_id])
        return key.shown

    def destroy_crypto_key_version(self, request: api.DestroyCryptoKeyVersionRequest) -> api.CryptoKeyVersion:
        """DestroyCryptoKeyVersion: scheduled, and DESTROYED when its time has come."""
        version = self.version(request.name)
        if version.shown.state not in (State.ENABLED, State.DISABLED):
            raise not_enabled(version)
        version.shown.state = State.DESTROY_SCHEDULED
        version.shown.destroy_time = self.clock.now() + _SCHEDULED
        return self._shown_again(version)

    def restore_crypto_key_version(self, request: api.RestoreCryptoKeyVersionRequest) -> api.CryptoKeyVersion:
        """RestoreCryptoKeyVersion: back to DISABLED."""
        version = self.version(request.name)
        if version.shown.state != State.DESTROY_SCHEDULED:
            raise not_enabled(version)
        version.shown.state = State.DISABLED
        del version.shown.destroy_time
        return self._shown_again(version)

    def key(self, name: str) -> Key:
        """The key of this name, or NOT_FOUND."""
        key = self._keys.get(_formed(name, KEY))
        if key is None:
            raise _missing(name)
        return key

    def version(self, name: str) -> KeyVersion:
        """The version of this name, or NOT_FOUND."""
        key, _, number = _formed(name, VERSION).rpartition("/cryptoKeyVersions/")
        version = self.key(key).versions.get(number)
        if version is None:
            raise _missing(name)
        scheduled = version.shown.state == State.DESTROY_SCHEDULED
        if scheduled and version.shown.destroy_time <= self.clock.now():
            version.shown.state, version.material = State.DESTROYED, None
        return version

    def _added(self, key: Key) -> KeyVersion:
        number = str(len(key.versions) + 1)
        template = key.shown.version_template
        shown = api.CryptoKeyVersion(
            name=f"{key.shown.name}/cryptoKeyVersions/{number}",
            state=State.ENABLED,
            algorithm=template.algorithm,
            protection_level=template.protection_level,
            create_time=self.clock.now(),
        )
        material = MAKERS[_Algorithm(template.algorithm).name]()
        key.versions[number] = version = KeyVersion(shown, material)
        return version

    def _primary(self, key: Key, version: KeyVersion) -> None:
        if key.shown.purpose == _Purpose.ENCRYPT_DECRYPT:  # CryptoKey.primary: of such keys alone
            key.shown.primary = version.shown

    def _shown_again(self, version: KeyVersion) -> api.CryptoKeyVersion:
        key = self.key(version.shown.name.rpartition("/cryptoKeyVersions/")[0])
        if key.shown.primary.name == version.shown.name:
            key.shown.primary = version.shown
        return version.shown


def _checked(wanted: api.CryptoKey) -> api.CryptoKey:
    template = api.CryptoKeyVersionTemplate(wanted.version_template)
    algorithm, level = _Algorithm(template.algorithm).name, _Level(template.protection_level)
    if algorithm not in MAKERS or _Purpose(wanted.purpose).name != purpose_of(algorithm):
        raise invalid("The algorithm does not fit the purpose, or the double does not have it.")
    if algorithm == _HSM_ONLY and level != _Level.HSM:
        raise invalid("This curve is only supported for HSM protection level.")
    template.protection_level = level or _Level.SOFTWARE
    return api.CryptoKey(purpose=wanted.purpose, version_template=template, labels=wanted.labels)


def not_enabled(version: KeyVersion) -> Refusal:
    """Google's words, as in github.com/pulumi/pulumi/issues/9788."""
    state = State(version.shown.state).name
    return precondition(f"{version.shown.name} is not enabled, current state is: {state}.")


def _missing(name: str) -> Refusal:
    return Refusal("NOT_FOUND", f"{name} not found.")


def _formed(name: str, form: re.Pattern[str]) -> str:
    if not form.fullmatch(name):
        raise invalid(f"Resource name [{name[:120]}] is not of the expected form.")
    return name


def _identifier(text: str) -> str:
    if not _ID.fullmatch(text):
        raise invalid("An ID must match [a-zA-Z0-9_-]{1,63}.")
    return text
