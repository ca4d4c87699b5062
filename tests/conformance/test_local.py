"""The embedded store as `open` makes it: one SQLite file under its own encryption."""

from __future__ import annotations

from pathlib import Path

import pytest

from strongroom.backend import Backend, Settings
from strongroom.layers.encrypted import Encrypted
from strongroom.registry import open_backend
from strongroom.testing.conformance_async import AsyncConformance
from tests.conformance.support import Ours, Suite


def local(folder: Path) -> Backend:
    """A new database with a keyset beside the test's folder, under encryption as `open` puts it."""
    home = folder / "db"
    home.mkdir(mode=0o700)
    settings = Settings(options={"keyset": str(folder / "keyset.json")})
    backend = open_backend(f"local://{home}/secrets.db?create=keyset", settings)
    key, domain = backend.own_key(), backend.domain
    assert key is not None
    assert domain is not None
    return Encrypted(backend, [key], domain)


class TestLocal(Suite):
    """Native pending values in one SQLite file that holds ciphertext only."""

    many = 150

    @pytest.fixture
    def backend(self, tmp_path: Path) -> Backend:
        return local(tmp_path)


class TestLocalAsync(Ours, AsyncConformance):
    """The same through AsyncSecretStore: SQLite's connections belong to threads."""

    second_way = True

    @pytest.fixture
    def backend(self, tmp_path: Path) -> Backend:
        return local(tmp_path)
