"""BatchGetSecretValue: many current values in one request."""

from __future__ import annotations

from collections.abc import Sequence

from strongroom.errors import PermissionDeniedError, SecretStoreError, UnavailableError

from ._client import Answer, Client
from ._errors import CODES, code_of, item_error
from ._labels import CURRENT
from ._secrets import SERVICE

_SIZE = 20  # the API model, BatchGetSecretValue: "up to 20 secrets"


def read_batch(client: Client, names: Sequence[str]) -> dict[str, Answer | SecretStoreError]:
    """The answer or error for each name that a batch settled; the others are to be asked for one by one."""
    found: dict[str, Answer | SecretStoreError] = {}
    for start in range(0, len(names), _SIZE):
        try:
            found |= _read(client, names[start : start + _SIZE])
        except PermissionDeniedError:
            return found  # reading one by one needs one permission less
        except UnavailableError as error:
            if CODES.get(code_of(error) or "") != "throttled":
                raise
            return found  # of an account's single reads a hundred times as many are let through a second
    return found


def _read(client: Client, names: Sequence[str]) -> dict[str, Answer | SecretStoreError]:
    found: dict[str, Answer | SecretStoreError] = {}
    more: dict[str, str] = {}
    while True:
        page = client.read("BatchGetSecretValue", SecretIdList=list(names), **more)
        for item in page.get("Errors", ()):
            error = item_error(item.get("ErrorCode", ""), item.get("Message", ""), SERVICE)
            found[item.get("SecretId", "")] = error
        for entry in page["SecretValues"]:
            # An entry that does not bear AWSCURRENT lags behind a label move: it is to be asked for by stage.
            if CURRENT in entry.get("VersionStages", ()) and "Value" in entry:
                found[entry["Name"]] = entry
        if not page.get("NextToken"):
            return found
        more = {"NextToken": page["NextToken"]}
