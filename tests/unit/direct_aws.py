"""The strict AWS without wire and SDK, for a fraction of the time; with both it is tested elsewhere."""

from __future__ import annotations

import base64
import copy
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from strongroom.testing.aws import AwsError, Fault, StrictServer
from strongroom_aws._client import Client

_DATES = ("CreatedDate", "DeletedDate", "DeletionDate", "LastChangedDate")


class DirectSdk:
    """One region's client, as boto has it."""

    def __init__(self, server: StrictServer, region: str):
        self._server, self._region = server, region

    def __getattr__(self, method: str) -> Any:
        return partial(self._call, "".join(map(str.title, method.split("_"))))

    def _call(self, action: str, **params: Any) -> Any:
        error: AwsError | None = None
        if "SecretBinary" in params:
            params["SecretBinary"] = base64.b64encode(params["SecretBinary"]).decode()
        try:
            answer = self._server.answer(self._region, action, params)
        except AwsError as exc:
            error = exc
        if error is not None:
            told = {"Code": error.code, "Message": str(error)}
            response: Any = {"Error": told, "ResponseMetadata": {"HTTPStatusCode": error.status}}
            raise ClientError(response, action)
        if isinstance(answer, Fault):
            raise ConnectionClosedError(endpoint_url=self._server.url)
        return _parsed(copy.deepcopy(answer)) | {"ResponseMetadata": {}}

    def close(self) -> None:
        """Nothing is open."""


def _parsed(entry: dict[str, Any]) -> dict[str, Any]:
    for key, held in entry.items():
        if key in _DATES:
            entry[key] = datetime.fromtimestamp(held, UTC)
        elif key == "SecretBinary":
            entry[key] = base64.b64decode(held)
        elif isinstance(held, list):
            entry[key] = [_parsed(each) if isinstance(each, dict) else each for each in held]
    return entry


def connect_directly(monkeypatch: pytest.MonkeyPatch, server: StrictServer) -> None:
    """From now on every client of the AWS backend asks this double itself."""

    def connected(self: Client) -> DirectSdk:
        return DirectSdk(server, self._access.region)

    monkeypatch.setattr(Client, "_connected", connected)
