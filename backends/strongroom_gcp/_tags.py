"""Users' tags are annotations: they keep any text, where labels take lower case alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from strongroom.errors import InvalidRequestError

from ._book import PREFIX
from ._calls import ANNOTATION_BYTES, BOOK_BYTES

_KEY: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")  # Secret.annotations


def check_tags(tags: Mapping[str, str | None]) -> None:
    """Refuse what Google takes for no annotation, and what would be taken for Strongroom's own.

    Raises:
        InvalidRequestError: a key.
    """
    for key in tags:
        if not _KEY.fullmatch(key):
            raise InvalidRequestError(
                f"Google takes no tag {key[:80]!r}", hint="1 to 63 letters, digits, and . _ - between them"
            )
        if key.startswith(PREFIX):
            raise InvalidRequestError(f"tags that begin with {PREFIX!r} are Strongroom's own")


def tagged(annotations: Mapping[str, str], tags: Mapping[str, str | None]) -> dict[str, str]:
    """The annotations with these tags set, or removed where they are None.

    Raises:
        InvalidRequestError: they take more room than there is beside Strongroom's own.
    """
    merged = {**annotations, **tags}
    kept = {key: text for key, text in merged.items() if text is not None}
    size = sum(len(key) + len(text.encode("utf-8", "surrogatepass")) for key, text in kept.items())
    if size > ANNOTATION_BYTES - BOOK_BYTES:
        raise InvalidRequestError(
            f"the tags take {size} bytes", hint=f"at most {ANNOTATION_BYTES - BOOK_BYTES} fit a secret"
        )
    return kept
