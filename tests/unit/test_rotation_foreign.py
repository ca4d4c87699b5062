"""Pending values that no rotation in the ledger has put: taken in, cleaned, never in the way for ever."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from strongroom.backend import Capability
from strongroom.errors import IntegrityError, SecretConflictError, SecretNotFoundError
from strongroom.memory import ALL, MemoryBackend
from strongroom.names import Companion, Name
from strongroom.rotation.ledger import InProgressError, State
from strongroom.value import SecretValue
from tests.rotation_scene import NAME, Scene
from tests.rotation_target import credential, identifier_of
from tests.unit.aws_support import FULL, backend
from tests.unit.strict_aws_support import REGION, Aws, labels

COMPANION = ALL & ~Capability.NATIVE_PENDING
ID = str(uuid.UUID(int=7))


@pytest.fixture(params=[ALL, COMPANION], ids=["native", "companion"])
def scene(request: pytest.FixtureRequest, tmp_path: Path) -> Scene:
    """In its store a value waits under an id that the ledger does not know; the target accepts it."""
    scene = Scene(tmp_path, "two", backend=MemoryBackend(request.param))
    value = credential("stray")
    scene.target.issue("stray", value)
    scene.store.pending(NAME, ID).put(value, base_version=scene.first.id)
    return scene


def test_a_stray_value_stops_a_rotation_before_anything_is_made(scene: Scene) -> None:
    """The record says what is in the way, and the target is asked for nothing."""
    entry = scene.begin()
    assert entry.error == "SecretConflictError (started)"
    assert entry.facts
    assert entry.facts["stray"] == ID
    assert len(scene.target.changes("issue")) == 2
    with pytest.raises(InProgressError):
        scene.engine.clean(NAME)


def test_a_stray_value_that_works_is_taken_in_and_promoted(scene: Scene) -> None:
    """As after the ledger was lost: the rotation goes on under its own id, from the value that waits."""
    value = scene.store.pending(NAME, ID).get().value
    entry = scene.engine.take_in(NAME)
    assert (entry.id, entry.state) == (ID, State.GRACE)
    assert scene.value() == value
    assert scene.finish(ID).state is State.DONE
    assert scene.target.live() == {"stray"}


def test_a_stray_value_that_the_target_does_not_know_gives_way(scene: Scene) -> None:
    """Tried as often as any step, then SUPERSEDED: current stays, and the next rotation begins."""
    scene.target.withdraw("stray")
    entry = scene.engine.take_in(NAME)
    assert scene.finish(entry.id).state is State.SUPERSEDED
    assert scene.only_current_is_live()
    assert scene.finish(scene.engine.start(NAME).id).state is State.DONE


def test_a_stray_value_is_cleaned_and_current_stays(scene: Scene) -> None:
    """Whether there was one is told; what is current has the same value."""
    old = scene.value()
    assert scene.engine.clean(NAME)
    assert not scene.engine.clean(NAME)
    assert scene.value() == old
    with pytest.raises(SecretNotFoundError):
        scene.store.pending(NAME, ID).get()
    assert scene.finish(scene.engine.start(NAME).id).state is State.DONE


def test_nothing_is_taken_in_where_nothing_waits(tmp_path: Path) -> None:
    """Or where what waits is a rotation's own."""
    scene = Scene(tmp_path, "two")
    with pytest.raises(SecretConflictError, match="nothing is pending"):
        scene.engine.take_in(NAME)
    scene.engine.advance(scene.engine.start(NAME).id, until=State.CREATED)
    with pytest.raises(SecretConflictError, match="advance or abort it"):
        scene.engine.take_in(NAME)


def test_a_companion_that_does_not_open_is_cleaned_unread(tmp_path: Path) -> None:
    """Its key may be gone: it is retired by its version, and the next rotation begins."""
    scene = Scene(tmp_path, "two", backend=MemoryBackend(COMPANION))
    scene.backend.put(Companion(Name(NAME)), SecretValue("no frame"), None)
    with pytest.raises(IntegrityError, match="clean it"):
        scene.engine.take_in(NAME)
    assert scene.engine.clean(NAME)
    assert scene.finish(scene.engine.start(NAME).id).state is State.DONE


