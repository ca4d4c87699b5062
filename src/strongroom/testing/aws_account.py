"""One AWS account in the strict double: its secrets by region, who may do what, and how far readers lag."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

from . import aws_limits as limits
from .aws_state import AT_ONCE, AwsError, History, Lag, Replica, Secret

Answer = dict[str, Any]
Operations = dict[str, Callable[[str, limits.Params], Answer]]
ACCOUNT = "123456789012"
IDENTITY = f"arn:aws:sts::{ACCOUNT}:assumed-role/strict/test"


@dataclass
class Behaviour:
    """What AWS leaves open or does at its own pace; may be changed at any time.

    Attributes:
        consistency: how long reads miss a change (Model, ListSecrets: "All Secrets Manager operations are
            eventually consistent").
        listing: how long ListSecrets misses one (Model: "might not reflect changes from the last five
            minutes").
        replication: how long a replica stays InProgress after a change of its primary.
        force_delete: how long a forced deletion keeps the name (Model, DeleteSecret: "asynchronous background
            process"); its ``reads`` count attempts to find the secret.
        unnamed_move: what moving a held label without RemoveFromVersionId does. The model says both: "If the
            label is attached and you ... do not specify this parameter ... the operation fails", and "Secrets
            Manager first removes it from the other version first and then attaches it to this one".
        version_quota: how many versions a secret may have (Model, PutSecretValue: "you will reach the quota
            for secret versions"); None for no quota.
        vanish: whether a version that lost its last label is removed at once (Model,
            UpdateSecretVersionStage: "'deprecated' and can be deleted by Secrets Manager").
        empty_pages: whether every list begins with an empty page and a NextToken (Model: "This can occur even
            when the response includes no values at all").
        wedges: whether a label move while a replica is not InSync breaks its replication for good
            (https://github.com/square/password-rotation-lambda/issues/12).
        denied: pairs of IAM action and pattern of names.
        kms_denied: keys whose use is not allowed.
        kms_broken: keys that exist but cannot be used, such as disabled ones.
    """

    consistency: Lag = AT_ONCE
    listing: Lag = AT_ONCE
    replication: Lag = AT_ONCE
    force_delete: Lag = AT_ONCE
    unnamed_move: Literal["refused", "moves"] = "refused"
    version_quota: int | None = None
    vanish: bool = False
    empty_pages: bool = False
    wedges: bool = False
    denied: list[tuple[str, str]] = field(default_factory=list)
    kms_denied: set[str] = field(default_factory=set)
    kms_broken: set[str] = field(default_factory=set)


class Account:
    """The secrets of one account in all regions.

    Attributes:
        stale_once: whether the read under way must miss the last change.
    """

    def __init__(self, behaviour: Behaviour, clock: Callable[[], float]):
        self.behaviour = behaviour
        self.clock = clock
        self.stale_once = False
        self._regions: dict[str, dict[str, Secret | Replica]] = {}
        self._lists: dict[str, History[list[Secret]]] = {}

    def authorise(self, action: str, resource: str | None) -> None:
        """Refuse a denied action.

        IAM decides before the service looks for the secret, so that an identity without the permission gets
        the same answer for a missing secret
        (https://github.com/jenkinsci/aws-secrets-manager-credentials-provider-plugin/pull/65).
        """
        name = _bare(resource) if resource else None
        for denied, pattern in self.behaviour.denied:
            if denied in (action, "*") and (fnmatch.fnmatchcase(name, pattern) if name else pattern == "*"):
                where = f" on resource: {resource}" if resource else ""
                raise AwsError(
                    "AccessDeniedException",
                    f"User: {IDENTITY} is not authorized to perform: secretsmanager:{action}{where} "
                    f"because no identity-based policy allows the secretsmanager:{action} action",
                )

    def use_key(self, key: str, failure: str) -> None:
        """Refuse a KMS key that is denied or broken (Model: DecryptionFailure, EncryptionFailure).

        The text of the denial is what users see (https://github.com/aws/aws-cdk/issues/7677).
        """
        if key in self.behaviour.kms_denied:
            raise AwsError("AccessDeniedException", "Access to KMS is not allowed")
        if key in self.behaviour.kms_broken:
            raise AwsError(failure, "Secrets Manager can't use the KMS key of the secret.")

    def shelf(self, region: str) -> dict[str, Secret | Replica]:
        """The secrets of a region by name, without those whose deletion has come."""
        shelf = self._regions.setdefault(region, {})
        for name, secret in list(shelf.items()):
            if isinstance(secret, Secret) and self._is_gone(secret):
                del shelf[name]
        return shelf

    def _is_gone(self, secret: Secret) -> bool:
        if secret.deletion is None or self.clock() < secret.deletion.date:
            return False
        return secret.deletion.forced is None or secret.deletion.forced.seen(self.clock()) is None

    def find(self, region: str, secret_id: str) -> Secret | Replica:
        """The secret with a name, an ARN, or an ARN without its six random characters."""
        for name, secret in self.shelf(region).items():
            if secret_id in (name, secret.arn, secret.arn[:-7]):
                return secret
        raise missing()

    def primary(self, region: str, params: limits.Params, *, deleted: bool = False) -> Secret:
        """The secret that a write is about: a replica refuses, and a deleted one unless ``deleted``."""
        secret = self.find(region, limits.secret_id(params))
        if isinstance(secret, Replica):
            raise limits.invalid(
                "Operation not permitted on a replica secret. Call must be made in primary secret's region."
            )
        if secret.deletion and not deleted:
            raise marked_for_deletion()
        return secret

    def seen(self, region: str, secret_id: str) -> Secret:
        """The secret as a reader sees it, which may be an older state."""
        secret, now = self.find(region, secret_id), self.clock()
        if isinstance(secret, Replica):
            secret.settle(now)
            view = secret.copy
        else:
            older = secret.history.last if self.stale_once else None
            view = older or secret.history.seen(now) or secret
        if view is None or view.unborn:
            raise missing()
        return view

    def seen_in_list(self, region: str) -> list[Secret]:
        """The secrets that ListSecrets knows of."""
        history = self._lists.get(region)
        older = None
        if history is not None:
            older = (history.last if self.stale_once else None) or history.seen(self.clock())
        return self._listable(region) if older is None else older

    def settle(self) -> None:
        """Let every reader see the truth from now on."""
        for region in self._regions.values():
            for secret in region.values():
                if isinstance(secret, Secret):
                    secret.history.settle()
        for history in self._lists.values():
            history.settle()

    def _listable(self, region: str) -> list[Secret]:
        now, result = self.clock(), []
        for secret in self.shelf(region).values():
            if isinstance(secret, Replica):
                secret.settle(now)
            view = secret.copy if isinstance(secret, Replica) else secret
            if view is not None and not view.unborn:
                result.append(view)
        return result

    @contextmanager
    def editing(self, secret: Secret, *, label_move: bool = False) -> Iterator[None]:
        """Apply a change all or nothing, and start every lag that it causes."""
        now, behaviour = self.clock(), self.behaviour
        listed = [view.snapshot() for view in self._listable(secret.region)]
        for replica in secret.replicas.values():
            replica.settle(now)
        with secret.changing(behaviour.consistency, now):
            yield
        self._lists.setdefault(secret.region, History()).supersede(listed, behaviour.listing, now)
        for replica in secret.replicas.values():
            if label_move and behaviour.wedges and replica.status == "InProgress":
                replica.status, replica.message = "Failed", "Replication failed."
            replica.begin(behaviour.replication, now)


def _bare(secret_id: str) -> str:
    return secret_id.split(":secret:", 1)[1][:-7] if secret_id.startswith("arn:") else secret_id


def missing(what: str = "") -> AwsError:
    """The answer for a secret, or ``what`` of it, that is not there."""
    subject = f"secret {what}" if what else "secret"
    return AwsError("ResourceNotFoundException", f"Secrets Manager can't find the specified {subject}.")


def marked_for_deletion() -> AwsError:
    """The answer for a secret in its recovery window, as users see it.

    Source: https://github.com/external-secrets/kubernetes-external-secrets/issues/114
    """
    return AwsError(
        "InvalidRequestException",
        "You can't perform this operation on the secret because it was marked for deletion.",
    )
