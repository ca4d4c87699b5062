"""Who acts: said by the program, or found out; carried along; kept encrypted; and forgotten on request."""

from __future__ import annotations

import asyncio
import base64
import contextvars
import json
import sqlite3
import sys
import threading
import types
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

import strongroom
from strongroom.audit.actor import Actor, current, traceparent
from strongroom.audit.identity import Identity, service_account
from strongroom.audit.subjects import Subjects
from strongroom.errors import IntegrityError, InvalidRequestError, PermissionDeniedError, UnavailableError
from strongroom.keys import DataKey, KeyWrapper, WrappedKey
from strongroom.layers.encrypted import Encrypted
from strongroom.layers.failover import Failover
from strongroom.layers.layer import Layer
from strongroom.memory import MemoryBackend
from strongroom.testing.clock import FakeClock
from tests.unit.audit_trail_support import Trails
from tests.unit.core_support import DEADLINE, NAME, Recorder, Running, memory, overwrite

ARN = "arn:aws:sts::123456789012:assumed-role/app/i-1"
ACCOUNT = "system:serviceaccount:shop:api"


class TestSaid:
    """`strongroom.actor` names who acts in a block."""

    def test_an_event_says_who(self) -> None:
        """Both sides of an operation; outside the block nobody."""
        recorder = Recorder()
        store = strongroom.SecretStore(memory(), hooks=[recorder])
        with strongroom.actor("alice", name="Alice", address="10.0.0.7", on_behalf_of="carol") as said:
            list(store.list_names())
        list(store.list_names())
        assert said == Actor("alice", "explicit", "Alice", "10.0.0.7", "carol")
        assert [event.actor for event in recorder.events] == [said, said, None, None]

    def test_an_inner_block_replaces_the_outer_as_a_whole(self) -> None:
        """And ends with it, also by an exception."""
        with strongroom.actor("alice", address="10.0.0.7"):
            with pytest.raises(KeyError), strongroom.actor("bob") as inner:
                raise KeyError(current() == inner)
            assert current() == Actor("alice", address="10.0.0.7")
        assert current() is None

    @pytest.mark.parametrize("principal", ["", None, 7, b"alice"])
    def test_nobody_is_no_actor(self, principal: object) -> None:
        """A principal is text that is not empty."""
        with pytest.raises(InvalidRequestError), strongroom.actor(principal):  # type: ignore[arg-type]
            pass

    def test_tasks_and_their_worker_threads_carry_it(self) -> None:
        """Many tasks at once, each with its own, through the async store's threads."""
        recorder = Recorder()
        backend = memory()
        overwrite(backend.inner, "first")
        store = strongroom.AsyncSecretStore(strongroom.SecretStore(backend, hooks=[recorder], cache=None))

        async def act(who: str) -> None:
            with strongroom.actor(who):
                await asyncio.sleep(0)
                await store.get(NAME)
                await asyncio.create_task(store.describe(NAME))

        async def all_at_once() -> None:
            await asyncio.gather(*(act(f"user-{number}") for number in range(8)))

        asyncio.run(all_at_once())
        told = sorted((event.actor.principal, event.operation) for event in recorder.events if event.actor)
        wanted = [(f"user-{number}", operation) for number in range(8) for operation in ("describe", "get")]
        assert told == sorted(wanted * 2)

    def test_a_thread_has_it_if_it_is_given_the_context(self) -> None:
        """A thread of one's own begins with an empty context; a copy of ours is ours."""
        seen: list[Actor | None] = []
        with strongroom.actor("alice"):
            context = contextvars.copy_context()
            for run in (lambda: seen.append(current()), lambda: context.run(lambda: seen.append(current()))):
                thread = threading.Thread(target=run)
                thread.start()
                thread.join()
        assert seen == [None, Actor("alice")]

    def test_a_callback_acts_for_whoever_subscribed(self) -> None:
        """It runs in a thread of Strongroom's, with the context in which `on_change` was called."""
        backend, seen, told = memory(), [], threading.Event()
        overwrite(backend.inner, "first")
        store = strongroom.SecretStore(backend)

        def changed(name: str, version: str) -> None:
            seen.append(current())
            told.set()

        with strongroom.actor("alice"):
            store.on_change(NAME, changed)
        for number in range(2):
            told.clear()
            with strongroom.actor("bob"):
                store.put(NAME, f"value {number}")
            assert told.wait(DEADLINE)
        assert seen == [Actor("alice")] * 2
        store.close()

    def test_the_trace_is_that_of_a_span_that_is_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """OpenTelemetry is asked only if the program has loaded it; without a span there is no trace."""
        monkeypatch.delitem(sys.modules, "opentelemetry.trace", raising=False)
        assert traceparent() is None
        span = types.SimpleNamespace(is_valid=True, trace_id=0xABC, span_id=0xD, trace_flags=1)
        trace = types.ModuleType("opentelemetry.trace")
        trace.get_current_span = lambda: types.SimpleNamespace(  # type: ignore[attr-defined]
            get_span_context=lambda: span
        )
        monkeypatch.setitem(sys.modules, "opentelemetry.trace", trace)
        assert traceparent() == f"00-{0xABC:032x}-{0xD:016x}-01"
        span.is_valid = False
        assert traceparent() is None


