"""Multi-Region replicas in the strict Secrets Manager double: read-only, and behind their primary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from . import aws_limits as limits
from .aws_account import Account, Answer, Operations
from .aws_state import MANAGED_KEY, AwsError, History, Replica, Secret

Params = limits.Params


class Replication:
    """ReplicateSecretToRegions, RemoveRegionsFromReplication and StopReplicationToReplica."""

    def __init__(self, account: Account):
        self._account = account
        self.operations: Operations = {
            "ReplicateSecretToRegions": self._replicate,
            "RemoveRegionsFromReplication": self._remove,
            "StopReplicationToReplica": self._stop,
        }

    def created(self, secret: Secret, params: Params, answer: Answer) -> Answer:
        """Replicate a secret that CreateSecret was asked to replicate."""
        regions = params.get("AddReplicaRegions")
        if not regions:
            return answer
        self._account.authorise("ReplicateSecretToRegions", secret.name)
        self._add(secret, regions, bool(params.get("ForceOverwriteReplicaSecret")))
        return answer | {"ReplicationStatus": _status(secret)}

    def _replicate(self, region: str, params: Params) -> Answer:
        self._account.authorise("ReplicateSecretToRegions", limits.secret_id(params))
        secret = self._account.primary(region, params)
        regions, force = params["AddReplicaRegions"], bool(params.get("ForceOverwriteReplicaSecret"))
        self._add(secret, regions, force)
        return {"ARN": secret.arn, "ReplicationStatus": _status(secret)}

    def _add(self, secret: Secret, regions: Sequence[Params], force: bool) -> None:
        for wanted in regions:
            if wanted["Region"] == secret.region:
                raise limits.invalid("Invalid replica region.")
        for wanted in regions:
            self._add_one(secret, wanted, force)

    def _add_one(self, secret: Secret, wanted: Params, force: bool) -> None:
        """A second try takes a failed replica up again, with the copy that it has."""
        region, kms_key = wanted["Region"], wanted.get("KmsKeyId") or MANAGED_KEY
        shelf, known = self._account.shelf(region), secret.replicas.get(region)
        ours = known is not None and shelf.get(secret.name) is known
        replica = known if known is not None and ours else Replica(secret, region, kms_key)
        secret.replicas[region] = replica
        replica.status, replica.message = "InProgress", ""
        if kms_key in self._account.behaviour.kms_denied | self._account.behaviour.kms_broken:
            replica.status, replica.message = "Failed", f"Access to KMS key {kms_key} is denied."
        elif secret.name in shelf and not ours and not force:
            replica.status = "Failed"
            replica.message = "Replication failed: Secret name already exists in this region."
        else:
            shelf[secret.name] = replica
            replica.begin(self._account.behaviour.replication, self._account.clock())

    def changed_key(self, region: str, params: Params) -> bool:
        """Whether an UpdateSecret is about a replica's key, which is all of it that may be changed.

        Source: https://docs.aws.amazon.com/secretsmanager/latest/userguide/replicate-secrets.html
        """
        replica = self._account.find(region, limits.secret_id(params))
        if not isinstance(replica, Replica) or params.keys() & {
            "SecretString",
            "SecretBinary",
            "Description",
        }:
            return False
        replica.kms_key = params["KmsKeyId"]
        if replica.copy is not None:
            replica.copy.kms_key = replica.kms_key
        return True

    def _remove(self, region: str, params: Params) -> Answer:
        self._account.authorise("RemoveRegionsFromReplication", limits.secret_id(params))
        secret = self._account.primary(region, params)
        for name in params.get("RemoveReplicaRegions") or ():
            replica = secret.replicas.pop(name, None)
            shelf = self._account.shelf(name)
            if replica is not None and shelf.get(secret.name) is replica:
                del shelf[secret.name]
        return {"ARN": secret.arn, "ReplicationStatus": _status(secret)}

    def _stop(self, region: str, params: Params) -> Answer:
        """Model, StopReplicationToReplica: "promotes the replica to a standalone primary secret"."""
        self._account.authorise("StopReplicationToReplica", limits.secret_id(params))
        replica = self._account.find(region, limits.secret_id(params))
        if isinstance(replica, Replica):
            replica.settle(self._account.clock())
        if not isinstance(replica, Replica) or replica.copy is None:
            raise AwsError("InvalidRequestException", "The secret is not a replica.")
        alone = replace(replica.copy.snapshot(), region=region, history=History())
        del replica.primary.replicas[region]
        self._account.shelf(region)[alone.name] = alone
        return {"ARN": alone.arn}


def _status(secret: Secret) -> list[dict[str, str]]:
    return [replica.described() for replica in secret.replicas.values()]
