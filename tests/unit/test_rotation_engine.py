"""The engine: a rotation from start to end, and every way in which it does not get there at once."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from strongroom.backend import Backend, Capability, Stage
from strongroom.memory import ALL, MemoryBackend
from strongroom.rotation.ledger import State
from tests.rotation_scene import NAME, Scene

BACKENDS = {"native": ALL, "companion": ALL & ~Capability.NATIVE_PENDING}


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Backend:
    return MemoryBackend(BACKENDS[request.param])


@pytest.fixture(params=["single", "two"])
def scene(request: pytest.FixtureRequest, tmp_path: Path, backend: Backend) -> Scene:
    return Scene(tmp_path, request.param, backend=backend)


def test_a_rotation_promotes_a_proved_value_and_then_ends_the_old_one(scene: Scene) -> None:
    """From start to end: one new value, accepted; the old one refused and its version retired."""
    old = scene.value()
    entry = scene.finish(scene.engine.start(NAME).id)
    assert entry.state is State.DONE
    assert scene.value() != old
    assert scene.only_current_is_live()
    assert not scene.target.accepts(old)
    assert entry.version == scene.store.get(NAME).version
    with pytest.raises(Exception, match="no such version"):
        scene.store.get(NAME, version=scene.first.id)


def test_both_credentials_work_until_the_grace_is_over(tmp_path: Path) -> None:
    """Two slots: what readers may still have in their caches is accepted for the whole grace."""
    scene = Scene(tmp_path, "two")
    old = scene.value()
    entry = scene.begin()
    assert entry.state is State.GRACE
    assert scene.later(entry.id, timedelta(hours=1, minutes=59)).state is State.GRACE
    assert scene.target.accepts(old)
    assert scene.store.get(NAME, stage=Stage.PREVIOUS).value == old
    assert scene.later(entry.id, timedelta(minutes=1)).state is State.DONE
    assert not scene.target.accepts(old)
