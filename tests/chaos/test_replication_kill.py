"""A replication under SIGKILL: before and after each write, and then again while another process goes on."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from strongroom import pairs
from strongroom.backend import Backend, Stage
from strongroom.errors import SecretNotFoundError
from strongroom.layers.encrypted import Encrypted
from strongroom.layers.recorded import Recorded
from strongroom.names import Key, Name
from strongroom.replication.member import Member
from strongroom.replication.replicator import Replicator
from strongroom.value import SecretValue
from tests.canary import CANARY
from tests.chaos.rotation_rig import PointedStore, Points
from tests.integration.vault_support import open_store
from tests.scale import NIGHTLY, scaled
from tests.servers.openbao import OpenBao
from tests.unit.envelope_support import local_key
from tests.unit.local_support import encrypted, local

pytestmark = pytest.mark.timeout(3600)
DB, DOMAIN = Name("db/password"), "prod"
LOCAL = ["local", "local-companion"]
Opens = Callable[[], Backend]


class Pointed(PointedStore):
    """With points around what removes, too."""

    def delete(self, key: Key) -> None:
        self._points.around(self.inner.delete, key)

    def purge(self, key: Key) -> None:
        self._points.around(self.inner.purge, key)


@dataclass
class Scene:
    """A source in a file, and a replica that each process opens for itself."""

    source: Opens
    replica: Opens
    native: bool

    def write(self, text: str) -> None:
        with opened(self.source) as here:
            Recorded(here, DOMAIN, alias="here").put(DB, SecretValue(f"{CANARY}-{text}"), None)

    def delete(self) -> None:
        with opened(self.source) as here:
            pairs.delete(Recorded(here, DOMAIN, alias="here"), DB)

    def sync(self, points: Points) -> None:
        with opened(self.source) as here, opened(self.replica) as there:
            pointed = Pointed(there, points, self.native)
            replicator = Replicator(
                Member("here", here, DOMAIN), Member("there", pointed, DOMAIN), parallel=1
            )
            report = replicator.sync()
            assert not report.failed, {name: str(error) for name, error in report.failed.items()}

    def killed(self, point: int) -> bool:
        """Sync in a process of its own, which dies at a point; whether there was such a point."""
        pid = os.fork()
        if not pid:
            code = 1
            try:
                self.sync(Points(point))
                code = 0
            finally:
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert code in (0, -signal.SIGKILL), f"the sync failed: {code}"
        return code != 0

    def read(self) -> str | None:
        """What the replica's readers get."""
        with opened(self.replica) as there:
            try:
                secret = there.get(DB, Stage.CURRENT)
            except SecretNotFoundError:
                return None
            assert secret.record
            return secret.value.reveal_text().removeprefix(f"{CANARY}-")

    def versions(self) -> int:
        with opened(self.replica) as there:
            return len(there.versions(DB))


@contextmanager
def opened(opens: Opens) -> Iterator[Backend]:
    backend = opens()
    try:
        yield backend
    finally:
        backend.close()


def scene(kind: str, folder: Path) -> Scene:
    folder.mkdir()
    return Scene(lambda: database(folder, "here"), lambda: database(folder, "there"), kind == "local")


def database(folder: Path, name: str) -> Backend:
    """An embedded store, encrypted under its own key."""
    return encrypted(local(folder, name=f"{name}.db"))


def points_of(made: Scene, change: Callable[[Scene], None]) -> int:
    """How many points a whole sync of the change has."""
    prepare(made, change)
    points = Points()
    made.sync(points)
    return points.passed


def chosen(count: int) -> list[int]:
    """Which of them to be killed at: all by night, and others each day."""
    points = list(range(1, count + 1))
    return points if NIGHTLY else random.sample(points, 1)


def prepare(made: Scene, change: Callable[[Scene], None]) -> None:
    made.write("one")
    made.sync(Points())
    change(made)


def update(made: Scene) -> None:
    made.write("two")


def remove(made: Scene) -> None:
    made.delete()


def check_update(made: Scene, points: list[int]) -> None:
    """Killed at these points, one after another; then one goes on."""
    prepare(made, update)
    for point in points:
        made.killed(point)
        assert made.read() in ("one", "two"), points
    made.sync(Points())
    assert made.read() == "two", points
    assert made.versions() == 2, points


@pytest.mark.parametrize("kind", LOCAL)
def test_killed_at_any_point_of_an_update_readers_see_a_whole_version(tmp_path: Path, kind: str) -> None:
    """The old one or the new one; the next run adds no version that the source did not write."""
    count = points_of(scene(kind, tmp_path / "counted"), update)
    assert count >= 4
    for point in chosen(count):
        check_update(scene(kind, tmp_path / str(point)), [point])


@pytest.mark.parametrize("kind", LOCAL)
def test_killed_again_and_again_it_comes_to_its_end(tmp_path: Path, kind: str) -> None:
    """Whoever goes on may be killed as well."""
    chance = random.Random()
    for turn in range(scaled(40, f"replications killed three times, {kind}", 40)):
        points = [chance.randint(1, 8) for _ in range(3)]
        check_update(scene(kind, tmp_path / str(turn)), points)


@pytest.mark.parametrize("kind", LOCAL)
def test_killed_at_any_point_of_a_deletion_nothing_comes_back(tmp_path: Path, kind: str) -> None:
    """Once the secret is gone it stays so."""
    count = points_of(scene(kind, tmp_path / "counted"), remove)
    assert count >= 4
    for point in chosen(count):
        made = scene(kind, tmp_path / str(point))
        prepare(made, remove)
        assert made.killed(point)
        gone = made.read() is None
        made.killed(1)
        assert made.read() is None or not gone
        made.sync(Points())
        assert made.read() is None


def test_killed_at_any_point_on_the_way_to_a_server(
    tmp_path: Path, openbao_server: OpenBao, kv2_mount: str
) -> None:
    """A real OpenBao, whose newest version is the current one: the payload waits in the companion."""

    def at(prefix: str) -> Scene:
        folder = tmp_path / prefix
        folder.mkdir()

        def replica() -> Backend:
            return Encrypted(open_store(openbao_server, kv2_mount, prefix=prefix), [local_key()], DOMAIN)

        return Scene(lambda: database(folder, "here"), replica, True)

    count = points_of(at("counted"), update)
    assert count >= 8
    for point in chosen(count):
        check_update(at(f"p{point}"), [point])
