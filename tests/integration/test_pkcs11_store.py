"""The token store where it is hard: killed and late writers, many processes, pruning, refusals."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pkcs11
import pytest
from pkcs11 import Attribute

from strongroom.backend import ABSENT, Stage
from strongroom.coordinator import SQLiteCoordinator
from strongroom.errors import (
    InvalidRequestError,
    PermissionDeniedError,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
    UnsupportedOperationError,
)
from strongroom.names import Companion, Name, StoreURL
from strongroom.testing.clock import FakeClock
from strongroom.value import SecretValue
from strongroom_pkcs11 import _entries
from strongroom_pkcs11._versions import Versions
from strongroom_pkcs11.objects import VERSIONS, TokenStore
from tests.canary import CANARY, assert_no_canary_in
from tests.integration.pkcs11_support import DB, Place, in_child, killed_after, text
from tests.scale import scaled
from tests.servers.softhsm import TestToken

WRITERS, WRITES = 4, 6
PATIENT = 8
"""Attempts where many processes log in at once: SoftHSM may then show some of them no token for a moment."""


@pytest.fixture
def place(softhsm_store: TestToken) -> Place:
    """A prefix of its own."""
    return Place(softhsm_store)


@pytest.fixture
def leases(tmp_path: Path) -> Path:
    """Where the coordinator of this test keeps its leases."""
    return tmp_path / "leases.db"


@pytest.fixture
def coordinator(leases: Path) -> Iterator[SQLiteCoordinator]:
    """Of this test."""
    made = SQLiteCoordinator(leases)
    yield made
    made.close()


@pytest.fixture
def store(place: Place, coordinator: SQLiteCoordinator) -> Iterator[TokenStore]:
    """With a coordinator."""
    opened = place.open(coordinator)
    yield opened
    opened.close()


GUARDED_OR_NOT = pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "alone"])


@GUARDED_OR_NOT
def test_a_writer_killed_between_any_two_calls_leaves_old_or_new(
    place: Place, coordinator: SQLiteCoordinator, *, guarded: bool
) -> None:
    """Never nothing, for any program; the next write leaves one of the name, and all versions in order."""
    clock = FakeClock()  # so that the lease of the dead does not keep us waiting
    guard = SQLiteCoordinator(coordinator._file._path, clock) if guarded else None
    made = place.open(guard, clock=clock, options={"versions": 3})
    names = [Name(f"n{changes}") for changes in range(1, 5)]
    killed = []
    for changes, name in enumerate(names, 1):
        for n in range(3):
            made.put(name, text(f"old{n}"), None)
        killed.append(killed_after(changes, lambda name=name: made.put(name, text("new"), None)))  # type: ignore[misc]
        shown = place.read(place.label(name))
        assert shown
        assert set(shown) <= {text("old2").reveal(), text("new").reveal()}
        assert made.get(name, Stage.CURRENT).value == text("new")
        clock.advance(1000)
        made.put(name, text("next"), None)
        assert place.read(place.label(name)) == [text("next").reveal()]
        values = [made.get(name, version.id).value for version in made.versions(name)]
        assert values == [text("next"), text("new"), text("old2")]
    assert killed == [True, True, True, False], "made, renamed, pruned, and nothing more"


def test_a_writer_killed_at_any_moment_leaves_a_whole_value(place: Place, store: TokenStore) -> None:
    """SoftHSM's own writing included: what is read is one of the values, to the last byte.

    Not while it logs in: SoftHSM then writes the token's own file, and a token cut off there is lost.
    """
    values = [SecretValue(bytes([65 + n]) * 200_000) for n in range(4)]
    store.put(DB, values[0], None)
    for _ in range(scaled(60, "token writers killed at random")):
        working, works = os.pipe()
        child = os.fork()
        if not child:
            _write_for_ever(place, values, works)
        os.close(works)
        assert os.read(working, 1)
        time.sleep(random.uniform(0.0, 0.1))  # into the middle of its work, wherever that is
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(working)  # not before: its next write would end it
        assert place.read()
        assert any(store.get(DB, Stage.CURRENT).value == value for value in values)
    store = place.open()
    store.put(DB, text("last"), None)
    assert place.read() == [text("last").reveal()]


def _write_for_ever(place: Place, values: list[SecretValue], works: int) -> None:
    try:
        store = place.open(attempts=1)
        while True:
            for value in values:
                store.put(DB, value, None)
                os.write(works, b"1")
    finally:
        os._exit(1)


Late = Callable[..., UnavailableError]


@pytest.fixture
def late(place: Place, leases: Path) -> Late:
    """A guarded put; while it stands before a step of its write, its lease runs out and more happens."""

    def run(meanwhile: Callable[[], Any], owner: object = _entries, step: str = "create") -> UnavailableError:
        clock = FakeClock()
        holder = place.open(SQLiteCoordinator(leases, clock), clock=clock)
        stepping = getattr(owner, step)
        patch = pytest.MonkeyPatch()

        def slow(*made: Any) -> Any:
            patch.undo()
            clock.advance(1000)
            meanwhile()
            return stepping(*made)

        patch.setattr(owner, step, slow)
        with pytest.raises(UnavailableError) as caught:
            holder.put(DB, text("late"), None)
        return caught.value

    return run


def _ahead(leases: Path) -> SQLiteCoordinator:
    """A coordinator whose clock is past the late holder's lease."""
    clock = FakeClock()
    clock.advance(1000)
    return SQLiteCoordinator(leases, clock)


