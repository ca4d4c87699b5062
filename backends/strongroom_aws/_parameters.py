"""Parameter Store's calls, as the guard needs them: `Parameters` is its `Port`.

No write is repeated once it may have arrived, since PutParameter carries no idempotency token: the write id
in the description tells afterwards whether it did.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from typing import Any

from strongroom.backend import Secret, SecretVersion, Settings, Stage
from strongroom.errors import (
    PermissionDeniedError,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.guarded import Head, Stamp, chain
from strongroom.names import Key
from strongroom.value import SecretValue

from ._client import Answer, Client, pause
from ._parameter_history import Version, heads, in_order, is_older, made_at, number_of, version_id
from ._parameter_mark import Mark, describe
from ._parameter_names import Names
from ._parameter_text import decode

_PAGE = 50  # the API model, GetParameterHistory: MaxResults
_KNOWN = 4096
_DELETING = 15.0
"""Seconds between attempts while a deletion is under way: "wait for at least 30 seconds to create a parameter
with the same name" (the API model, DeleteParameter)."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Tier:
    """What parameters are made as.

    Attributes:
        name: the API's word.
        size: bytes that a value may take (the API model, PutParameter: Tier).
        key_id: the KMS key; None for the parameter's present one, or the account's default.
    """

    name: str
    size: int
    key_id: str | None = None


