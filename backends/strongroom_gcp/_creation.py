"""What a new secret is given beside its name: where it is replicated, and under which keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from strongroom.errors import InvalidRequestError

_OPTIONS = frozenset({"kms_key", "locations"})


def creation(options: Mapping[str, Any], location: str | None) -> dict[str, Any]:
    """The fields of a new Secret.

    ``kms_key``: the key of a regional secret, or of automatic replication (it lies in ``global``).
    ``locations``: user-managed replication, a list of locations or a table of locations and their keys.

    Raises:
        InvalidRequestError: an unknown option, or options that contradict each other.
    """
    unknown = sorted(options.keys() - _OPTIONS)
    if unknown:
        raise InvalidRequestError(
            f"unknown option {unknown[0]!r}", hint=f"known: {', '.join(sorted(_OPTIONS))}"
        )
    locations, key = options.get("locations"), options.get("kms_key")
    if locations and (location or key):
        raise InvalidRequestError(
            "locations go neither with a regional store nor with kms_key",
            hint='write locations = { europe-west6 = "projects/…/cryptoKeys/…" } to give each its own key',
        )
    if location:
        return _encrypted(key)
    if not locations:
        return {"replication": {"automatic": _encrypted(key)}}
    return {"replication": {"user_managed": {"replicas": _replicas(locations)}}}


def _replicas(locations: Any) -> list[dict[str, Any]]:
    keys = locations if isinstance(locations, Mapping) else dict.fromkeys(locations)
    return [{"location": str(place), **_encrypted(key)} for place, key in keys.items()]


def _encrypted(key: Any) -> dict[str, Any]:
    return {"customer_managed_encryption": {"kms_key_name": str(key)}} if key else {}
