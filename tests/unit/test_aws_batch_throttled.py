"""A throttled batch is no reason to fail, or to lose what came before it: single reads have another limit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest

from strongroom.errors import ProviderFault, UnavailableError
from strongroom_aws._batch import read_batch
from strongroom_aws._client import Client

NAMES = [f"app/{number}" for number in range(50)]


class _Refusing:
    """A client whose third batch is refused."""

    def __init__(self, code: str):
        self.batches, self._code = 0, code

    def read(self, action: str, *, SecretIdList: Sequence[str]) -> dict[str, Any]:  # noqa: N803
        self.batches += 1
        if self.batches < 3:
            values = [{"Name": name, "VersionStages": ["AWSCURRENT"], "Value": 1} for name in SecretIdList]
            return {"SecretValues": values}
        error = UnavailableError("refused")
        error.__cause__ = ProviderFault("ClientError", code=self._code)
        raise error


def test_what_a_throttled_batch_leaves_is_read_one_by_one() -> None:
    client = _Refusing("ThrottlingException")
    assert sorted(read_batch(cast("Client", client), NAMES)) == sorted(NAMES[:40])
    assert client.batches == 3


def test_a_provider_that_is_down_is_not_asked_for_each_name() -> None:
    with pytest.raises(UnavailableError):
        read_batch(cast("Client", _Refusing("InternalServiceError")), NAMES)
