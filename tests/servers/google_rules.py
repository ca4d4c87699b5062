"""What Secret Manager accepts, each rule with its source.

"docs" is https://cloud.google.com/secret-manager/docs; a message's name stands for its docstring in the
package google-cloud-secret-manager, which is the API's own reference.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from google.cloud import secretmanager_v1 as api

from tests.servers.google_refusal import invalid

MAX_PAYLOAD = 64 * 1024  # SecretPayload.data: "Must be no larger than 64KiB."
MAX_PAGE = 25_000  # ListSecretsRequest.page_size
# https://cloud.google.com/secret-manager/quotas: "rate limits for AddSecretVersion and UpdateSecret
# operations", per secret and second; "Soft-enforcement allows us to continue serving requests beyond".
WRITES_PER_SECOND = {"global": 2, "regional": 80}

PARENT = re.compile(r"projects/[^/]+(/locations/[^/]+)?")
SECRET = re.compile(r"projects/[^/]+(/locations/[^/]+)?/secrets/[^/]+")
VERSION = re.compile(r"projects/[^/]+(/locations/[^/]+)?/secrets/[^/]+/versions/[^/]+")

_SECRET_ID = re.compile(r"[A-Za-z0-9_-]{1,255}")  # CreateSecretRequest.secret_id
_ALIAS = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,62}")  # Secret.version_aliases
_ANNOTATION = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")  # Secret.annotations
_TOPIC = re.compile(r"projects/[^/]+/topics/[^/]+")  # Topic.name
_CRYPTO_KEY = re.compile(r"projects/[^/]+/locations/([^/]+)/keyRings/[^/]+/cryptoKeys/[^/]+")
_CENTURY = timedelta(seconds=3_153_600_000)  # Rotation: "at most 3153600000s (100 years)"


def resource(name: str, form: re.Pattern[str]) -> str:
    """`name` if it has the form that the request's field documents."""
    if not form.fullmatch(name):
        raise invalid(f"Resource name [{name[:80]}] is not of the expected form.")
    return name


def secret_id(text: str) -> str:
    """CreateSecretRequest.secret_id."""
    if not _SECRET_ID.fullmatch(text):
        raise invalid("Secret ID must be 1 to 255 letters, numerals, hyphens (-) and underscores (_).")
    return text


def secret(shown: api.Secret, now: datetime) -> None:
    """Every field of a Secret that a caller sets, but its replication."""
    _labels(shown.labels)
    _annotations(shown.annotations)
    _aliases(shown.version_aliases)
    _topics(shown)
    _rotation(shown, now)
    if "expire_time" in shown and shown.expire_time <= now:
        raise invalid("expire_time must be in the future.")  # docs secret-expiration
    if "version_destroy_ttl" in shown:  # docs delay-destruction-of-secret-versions
        _between("version_destroy_ttl", shown.version_destroy_ttl, timedelta(days=1), timedelta(days=1000))


def _labels(labels: Mapping[str, str]) -> None:
    """Secret.labels: [\\p{Ll}\\p{Lo}][\\p{Ll}\\p{Lo}\\p{N}_-]{0,62}, values alike but 0 to 63, 64 labels."""
    if len(labels) > 64:
        raise invalid("No more than 64 labels can be assigned to a given resource.")
    for key, value in labels.items():
        fits = 1 <= len(key) <= 63 and unicodedata.category(key[0]) in ("Ll", "Lo") and _label_text(key)
        if not (fits and _label_text(value)):
            raise invalid("A label does not conform to the expected form.")


def _label_text(text: str) -> bool:
    letters = all(
        char in "_-" or unicodedata.category(char) in ("Ll", "Lo", "Nd", "Nl", "No") for char in text
    )
    return letters and len(text) <= 63 and len(text.encode()) <= 128


def _annotations(annotations: Mapping[str, str]) -> None:
    for key in annotations:
        if not _ANNOTATION.fullmatch(key):
            raise invalid("An annotation's key does not conform to the expected form.")
    size = sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())
    if size >= 16 * 1024:  # "The total size of annotation keys and values must be less than 16KiB."
        raise invalid("The total size of annotations must be less than 16KiB.")


