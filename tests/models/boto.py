"""Two bridges between the AWS models and boto3.

`PortClient` is a boto3 Secrets Manager client whose provider is the model: code that calls boto3 runs under
the checker as it stands. `BotoSecretsManager` lets the models' own protocol functions speak to any boto3
client: to a `PortClient`, or to a server, which shows that the model's calls are calls that a server
understands.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from botocore.exceptions import ClientError, ReadTimeoutError

from tests.models.aws import SecretsManager
from tests.models.ledger import ConflictError, UnknownError
from tests.models.replay import Lost, Port, Refused

ARN = "arn:aws:secretsmanager:eu-west-1:123456789012:secret:model"
CODES = {"exists": "ResourceExistsException", "missing": "ResourceNotFoundException"}


class PortClient:
    """The calls that a backend needs, answered with boto3's shapes and errors, for the one secret of the
    model."""

    def __init__(self, port: Port) -> None:
        self._port = port

    def describe_secret(self, **_: Any) -> dict[str, Any]:
        stages: dict[str, list[str]] = {}
        for label, version in self._port.call("describe"):
            stages.setdefault(version, []).append(label)
        return {"ARN": ARN, "Name": "model", "VersionIdsToStages": stages}

    def get_secret_value(self, **request: Any) -> dict[str, Any]:
        version, stage = request.get("VersionId"), request.get("VersionStage", "AWSCURRENT")
        answer = self._answered("GetSecretValue", self._port.call("value", version, stage))
        version, text, stages = answer
        return {**self._version(version, stages), "SecretString": text}

    def put_secret_value(self, **request: Any) -> dict[str, Any]:
        version = request["ClientRequestToken"]
        stages = tuple(request.get("VersionStages", ()))
        answer = self._port.call("put", version, request["SecretString"], stages)
        return self._version(version, self._answered("PutSecretValue", answer))

    def update_secret_version_stage(self, **request: Any) -> dict[str, Any]:
        ends = request.get("MoveToVersionId"), request.get("RemoveFromVersionId")
        self._answered("UpdateSecretVersionStage", self._port.call("move", request["VersionStage"], *ends))
        return {"ARN": ARN, "Name": "model"}

    @staticmethod
    def _version(version: str, stages: tuple[str, ...]) -> dict[str, Any]:
        return {"ARN": ARN, "Name": "model", "VersionId": version, "VersionStages": list(stages)}

    @staticmethod
    def _answered(operation: str, answer: Any) -> Any:
        if isinstance(answer, Lost):
            raise ReadTimeoutError(endpoint_url="https://model.invalid")
        if isinstance(answer, Refused):
            code = CODES.get(answer.why, "InvalidParameterException")
            raise ClientError({"Error": {"Code": code, "Message": answer.why}}, operation)
        return answer


class BotoSecretsManager(SecretsManager):
    """The models' client over a boto3 client; the ledger stays with the port."""

    def __init__(self, port: Port, client: Any, secret: str = ARN) -> None:
        super().__init__(port)
        self._client = client
        self._secret = secret

    def describe(self) -> dict[str, str]:
        answer = self._client.describe_secret(SecretId=self._secret)
        stages = answer.get("VersionIdsToStages", {})
        return {label: version for version, labels in stages.items() for label in labels}

    def read(self, version: str) -> str | None:
        ask = self._client.get_secret_value
        try:
            return str(_told(lambda: ask(SecretId=self._secret, VersionId=version))["SecretString"])
        except ConflictError:
            return None

    def put(self, token: str, text: str, *stages: str) -> tuple[str, ...]:
        call = {"SecretId": self._secret, "ClientRequestToken": token, "SecretString": text}
        labels = {"VersionStages": list(stages)} if stages else {}
        return tuple(_told(lambda: self._client.put_secret_value(**call, **labels))["VersionStages"])

    def move(self, label: str, to: str | None, remove_from: str | None) -> None:
        ends = {"MoveToVersionId": to, "RemoveFromVersionId": remove_from}
        given = {name: version for name, version in ends.items() if version is not None}
        move = self._client.update_secret_version_stage
        _told(lambda: move(SecretId=self._secret, VersionStage=label, **given))


def _told(call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return call()
    except ClientError as error:
        raise ConflictError(error.response["Error"]["Code"]) from None
    except ReadTimeoutError:
        raise UnknownError from None
