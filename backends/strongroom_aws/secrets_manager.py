"""AWS Secrets Manager behind ``aws-sm://REGION/PREFIX``.

Stages are AWS's own staging labels: current is AWSCURRENT, so that the console, another SDK and External
Secrets see what Strongroom calls current, and never a pending value.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Self

from strongroom.backend import (
    ABSENT,
    Absent,
    Backend,
    Capability,
    Secret,
    SecretInfo,
    SecretVersion,
    Settings,
    Stage,
    WriteBudget,
)
from strongroom.errors import (
    InvalidRequestError,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.names import Key, StoreURL, check_prefix, key_path
from strongroom.value import SecretValue

from ._batch import read_batch
from ._client import Answer, Client
from ._errors import translate
from ._identity import CallerIdentity
from ._labels import CURRENT, PREVIOUS, Labels, is_turn, record_of, stages_of, was_current
from ._listing import listed
from ._pending import Rotation
from ._regions import Elsewhere, Regions
from ._secrets import SERVICE, Secrets
from ._tags import check_tags, set_tags, tags_of
from ._writes import put_absent, put_any, put_if

_LIMIT = 65_536  # https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html
_NAME = re.compile(r"[A-Za-z0-9/_+=.@-]{1,512}")  # the API model, CreateSecret: Name
_WINDOW = range(7, 31)  # the API model, DeleteSecret: RecoveryWindowInDays
_LABELS = {Stage.CURRENT: CURRENT, Stage.PREVIOUS: PREVIOUS}
_CAPABILITIES = ~Capability(0) & ~Capability.CAS_GUARDED
# The API model, PutSecretValue: more than one version in ten minutes, sustained, reaches a secret's quota,
# since those of the last 24 hours are never removed. A pending value takes two: its own and its turn's.
_BUDGET = WriteBudget(144, 24 * 3600.0, "secret")


class SecretsManager(Backend):
    """Secrets of one region of one account, under a prefix.

    Credentials come from the SDK's own chain, or from ``settings.auth``: ``profile``, or ``access_key_id``
    and ``secret_access_key`` with an optional ``session_token``; a function that Secrets Manager calls in
    another account's or an assumed role's name adds the event's ``rotation_token``. The option
    ``recovery_window_days``, from 7 to 30 and by default 30, says how long ``delete`` can be undone.
    """

    scheme = "aws-sm"
    loggers = ("boto3", "botocore", "urllib3")
    capabilities = _CAPABILITIES
    lists_records = True
    write_budget = _BUDGET

    def __init__(self, url: StoreURL, settings: Settings):
        url.allow("endpoint")
        settings, token = _without_token(settings)
        self._settings = settings
        self._prefix = check_prefix(url.path.strip("/"), settings.names)
        self._region = url.host
        self._client = Client(SERVICE, url, settings)
        self._identity = CallerIdentity(url, settings)
        self._secrets = Secrets(self._client, settings, self._region, token)
        self._window = _window(settings.options)
        self._elsewhere = Elsewhere(url, settings)
        self.origin = f"aws-sm://{self._region}" + (f"/{self._prefix}" if self._prefix else "")

    @classmethod
    def from_url(cls, url: StoreURL, settings: Settings) -> Self:
        """Open ``aws-sm://REGION[/PREFIX][?endpoint=http://127.0.0.1:PORT]``, without I/O."""
        return cls(url, settings)

    @staticmethod
    def error_for(exc: Exception, operation: str) -> SecretStoreError | None:
        """Translate what boto raises."""
        return translate(exc, operation, SERVICE)

    def get(self, key: Key, version: str | Stage) -> Secret:
        name = self._name(key)
        if isinstance(version, Stage):
            if version not in _LABELS:
                return self._foreign(key, name)
            return self._secret(key, self._labelled(name, version), version)
        if not 32 <= len(version) <= 64 or is_turn(version):  # the API model, SecretVersionIdType
            self._secrets.described(name)
            raise SecretNotFoundError("no such version")
        answer = self._client.read("GetSecretValue", SecretId=name, VersionId=version)
        if not was_current(answer.get("VersionStages", ())):
            raise SecretNotFoundError("no such version")
        return self._secret(key, answer, None)

    def _foreign(self, key: Key, name: str) -> Secret:
        """What another tool's rotation has under AWSPENDING."""
        version = Labels.of(self._secrets.described(name).get("VersionIdsToStages", {})).foreign()
        if version is None:
            raise SecretNotFoundError("a pending value is read by its rotation id")
        answer = self._client.read("GetSecretValue", SecretId=name, VersionId=version)
        return self._secret(key, answer, Stage.PENDING)

    def _labelled(self, name: str, stage: Stage) -> Answer:
        error: SecretNotFoundError | None = None
        answer: Answer | None = None
        try:
            answer = self._client.read("GetSecretValue", SecretId=name, VersionStage=_LABELS[stage])
        except SecretNotFoundError as exc:
            error = exc
        if stage is Stage.CURRENT:
            answer = self._secrets.recent.later(name, answer, lambda v: self._secrets.soon(name, v))
        if answer is None:
            raise error or SecretNotFoundError("no such secret or version")
        return answer

    def put(
        self, key: Key, value: SecretValue, if_version: str | Absent | None, record: str | None = None
    ) -> SecretVersion:
        name = self._name(key)
        _not_empty(value)
        if if_version is None:
            version = put_any(self._secrets, name, value, record)
        elif if_version is ABSENT:
            version = put_absent(self._secrets, name, value, record)
        else:
            version = put_if(self._secrets, name, value, if_version, record)
        if record is not None:
            with contextlib.suppress(SecretStoreError):  # the write is done; the next one sweeps again
                self._secrets.sweep_records(name)
        return version

    def purge(self, key: Key) -> None:
        name = self._name(key)
        # A forced deletion of what is not there succeeds (the API model, DeleteSecret), so ask first.
        if self._secrets.is_being_purged(name):
            raise SecretNotFoundError("no such secret")
        self._delete(name, ForceDeleteWithoutRecovery=True)

    def delete(self, key: Key) -> None:
        name = self._name(key)
        try:
            self._delete(name, RecoveryWindowInDays=self._window)
        except SecretConflictError as exc:
            replicas = exc.message.startswith("the secret has replicas")
            error: SecretStoreError = exc
        else:
            return
        raise error if replicas else SecretNotFoundError("the secret is in the bin already")

    def _delete(self, name: str, **how: Any) -> None:
        self._secrets.recent.drop(name)
        try:
            self._secrets.write("DeleteSecret", name, **how)
        except (InvalidRequestError, UnavailableError) as exc:
            error: SecretStoreError = exc
        else:
            return
        if isinstance(error, UnavailableError):
            if error.performed is None and self._is_in_the_bin(name):
                return
            raise error
        if regions := self._replica_regions(name):
            raise SecretConflictError(
                f"the secret has replicas in {', '.join(regions)}",
                hint="remove them first: RemoveRegionsFromReplication",
            )
        raise error

    def _is_in_the_bin(self, name: str) -> bool:
        try:
            return bool(self._client.read("DescribeSecret", SecretId=name).get("DeletedDate"))
        except SecretNotFoundError:
            return True

    def _replica_regions(self, name: str) -> list[str]:
        entries = self._client.read("DescribeSecret", SecretId=name).get("ReplicationStatus", ())
        return sorted(entry["Region"] for entry in entries)

    def restore(self, key: Key) -> None:
        name = self._name(key)
        # RestoreSecret of what is not deleted succeeds, so ask first.
        if not self._is_in_the_bin(name) or self._secrets.is_being_purged(name):
            raise SecretNotFoundError("not in the bin")
        error: SecretStoreError
        try:
            self._secrets.write("RestoreSecret", name)
        except SecretConflictError:
            error = SecretNotFoundError("it was purged and cannot be restored")
        except UnavailableError as exc:
            error = exc
        else:
            return
        if error.performed is not None or self._is_in_the_bin(name):
            raise error

    def retire(self, key: Key, version: str) -> None:
        """Take every label but AWSCURRENT off a version; AWS then deletes it in its own time."""
        name = self._name(key)
        labels = self._secrets.labels(name).on(version)
        if CURRENT in labels:
            raise SecretConflictError("the version is current")
        for label in sorted(labels, key=lambda label: label.endswith("/done")):
            self._secrets.unlabel(name, label, version)

    def list_info(self, prefix: str, detail: bool = False) -> Iterator[SecretInfo]:
        for key, entry in self._listed(self._client, prefix):
            yield self._info(key, entry, "SecretVersionsToStages") if detail else SecretInfo(key)

    def _listed(self, client: Client, prefix: str = "") -> Iterator[tuple[Key, Answer]]:
        return listed(client, self._prefix, self._settings.names, prefix)

    def versions(self, key: Key) -> Sequence[SecretVersion]:
        name = self._name(key)
        self._secrets.described(name)  # a secret in the bin still lists its versions
        listed = [v for v in self._secrets.listed_versions(name) if not is_turn(v["VersionId"])]
        shown = sorted((v for v in listed if was_current(v.get("VersionStages", ()))), key=_age)
        return [_version(v["VersionId"], v.get("VersionStages", ()), v.get("CreatedDate")) for v in shown]

    def versions_after(self, key: Key, base: str) -> Sequence[SecretVersion]:
        versions = self.versions(key)
        ids = [version.id for version in versions]
        if base not in ids:
            raise SecretNotFoundError("the base version is not known")
        return list(reversed(versions[: ids.index(base)]))

    def describe(self, key: Key) -> SecretInfo:
        return self._info(key, self._secrets.described(self._name(key)), "VersionIdsToStages")

    def set_tags(self, key: Key, tags: Mapping[str, str | None]) -> None:
        name = self._name(key)
        set_tags(self._secrets, name, tags)

    def get_many(self, keys: Sequence[Key]) -> Mapping[Key, Secret | SecretStoreError]:
        names = [self._name(key) for key in keys]
        answers = read_batch(self._client, list(dict.fromkeys(names)))
        answers = {name: answer for name, answer in answers.items() if self._is_latest(name, answer)}
        return {key: self._batched(key, answers.get(name)) for key, name in zip(keys, names, strict=True)}

    def _is_latest(self, name: str, answer: Answer | SecretStoreError) -> bool:
        written = self._secrets.recent.version(name)
        return written is None or (
            not isinstance(answer, SecretStoreError) and answer["VersionId"] == written
        )

    def _batched(self, key: Key, answer: Answer | SecretStoreError | None) -> Secret | SecretStoreError:
        if isinstance(answer, SecretStoreError):
            return answer
        return self._outcome(key) if answer is None else self._secret(key, answer, Stage.CURRENT)

    def _outcome(self, key: Key) -> Secret | SecretStoreError:
        try:
            return self.get(key, Stage.CURRENT)
        except SecretStoreError as error:
            return error.with_traceback(None)

    def put_pending(
        self, key: Key, rotation_id: str, value: SecretValue, base_version: str, record: str | None = None
    ) -> SecretVersion:
        _not_empty(value)
        return self._rotation(key, rotation_id).put(value, base_version, record)

    def get_pending(self, key: Key, rotation_id: str) -> Secret:
        return self._rotation(key, rotation_id).get(str(key), self.origin)

    def promote_pending(self, key: Key, rotation_id: str) -> SecretVersion:
        return self._rotation(key, rotation_id).promote()

    def discard_pending(self, key: Key, rotation_id: str) -> None:
        self._rotation(key, rotation_id).discard()

    def _rotation(self, key: Key, rotation_id: str) -> Rotation:
        return Rotation(self._secrets, self._name(key), rotation_id)

    def locate(self, key: Key) -> str:
        """The ARN as far as it is known without a call: no account, no random suffix."""
        partition = "aws-cn" if self._region.startswith("cn-") else "aws"
        partition = "aws-us-gov" if self._region.startswith("us-gov-") else partition
        return f"arn:{partition}:secretsmanager:{self._region}::secret:{self._name(key)}"

    def check(self, key: Key, value: SecretValue, tags: Mapping[str, str]) -> None:
        _not_empty(value)
        check_tags(tags)

    def limit(self, key: Key) -> int | None:
        return _LIMIT

    def native_replication(self) -> Regions:
        return Regions(self._secrets, self._region, self._name, self._listed, self._elsewhere)

    def principal(self) -> str | None:
        return self._identity.arn()

    def after_fork(self) -> None:
        self._client.after_fork()
        self._identity.after_fork()
        self._elsewhere.after_fork()
        self._secrets.recent.after_fork()

    def close(self) -> None:
        self._client.close()
        self._identity.close()
        self._elsewhere.close()

    def _name(self, key: Key) -> str:
        name = key_path(key, self._prefix)
        if not _NAME.fullmatch(name):
            raise InvalidRequestError(
                "the name does not fit Secrets Manager", hint="use letters, digits and /_+=.@-, at most 512"
            )
        return name

    def _secret(self, key: Key, answer: Answer, stage: Stage | None) -> Secret:
        value = answer.get("Value")
        if value is None:
            raise SecretNotFoundError("the version has no value")
        return Secret(
            str(key),
            value,
            answer["VersionId"],
            stage,
            self.origin,
            _utc(answer.get("CreatedDate")),
            self._settings.clock.now(),
            record=record_of(answer.get("VersionStages", ())),
        )

    def _info(self, key: Key, answer: Answer, versions: str) -> SecretInfo:
        labels = Labels.of(answer.get(versions, {}))
        current = labels.holder(CURRENT)
        newest = _version(current, labels.on(current), None) if current else None
        record = record_of(labels.on(current)) if current else None
        created = _utc(answer.get("CreatedDate"))
        return SecretInfo(key, tags_of(answer), newest, created, record, labels.held(), labels.foreign())


