"""A signing secret is rotated while webhooks are on their way."""

from __future__ import annotations

import random
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from strongroom.backend import Backend, Capability
from strongroom.errors import InvalidRequestError, UnavailableError
from strongroom.memory import MemoryBackend
from strongroom.store import SecretStore
from strongroom.testing import FaultyBackend
from strongroom.testing.clock import FakeClock
from strongroom.testing.faults import unavailable
from strongroom.webhooks import Receiver, ReplayStore, Sender, WebhookError
from tests.scale import scaled
from tests.unit.webhook_support import BODY, NAME, headers, opened, private_key, public_key, secret

GRACE = timedelta(hours=2)


class Pair:
    """A sender and a receiver, each with a store and a cache of its own."""

    def __init__(self, folder: Path, first: str = ""):
        self.clock = FakeClock()
        self.backend = MemoryBackend(clock=self.clock)
        self.admin = SecretStore(self.backend, cache=None, clock=self.clock)
        self.admin.put(NAME, first or secret(0))
        self.theirs, self.ours = opened(self.backend, self.clock), opened(self.backend, self.clock)
        self.sender = Sender(self.theirs, NAME, grace=GRACE, clock=self.clock)
        self.replays = ReplayStore(folder / "seen.db", clock=self.clock)
        self.receiver = Receiver(self.ours, NAME, replays=self.replays, grace=GRACE, clock=self.clock)

    def receiving(self, backend: Backend) -> Receiver:
        """A receiver of its own on this backend."""
        store = SecretStore(backend, clock=self.clock)
        return Receiver(store, NAME, replays=self.replays, grace=GRACE, clock=self.clock)

    def deliver(self) -> None:
        self.receiver.verify(self.sender.headers(BODY), BODY)

    def signed_by(self, number: int) -> dict[str, str]:
        return headers(at=int(self.clock.now().timestamp()), number=number)


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """Both with secret 0."""
    return Pair(tmp_path)