def foreign(aws: Aws, value: SecretValue | None) -> str:
    """Leave a version under AWSPENDING as RotateSecret does, with a value or before it got one; its id."""
    token = str(uuid.uuid4())
    if value is None:
        aws.manager.add_empty_version(REGION, FULL, token, "AWSPENDING")
    else:
        aws.client().put_secret_value(
            SecretId=FULL,
            ClientRequestToken=token,
            SecretString=value.reveal_text(),
            VersionStages=["AWSPENDING"],
        )
    return token


@pytest.fixture(scope="module")
def served() -> Iterator[Aws]:
    aws = Aws()
    with aws.server:
        yield aws


@pytest.fixture
def aws(served: Aws) -> Aws:
    served.renew()
    return served


@pytest.fixture
def on_aws(tmp_path: Path, aws: Aws) -> Scene:
    return Scene(tmp_path, "two", backend=backend(aws))


def test_a_whole_rotation_on_aws_leaves_no_label_that_blocks_the_next(on_aws: Scene, aws: Aws) -> None:
    """AWSPENDING is gone, the revoked version bears nothing; two in a row."""
    for _ in range(2):
        entry = on_aws.finish(on_aws.engine.start(NAME).id)
        assert entry.state is State.DONE
        assert on_aws.only_current_is_live()
        held = labels(aws.client(), FULL)
        assert "AWSPENDING" not in held
        assert entry.base not in held.values()


def test_a_foreign_pending_value_on_aws_is_told_precisely(on_aws: Scene, aws: Aws) -> None:
    """The rotation fails before anything is made, and a person sees what to do."""
    token = foreign(aws, credential("theirs"))
    entry = on_aws.begin()
    assert entry.error == "SecretConflictError (started)"
    assert entry.facts
    assert entry.facts["stray"] == token
    assert on_aws.engine.abort(entry.id).state is State.ABORTED
    assert on_aws.only_current_is_live()
    assert on_aws.engine.clean(NAME)


def test_a_foreign_pending_value_on_aws_is_taken_in(on_aws: Scene, aws: Aws) -> None:
    """The version that another tool made becomes current, by its own id; the target knows it."""
    value = credential("theirs")
    on_aws.target.issue("theirs", value)
    token = foreign(aws, value)
    entry = on_aws.engine.take_in(NAME)
    assert (entry.id, entry.state, entry.version) == (token, State.GRACE, token)
    assert on_aws.value() == value
    assert on_aws.finish(token).state is State.DONE
    assert on_aws.target.live() == {"theirs"}


def test_a_foreign_pending_value_on_aws_that_the_target_refuses_gives_way(on_aws: Scene, aws: Aws) -> None:
    """SUPERSEDED; current stays, and the next rotation begins."""
    foreign(aws, credential("theirs"))
    entry = on_aws.engine.take_in(NAME)
    assert on_aws.finish(entry.id).state is State.SUPERSEDED
    assert identifier_of(on_aws.value()) == "app"
    assert on_aws.finish(on_aws.engine.start(NAME).id).state is State.DONE


@pytest.mark.parametrize("with_value", [True, False])
def test_a_foreign_pending_version_on_aws_is_cleaned(on_aws: Scene, aws: Aws, with_value: bool) -> None:
    """With a value or, as CancelRotateSecret leaves it, without; current keeps its version."""
    before = on_aws.store.get(NAME).version
    foreign(aws, credential("theirs") if with_value else None)
    assert on_aws.engine.clean(NAME)
    assert on_aws.store.get(NAME).version == before
    assert "AWSPENDING" not in labels(aws.client(), FULL)
    assert on_aws.finish(on_aws.engine.start(NAME).id).state is State.DONE


def test_a_foreign_pending_version_without_a_value_cannot_be_taken_in(on_aws: Scene, aws: Aws) -> None:
    """There is nothing to promote."""
    foreign(aws, None)
    with pytest.raises(IntegrityError, match="clean it"):
        on_aws.engine.take_in(NAME)
