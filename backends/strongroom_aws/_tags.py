"""Tags: AWS's limits, checked before a request is sent, and two calls for one change."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from strongroom.errors import InvalidRequestError, SecretConflictError, SecretNotFoundError, UnavailableError

from ._client import Answer
from ._secrets import Secrets

_ALLOWED = re.compile(r"[\w\s+\-=.:/@]*")  # tag restrictions of the AWS General Reference
_MOST = 50  # Secrets Manager's quotas; Parameter Store's are the same
_KEY, _VALUE = 128, 256  # the API model, TagKeyType and TagValueType


def tags_of(answer: Answer) -> dict[str, str]:
    """A secret's tags, without AWS's own."""
    pairs = {tag["Key"]: tag.get("Value", "") for tag in answer.get("Tags", ())}
    return {tag: text for tag, text in pairs.items() if not tag.startswith("aws:")}


def set_tags(secrets: Secrets, name: str, tags: Mapping[str, str | None]) -> None:
    """Set these tags, remove those that are None.

    Raises:
        InvalidRequestError: a tag that AWS would refuse.
    """
    wanted = {tag: text for tag, text in tags.items() if text is not None}
    gone = sorted(tags.keys() - wanted.keys())
    for tag, text in tags.items():
        check_tag(tag, text or "")
    if not tags:
        secrets.described(name)
    if wanted:
        pairs = [{"Key": tag, "Value": text} for tag, text in wanted.items()]
        _change(secrets, name, wanted, "TagResource", Tags=pairs)
    if gone:
        _change(secrets, name, dict.fromkeys(gone), "UntagResource", TagKeys=gone)


def _change(secrets: Secrets, name: str, tags: Mapping[str, str | None], action: str, **how: Any) -> None:
    try:
        secrets.write(action, name, **how)
    except SecretConflictError:
        error: SecretNotFoundError | UnavailableError = SecretNotFoundError(
            "the secret is in the bin", hint="restore brings it back"
        )
    except UnavailableError as exc:
        error = exc
    else:
        return
    if error.performed is None:
        now = tags_of(secrets.described(name))
        if all(now.get(tag) == text for tag, text in tags.items()):
            return
    raise error


def check_tags(tags: Mapping[str, str]) -> None:
    """Refuse all the tags of a resource, if AWS would refuse them.

    Raises:
        InvalidRequestError: one of them does not fit, or there are too many.
    """
    for tag, text in tags.items():
        check_tag(tag, text)
    if len(tags) > _MOST:
        raise InvalidRequestError(f"{len(tags)} tags; AWS takes {_MOST}")


def check_tag(tag: str, text: str) -> None:
    """Refuse a tag that AWS would refuse, in whichever of its services."""
    fits = 1 <= len(tag) <= _KEY and len(text) <= _VALUE
    if (
        not fits
        or not _ALLOWED.fullmatch(tag)
        or not _ALLOWED.fullmatch(text)
        or tag.lower().startswith("aws:")
    ):
        raise InvalidRequestError(
            "the tag does not fit AWS",
            hint="a key of 1 to 128, a value of at most 256 letters, digits, spaces and +-=._:/@, not aws:",
        )