def test_no_delivery_fails_while_the_secret_is_rotated(pair: Pair) -> None:
    """Ends on opposite sides of a promote, as their caches have it, in any order; four rotations."""
    chance, refreshed = random.Random(17), 0
    messages = scaled(10_000)
    for n in range(messages):
        if n % (messages // 5) == 1:
            pair.admin.put(NAME, secret(n))
        pair.deliver()
        pair.clock.advance(chance.choice([0.1, 1, 30, GRACE.total_seconds() / messages * 5]))
        if chance.random() < 0.05:
            side = chance.choice([pair.theirs, pair.ours])
            side.refresh(NAME, rejected=side.get(NAME).version)
            refreshed += 1
    assert refreshed


@pytest.mark.parametrize("ahead", ["sender", "receiver"])
def test_either_end_may_learn_of_a_new_secret_first(pair: Pair, ahead: str) -> None:
    """The other still has the old one in its cache."""
    pair.deliver()
    old = pair.admin.get(NAME).version
    pair.admin.put(NAME, secret(1))
    side = pair.theirs if ahead == "sender" else pair.ours
    assert side.refresh(NAME, rejected=old).version != old
    other = pair.ours if ahead == "sender" else pair.theirs
    assert other.get(NAME).version == old
    pair.deliver()


def test_in_grace_both_sign_and_both_are_accepted(pair: Pair) -> None:
    """After it only the current one does."""
    pair.admin.put(NAME, secret(1))
    made = pair.sender.headers(BODY)["webhook-signature"].split()
    assert len(made) == 2
    for number in (0, 1):
        pair.receiver.verify(pair.signed_by(number), BODY)
    pair.clock.advance(GRACE.total_seconds())
    assert len(pair.sender.headers(BODY)["webhook-signature"].split()) == 1
    pair.deliver()
    with pytest.raises(WebhookError):
        pair.receiver.verify(pair.signed_by(0), BODY)


def test_grace_is_counted_anew_from_where_a_change_was_seen(pair: Pair) -> None:
    """A value that waited long as pending is written long before it becomes current."""
    pair.deliver()
    pending = pair.admin.pending(NAME, str(uuid4()))
    pending.put(secret(1), base_version=pair.admin.get(NAME).version)
    pair.clock.advance(GRACE.total_seconds() + 400)
    pair.deliver()
    pending.promote()
    pair.clock.advance(400)
    pair.deliver()
    pair.receiver.verify(pair.signed_by(0), BODY)


def test_a_pending_secret_is_never_accepted(pair: Pair) -> None:
    """Until it is promoted, and then at once."""
    pending = pair.admin.pending(NAME, str(uuid4()))
    pending.put(secret(1), base_version=pair.admin.get(NAME).version)
    with pytest.raises(WebhookError):
        pair.receiver.verify(pair.signed_by(1), BODY)
    pending.promote()
    pair.clock.advance(301)
    pair.receiver.verify(pair.signed_by(1), BODY)


def test_the_secret_before_the_previous_is_refused(pair: Pair) -> None:
    """Two rotations within one grace."""
    for number in (1, 2):
        pair.admin.put(NAME, secret(number))
    pair.receiver.verify(pair.signed_by(1), BODY)
    with pytest.raises(WebhookError):
        pair.receiver.verify(pair.signed_by(0), BODY)


def test_a_mistake_that_was_mended_stops_nobody(pair: Pair) -> None:
    """A previous value that is no secret of a webhook is passed over, by both ends."""
    pair.admin.put(NAME, "pasted by mistake")
    pair.admin.put(NAME, secret(1))
    pair.deliver()
    with pytest.raises(WebhookError):
        pair.receiver.verify(pair.signed_by(9), BODY)


def test_without_grace_only_the_current_secret_counts(pair: Pair) -> None:
    """And a negative one is no grace at all."""
    strict = Receiver(pair.ours, NAME, replays=pair.replays, grace=timedelta(0), clock=pair.clock)
    pair.admin.put(NAME, secret(1))
    with pytest.raises(WebhookError):
        strict.verify(pair.signed_by(0), BODY)
    with pytest.raises(InvalidRequestError):
        Sender(pair.ours, NAME, grace=timedelta(seconds=-1))


def test_a_flood_of_forgeries_reads_the_previous_secret_once_a_minute(pair: Pair) -> None:
    """A provider is not for strangers to ask: once for the current one, and then for the one before."""
    pair.admin.put(NAME, secret(1))
    faulty = FaultyBackend(pair.backend)
    receiver = pair.receiving(faulty)
    for _ in range(100):
        with pytest.raises(WebhookError):
            receiver.verify(pair.signed_by(9), BODY)
    assert faulty.calls["get"] == 2
    pair.clock.advance(60)
    with pytest.raises(WebhookError):
        receiver.verify(pair.signed_by(9), BODY)
    assert faulty.calls["get"] == 3


def test_what_the_current_secret_signs_needs_no_previous(pair: Pair) -> None:
    """While the store is away a warm receiver takes it; what needs the previous one is sent again."""
    faulty = FaultyBackend(pair.backend)
    pair.admin.put(NAME, secret(1))
    receiver = pair.receiving(faulty)
    receiver.verify(pair.signed_by(1), BODY)
    faulty.fault("get", unavailable, times=99)
    receiver.verify(pair.signed_by(1), BODY)
    with pytest.raises(UnavailableError):
        receiver.verify(pair.signed_by(0), BODY)


def test_a_store_without_versions_has_no_previous(pair: Pair, tmp_path: Path) -> None:
    """Its current value is enough."""
    plain = MemoryBackend(Capability.PUT, clock=pair.clock)
    store = opened(plain, pair.clock)
    store.put(NAME, secret(0))
    receiver = Receiver(store, NAME, replays=pair.replays, clock=pair.clock)
    receiver.verify(Sender(store, NAME, clock=pair.clock).headers(BODY), BODY)
    with pytest.raises(WebhookError):
        receiver.verify(pair.signed_by(1), BODY)


def test_a_senders_key_pair_is_rotated_alike(tmp_path: Path) -> None:
    """The receiver's store has only the public halves."""
    pair = Pair(tmp_path, private_key(0))
    public = MemoryBackend(clock=pair.clock)
    ours = opened(public, pair.clock)
    ours.put(NAME, public_key(0))
    receiver = Receiver(ours, NAME, replays=pair.replays, clock=pair.clock)
    receiver.verify(pair.sender.headers(BODY), BODY)
    ours.put(NAME, public_key(1))
    receiver.verify(pair.sender.headers(BODY), BODY)
    pair.admin.put(NAME, private_key(1))
    pair.clock.advance(301)
    receiver.verify(pair.sender.headers(BODY), BODY)
