"""The calls that Strongroom's writes to Secrets Manager are made of, and what a refusal of each means."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

from strongroom.backend import SecretVersion, Settings, Stage
from strongroom.errors import (
    InvalidRequestError,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.value import SecretValue

from ._client import Answer, Client, pause
from ._errors import code_of
from ._labels import CURRENT, PREVIOUS, PUT, RECORD, Labels, was_current
from ._recent import Recent
from ._replicas import Replicas
from ._service import Service

_NAME_FREE_TRIES = 20
_CLOCK_SKEW = timedelta(minutes=5)
_LOSERS_KEPT = 20
_LOSER_AGE = timedelta(hours=1)


def _sealed(answer: Answer) -> Answer:
    for entry in (answer, *answer.get("SecretValues", ())):
        text, blob = entry.pop("SecretString", None), entry.pop("SecretBinary", None)
        if text is not None or blob is not None:
            entry["Value"] = SecretValue(text if blob is None else blob)
    return answer


def _value_field(value: SecretValue) -> dict[str, Any]:
    return {"SecretString": value.reveal_text()} if value.kind == "text" else {"SecretBinary": value.reveal()}


SERVICE = Service(
    name="secretsmanager",
    title="Secrets Manager",
    example="aws-sm://REGION/PREFIX, as in aws-sm://eu-west-1/prod",
    answers={
        "BatchGetSecretValue": "SecretValues",
        "CreateSecret": "ARN",
        "DeleteResourcePolicy": "ARN",
        "DeleteSecret": "ARN",
        "DescribeSecret": "ARN",
        "GetResourcePolicy": "ARN",
        "GetSecretValue": "VersionId",
        "ListSecretVersionIds": "Versions",
        "ListSecrets": "SecretList",
        "PutResourcePolicy": "ARN",
        "PutSecretValue": "VersionId",
        "ReplicateSecretToRegions": "ARN",
        "RestoreSecret": "ARN",
        "StopReplicationToReplica": "ARN",
        "UpdateSecret": "ARN",
        "UpdateSecretVersionStage": "ARN",
    },
    value_field=_value_field,
    seal=_sealed,
)


def new_token() -> str:
    """A ClientRequestToken, which becomes the version's id."""
    return str(uuid.uuid4())


