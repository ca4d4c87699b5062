"""Google's own replication: the locations that a secret was given when it was made, each with its own key.

It is synchronous: a version that is acknowledged lies in all of them, and while one of them is down nothing
is written (https://cloud.google.com/secret-manager/docs/choosing-replication). A location cannot be asked for
its copy of a global secret (regional endpoints serve regional secrets alone); what a version tells of itself,
its ReplicationStatus, is what can be verified.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, ClassVar, Final

from strongroom.errors import (
    SecretConflictError,
    SecretNotFoundError,
    UnavailableError,
    UnsupportedOperationError,
)
from strongroom.names import Key
from strongroom.native import Copy, CopyState, NativeReplication

from ._calls import life_of, number_in
from ._client import LATEST, Client
from ._ids import version_id

_ROUNDS: Final = 8
_LATER_KEY: Final = "its key was changed: the next version is the first under it"


class Locations(NativeReplication):
    """Where one project's global secrets are kept.

    Args:
        client: the calls.
        resource: a key's resource name.
        listed: the store's secrets, as ListSecrets tells them.
    """

    fixed: ClassVar[bool] = True

    def __init__(
        self,
        client: Client,
        resource: Callable[[Key], str],
        listed: Callable[[], Iterator[tuple[Key, Any]]],
    ):
        self._client, self._resource, self._listed = client, resource, listed

    @property
    def place(self) -> str:
        return ""

    def resource(self, key: Key) -> str:
        return self._resource(key)

    def copies(self, key: Key, *, verify: bool = False) -> Mapping[str, Copy]:
        name = self._resource(key)
        secret = self._secret(name)
        keys = _keys(secret)
        if not verify:
            return {place: Copy(place, CopyState.IN_SYNC, kms_key) for place, kms_key in keys.items()}
        version = self._client.version(name, LATEST)
        held, id_ = _held(version), version_id(number_in(version.name), life_of(secret))
        return {place: _verified(place, kms_key, held, id_) for place, kms_key in keys.items()}

    def _secret(self, name: str) -> Any:
        secret = self._client.secret(name)
        if secret is None:
            raise SecretNotFoundError("no such secret")
        return secret

    def survey(self, places: Collection[str]) -> Mapping[str, Mapping[Key, Copy]]:
        found: dict[str, dict[Key, Copy]] = {place: {} for place in places}
        for key, secret in self._listed():
            for place, kms_key in _keys(secret).items():
                if place in found:
                    found[place][key] = Copy(place, CopyState.IN_SYNC, kms_key)
        return found

    def ensure(self, key: Key, places: Mapping[str, str]) -> None:
        name = self._resource(key)
        for _ in range(_ROUNDS):
            secret = self._secret(name)
            keys = _keys(secret)
            _check_places(keys, places)
            if not any(self.is_another(kms_key, keys[place]) for place, kms_key in places.items()):
                return
            self._under(name, secret.etag, keys | {place: k for place, k in places.items() if k})
        raise SecretConflictError("another writer is at work", retryable=True)

    def _under(self, name: str, etag: str, keys: Mapping[str, str]) -> None:
        """Under these keys from the next version on; after a lost answer the next look tells."""
        policy = {"user_managed": {"replicas": [_replica(place, key) for place, key in keys.items()]}}
        try:
            self._client.replicate(name, etag, policy)
        except UnavailableError as exc:
            error = exc
        else:
            return
        if error.performed is not None:
            raise error

    def detach(self, key: Key, place: str) -> None:
        raise UnsupportedOperationError(
            "Google's copies cannot be taken apart",
            hint="while a location is down, reads go on in the others",
        )


def _keys(secret: Any) -> dict[str, str]:
    """The key of each location, empty for Google's own; none of a secret that is replicated automatically."""
    replicas = secret.replication.user_managed.replicas
    return {each.location: each.customer_managed_encryption.kms_key_name for each in replicas}


def _held(version: Any) -> dict[str, str]:
    """The key version by location, as the version tells of itself."""
    replicas = version.replication_status.user_managed.replicas
    return {each.location: each.customer_managed_encryption.kms_key_version_name for each in replicas}


def _verified(place: str, kms_key: str, held: Mapping[str, str], version: str) -> Copy:
    if place not in held:
        return Copy(place, CopyState.MISSING, kms_key)
    under = held[place].partition("/cryptoKeyVersions/")[0]
    reason = "" if under == kms_key else _LATER_KEY
    return Copy(place, CopyState.IN_SYNC, kms_key, version, reason)


def _check_places(keys: Mapping[str, str], places: Mapping[str, str]) -> None:
    if not keys:
        raise UnsupportedOperationError(
            "the secret is replicated automatically, wherever Google likes",
            hint="give the store its locations, and make the secret anew: strongroom copy",
        )
    if missing := sorted(places.keys() - keys.keys()):
        raise UnsupportedOperationError(
            f"the secret was made to be kept in {', '.join(sorted(keys))}, never in {missing[0]}",
            hint="give the store its locations, and make the secret anew: strongroom copy",
        )


def _replica(place: str, kms_key: str) -> dict[str, Any]:
    return {
        "location": place,
        **({"customer_managed_encryption": {"kms_key_name": kms_key}} if kms_key else {}),
    }