class TestFound:
    """Where nobody says it: the cloud's identity, the pod's, the provider's token, the user."""

    @pytest.fixture
    def token(self, tmp_path: Path) -> Path:
        claims = base64.urlsafe_b64encode(json.dumps({"sub": ACCOUNT}).encode()).decode().rstrip("=")
        file = tmp_path / "token"
        file.write_text(f"e30.{claims}.c2lnbmF0dXJl")
        return file

    @pytest.mark.parametrize(
        ("principal", "pod", "expected"),
        [
            (ARN, True, Actor(ARN, "aws-sts")),
            ("vault:approle/app", True, Actor(ACCOUNT, "kubernetes")),
            (None, True, Actor(ACCOUNT, "kubernetes")),
            ("vault:approle/app", False, Actor("vault:approle/app", "vault")),
            ("someone", False, Actor("someone", "provider")),
        ],
    )
    def test_the_first_that_is_known_counts(
        self, token: Path, tmp_path: Path, principal: str | None, pod: bool, expected: Actor
    ) -> None:
        """And how it is known is part of it."""
        place = token if pod else tmp_path / "none"
        assert Identity(lambda: principal, FakeClock(), place).actor() == expected

    def test_at_last_the_operating_systems_user(self, tmp_path: Path) -> None:
        """With the host: root is somebody else on each."""
        found = Identity(lambda: None, FakeClock(), tmp_path / "none").actor()
        assert found.how == "os"
        assert "@" in found.principal

    def test_a_provider_is_asked_once_and_a_failing_one_seldom(self, tmp_path: Path) -> None:
        """Who may read need not be allowed to ask; a timeout is not paid for at each read."""
        clock, asked = FakeClock(), []
        answers: list[Callable[[], str]] = [_denied, _gone, lambda: ARN]

        def principal() -> str:
            asked.append(1)
            return answers[len(asked) - 1]()

        identity = Identity(principal, clock, tmp_path / "none")
        for calls, how in ((1, "os"), (2, "os"), (3, "aws-sts"), (3, "aws-sts")):
            assert [identity.actor().how for _ in range(3)] == [how] * 3
            assert len(asked) == calls
            clock.advance(601)

    def test_threads_that_begin_at_once_ask_once(self, tmp_path: Path) -> None:
        """The first asks, the others wait for it."""
        asked, release = [], threading.Event()

        def principal() -> str:
            asked.append(1)
            release.wait(10)
            return ARN

        identity = Identity(principal, FakeClock(), tmp_path / "none")
        calls = [Running(identity.actor) for _ in range(4)]
        release.set()
        assert {call.result() for call in calls} == {Actor(ARN, "aws-sts")}
        assert asked == [1]

    @pytest.mark.parametrize("content", ["", "a.b", "a.!!!.c", "a.W10.c", "a.e30.c", "a.eyJzdWIiOjd9.c"])
    def test_what_is_no_token_names_nobody(self, tmp_path: Path, content: str) -> None:
        """A file that holds something else is passed over."""
        (tmp_path / "token").write_text(content)
        assert service_account(tmp_path / "token") is None

    def test_every_layer_hands_it_on(self) -> None:
        """The store asks the outermost; the backend answers, its own errors translated."""

        class Known(MemoryBackend):
            def principal(self) -> str:
                return ARN

        layers = [
            Layer(Known()),
            Failover({"a": Known(), "b": MemoryBackend()}),
            Encrypted(Known(), [_Key()], "d"),
        ]
        assert [layer.principal() for layer in layers] == [ARN] * 3
        assert MemoryBackend().principal() is None