def _aliases(aliases: Mapping[str, int]) -> None:
    if len(aliases) > 50:
        raise invalid("No more than 50 aliases can be assigned to a given secret.")
    for alias in aliases:
        if not _ALIAS.fullmatch(alias) or alias in ("latest", "NEW"):
            raise invalid("A version alias does not conform to the expected form.")


def _topics(shown: api.Secret) -> None:
    if len(shown.topics) > 10:  # Secret.topics: "up to 10 Pub/Sub topics"
        raise invalid("A secret can have at most 10 topics.")
    if not all(_TOPIC.fullmatch(topic.name) for topic in shown.topics):
        raise invalid("A topic must be projects/*/topics/*.")


def _rotation(shown: api.Secret, now: datetime) -> None:
    if "rotation" not in shown:
        return
    rotation = shown.rotation
    if not shown.topics:
        raise invalid("Secret.topics must be set to configure rotation.")
    if "rotation_period" in rotation:
        _between("rotation_period", rotation.rotation_period, timedelta(hours=1), _CENTURY)
        if "next_rotation_time" not in rotation:
            raise invalid("next_rotation_time must be set if rotation_period is set.")
    if "next_rotation_time" in rotation:
        ahead = rotation.next_rotation_time - now
        _between("next_rotation_time", ahead, timedelta(minutes=5), _CENTURY)


def _between(name: str, value: timedelta, least: timedelta, most: timedelta) -> None:
    if not least <= value <= most:
        raise invalid(f"{name} must be between {least} and {most}.")


def replication(parent: str, shown: api.Secret) -> None:
    """Where a new secret may say to be kept.

    Global secrets name a policy (docs creating-and-accessing-secrets); a regional one lies in its location
    and has its key in customer_managed_encryption (docs regional-secrets/create-regional-secret).
    """
    policy = shown.replication
    chosen = [kind for kind in ("automatic", "user_managed") if kind in policy]
    if "/locations/" in parent:
        if chosen:
            raise invalid("Replication policy must not be set for regional secrets.")
        _cmek(shown, parent.rpartition("/")[2])
        return
    if not chosen:
        raise invalid("Field [secret.replication] is required.")
    if "customer_managed_encryption" in shown:
        raise invalid("customer_managed_encryption is for regional secrets.")
    if "automatic" in policy:
        _cmek(policy.automatic, "global")
    else:
        _replicas(policy.user_managed)


def _replicas(managed: Any) -> None:
    locations = [replica.location for replica in managed.replicas]
    if not all(locations) or not locations or len(set(locations)) < len(locations):
        raise invalid("User-managed replication needs one or more different locations.")
    for replica in managed.replicas:
        _cmek(replica, replica.location)


def _cmek(holder: Any, location: str) -> None:
    """CustomerManagedEncryption.kms_key_name: in the replica's location; for automatic, in ``global``."""
    if "customer_managed_encryption" not in holder:
        return
    found = _CRYPTO_KEY.fullmatch(holder.customer_managed_encryption.kms_key_name)
    if found is None or found.group(1) != location:
        raise invalid(f"The Cloud KMS key must reside in [{location}].")


def same_places(before: api.Replication, after: api.Replication) -> bool:
    """Whether two policies differ at most in their keys.

    "The replication policy cannot be changed after the Secret has been created" (Secret.replication), while
    "Updates to the Secret encryption configuration only apply to SecretVersions added afterwards"
    (Replication.UserManaged.Replica).
    """
    return _places(before) == _places(after)


def _places(policy: api.Replication) -> list[str] | None:
    return (
        [replica.location for replica in policy.user_managed.replicas] if "user_managed" in policy else None
    )


def _remainder(byte: int) -> int:
    for _ in range(8):
        byte = (byte >> 1) ^ (0x82F63B78 if byte & 1 else 0)  # Castagnoli's, reversed: RFC 3720 appendix B.4
    return byte


_REMAINDERS = tuple(map(_remainder, range(256)))


def crc32c(data: bytes) -> int:
    """The checksum of SecretPayload.data_crc32c and of Cloud KMS; written apart from the product's own."""
    value = 0xFFFFFFFF
    for byte in data:
        value = (value >> 8) ^ _REMAINDERS[(value ^ byte) & 0xFF]
    return value ^ 0xFFFFFFFF