class Parameters:
    """One region's parameters. Every name is checked by `Names` before a request is sent."""

    def __init__(self, client: Client, names: Names, settings: Settings, tier: Tier, origin: str):
        self._client, self._names, self._settings = client, names, settings
        self._tier, self._origin = tier, origin
        self._known: dict[tuple[str, str], Version] = {}
        self._untold = False  # histories are denied: not to be asked again with each read

    def history(self, key: Key) -> list[Version]:
        """Every version that AWS still keeps, newest first; none if there is no parameter."""
        name = self._names.of(key)
        entries: list[Answer] = []
        more: dict[str, str] = {}
        try:
            while True:
                page = self._client.read("GetParameterHistory", Name=name, MaxResults=_PAGE, **more)
                entries += page["Parameters"]
                if not page.get("NextToken"):
                    return self._learned(name, in_order(entries))
                more = {"NextToken": page["NextToken"]}
        except SecretNotFoundError:
            return []

    def _learned(self, name: str, versions: list[Version]) -> list[Version]:
        """A version never changes: what was read of it once need not be read again."""
        if len(self._known) > _KNOWN:
            self._known = {}
        self._known |= {(name, version.id): version for version in versions}
        return versions

    def head(self, key: Key) -> Head | None:
        """As `Port.head`. From the history: only all of it tells whose the newest one's mark is."""
        return next(iter(self.heads(key)), None)

    def heads(self, key: Key) -> Sequence[Head]:
        """As `Port.heads`.

        Raises:
            UnavailableError: AWS does not show yet what the coordinator says was written.
        """
        return self._heads_since(key, self._recorded(key))

    def line(self, key: Key) -> list[Head]:
        """The versions for a reader, newest first; also while the coordinator does not answer."""
        recorded = None
        with contextlib.suppress(UnavailableError):
            recorded = self._recorded(key)
        return chain(self._heads_since(key, recorded))

    def _recorded(self, key: Key) -> str | None:
        coordinator = self._settings.coordinator
        return coordinator.recorded(self._names.arn(key)) if coordinator else None

    def _heads_since(self, key: Key, recorded: str | None) -> list[Head]:
        """Reads may be behind a write, and what is written upon an older version would undo it."""
        for attempt in range(1, self._settings.attempts + 1):
            versions = self.history(key)
            if not (recorded and versions and is_older(versions[0].id, recorded)):
                return heads(versions)
            pause(self._settings, attempt)
        raise UnavailableError("AWS does not show the last version written yet", hint="try again")

    def get(self, key: Key, version: str) -> Secret:
        """One version's value and record.

        Raises:
            SecretNotFoundError: no such version in this life of the name.
        """
        number = number_of(version)
        if number is None:
            raise SecretNotFoundError("no such version")
        found = self._read(f"{self._names.of(key)}:{number}")
        if version_id(number, found["LastModifiedDate"]) != version:
            raise SecretNotFoundError("no such version")
        return self.secret(key, found, None, self._record(key, version))

    def current(self, key: Key, *, recorded: bool = False) -> Secret:
        """The newest version in one request; `recorded`: another, once a version, tells its record."""
        found = self.secret(key, self._read(self._names.of(key)), Stage.CURRENT)
        return replace(found, record=self._record(key, found.version)) if recorded else found

    def secret(self, key: Key, found: Answer, stage: Stage | None, record: str | None = None) -> Secret:
        """An answer's parameter as a secret."""
        return Secret(
            str(key),
            decode(found["Value"]),
            version_id(found["Version"], found["LastModifiedDate"]),
            stage,
            self._origin,
            found["LastModifiedDate"].astimezone(UTC),
            self._settings.clock.now(),
            record=record,
        )

    def _read(self, name: str, *, decrypt: bool = True) -> Answer:
        found = self._client.read("GetParameter", Name=name, WithDecryption=decrypt)["Parameter"]
        assert isinstance(found, dict)
        return found

    def _record(self, key: Key, version: str) -> str | None:
        try:
            known = None if self._untold else self._version(key, version)
        except PermissionDeniedError:  # another grant than that of reading values
            self._untold = True
            return None
        return known.record if known else None

    def _version(self, key: Key, version: str) -> Version | None:
        known = self._known.get((self._names.of(key), version))
        return known or next((found for found in self.history(key) if found.id == version), None)

    def write(self, key: Key, value: SecretValue, record: str | None, stamp: Stamp) -> SecretVersion:
        """As `Port.write`: one PutParameter, whose answer tells the number, and one read of its date."""
        name = self._names.of(key)
        put = self._request(key, record, stamp)
        answer = self._client.once("PutParameter", value, Name=name, Type="SecureString", **put)
        if isinstance(answer, SecretStoreError):
            raise self._refused(key, answer)
        number = int(answer["Version"])
        if stamp.before and number != (number_of(stamp.before) or 0) + 1:
            # AWS numbers every version, so the answer shows that somebody else's came in between.
            _log.warning("%s: version %d does not follow right after %s", name, number, stamp.before)
        written = self._dated(name, number)
        return SecretVersion(written, made_at(written), frozenset({Stage.CURRENT}))

    def _request(self, key: Key, record: str | None, stamp: Stamp) -> dict[str, Any]:
        before = self._version(key, stamp.before) if stamp.before else None
        kept = dict(before.kept) if before else {}
        if self._tier.key_id:
            kept["KeyId"] = self._tier.key_id
        return {
            "Overwrite": stamp.before is not None,
            "Description": describe(before.text if before else "", Mark(stamp, record)),
            # An advanced parameter can never be a standard one again (the API model, PutParameter: Tier).
            "Tier": "Advanced" if before and before.tier == "Advanced" else self._tier.name,
            **kept,
        }

    def _refused(self, key: Key, error: SecretStoreError) -> SecretStoreError:
        """A name that AWS will not have again yet, though nobody can read it, is no conflict."""
        if isinstance(error, SecretConflictError) and not self._appears(key):
            return UnavailableError(
                "AWS is still deleting the parameter of this name",
                retry_after=_DELETING,
                hint="a deleted name can be used again after 30 seconds",
            )
        return error

    def _appears(self, key: Key) -> bool:
        """Whether there is a parameter, if it was made just now in a moment."""
        for attempt in range(1, self._settings.attempts + 1):
            if self._exists(key):
                return True
            pause(self._settings, attempt)
        return False

    def _exists(self, key: Key) -> bool:
        try:
            self._read(self._names.of(key), decrypt=False)
        except SecretNotFoundError:
            return False
        return True

    def _dated(self, name: str, number: int) -> str:
        """The id of the version just written. Failing that its outcome counts as unknown, to be looked up."""
        for attempt in range(1, self._settings.attempts + 1):
            try:
                found = self._read(f"{name}:{number}", decrypt=False)
            except SecretNotFoundError:  # not there yet, or deleted already
                pause(self._settings, attempt)
                continue
            except SecretStoreError:
                break
            return version_id(number, found["LastModifiedDate"])
        raise UnavailableError("the version was written, but its date cannot be read", performed=None)

    def remove(self, key: Key) -> None:
        """Delete the parameter, for ever and at once.

        Raises:
            SecretNotFoundError: there is none.
            UnavailableError: `performed` is None if the answer was lost and it is still there.
        """
        answer = self._client.once("DeleteParameter", Name=self._names.of(key))
        if not isinstance(answer, SecretStoreError):
            return
        if answer.performed is None and not self._exists(key):
            return
        raise answer
