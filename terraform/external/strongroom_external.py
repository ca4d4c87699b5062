# ruff: noqa: INP001  (a program by itself: no package is around it)
"""A secret for Terraform's ``external`` data source: the last resort, where ephemeral values cannot go.

What a data source returns stands in clear in the state, in every plan file and in their copies, for whoever
may read those. So without ``--allow-state`` it reads nothing, says what to use instead, and fails.

Reads ``{"name": …, "store": …, "version": …}`` as JSON from its input (the first is needed) and prints
``{"value": …, "version": …}``. Errors are one line on stderr, exit code 1; they never hold a value.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping

import strongroom
from strongroom import SecretStoreError

_KEYS = ("name", "store", "version")
_REFUSED = (
    "the value would stand in clear in Terraform's state and plan files: open it with "
    'ephemeral "strongroom_secret" instead, or say --allow-state if nothing else is possible'
)


class QueryError(Exception):
    """What was asked is not understood; the message says what is."""


def asked(text: str) -> dict[str, str]:
    """The query.

    Raises:
        QueryError: it is not one.
    """
    try:
        query = json.loads(text)
    except ValueError:
        query = None
    if not isinstance(query, dict) or not all(isinstance(value, str) for value in query.values()):
        raise QueryError("a query is a JSON object of texts, as the external data source sends it")
    if strange := sorted(query.keys() - set(_KEYS)):
        raise QueryError(f"{strange[0]!r} is not a part of a query: {', '.join(_KEYS)}")
    if not query.get("name"):
        raise QueryError("a query names its secret: name = …")
    return query


def fetched(query: Mapping[str, str]) -> dict[str, str]:
    """The answer.

    Raises:
        SecretStoreError: as `SecretStore.get` says.
        QueryError: the value is not text, which is all that the data source can carry.
    """
    with strongroom.open(query.get("store") or None) as store:
        secret = store.get(query["name"], version=query.get("version") or None)
        if secret.value.kind != "text":
            raise QueryError("the value is binary: the external data source carries text only")
        return {"value": secret.value.reveal_text(), "version": secret.version}


def main(arguments: list[str]) -> int:
    """Answer one query; an exit code."""
    if arguments not in ([], ["--allow-state"]):
        return _failed("usage: strongroom_external.py [--allow-state]")
    if not arguments:
        return _failed(_REFUSED)
    try:
        answer = fetched(asked(sys.stdin.read()))
    except (SecretStoreError, QueryError) as error:
        return _failed(str(error))
    json.dump(answer, sys.stdout)
    return 0


def _failed(why: str) -> int:
    sys.stderr.write(why + "\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
