"""What a ``gcp-sm`` URL names: a project, perhaps a location in it, and a prefix."""

from __future__ import annotations

import re
from typing import Final

from strongroom.backend import Settings
from strongroom.errors import InvalidRequestError
from strongroom.names import StoreURL, check_prefix

_PROJECT: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,62}")
_LOCATION: Final = re.compile(r"[a-z]+(-[a-z]+)+\d{1,2}")


def prefix_of(url: StoreURL, settings: Settings) -> str:
    """The prefix.

    Raises:
        InvalidRequestError: it could climb, or names are native, which have none.
    """
    prefix = check_prefix(url.path.strip("/"), settings.names)
    if prefix and settings.names == "native":
        raise InvalidRequestError(
            "Google's own names have no prefix", hint='leave it away, or use names = "portable"'
        )
    return prefix


def parent_of(project: str, location: str | None) -> str:
    """The resource that holds the secrets.

    Raises:
        InvalidRequestError: not a project, or not a location: one becomes part of a host name.
    """
    if not _PROJECT.fullmatch(project):
        raise InvalidRequestError(
            f"not a Google project: {project[:60]!r}",
            hint="write gcp-sm://PROJECT/PREFIX, as in gcp-sm://acme-prod/app",
        )
    if location is None:
        return f"projects/{project}"
    if not _LOCATION.fullmatch(location):
        raise InvalidRequestError(f"not a Google location: {location[:60]!r}", hint="as in europe-west6")
    return f"projects/{project}/locations/{location}"
