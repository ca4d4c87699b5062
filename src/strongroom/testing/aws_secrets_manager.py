"""AWS Secrets Manager's documented rules, in memory and without HTTP.

Doubles lie: moto lets one label stand on two versions, accepts values over the limit, and knows no
delay. This one states the rules, each with its source. "Model" is botocore's
``data/secretsmanager/2017-10-17/service-2.json.gz``, AWS's own description of the API.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterable

from . import aws_limits as limits
from .aws_account import ACCOUNT, Account, Answer, Behaviour, Operations, marked_for_deletion, missing
from .aws_policy import Policies
from .aws_reading import Reading
from .aws_replication import Replication
from .aws_state import CURRENT, AwsError, Deletion, History, Replica, Secret, Version

Params = limits.Params
Data = str | bytes | None


class StrictSecretsManager:
    """Secrets Manager in every region of one account.

    Args:
        behaviour: what AWS leaves open; may be changed at any time.
        clock: seconds since the epoch.
    """

    def __init__(self, behaviour: Behaviour | None = None, clock: Callable[[], float] = time.time):
        self.behaviour = behaviour or Behaviour()
        self._clock = clock
        self._account = Account(self.behaviour, clock)
        self._replication = Replication(self._account)
        self._policies = Policies(self._account)
        self._lock = threading.Lock()
        self._operations: Operations = {
            "CreateSecret": self._create,
            "PutSecretValue": self._put,
            "UpdateSecret": self._update,
            "UpdateSecretVersionStage": self._move,
            "DeleteSecret": self._delete,
            "RestoreSecret": self._restore,
            "TagResource": self._tag,
            "UntagResource": self._untag,
            **Reading(self._account).operations,
            **self._replication.operations,
            **self._policies.operations,
        }

    def call(self, region: str, operation: str, params: Params, *, stale: bool = False) -> Answer:
        """Do one operation; ``stale`` makes a read miss the last change.

        Raises:
            AwsError: the service refuses.
        """
        handler = self._operations.get(operation)
        if handler is None:
            raise AwsError("UnknownOperationException", f"The double does not know {operation}.")
        with self._lock:
            self._account.stale_once = stale
            self._policies.enforce(region, operation, params)
            return handler(region, params)

    def settle(self) -> None:
        """End every lag of labels, versions and lists that began before."""
        with self._lock:
            self._account.settle()

    def deny(self, action: str, name: str = "*") -> None:
        """Deny an IAM action, such as ``"GetSecretValue"``, on the secrets whose name matches a pattern."""
        self.behaviour.denied.append((action, name))

    def add_empty_version(self, region: str, name: str, version_id: str, label: str) -> None:
        """Reserve a version without a value, as RotateSecret does before it calls the rotation function.

        Source: Model, DescribeSecret: "every version ID that has a staging label attached, even if
        that version doesn't contain a secret value".
        """
        with self._lock:
            secret = self._account.primary(region, {"SecretId": name})
            with self._account.editing(secret):
                secret.versions[version_id] = Version(version_id, self._clock(), None, secret.kms_key)
                secret.attach(label, version_id)

    def _create(self, region: str, params: Params) -> Answer:
        name, data, tags = limits.name(params), limits.value(params), limits.tags(params)
        self._account.authorise("CreateSecret", name)
        if tags:  # Model, CreateSecret: "If you include tags ..., you also need secretsmanager:TagResource"
            self._account.authorise("TagResource", name)
        limits.room_for_tags(len(tags))
        existing = self._account.shelf(region).get(name)
        if existing is not None:
            return self._create_again(existing, name, data, params)
        now = self._clock()
        suffix = secrets.token_hex(3)
        arn = f"arn:aws:secretsmanager:{region}:{ACCOUNT}:secret:{name}-{suffix}"
        secret = Secret(name, arn, region, now, now, params.get("Description", ""), tags=tags, unborn=True)
        secret.kms_key = params.get("KmsKeyId") or secret.kms_key
        with self._account.editing(secret):
            secret.unborn = False
            if data is not None:
                self._add_version(secret, limits.token(params), data, [CURRENT])
        self._account.shelf(region)[name] = secret
        answer = _answer(secret, VersionId=secret.labels.get(CURRENT))
        return self._replication.created(secret, params, answer)

    def _create_again(self, existing: Secret | Replica, name: str, data: Data, params: Params) -> Answer:
        if isinstance(existing, Secret) and existing.deletion:
            raise AwsError(
                "InvalidRequestException",
                "You can't create this secret because a secret with this name is already scheduled "
                "for deletion.",
            )
        versions = existing.versions if isinstance(existing, Secret) else {}
        version = versions.get(params.get("ClientRequestToken", ""))
        if version is None or version.data != data:
            raise AwsError(
                "ResourceExistsException", f"The operation failed because the secret {name} already exists."
            )
        return _answer(existing, VersionId=version.id)

    def _put(self, region: str, params: Params) -> Answer:
        self._account.authorise("PutSecretValue", limits.secret_id(params))
        data, stages, token = limits.value(params), limits.stages(params), limits.token(params)
        if data is None:
            raise limits.invalid("You must provide either SecretString or SecretBinary.")
        secret = self._account.primary(region, params)
        if not self._is_repeat(secret, token, data):
            with self._account.editing(secret):
                self._add_version(secret, token, data, stages or [CURRENT])
        return _answer(secret, VersionId=token, VersionStages=secret.labels_of(token))

    def _update(self, region: str, params: Params) -> Answer:
        self._account.authorise("UpdateSecret", limits.secret_id(params))
        data = limits.value(params)
        if self._replication.changed_key(region, params):
            return _answer(self._account.find(region, limits.secret_id(params)))
        secret = self._account.primary(region, params)
        with self._account.editing(secret):
            secret.description = params.get("Description", secret.description)
            secret.kms_key = params.get("KmsKeyId") or secret.kms_key
            if data is None:
                return _answer(secret)
            token = limits.token(params)
            if token in secret.versions:  # Model, UpdateSecret: a used token "results in an error"
                raise _token_in_use(secret, token)
            self._add_version(secret, token, data, [CURRENT])
        return _answer(secret, VersionId=token)

    def _is_repeat(self, secret: Secret, token: str, data: str | bytes) -> bool:
        version = secret.versions.get(token)
        if version is None or version.data is None:
            return False
        if version.data != data:  # whatever labels are asked for: versions are immutable
            raise _token_in_use(secret, token)
        return True

    def _add_version(self, secret: Secret, token: str, data: str | bytes, stages: Iterable[str]) -> None:
        self._account.use_key(secret.kms_key, "EncryptionFailure")
        # Model, PutSecretValue: "If this operation creates the first version for the secret, then Secrets
        # Manager automatically attaches the staging label AWSCURRENT to it", whatever was asked for.
        first = all(v.data is None for v in secret.versions.values())
        wanted = {*stages, CURRENT} if first else set(stages)
        now, quota = self._clock(), self.behaviour.version_quota
        secret.remove_outdated(now, limits.VERSIONS_KEPT, limits.VERSION_YOUTH)
        if quota is not None and len(secret.versions) >= quota:
            raise AwsError("LimitExceededException", "The secret has reached its quota of versions.")
        secret.versions[token] = Version(token, now, data, secret.kms_key)
        for label in sorted(wanted):
            self._attach(secret, label, token)

    def _attach(self, secret: Secret, label: str, version_id: str) -> None:
        secret.attach(label, version_id)
        if len(secret.labels_of(version_id)) > limits.LABELS_PER_VERSION:
            raise AwsError("LimitExceededException", "A version can have at most 20 staging labels.")
        if self.behaviour.vanish:
            secret.remove_outdated(self._clock(), 0, -1.0)

    def _move(self, region: str, params: Params) -> Answer:
        self._account.authorise("UpdateSecretVersionStage", limits.secret_id(params))
        secret, label = self._account.primary(region, params), params.get("VersionStage") or ""
        source, target = params.get("RemoveFromVersionId"), params.get("MoveToVersionId")
        if not 1 <= len(label) <= limits.LABEL_LENGTH:
            raise limits.invalid("VersionStage must be 1-256 characters long.")
        self._check_move(secret, label, source, target)
        with self._account.editing(secret, label_move=True):
            if target:
                self._attach(secret, label, target)
            else:
                del secret.labels[label]
                if self.behaviour.vanish:
                    secret.remove_outdated(self._clock(), 0, -1.0)
        return _answer(secret)

    def _check_move(self, secret: Secret, label: str, source: str | None, target: str | None) -> None:
        holder = secret.labels.get(label)
        if not source and not target:
            raise limits.invalid("You must specify MoveToVersionId or RemoveFromVersionId.")
        for version_id in (source, target):
            if version_id and version_id not in secret.versions:
                raise missing("version")
        if source and holder != source:
            raise limits.invalid(
                f"When you move staging label {label}, if you specify RemoveFromVersionId, it must be set to "
                f"the version that currently has the staging label {label}."
            )
        if not target and label == CURRENT:
            raise limits.invalid(
                "You can only move staging label AWSCURRENT to a different secret version. "
                "It can't be completely removed."
            )
        if holder and not source and holder != target and self.behaviour.unnamed_move == "refused":
            raise limits.invalid(
                f"The parameter RemoveFromVersionId can't be empty. Staging label {label} is currently "
                f"attached to version {holder}, so you must explicitly reference that version in "
                "RemoveFromVersionId."
            )

    def _delete(self, region: str, params: Params) -> Answer:
        secret_id = limits.secret_id(params)
        self._account.authorise("DeleteSecret", secret_id)
        days, now = limits.recovery_days(params), self._clock()
        try:
            secret = self._account.primary(region, params, deleted=True)
        except AwsError as error:
            if days is not None or error.code != "ResourceNotFoundException":
                raise
            # Model, DeleteSecret: a forced deletion "does not return ResourceNotFoundException"
            return {"Name": secret_id, "ARN": secret_id, "DeletionDate": now}
        if secret.replicas:
            regions = ",".join(sorted(secret.replicas))
            raise limits.invalid(f"You can't delete a secret that still has replica regions [{regions}]")
        if secret.deletion and days is not None:
            raise marked_for_deletion()
        deletion = self._forced_deletion(now) if days is None else Deletion(now + days * 86400.0)
        with self._account.editing(secret):
            secret.deletion = deletion
        return _answer(secret, DeletionDate=deletion.date)

    def _forced_deletion(self, now: float) -> Deletion:
        lingering: History[bool] = History()
        lingering.supersede(True, self.behaviour.force_delete, now)
        return Deletion(now, lingering)

    def _restore(self, region: str, params: Params) -> Answer:
        self._account.authorise("RestoreSecret", limits.secret_id(params))
        secret = self._account.primary(region, params, deleted=True)
        if secret.deletion and secret.deletion.forced:
            raise AwsError("InvalidRequestException", "The secret was deleted without recovery.")
        with self._account.editing(secret):
            secret.deletion = None
        return _answer(secret)

    def _tag(self, region: str, params: Params) -> Answer:
        tags = limits.tags(params)
        self._account.authorise("TagResource", limits.secret_id(params))
        secret = self._account.primary(region, params)
        limits.room_for_tags(len(secret.tags | tags))
        with self._account.editing(secret):
            secret.tags |= tags
        return {}

    def _untag(self, region: str, params: Params) -> Answer:
        self._account.authorise("UntagResource", limits.secret_id(params))
        secret = self._account.primary(region, params)
        with self._account.editing(secret):
            for key in params.get("TagKeys") or ():
                secret.tags.pop(key, None)
        return {}


def _answer(secret: Secret | Replica, **more: object) -> Answer:
    name = secret.name if isinstance(secret, Secret) else secret.primary.name
    return {"ARN": secret.arn, "Name": name} | {
        key: value for key, value in more.items() if value is not None
    }


def _token_in_use(secret: Secret, token: str) -> AwsError:
    return AwsError(
        "ResourceExistsException",
        f"You can't use ClientRequestToken {token} because that value is already in use for a version of "
        f"secret {secret.arn}.",
    )