def _denied() -> str:
    raise PermissionDeniedError("no")


def _gone() -> str:
    raise UnavailableError("gone")


class _Key(KeyWrapper):
    """A key whose wrapping is a mirror: it opens what it wrapped, and denies when told to."""

    key_id, provider_id = "mirror", "test"
    denies = False

    def wrap(self, data_key: bytes, context: object) -> WrappedKey:
        return self.wrapped(data_key[::-1])

    def unwrap(self, wrapped: WrappedKey, context: object) -> bytes:
        if self.denies:
            raise PermissionDeniedError("no")
        return wrapped.ciphertext[::-1]

    def generate_data_key(self, context: object) -> DataKey:
        return super().generate_data_key({})


class TestSubjects:
    """Each principal has a random id and a key of its own."""

    @pytest.fixture
    def subjects(self, tmp_path: Path) -> Subjects:
        return Subjects(tmp_path)

    ALICE = Actor("alice", name="Alice Ä", address="10.0.0.7", on_behalf_of="carol")

    def test_what_is_sealed_opens(self, subjects: Subjects) -> None:
        """With all that was said; and nothing of it stands in clear."""
        sealed = subjects.seal(self.ALICE)
        assert subjects.open(sealed) == self.ALICE
        assert not any(word in json.dumps(sealed) for word in ("alice", "Alice", "carol", "10.0.0.7"))
        subjects.close()

    def test_a_subject_is_one_for_all_its_addresses_and_processes(
        self, subjects: Subjects, tmp_path: Path
    ) -> None:
        """The same id, so that records can be counted by it; sealed once for each address."""
        other = Subjects(tmp_path)
        sealed = [subjects.seal(Actor("alice", address=address)) for address in ("a", "b", "a")]
        assert len({one["uid"] for one in [*sealed, other.seal(Actor("alice"))]}) == 1
        assert sealed[0] == sealed[2] != sealed[1]
        assert subjects.seal(Actor("bob"))["uid"] != sealed[0]["uid"]
        for one in (subjects, other):
            one.close()

    def test_those_acted_for_are_subjects_of_their_own(self, subjects: Subjects) -> None:
        """Shredding one leaves the other."""
        sealed = subjects.seal(self.ALICE)
        carol = subjects.find("carol")
        assert carol
        assert subjects.shred(carol)
        assert subjects.open(sealed) == Actor("alice", "explicit", "Alice Ä", "10.0.0.7", "(shredded)")
        assert subjects.shred(sealed["uid"])
        assert subjects.open(sealed) is None
        subjects.close()

    def test_one_that_is_shredded_while_it_is_made_can_be_tried_again(
        self, subjects: Subjects, tmp_path: Path
    ) -> None:
        """Another process was quicker; that is a refusal of the audit, which a caller can act on."""
        subjects.seal(Actor("alice", "explicit"))
        with closing(sqlite3.connect(tmp_path / "subjects.db", isolation_level=None)) as other:
            other.execute("CREATE TRIGGER quick AFTER INSERT ON subject BEGIN DELETE FROM subject"
                          " WHERE uid = NEW.uid; END")  # fmt: skip
            with pytest.raises(UnavailableError, match="shredded") as caught:
                subjects.seal(Actor("bob", "explicit"))
            assert (caught.value.performed, caught.value.retryable) == (False, True)
            other.execute("DROP TRIGGER quick")
        assert subjects.open(subjects.seal(Actor("bob", "explicit"))) == Actor("bob", "explicit")

    def test_other_processes_notice_a_shred_at_once(self, subjects: Subjects, tmp_path: Path) -> None:
        """Nothing is sealed under a key that nobody has any more."""
        other = Subjects(tmp_path)
        old = other.seal(Actor("alice"))
        assert subjects.shred(old["uid"])
        new = other.seal(Actor("alice"))
        assert new["uid"] != old["uid"]
        assert subjects.open(new) == Actor("alice")
        for one in (subjects, other):
            one.close()

    def test_processes_that_meet_a_new_subject_at_once_agree(self, tmp_path: Path) -> None:
        """Both would make a key; one of them counts."""
        several = [Subjects(tmp_path) for _ in range(4)]
        for one in several:
            one.seal(Actor("first"))
        sealed = [Running(lambda one=one: one.seal(Actor("alice"))) for one in several]  # type: ignore[misc]
        assert len({one.result()["uid"] for one in sealed}) == 1  # type: ignore[index]
        for one in several:
            one.close()

    def test_a_text_of_another_subject_does_not_open(self, subjects: Subjects) -> None:
        """Nor one that was changed."""
        alice, bob = subjects.seal(Actor("alice")), subjects.seal(Actor("bob"))
        for text in (bob["sealed"], alice["sealed"][:-8] + "AAAAAAA=", "!", ""):
            with pytest.raises(IntegrityError):
                subjects.open({**alice, "sealed": text})
        subjects.close()

    def test_keys_stand_wrapped_under_a_subject_key(self, tmp_path: Path) -> None:
        """Neither the database nor the journal opens without it."""
        wrapping = Subjects(tmp_path, _Key())
        sealed = wrapping.seal(Actor("alice"))
        wrapping.close()
        again, bare = Subjects(tmp_path, _Key(), reading=True), Subjects(tmp_path, reading=True)
        assert again.open(sealed) == Actor("alice")
        assert again.find("alice") == sealed["uid"]
        with pytest.raises(InvalidRequestError):
            bare.open(sealed)
        for one in (again, bare):
            one.close()

    def test_reading_makes_nothing(self, tmp_path: Path) -> None:
        """A copy of a journal without its subjects has actors that nobody knows."""
        reading = Subjects(tmp_path, reading=True)
        assert reading.open({"uid": "0" * 32, "sealed": "x"}) is None
        assert reading.find("alice") is None
        assert list(tmp_path.iterdir()) == []

    def test_others_may_not_read_it(self, subjects: Subjects, tmp_path: Path) -> None:
        """0600 from the first moment."""
        subjects.seal(Actor("alice"))
        assert (tmp_path / "subjects.db").stat().st_mode & 0o077 == 0
        subjects.close()


