"""What the blocks share: which store is meant, which attribute an error blames, how a value is given out."""

from __future__ import annotations

import unicodedata
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from strongroom.config import Config
from strongroom.errors import SecretStoreError
from strongroom.value import SecretValue, is_utf8

from .problems import from_store
from .schema import STRING, UNKNOWN, Attribute, Value, Values

if TYPE_CHECKING:
    from strongroom.store import SecretStore

    from .stores import Stores

STORE: Final = "An alias of strongroom.toml, or a URL; without it the default store."
FORMS: Final = {
    "value": Attribute(
        STRING,
        "The value as text; null if it is no UTF-8, or if Terraform would change it, which turns all text "
        "into Unicode's normal form C.",
        computed=True,
        sensitive=True,
    ),
    "value_base64": Attribute(STRING, "Its bytes in base64.", computed=True, sensitive=True),
}
"""The attributes that `forms` fills."""


def config_of(stores: Stores) -> Config:
    """The file that the provider block means; an empty one where it means none."""
    return stores.config or Config()


def alias_of(stores: Stores, target: Value) -> str:
    """The alias or URL by which a store is opened: the one that is named, or the default one.

    Raises:
        ProblemError: there is no such store; at ``store``.
    """
    with blamed("store"):
        return config_of(stores).entry(target if isinstance(target, str) else None).alias


def store_of(stores: Stores, target: Value) -> SecretStore:
    """That store, opened.

    Raises:
        ProblemError: there is none, or it cannot be opened; at ``store``.
    """
    alias = alias_of(stores, target)
    with blamed("store"):
        return stores.store(alias)


@contextmanager
def blamed(*path: str | int) -> Iterator[None]:
    """A store's error in this block is the attribute's of that path."""
    try:
        yield
        return
    except SecretStoreError as error:
        found = from_store(error, *path)
    raise found


def known(*values: Value) -> bool:
    """Whether all of these are known, down to the elements of lists and maps."""
    return all(
        value is not UNKNOWN
        and (not isinstance(value, list) or known(*value))
        and (not isinstance(value, dict) or known(*value.values()))
        for value in values
    )


def forms(value: SecretValue) -> Values:
    """A value under the attributes of `FORMS`; what is no text to Terraform is in the second alone."""
    raw = value.reveal()
    whole = is_utf8(raw) and unicodedata.is_normalized("NFC", raw.decode())
    return {
        "value": SecretValue(raw, "text") if whole else None,
        "value_base64": SecretValue(b64encode(raw).decode()),
    }
