"""Multi-Region secrets: AWS copies every version, under its id and with its labels, to other regions.

The copy has a KMS key of its own region, takes no writes, and lags: AWS says InProgress or InSync per region
(https://docs.aws.amazon.com/secretsmanager/latest/userguide/replicate-secrets.html). A name that is taken
there is told as a status, not as an error.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from strongroom.backend import Settings
from strongroom.errors import (
    InvalidRequestError,
    PermissionDeniedError,
    SecretConflictError,
    SecretNotFoundError,
    UnavailableError,
)
from strongroom.names import Key, StoreURL
from strongroom.native import Copy, CopyState, NativeReplication

from ._access import is_aws
from ._client import Answer, Client
from ._labels import CURRENT, Labels
from ._secrets import SERVICE, Secrets
from .fencing import fence, lift

_STATES: Final = {
    "InSync": CopyState.IN_SYNC,
    "InProgress": CopyState.COPYING,
    "Pending": CopyState.COPYING,
    "Failed": CopyState.FAILED,
    "Detached": CopyState.ALIEN,  # the API model, StopReplicationToReplica: it stands alone since
}
_MANAGED: Final = "alias/aws/secretsmanager"
Listed = Callable[[Client], Iterator[tuple[Key, Answer]]]


class Elsewhere:
    """Clients of other regions, for the same account and with the same credentials; made when first asked."""

    def __init__(self, url: StoreURL, settings: Settings):
        self._url, self._settings = url, _without_regional_endpoint(settings)
        self._lock = threading.Lock()
        self._clients: dict[str, Client] = {}

    def at(self, region: str) -> Client:
        """The client of a region.

        Raises:
            InvalidRequestError: it is no region.
        """
        with self._lock:
            if region not in self._clients:
                there = replace(self._url, host=region, path="", text=f"aws-sm://{region}")
                self._clients[region] = Client(SERVICE, there, self._settings)
            return self._clients[region]

    def after_fork(self) -> None:
        """Forget the parent's connections."""
        self._lock = threading.Lock()
        for client in self._clients.values():
            client.after_fork()

    def close(self) -> None:
        """Close what was opened."""
        for client in self._clients.values():
            client.close()


def _without_regional_endpoint(settings: Settings) -> Settings:
    """AWS's own endpoints, a VPC's too, serve one region; what is not AWS's may serve them all."""
    return replace(settings, endpoint=None) if is_aws(settings.endpoint) else settings