def test_a_late_holder_changes_nothing_that_is_read(place: Place, leases: Path, late: Late) -> None:
    """Its version stands behind that of the holder who overtook it, for every reader, and it is told so."""
    other = place.open(_ahead(leases))
    other.put(DB, text("first"), None)
    error = late(lambda: other.put(DB, text("won"), None))
    assert error.performed is None
    assert place.read() == [text("won").reveal()]
    assert other.get(DB, Stage.CURRENT).value == text("won")
    assert other.get(DB, Stage.PREVIOUS).value == text("first")
    assert len(other.versions(DB)) == 2


def test_a_late_holder_killed_before_it_tidied_is_repaired(
    place: Place, leases: Path, late: Late, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program may read either until the next write; Strongroom is not mistaken."""
    other = place.open(_ahead(leases))
    other.put(DB, text("first"), None)

    def overtake() -> None:
        other.put(DB, text("won"), None)
        monkeypatch.setattr(_entries, "tidy", lambda *_: None)

    late(overtake)
    monkeypatch.undo()
    assert sorted(place.read()) == sorted([text("won").reveal(), text("late").reveal()])
    assert other.get(DB, Stage.CURRENT).value == text("won")
    seen = other.get(DB, Stage.CURRENT).version
    other.put(DB, text("next"), seen)
    assert place.read() == [text("next").reveal()]
    assert other.get(DB, Stage.PREVIOUS).value == text("won")


def test_a_late_version_that_hides_the_right_one_is_written_past(
    place: Place, leases: Path, late: Late
) -> None:
    """A holder who found nothing and numbers its version only now comes out on top, until the next write."""
    other = place.open(_ahead(leases))

    def overtake() -> None:
        other.put(DB, text("first"), ABSENT)
        other.put(DB, text("won"), None)

    late(overtake, Versions, "_mark")
    assert other.get(DB, Stage.CURRENT).value == text("late")
    assert other.get(DB, Stage.PREVIOUS).value == text("first")
    assert place.read() == [text("won").reveal()] == [other.get(DB, Stage.CURRENT).value.reveal()]
    other.put(DB, text("next"), None)
    values = [other.get(DB, version.id).value for version in other.versions(DB)]
    assert values == [text("next"), text("won"), text("first")]


def test_a_writer_without_the_coordinator_counts(place: Place, leases: Path) -> None:
    """It is a foreign writer; whoever saw what was there before it has a conflict."""
    guarded = place.open(SQLiteCoordinator(leases))
    seen = guarded.put(DB, text("seen"), None)
    past = place.open().put(DB, text("past the coordinator"), None)
    assert guarded.get(DB, Stage.CURRENT).version == past.id
    with pytest.raises(SecretConflictError):
        guarded.put(DB, text("mine"), seen.id)
    guarded.put(DB, text("mine"), past.id)
    assert place.read() == [text("mine").reveal()]


def test_a_companions_late_frame_is_not_what_is_read(place: Place, leases: Path) -> None:
    """A companion is read settled, or a frame of a rotation that is done would stop every rotation."""
    store = place.open(_ahead(leases))
    companion = Companion(DB)
    held = store.put(companion, text("held"), ABSENT)
    done = store.put(companion, SecretValue("done"), held.id)
    store.retire(companion, held.id)
    store.retire(companion, held.id)
    assert store.get(companion, Stage.CURRENT).version == done.id
    with pytest.raises(SecretNotFoundError):
        store.get(companion, held.id)
    assert place.objects() == [f"_strongroom/pending/{place.label()}"]


def test_retiring_the_newest_brings_nothing_back(place: Place, store: TokenStore) -> None:
    """Exactly that version is destroyed; the name counts as absent, and its next version has a new id."""
    ids = [store.put(DB, text(n), None).id for n in range(3)]
    store.retire(DB, ids[-1])
    assert place.read() == []
    with pytest.raises(SecretNotFoundError):
        store.get(DB, Stage.CURRENT)
    assert store.put(DB, text("new"), ABSENT).id not in ids
    assert store.get(DB, Stage.CURRENT).value == text("new")


@GUARDED_OR_NOT
def test_versions_are_bounded(place: Place, coordinator: SQLiteCoordinator, *, guarded: bool) -> None:
    """The oldest are destroyed, and the newest can be read; ten by default, or as the option says."""
    for keep, options in ((VERSIONS, {}), (2, {"versions": 2})):
        store = place.open(coordinator if guarded else None, **({"options": options} if options else {}))
        name = Name(f"kept{keep}")
        ids = [store.put(name, text(n), None).id for n in range(VERSIONS + 3)]
        assert [version.id for version in store.versions(name)] == ids[: -keep - 1 : -1]
        assert len(place.objects()) == keep
        assert store.get(name, Stage.PREVIOUS).version == ids[-2]
        with pytest.raises(SecretNotFoundError):
            store.get(name, ids[-keep - 1])
        store.purge(name)


def test_processes_compare_and_set_without_losing_a_write(place: Place, leases: Path) -> None:
    """Each counts up what it read; the sum is right, and the losers knew that they had lost."""
    place.open(SQLiteCoordinator(leases)).put(DB, SecretValue("0"), None)
    children = [os.fork() or _counting(place, leases) for _ in range(WRITERS)]
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * WRITERS
    store = place.open()
    assert store.get(DB, Stage.CURRENT).value.matches(str(WRITERS * WRITES))
    assert len(place.read()) == 1
    values = [int(store.get(DB, version.id).value.reveal()) for version in store.versions(DB)]
    assert values == list(range(WRITERS * WRITES, WRITERS * WRITES - VERSIONS, -1))


def _counting(place: Place, leases: Path) -> int:
    try:
        store, counted = place.open(SQLiteCoordinator(leases), attempts=PATIENT), 0
        while counted < WRITES:
            seen = store.get(DB, Stage.CURRENT)
            try:
                store.put(DB, SecretValue(str(int(seen.value.reveal()) + 1)), seen.version)
                counted += 1
            except SecretConflictError:
                continue
        os._exit(0)
    finally:
        os._exit(1)


def test_processes_without_a_coordinator_end_with_one_newest(place: Place) -> None:
    """Whatever they did to each other: one object bears the name, and every reader agrees on it."""
    store = place.open()
    store.put(DB, text(), None)
    children = [os.fork() or _writing(place, writer) for writer in range(WRITERS)]
    for child in children:
        while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
            assert store.get(DB, Stage.CURRENT).value.reveal().startswith(CANARY.encode())
        assert os.waitstatus_to_exitcode(ended[1]) == 0
    assert place.read() == [store.get(DB, Stage.CURRENT).value.reveal()]
    assert len(place.objects()) == VERSIONS


def _writing(place: Place, writer: int) -> int:
    try:
        store = place.open(attempts=PATIENT)
        for n in range(2 * WRITES):
            store.put(DB, text(f"{writer} {n}"), None)
        os._exit(0)
    finally:
        os._exit(1)


def test_eight_children_and_their_parent_work_at_once(place: Place, coordinator: SQLiteCoordinator) -> None:
    """Forked while the parent has sessions; each makes its own."""
    store = place.open(coordinator, attempts=PATIENT)
    store.put(DB, text(), None)

    def work(child: int) -> None:
        assert store.get(DB, Stage.CURRENT).value == text()
        store.put(Name(f"child{child}"), text(child), None)

    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(in_child, [partial(work, child) for child in range(8)]))
    assert codes == [0] * 8
    names = {str(info.key) for info in store.list_info("child")}
    assert names == {f"child{child}" for child in range(8)}


def test_finding_by_name_reads_one_value(store: TokenStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many secrets and versions there are; listings and writes read none."""
    read: list[SecretValue] = []
    sealed = _entries._sealed

    def counted(*found: Any) -> SecretValue:
        read.append(sealed(*found))
        return read[-1]

    monkeypatch.setattr(_entries, "_sealed", counted)
    for n in range(30):
        store.put(Name(f"n{n % 10}"), text(n), None)
    assert len(list(store.list_info(""))) == 10
    assert len(store.versions(Name("n3"))) == 3
    assert len(list(store.list_info("", detail=True))) == 10
    assert read == []
    assert store.get(Name("n3"), Stage.CURRENT).value == text(23)
    assert read == [text(23)]


def test_tags_are_an_object_of_their_own(place: Place, store: TokenStore) -> None:
    """Of which one is kept; the secret's object is not touched, and a purge takes both."""
    made = store.put(DB, text(), None)
    for n in range(3):
        store.set_tags(DB, {"n": str(n), "team": "core" if n else None})
    assert dict(store.describe(DB).tags) == {"n": "2", "team": "core"}
    assert place.objects() == [f"_strongroom/tags/{place.label()}", place.label()]
    assert store.get(DB, Stage.CURRENT).version == made.id
    assert [dict(info.tags) for info in store.list_info("", detail=True)] == [{"n": "2", "team": "core"}]
    store.purge(DB)
    assert place.objects() == []
    with pytest.raises(SecretNotFoundError):
        store.set_tags(DB, {"a": "b"})


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        (pkcs11.DeviceMemory, UnavailableError, "full"),
        (pkcs11.TokenWriteProtected, PermissionDeniedError, "write-protected"),
        (pkcs11.SessionReadOnly, PermissionDeniedError, "write-protected"),
        (pkcs11.DataLenRange, InvalidRequestError, "refused"),
    ],
)
def test_what_a_token_refuses_is_told(
    store: TokenStore,
    monkeypatch: pytest.MonkeyPatch,
    fault: type[pkcs11.PKCS11Error],
    error: type[SecretStoreError],
    words: str,
) -> None:
    """With what to do about it, that nothing was written, and without the value."""
    store.put(DB, text("old"), None)

    def refuse(*_: object) -> None:
        raise fault

    with monkeypatch.context() as full:
        full.setattr(_entries, "create", refuse)
        with pytest.raises(error, match=words) as caught:
            store.put(DB, text("new"), None)
    assert caught.value.performed is False
    assert_no_canary_in(caught.value)
    assert store.get(DB, Stage.CURRENT).value == text("old")


