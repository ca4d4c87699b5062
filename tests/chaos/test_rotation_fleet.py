"""A fleet of readers, each with a cache of its own, through a day of hourly rotation."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from strongroom.backend import Secret, Stage
from strongroom.cachepolicy import CachePolicy
from strongroom.errors import InvalidRequestError, UnavailableError
from strongroom.layers.layer import Layer
from strongroom.names import Key
from strongroom.rotation.ledger import State
from strongroom.rotation.schedule import Schedule
from strongroom.rotation.validation import Readers, refuse
from strongroom.store import SecretStore
from strongroom.value import SecretValue
from tests.rotation_scene import NAME, Scene
from tests.rotation_target import Target, TwoSlots, digest
from tests.scale import scaled

STEP = 30.0
BOUNDS = [1, 5, 15, 30, 60, 90, 120, 180, 240, 300, 420, 600, 720, 900, 1020, 1200, 1320, 1500, 1680, 1800]


class Remembering(Target):
    """Knows by heart what it accepts, until that changes: twenty readers log in all day."""

    known: frozenset[str] | None = None

    def accepts(self, value: SecretValue) -> bool:
        if self.known is None:
            self.known = frozenset(row[0] for row in self._rows("select digest from credentials where live"))
        return digest(value) in self.known

    def _effect(self, *facts: Any) -> None:
        super()._effect(*facts)
        self.known = None


class Line(Layer):
    """What a reader reaches the store through; cut, it does not."""

    cut = False

    def get(self, key: Key, version: str | Stage) -> Secret:
        if self.cut:
            raise UnavailableError("cut off")
        return super().get(key, version)


class Reader:
    """An application that reads its password before each login, from a cache.

    Args:
        scene: whose secret.
        bound: seconds for which the cache serves at most; half of them only while the store is away.
    """

    def __init__(self, scene: Scene, bound: float):
        self.line = Line(scene.backend)
        self.store = SecretStore(self.line, cache=CachePolicy(bound / 2, bound / 2), clock=scene.clock)
        self.refused = self.logins = 0

    def log_in(self, target: Target) -> None:
        try:
            value = self.store.get(NAME).value
        except UnavailableError:
            return  # it is told so: that is no credential that the target refuses
        self.logins += 1
        self.refused += not target.accepts(value)


def test_readers_with_caches_log_in_all_day_while_the_secret_is_rotated_every_hour(tmp_path: Path) -> None:
    """Caches of 1 s to 30 min, readers that are cut off, and a grace that is longer: no login is refused."""
    scene = Scene(
        tmp_path,
        rotator=lambda target: TwoSlots(Remembering(target.path)),
        grace=timedelta(minutes=35),
        schedule=Schedule("rate(1 hour)"),
    )
    assert isinstance(scene.rotator, TwoSlots)
    target = scene.rotator.target
    readers = [Reader(scene, bound) for bound in BOUNDS]
    hours = scaled(24, "hours of a simulated day with a rotation each")
    for step in range(int(hours * 3600 / STEP)):
        scene.engine.tick()
        for number, reader in enumerate(readers):
            reader.line.cut = number % 2 == 0 and step % 60 < 30
            reader.log_in(target)
        scene.clock.advance(STEP)
    for reader in readers:
        reader.store.close()
    done = scene.ledger.find(states=[State.GRACE, State.DONE])
    assert len(done) in (hours - 1, hours)
    assert min(reader.logins for reader in readers) > 100
    assert [reader.refused for reader in readers] == [0] * len(readers)


@pytest.mark.parametrize("grace", [timedelta(minutes=35), timedelta(minutes=70)])
def test_a_cache_of_an_hour_is_refused_under_hourly_rotation(tmp_path: Path, grace: timedelta) -> None:
    """A grace shorter than the cache leaves readers behind; a longer one reaches the next rotation."""
    scene = Scene(tmp_path, grace=grace, schedule=Schedule("rate(1 hour)"))
    with pytest.raises(InvalidRequestError):
        refuse([scene.policy], lambda _: Readers(cache=timedelta(hours=1)))
