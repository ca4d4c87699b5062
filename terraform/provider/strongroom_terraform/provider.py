"""All that the provider has."""

from __future__ import annotations

from .blocks import Provider
from .schema import Schema, Values
from .stores import Stores


def _configure(_config: Values) -> Stores:
    return Stores(None)


def provider() -> Provider:
    """The provider `strongroom`."""
    return Provider(schema=Schema("Strongroom's stores."), configure=_configure)