def test_a_write_whose_answer_was_lost_is_found_by_its_id(
    store: TokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The token failed after it had made the object: that is a success, and nothing is written twice."""
    create = _entries.create

    def lost(*made: Any) -> None:
        create(*made)
        raise pkcs11.DeviceError

    monkeypatch.setattr(_entries, "create", lost)
    made = store.put(DB, text(), None)
    monkeypatch.undo()
    assert store.get(DB, Stage.CURRENT).version == made.id
    assert len(store.versions(DB)) == 1


def test_a_token_that_does_not_rename_is_lived_with(
    store: TokenStore, place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The write counts, Strongroom reads it, and the log says that others may not."""

    def refuse(*_: object) -> None:
        raise pkcs11.AttributeReadOnly

    monkeypatch.setattr(_entries.Entry, "rename", refuse)
    for n in range(3):
        store.put(DB, text(n), None)
    assert store.get(DB, Stage.CURRENT).value == text(2)
    assert store.get(DB, Stage.PREVIOUS).value == text(1)
    assert "keep the secret's label" in caplog.text
    assert len(place.read()) == 3


def test_a_search_that_missed_the_rename_looks_again(
    store: TokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search is no snapshot: it can see neither the new object yet nor the old one any more."""
    store.put(DB, text(), None)
    bearers = _entries.bearers
    misses: list[list[_entries.Entry]] = [[], []]

    def missing(*args: Any) -> list[_entries.Entry]:
        return misses.pop() if misses else bearers(*args)

    monkeypatch.setattr(_entries, "bearers", missing)
    assert store.get(DB, Stage.CURRENT).value == text()


def test_a_wrong_pin_is_denied(place: Place) -> None:
    """On every operation; the process being logged in lets nobody else in."""
    place.open().put(DB, text(), None)
    wrong = place.open(auth={"pin": SecretValue(f"{CANARY}-wrong")})
    for call in (
        lambda: wrong.get(DB, Stage.CURRENT),
        lambda: wrong.put(DB, text(), None),
        lambda: list(wrong.list_info("")),
        lambda: wrong.purge(DB),
        lambda: wrong.retire(DB, "1"),
        lambda: wrong.set_tags(DB, {}),
    ):
        with pytest.raises(PermissionDeniedError) as caught:
            call()
        assert_no_canary_in(caught.value)


def test_without_a_coordinator_conditions_are_refused_before_the_token(softhsm_store: TestToken) -> None:
    """Labels are not unique, so that not even ABSENT can be promised."""
    store = TokenStore.from_url(StoreURL.parse("pkcs11:token=not-there"), softhsm_store.settings(attempts=1))
    for condition in (ABSENT, "1.0"):
        with pytest.raises(UnsupportedOperationError, match="coordinator"):
            store.put(DB, text(), condition)
    with pytest.raises(UnavailableError, match="no such token"):
        store.put(DB, text(), None)


@pytest.mark.parametrize("url", [
    "pkcs11:token=t;id=%01", "pkcs11:token=t;type=private", "pkcs11:object=a", "pkcs11:token=t;object=a%2F..",
    "pkcs11:token=t;object=Prod", "pkcs11:token=t?pin-value=1", "pkcs11:token=t;object=_strongroom",
])  # fmt: skip
def test_a_url_that_names_no_store_is_refused(softhsm_store: TestToken, url: str) -> None:
    """A store is a token and a prefix that is a legal one."""
    with pytest.raises(InvalidRequestError):
        TokenStore.from_url(StoreURL.parse(url), softhsm_store.settings())


@pytest.mark.parametrize("options", [{"versions": 1}, {"versions": "9"}, {"versions": True}, {"keep": 3}])
def test_unknown_options_are_refused(softhsm_store: TestToken, options: dict[str, Any]) -> None:
    """Two versions at least, or there is nothing to roll back to."""
    with pytest.raises(InvalidRequestError):
        TokenStore.from_url(StoreURL.parse("pkcs11:token=t"), softhsm_store.settings(options=options))


def test_our_objects_are_private(place: Place, store: TokenStore) -> None:
    """The token shows them to nobody who is not logged in."""
    store.put(DB, text(), None)
    store.put(Companion(DB), text(), None)
    store.set_tags(DB, {"a": "b"})
    with place.native() as session:
        template = {Attribute.CLASS: pkcs11.ObjectClass.DATA, Attribute.PRIVATE: False}
        labels = [item[Attribute.LABEL] for item in list(session.get_objects(template))]
    assert not [label for label in labels if place.prefix in label]