class Secrets:
    """Secrets Manager's operations on secrets by their full names."""

    def __init__(
        self, client: Client, settings: Settings, region: str, rotation_token: SecretValue | None = None
    ):
        self.client = client
        self.settings = settings
        self.recent = Recent(settings.clock)
        self.replicas = Replicas(self.described, settings.clock)
        self._region = region
        self._rotation_token = rotation_token

    def made_current(self, name: str, version: str) -> SecretVersion:
        """Note and return what a write made current."""
        self.recent.wrote(name, version)
        return SecretVersion(version, stages=frozenset({Stage.CURRENT}))

    def described(self, name: str) -> Answer:
        """DescribeSecret of a secret that is not in the bin.

        Raises:
            SecretNotFoundError: missing or in the bin.
        """
        answer = self.client.read("DescribeSecret", SecretId=name)
        if answer.get("DeletedDate"):
            raise SecretNotFoundError("the secret is in the bin", hint="restore brings it back")
        self.replicas.saw(name, answer)
        return answer

    def labels(self, name: str) -> Labels:
        """Which version bears which label; may lag behind."""
        return Labels.of(self.described(name).get("VersionIdsToStages", {}))

    def labels_once(self, name: str, settled: Callable[[Labels], bool]) -> Labels:
        """The labels, asked for again while they do not show what is expected: reads lag behind writes."""
        for attempt in range(1, self.settings.attempts + 1):
            labels = self._labels_or_none(name)
            if settled(labels):
                break
            if attempt < self.settings.attempts:
                pause(self.settings, attempt)
        return labels

    def _labels_or_none(self, name: str) -> Labels:
        try:
            return self.labels(name)
        except SecretNotFoundError:
            return Labels({})

    def soon(self, name: str, version: str) -> Answer | None:
        """GetSecretValue of a version that is known to exist, waited for if it is not there yet."""
        for attempt in range(1, self.settings.attempts + 1):
            try:
                return self.client.read("GetSecretValue", SecretId=name, VersionId=version)
            except SecretNotFoundError as exc:
                if exc.hint or attempt == self.settings.attempts:  # in the bin
                    break
            pause(self.settings, attempt)
        return None

    def create(self, name: str, token: str, value: SecretValue | None) -> bool:
        """CreateSecret; False if the name exists. Waits while AWS still deletes a purged secret of that name.

        Raises:
            SecretConflictError: the name is in the bin.
        """
        for attempt in range(1, _NAME_FREE_TRIES + 1):
            error = self._try_to_create(name, token, value)
            if error is None:
                return True
            if code_of(error) == "ResourceExistsException":
                return False
            if not self.is_being_purged(name):
                raise error
            pause(self.settings, attempt)
        raise UnavailableError("AWS still deletes the purged secret of this name", hint="try again later")

    def _try_to_create(self, name: str, token: str, value: SecretValue | None) -> SecretConflictError | None:
        try:
            self.client.write("CreateSecret", value, token=True, Name=name, ClientRequestToken=token)
        except SecretConflictError as exc:
            return exc
        return None

    def is_being_purged(self, name: str) -> bool:
        """Whether a deletion without recovery is under way (the API model, DeleteSecret: "asynchronous").

        Such a deletion is dated now, one with a recovery window at least seven days ahead.
        """
        try:
            date = self.client.read("DescribeSecret", SecretId=name).get("DeletedDate")
        except SecretNotFoundError:
            return True
        return date is not None and date <= self.settings.clock.now() + _CLOCK_SKEW

    def add(
        self,
        name: str,
        token: str,
        value: SecretValue,
        labels: Sequence[str] | None = None,
        *,
        rotating: bool = False,
    ) -> frozenset[str]:
        """PutSecretValue: the labels that the new version bears.

        Args:
            rotating: send the RotationToken of the rotation that Secrets Manager runs, if there is one.

        Raises:
            SecretConflictError: in the bin, or the token was used for another value.
            InvalidRequestError: also for a replica, which is read-only.
        """
        more: dict[str, Any] = {"VersionStages": list(labels)} if labels else {}
        if rotating and self._rotation_token:
            more["RotationToken"] = self._rotation_token
        answer = self.write("PutSecretValue", name, value, token=True, ClientRequestToken=token, **more)
        return frozenset(answer.get("VersionStages", ()))

    def move(self, name: str, label: str, to: str | None, source: str | None) -> bool:
        """UpdateSecretVersionStage, the compare-and-set: False if AWS refused, the label being elsewhere.

        Raises:
            UnavailableError: also if a replica still copies the last change.
        """
        self.replicas.wait(name)
        versions = {"MoveToVersionId": to, "RemoveFromVersionId": source}
        given: dict[str, Any] = {key: version for key, version in versions.items() if version is not None}
        try:
            self.client.write("UpdateSecretVersionStage", SecretId=name, VersionStage=label, **given)
        except (InvalidRequestError, SecretNotFoundError):
            return False
        return True

    def unlabel(self, name: str, label: str, version: str) -> None:
        """Take a label off; that it is off already, or the answer is lost, does no harm."""
        try:
            self.move(name, label, None, version)
        except (SecretConflictError, UnavailableError):
            return

    def write(
        self,
        action: str,
        name: str,
        value: SecretValue | None = None,
        *,
        token: bool = False,
        **params: Any,
    ) -> Answer:
        """A write whose refusal may have to be explained: replicas are read-only."""
        try:
            return self.client.write(action, value, token=token, SecretId=name, **params)
        except InvalidRequestError as exc:
            error: SecretStoreError = exc
        primary = self._primary_region(name)
        if primary and primary != self._region:
            raise InvalidRequestError(
                f"the secret in {self._region} is a replica, which is read-only", hint=f"write in {primary}"
            )
        raise error

    def _primary_region(self, name: str) -> str | None:
        try:
            found = self.client.read("DescribeSecret", SecretId=name).get("PrimaryRegion")
        except SecretStoreError:
            return None
        return str(found) if found else None

    def sweep(self, name: str, labels: Labels) -> None:
        """Take the mark off old versions that lost their compare-and-set, so that AWS can delete them.

        A label keeps a version from deletion, and a secret can have about a hundred. A writer needs its
        mark for seconds; an hour is past any of its timeouts.
        """
        marks = {label: version for version, on in labels.by_version.items() for label in on}
        lost = {version: label for label, version in marks.items() if label.startswith(PUT)}
        if len(lost) <= _LOSERS_KEPT:
            return
        now = self.settings.clock.now()
        for entry in self.listed_versions(name):
            if entry["VersionId"] in lost and now - entry["CreatedDate"] > _LOSER_AGE:
                self.unlabel(name, lost[entry["VersionId"]], entry["VersionId"])

    def sweep_records(self, name: str, labels: Labels | None = None) -> None:
        """Take replication's records off versions that were replaced: a label keeps them from deletion.

        Not off one that waits, whose record tells where it stands once it is promoted.
        """
        for version, on in (labels or self.labels(name)).by_version.items():
            marks = {label for label in on if label.startswith(RECORD)}
            if marks and was_current(on) and not on & {CURRENT, PREVIOUS}:
                for label in marks:
                    self.unlabel(name, label, version)

    def listed_versions(self, name: str) -> list[Answer]:
        """ListSecretVersionIds, deprecated ones included, all pages (the SDK has no paginator for it)."""
        versions: list[Answer] = []
        more: dict[str, str] = {}
        while True:
            page = self.client.read("ListSecretVersionIds", SecretId=name, IncludeDeprecated=True, **more)
            versions += page["Versions"]
            if not page.get("NextToken"):
                return versions
            more = {"NextToken": page["NextToken"]}