def test_a_key_that_denies_does_not_deny_the_caller(tmp_path: Path) -> None:
    """The caller may well read; what he lacks is the audit: ``UnavailableError(performed=False)``."""
    trails = Trails(tmp_path / "journal")
    key = _Key()
    trails.subjects = Subjects(trails.path, key)
    backend = memory(clock=trails.clock)
    overwrite(backend.inner, "first")
    trails.store(backend).get(NAME)
    trails.subjects.close()
    key.denies = True
    with pytest.raises(UnavailableError) as caught:
        trails.store(backend).get(NAME)
    assert (caught.value.performed, backend.calls["get"]) == (False, 1)
    trails.journal.close()
    trails.subjects.close()


def test_an_explicit_actor_is_told_before_what_is_found(tmp_path: Path) -> None:
    """By the records: who, and how it is known; the provider is asked only when nobody said."""
    trails = Trails(tmp_path / "journal")
    asked: list[int] = []
    backend = memory(clock=trails.clock)
    overwrite(backend.inner, "first")

    def principal() -> str:
        asked.append(1)
        return ARN

    hook = trails.hook(strict=True, principal=principal)
    store = strongroom.SecretStore(backend, hooks=[hook], clock=trails.clock)
    with strongroom.actor("alice"):
        store.get(NAME)
    assert not asked
    store.get(NAME)
    events = trails.records("event")
    assert trails.actors(events) == ["alice", "alice", ARN, ARN]
    assert [event["actor"]["how"] for event in events] == ["explicit"] * 2 + ["aws-sts"] * 2
    trails.journal.close()
    trails.subjects.close()
