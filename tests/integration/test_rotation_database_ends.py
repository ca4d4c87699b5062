"""Rotations of PostgreSQL users that promote nothing: aborted, overtaken, or rejected by the server."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from strongroom.memory import MemoryBackend
from strongroom.rotation.engine import Engine
from strongroom.rotation.ledger import Entry, State
from strongroom.rotation.memoryledger import MemoryLedger
from strongroom.rotation.policy import Policy
from strongroom.rotation.rotator import Rotator
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.value import SecretValue
from tests.canary import CANARY
from tests.integration.rotation_databases import OLD, One, Two
from tests.scale import NIGHTLY
from tests.servers.postgres import Postgres

NAME = "db/login"


class Rotating:
    """A secret of a database user, and the engine that rotates it."""

    def __init__(self, rotator: Rotator, first: SecretValue):
        self.clock = FakeClock()
        self.store = SecretStore(MemoryBackend(clock=self.clock), cache=None, alias="prod", clock=self.clock)
        self.store.put(NAME, first)
        policy = Policy(NAME, self.store, rotator)
        self.engine = Engine(MemoryLedger(self.clock), [policy], clock=self.clock)

    def tested(self) -> tuple[Entry, SecretValue]:
        """A rotation whose pending value the server accepts, and that value."""
        entry = self.engine.advance(self.engine.start(NAME).id, until=State.TESTED)
        assert entry.state is State.TESTED, entry.error
        return entry, self.store.pending(NAME, entry.id).get().value

    def finish(self, entry: Entry) -> Entry:
        """Carry it on, waiting as long as it wants."""
        for _ in range(20):
            entry = self.engine.advance(entry.id)
            if not entry.state.open:
                return entry
            wait = max(entry.due, entry.lease_until or entry.due) - self.clock.now()
            self.clock.advance(max(1.0, wait.total_seconds()))
        raise AssertionError(f"stuck in {entry.state}: {entry.error}")

    @property
    def value(self) -> SecretValue:
        """What readers get."""
        return self.store.get(NAME).value


Ends = Callable[[Rotating, Entry], None]


def abort(rotating: Rotating, entry: Entry) -> None:
    rotating.engine.abort(entry.id)


def overtake(rotating: Rotating, entry: Entry) -> None:
    """Somebody writes the value again as it was: another version, with which readers log in."""
    rotating.store.put(NAME, rotating.value)


ENDS = [(abort, State.ABORTED), (overtake, State.SUPERSEDED)]


class TestEnds:
    """The server is set back: it accepts what readers have, and the pending value no more.

    By day each end with one kind of rotator; what is different is the engine's, and tried with its own.
    """

    @pytest.mark.parametrize(("end", "state"), ENDS if NIGHTLY else ENDS[1:])
    def test_one_user_has_its_password_again(
        self, postgres_server: Postgres, end: Ends, state: State
    ) -> None:
        """And the next rotation goes through."""
        one = One(postgres_server)
        rotating = Rotating(one.rotator, OLD)
        entry, pending = rotating.tested()
        end(rotating, entry)
        assert rotating.finish(entry).state is state
        assert one.accepts(OLD)
        assert not one.accepts(pending)
        assert rotating.finish(rotating.engine.start(NAME)).state is State.DONE
        assert one.accepts(rotating.value)

    @pytest.mark.parametrize(("end", "state"), ENDS if NIGHTLY else ENDS[:1])
    def test_the_other_of_two_users_sleeps_again(
        self, postgres_server: Postgres, end: Ends, state: State
    ) -> None:
        """And the next rotation wakes it."""
        two = Two(postgres_server)
        rotating = Rotating(two.rotator, two.first())
        entry, pending = rotating.tested()
        end(rotating, entry)
        assert rotating.finish(entry).state is state
        assert two.accepts(rotating.value)
        assert not two.accepts(pending)
        assert rotating.finish(rotating.engine.start(NAME)).state is State.DONE
        assert two.accepts(rotating.value)


def test_a_password_that_the_server_rejects_is_replaced(
    postgres_server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By another, and the rotation is done: it does not try the rejected one for ever."""
    one = One(postgres_server, checked=True)
    with postgres_server.admin() as admin:
        admin.execute(f"ALTER ROLE {one.user} SET session_preload_libraries TO passwordcheck")
    made = iter([f"{one.user}{CANARY}", f"good-{CANARY}"])  # passwordcheck wants no name of the user in it
    monkeypatch.setattr("strongroom.rotation.rotators.logins.new_password", lambda _policy: next(made))
    rotating = Rotating(one.rotator, OLD)
    done = rotating.finish(rotating.engine.start(NAME))
    assert (done.state, done.replaced) == (State.DONE, 1)
    assert rotating.value.matches(f"good-{CANARY}")
    assert one.accepts(rotating.value)
