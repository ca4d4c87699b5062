"""For the tests of the embedded store: a place for databases, opened as `strongroom.open` opens them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from strongroom.backend import Settings
from strongroom.layers.edge import edge
from strongroom.layers.encrypted import Encrypted
from strongroom.registry import open_backend
from strongroom_local.backend import LocalBackend


def local(folder: Path, create: str | None = "keyset", name: str = "a.db", **facts: Any) -> LocalBackend:
    """The bare backend of a database in `folder`/data, its keyset in `folder`/keys."""
    data, keys = folder / "data", folder / "keys"
    for place in (data, keys):
        place.mkdir(mode=0o700, exist_ok=True)
    options = {"keyset": str(keys / f"{name}.json"), **facts.pop("options", {})}
    url = f"local://{data / name}" + (f"?create={create}" if create else "")
    edge = open_backend(url, Settings(options=options, **facts))
    return cast("LocalBackend", edge.inner)


def encrypted(backend: LocalBackend) -> Encrypted:
    """Under the database's own key, as `strongroom.open` puts it."""
    key = edge(backend).own_key()
    assert key
    return Encrypted(backend, [key], backend.domain)
