"""A leaked value is cut off on real stores: what a version id, a rollback and a restore give afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from strongroom.backend import Backend, Settings
from strongroom.errors import SecretNotFoundError, UnavailableError
from strongroom.layers.edge import edge
from strongroom.registry import open_backend
from strongroom.store import SecretStore
from tests.integration.vault_support import token_auth, url
from tests.servers.openbao import OpenBao
from tests.unit.core_support import NAME
from tests.unit.local_support import encrypted, local
from tests.unit.strict_aws_support import REGION, Aws
from tests.unit.test_rotation_compromise import World


def _local(_request: pytest.FixtureRequest, folder: Path) -> Backend:
    return encrypted(local(folder))


def _vault(request: pytest.FixtureRequest, _folder: Path) -> Backend:
    server: OpenBao = request.getfixturevalue("openbao_server")
    mount = request.getfixturevalue("kv2_mount")
    return open_backend(url(server.address, mount), Settings(auth=token_auth(server.token)))


def _aws(request: pytest.FixtureRequest, _folder: Path) -> Backend:
    server = Aws()
    server.server.__enter__()
    request.addfinalizer(server.server.__exit__)
    return open_backend(f"aws-sm://{REGION}/prod?endpoint={server.server.url}")


STORES: dict[str, Callable[[pytest.FixtureRequest, Path], Backend]] = {
    "local": _local,
    "vault": _vault,
    "aws": _aws,
}


@pytest.fixture(params=STORES)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    backend = edge(STORES[request.param](request, tmp_path))
    with closing(SecretStore(backend)):
        yield World(tmp_path, backend=backend)


def test_a_leaked_value_is_replaced_and_not_to_be_had_any_more(world: World) -> None:
    """Not by a rollback, and by its id only where the provider keeps every version."""
    cut = world.revoke()
    assert cut.complete, cut.failures
    assert world.target.live == [world.current()]
    with pytest.raises(SecretNotFoundError):
        world.store.rollback(NAME, if_version=cut.replacement or "")
    kept = any("keeps version" in moment.what for moment in cut.timeline)
    try:
        assert kept == (world.store.get(NAME, version=cut.version).value == world.leaked)
    except SecretNotFoundError:
        assert not kept


def test_what_nothing_replaces_is_not_found_and_a_restore_brings_back_no_leaked_value(world: World) -> None:
    """The mark stands in its place; a new value follows it."""
    world.target.broken["create"] = UnavailableError("down")
    cut = world.revoke()
    assert cut.unavailable, cut.failures
    with pytest.raises(SecretNotFoundError):
        world.current()
    world.store.restore(NAME)
    assert world.current() != world.leaked
    new = world.put("new")
    assert world.current() == new
