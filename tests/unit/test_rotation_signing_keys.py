"""HMAC keys that the engine rotates under signed traffic: both versions are good in grace, then one."""

from __future__ import annotations

import random
from datetime import timedelta
from pathlib import Path

import pytest

from strongroom.memory import MemoryBackend
from strongroom.rotation.engine import Engine
from strongroom.rotation.ledger import State
from strongroom.rotation.memoryledger import MemoryLedger
from strongroom.rotation.policy import Policy
from strongroom.rotation.rotators.hmac_key import Form, HmacKeyRotator
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.value import SecretValue
from strongroom.webhooks import Receiver, ReplayStore, RequestReceiver, Sender, WebhookError, sign_request
from tests.canary import CANARY
from tests.scale import scaled

NAME = "webhooks/partner"
GRACE = timedelta(hours=2)
BODY = b'{"order": 1}'


class World:
    """A signing key, its engine, and stores for those who sign and verify."""

    def __init__(self, folder: Path, form: Form, first: str | dict[str, str]):
        self.clock, self.folder = FakeClock(), folder
        self.backend = MemoryBackend(clock=self.clock)
        self.admin = self.store()
        self.admin.put(NAME, first)
        policy = Policy(NAME, self.admin, HmacKeyRotator(form=form), grace=GRACE)
        self.engine = Engine(MemoryLedger(self.clock), [policy], clock=self.clock)
        self.replays = ReplayStore(folder / "seen.db", clock=self.clock)

    def store(self) -> SecretStore:
        return SecretStore(self.backend, alias="prod", clock=self.clock)

    def rotate(self) -> str:
        entry = self.engine.advance(self.engine.start(NAME).id)
        assert entry.state is State.GRACE, entry.error
        return entry.id

    def previous(self) -> SecretValue:
        return self.admin.get(NAME, version=self.admin.versions(NAME)[1].id).value


def test_no_delivery_fails_while_the_engine_rotates_the_key(tmp_path: Path) -> None:
    """Sender and receiver learn of each key when their caches do; five rotations, ends of grace included."""
    world = World(tmp_path, "whsec", f"whsec_{'QUFB' * 8}")
    sender = Sender(world.store(), NAME, grace=GRACE, clock=world.clock)
    receiver = Receiver(world.store(), NAME, replays=world.replays, grace=GRACE, clock=world.clock)
    chance, messages = random.Random(7), scaled(10_000, share=100)
    for n in range(messages):
        if n % (messages // 5) == 1:
            world.rotate()
        receiver.verify(sender.headers(BODY), BODY)
        world.clock.advance(chance.uniform(1, 4 * GRACE.total_seconds() * 5 / messages))
        world.engine.tick()
    assert {entry.state for entry in world.engine.status(NAME)} <= {State.DONE, State.GRACE}


def test_after_its_grace_an_old_key_signs_nothing_that_is_accepted(tmp_path: Path) -> None:
    """The engine destroys its version, so that a receiver which asks the store refuses it within a minute."""
    world = World(tmp_path, "client", {"key": "partner", "secret": CANARY})
    receiver = RequestReceiver(world.store(), NAME, replays=world.replays, grace=GRACE, clock=world.clock)
    rotation_id = world.rotate()
    old = world.previous()

    def judged(value: SecretValue) -> None:
        headers = sign_request(value, "POST", "/orders", BODY, at=world.clock.now())
        receiver.verify("POST", "/orders", headers, BODY)

    judged(old)
    judged(world.admin.get(NAME).value)
    world.clock.advance(GRACE.total_seconds() + 60)
    assert world.engine.advance(rotation_id).state is State.DONE
    judged(world.admin.get(NAME).value)
    with pytest.raises(WebhookError):
        judged(old)