class Regions(NativeReplication):
    """The copies of one store's secrets in other regions.

    Args:
        secrets: the calls in the primary's region.
        region: which one that is.
        name: a key's full name.
        listed: all secrets of the store's prefix, as a client's region lists them.
        elsewhere: clients of the others.
    """

    def __init__(
        self,
        secrets: Secrets,
        region: str,
        name: Callable[[Key], str],
        listed: Listed,
        elsewhere: Elsewhere,
    ):
        self._secrets, self._region = secrets, region
        self._name, self._listed, self._elsewhere = name, listed, elsewhere

    @property
    def place(self) -> str:
        return self._region

    def resource(self, key: Key) -> str:
        return self._name(key)

    def copies(self, key: Key, *, verify: bool = False) -> Mapping[str, Copy]:
        name = self._name(key)
        answer = self._primary(name)
        copies = _copies(answer)
        if not verify:
            return copies
        current = _current(answer, "VersionIdsToStages")
        return {place: self._verified(name, copy, current) for place, copy in copies.items()}

    def _primary(self, name: str) -> Answer:
        answer = self._secrets.described(name)
        primary = answer.get("PrimaryRegion") or self._region
        if primary != self._region:
            raise InvalidRequestError(
                f"the secret in {self._region} is itself a replica", hint=f"its source is in {primary}"
            )
        return answer

    def _verified(self, name: str, copy: Copy, current: str) -> Copy:
        """As the region itself tells, too: InSync alone may be said of the change before the last."""
        try:
            answer = self._elsewhere.at(copy.place).read("DescribeSecret", SecretId=name)
        except SecretNotFoundError:
            return replace(copy, state=_not_there(copy.state))
        if not self._is_copy(answer, copy.place):
            return replace(copy, state=CopyState.ALIEN, version=_current(answer, "VersionIdsToStages"))
        version = _current(answer, "VersionIdsToStages")
        late = copy.state is CopyState.IN_SYNC and version != current
        return replace(copy, state=CopyState.COPYING if late else copy.state, version=version)

    def _is_copy(self, answer: Answer, place: str) -> bool:
        """Whether it is a copy of ours there; seen from the copy's own region, whether it is one at all."""
        primary = answer.get("PrimaryRegion") or place
        return primary != place and self._region in (primary, place)

    def survey(self, places: Collection[str]) -> Mapping[str, Mapping[Key, Copy]]:
        found: dict[str, Mapping[Key, Copy]] = {}
        for place in places:
            listed = self._listed(self._elsewhere.at(place))
            found[place] = {key: self._surveyed(entry, place) for key, entry in listed}
        return found

    def _surveyed(self, entry: Answer, place: str) -> Copy:
        state = CopyState.IN_SYNC if self._is_copy(entry, place) else CopyState.ALIEN
        version = _current(entry, "SecretVersionsToStages")
        return Copy(place, state, entry.get("KmsKeyId", ""), version)

    def ensure(self, key: Key, places: Mapping[str, str]) -> None:
        if self._region in places:
            raise InvalidRequestError(f"{self._region} is the region of the source itself")
        name = self._name(key)
        now = _copies(self._primary(name))
        _refuse_strangers(now[place] for place in places if place in now)
        wanted = {p: k for p, k in places.items() if p not in now or now[p].state is CopyState.FAILED}
        for place in wanted.keys() - now.keys():
            self._refuse_taken(name, place)
        if wanted:
            self._replicate(name, wanted)
        for place, kms_key in places.items():
            if place not in wanted and self.is_another(kms_key, now[place].key):
                self._encrypt_anew(name, place, kms_key)

    def _refuse_taken(self, name: str, place: str) -> None:
        """Ask before AWS fails: a Failed entry stays with the primary, and keeps it from being deleted."""
        try:
            answer = self._elsewhere.at(place).read("DescribeSecret", SecretId=name)
        except (SecretNotFoundError, PermissionDeniedError):
            return
        if not self._is_copy(answer, place):
            raise _taken(place)

    def _replicate(self, name: str, places: Mapping[str, str]) -> None:
        """Never with ForceOverwriteReplicaSecret, which destroys what stands there."""
        regions = [{"Region": p, **({"KmsKeyId": k} if k else {})} for p, k in places.items()]
        error: UnavailableError | None = None
        try:
            answer = self._secrets.write("ReplicateSecretToRegions", name, AddReplicaRegions=regions)
        except UnavailableError as exc:
            error = exc
        if error is not None:
            answer = self._secrets.described(name) if error.performed is None else {}
        now = _copies(answer)
        if error is not None and not places.keys() <= now.keys():
            raise error
        self._secrets.replicas.saw(name, answer)
        _refuse_strangers(now[place] for place in places)
        failed = next((now[place] for place in places if now[place].state is CopyState.FAILED), None)
        if failed:
            raise UnavailableError(
                f"the replication to {failed.place} failed: {failed.reason}", retryable=False, performed=True
            )

    def is_another(self, wanted: str, told: str) -> bool:
        one, other = _bare(wanted), _bare(told)
        unlike = one.startswith("alias/") != other.startswith("alias/")
        return bool(one) and one != other and not (other and unlike)  # an alias may be of the told key

    def _encrypt_anew(self, name: str, place: str, kms_key: str) -> None:
        """A replica's key is the one thing of it that can be changed in its own region."""
        self._elsewhere.at(place).write("UpdateSecret", SecretId=name, KmsKeyId=kms_key)

    def detach(self, key: Key, place: str) -> None:
        """Asks that place's region alone: a takeover must work while the primary's does not answer."""
        name, there = self._name(key), self._elsewhere.at(place)
        if self._is_detached(name, there, place):
            return
        error: UnavailableError | InvalidRequestError
        try:
            there.write("StopReplicationToReplica", SecretId=name)
        except (UnavailableError, InvalidRequestError) as exc:
            error = exc
        else:
            return
        if not self._is_detached(name, there, place):
            raise error

    def _is_detached(self, name: str, there: Client, place: str) -> bool:
        answer = there.read("DescribeSecret", SecretId=name)
        return (answer.get("PrimaryRegion") or place) == place

    def fence(self, key: Key) -> None:
        fence(self._secrets, self._name(key), self._region)

    def lift(self, key: Key) -> None:
        lift(self._secrets, self._name(key))


def _copies(answer: Mapping[str, Any]) -> dict[str, Copy]:
    entries = answer.get("ReplicationStatus", ())
    return {entry["Region"]: _copy(entry) for entry in entries}


def _copy(entry: Mapping[str, str]) -> Copy:
    state = _STATES.get(entry.get("Status", ""), CopyState.FAILED)
    said = entry.get("StatusMessage", "").lower()
    if state is CopyState.FAILED and "already exists" in said:  # the API model, ReplicationStatusType
        state = CopyState.ALIEN
    reason = ""
    if state is CopyState.FAILED:
        reason = "its KMS key cannot be used" if "kms" in said else "AWS gives no reason that is known here"
    return Copy(entry["Region"], state, entry.get("KmsKeyId", ""), reason=reason)


def _current(answer: Mapping[str, Any], versions: str) -> str:
    return Labels.of(answer.get(versions, {})).holder(CURRENT) or ""


def _not_there(state: CopyState) -> CopyState:
    return state if state is not CopyState.IN_SYNC else CopyState.MISSING


def _bare(key: str) -> str:
    """A key's id or alias, without the ARN around it."""
    bare = key.rpartition(":")[2].removeprefix("key/")
    return "" if bare == _MANAGED else bare


def _refuse_strangers(copies: Iterable[Copy]) -> None:
    for copy in copies:
        if copy.state is CopyState.ALIEN:
            raise _taken(copy.place)


def _taken(place: str) -> SecretConflictError:
    return SecretConflictError(
        f"a secret of that name, which is no copy, stands in {place}",
        hint="delete it there, or replicate to another region",
    )
