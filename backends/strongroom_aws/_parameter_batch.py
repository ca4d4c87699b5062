"""GetParameters: many current values in one request."""

from __future__ import annotations

from collections.abc import Sequence

from strongroom.errors import PermissionDeniedError, SecretNotFoundError, SecretStoreError, UnavailableError

from ._client import Answer, Client

_SIZE = 10  # the API model, GetParameters: Names


def read_batch(client: Client, names: Sequence[str]) -> dict[str, Answer | SecretStoreError]:
    """The parameter or error for each name that a batch settled; the others are to be asked for one by one.

    GetParameters is authorised apart from GetParameter, and one parameter whose KMS key cannot be used fails
    all ten.
    """
    found: dict[str, Answer | SecretStoreError] = {}
    for start in range(0, len(names), _SIZE):
        try:
            found |= _read(client, names[start : start + _SIZE])
        except PermissionDeniedError:
            return found
        except UnavailableError as error:
            if error.retryable:
                raise
    return found


def _read(client: Client, names: Sequence[str]) -> dict[str, Answer | SecretStoreError]:
    page = client.read("GetParameters", Names=list(names), WithDecryption=True)
    found: dict[str, Answer | SecretStoreError] = {
        name: SecretNotFoundError("no such secret") for name in page.get("InvalidParameters", ())
    }
    # A parameter of one level may have been made without its slash, and is answered so.
    return found | {"/" + entry["Name"].removeprefix("/"): entry for entry in page["Parameters"]}
