"""What a message says of itself: the caller's context and Strongroom's own bindings, joined and checked."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from strongroom.errors import IntegrityError, InvalidRequestError
from strongroom.keys import Context

from .signing import PUBLIC_KEY

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

BINDINGS: Final = frozenset(f"strongroom-{name}" for name in ("domain", "name", "write-id", "kind", "stage"))
"""The pairs under Strongroom's own prefix, which its encrypted layer and its keyrings set."""

Pairs = tuple[tuple[str, str], ...]

_NOT_EXPECTED: Final = frozenset(("strongroom-write-id", "strongroom-kind", "strongroom-stage", PUBLIC_KEY))
_RESERVED_PREFIXES: Final = ("strongroom-", "aws-crypto-")


def join(context: Mapping[str, str], bindings: Mapping[str, str] | None = None) -> Context:
    """Both together, as they stand in a header.

    They come apart so that what an application encrypts can never pass for a value of an encrypted store.

    Raises:
        InvalidRequestError: a context key that is empty or reserved, a binding that is none of `BINDINGS`, or
            all of it too long for a header.
    """
    return _join(tuple(context.items()), tuple(bindings.items()) if bindings else ())


@lru_cache(256)  # checking, sorting and encoding would be a fifth of a small message's time
def _join(context: Pairs, bindings: Pairs) -> Context:
    for key, _ in context:
        if not key or key.startswith(_RESERVED_PREFIXES):
            raise InvalidRequestError(
                f"the context key {key!r} is reserved" if key else "a context key is empty",
                hint="keys may not begin with strongroom- or aws-crypto-",
            )
    if not dict(bindings).keys() <= BINDINGS:
        raise InvalidRequestError("a binding is none of Strongroom's own", hint=", ".join(sorted(BINDINGS)))
    return Context.of(dict(context + bindings))


def check(context: Mapping[str, str], expected: Mapping[str, str]) -> None:
    """Return if a header with `context` is one that `expected` (of `join`) describes.

    Every expected pair must stand equal in it, and it may say no more, but for what a reader cannot know
    before: write id, kind, stage and the public key of a signature.

    Raises:
        IntegrityError: it is not; the message names the key, not the values.
    """
    if not expected.items() <= context.items():
        key = next(key for key, value in sorted(expected.items()) if context.get(key) != value)
        raise IntegrityError(
            f"the message's context does not say what is expected of {key!r}",
            hint="it was written for another purpose, or put in this place by somebody else",
        )
    if len(context) > len(expected) and (more := context.keys() - expected.keys() - _NOT_EXPECTED):
        raise IntegrityError(
            f"the message's context says more than is expected: {', '.join(map(repr, sorted(more)[:8]))}",
            hint=_hint(context, more),
        )


def _hint(context: Mapping[str, str], more: Collection[str]) -> str:
    if "strongroom-name" not in more:
        return "name every pair that the message was encrypted with"
    if context.get("strongroom-kind") == "keyring":
        return "it is a keyring, and opens as a key"
    return "it is a value of an encrypted store: strongroom get reads it, through that store"