def _without_token(settings: Settings) -> tuple[Settings, SecretValue | None]:
    auth = dict(settings.auth)
    token = auth.pop("rotation_token", None)
    if token is None:
        return settings, None
    return replace(settings, auth=auth), token if isinstance(token, SecretValue) else SecretValue(token)


def _version(version_id: str, labels: Any, created: datetime | None) -> SecretVersion:
    return SecretVersion(version_id, _utc(created), stages_of(labels))


def _age(version: Answer) -> tuple[int, float]:
    """Newest first: current, then previous, whatever their dates, since a label may have been moved back."""
    labels = version.get("VersionStages", ())
    rank = 0 if CURRENT in labels else 1 if PREVIOUS in labels else 2
    return rank, -version["CreatedDate"].timestamp()


def _utc(date: datetime | None) -> datetime | None:
    return date.astimezone(UTC) if date else None


def _not_empty(value: SecretValue) -> None:
    if value.matches(b""):
        raise InvalidRequestError("Secrets Manager holds no empty value")


def _window(options: Mapping[str, Any]) -> int:
    unknown = sorted(options.keys() - {"recovery_window_days"})
    if unknown:
        raise InvalidRequestError(f"unknown option {unknown[0]!r}", hint="known: recovery_window_days")
    days = options.get("recovery_window_days", 30)
    if not isinstance(days, int) or days not in _WINDOW:
        raise InvalidRequestError("recovery_window_days is a whole number from 7 to 30")
    return days
