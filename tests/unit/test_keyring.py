"""Keyrings: versions, roots, rotation, and what a running process notices of them."""

from __future__ import annotations

import copy
import json
import pickle
import traceback
from pathlib import Path

import pytest

import strongroom
from strongroom.backend import Absent, SecretVersion, Stage
from strongroom.envelope import keyring_keeping
from strongroom.envelope.cipher import decrypt, encrypt
from strongroom.envelope.keyring import RECHECK, FilePlace, Keyring, StorePlace
from strongroom.envelope.keyring import Root as NamedRoot
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.keys import DATA_KEY_LENGTH
from strongroom.layers.encrypted import Encrypted
from strongroom.localkey import FIRST_BLOCK, WRAP_BLOCK
from strongroom.memory import MemoryBackend
from strongroom.names import Key, Name
from strongroom.testing.conformance_key_base import error_of
from strongroom.testing.conformance_safety import at_once
from strongroom.value import SecretValue
from tests.canary import CANARY, CANARY_BYTES, assert_no_canary_in
from tests.scale import scaled
from tests.unit.keyring_support import (
    CONTEXT,
    DATA_KEY,
    MESSAGE,
    NAME,
    Root,
    WatchedPlace,
    World,
    opens,
    round_trips,
    sealed,
)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_keyring_is_made_and_opened(world: World) -> None:
    """One version, which is the primary; what it wrapped opens after opening it again."""
    made = world.create()
    [version] = made.versions
    assert version.primary
    assert round_trips(made, world.open())
    assert (made.generation, made.key_id) == (1, world.open().key_id)
    assert isinstance(made, strongroom.Keyring)


def test_an_existing_keyring_is_never_replaced(world: World) -> None:
    """A conflict, before any root is asked."""
    before = (world.create(), world.path.read_bytes())[1]
    other = Root("two")
    with pytest.raises(SecretConflictError):
        world.create(other)
    assert (world.path.read_bytes(), other.calls) == (before, {})


def test_a_missing_keyring_is_not_found(world: World) -> None:
    """With what makes one."""
    with pytest.raises(SecretNotFoundError, match="key create"):
        world.open()


def test_a_rotated_keyring_wraps_under_the_new_version_and_opens_all(world: World) -> None:
    """Generation and versions grow; the old message still opens."""
    keyring = world.create()
    messages = [sealed(keys=[keyring])]
    names = [keyring.versions[0].name]
    for _ in range(3):
        names.append(keyring.rotate())
        messages.append(sealed(keys=[keyring]))
    assert [version.name for version in keyring.versions] == names
    assert [version.primary for version in keyring.versions] == [False] * 3 + [True]
    assert keyring.generation == 4
    again = world.open()
    assert again.versions == keyring.versions
    assert all(opens(reader, message) for reader in (keyring, again) for message in messages)


def test_what_the_primary_wrapped_is_told_from_the_rest(world: World) -> None:
    """So that reencryption knows what is done."""
    keyring = world.create()
    wrapped = keyring.wrap(DATA_KEY, CONTEXT)
    assert keyring.is_primary(wrapped)
    keyring.rotate()
    assert not keyring.is_primary(wrapped)
    assert keyring.matches(wrapped)


def test_a_running_process_takes_up_a_version_it_meets(world: World) -> None:
    """Without waiting: the message of another process opens at once, at the cost of one call to a root."""
    writer, reader = world.create(), world.open()
    calls = world.root.calls["unwrap"]
    writer.rotate()
    calls = world.root.calls["unwrap"]
    assert round_trips(writer, reader)
    assert world.root.calls["unwrap"] == calls + 1
    assert reader.versions == writer.versions


def test_versions_that_nobody_has_do_not_make_it_read_more_than_once_a_second(world: World) -> None:
    """Whoever sends forged messages cannot have a process ask for its keyring for each."""
    place = WatchedPlace(world.path)
    keyring = Keyring.create(place, [world.root], name=NAME, clock=world.clock)
    forged = keyring.wrap(DATA_KEY, CONTEXT)
    forged = forged._replace(key_info=forged.key_info.replace(keyring.versions[0].name.encode(), b"0" * 16))
    reads = place.reads
    for _ in range(2):
        for _ in range(100):
            with pytest.raises(IntegrityError, match="no version"):
                keyring.unwrap(forged, CONTEXT)
        world.clock.advance(1)
    assert place.reads == reads + 2


def test_a_place_that_does_not_answer_is_told_for_a_second(world: World) -> None:
    """A version that may be there is not called a forgery, and the place is not asked for each message."""
    place = WatchedPlace(world.path)
    writer = Keyring.create(place, [world.root], name=NAME, clock=world.clock)
    reader = Keyring.open(place, [world.root], name=NAME, clock=world.clock)
    writer.rotate()
    message = sealed(keys=[writer])
    place.error = UnavailableError("the disk is gone")
    for _ in range(2):
        with pytest.raises(UnavailableError, match="the disk is gone"):
            opens(reader, message)
    place.error = None
    world.clock.advance(1)
    assert opens(reader, message)


def test_a_primary_is_left_after_three_hundred_seconds(world: World) -> None:
    """Until then the process goes on under the version it knows; its messages open everywhere."""
    writer, other = world.create(), world.open()
    writer.rotate()
    world.clock.advance(RECHECK - 1)
    assert not writer.is_primary(other.wrap(DATA_KEY, CONTEXT))
    world.clock.advance(1)
    assert writer.is_primary(other.wrap(DATA_KEY, CONTEXT))


def test_looking_whether_it_was_rotated_calls_no_root(world: World) -> None:
    """Unchanged bytes are known: a process that lives for a day calls its root once, to open."""
    world.create()
    world.root.calls.clear()
    place = WatchedPlace(world.path)
    keyring = Keyring.open(place, [world.root], name=NAME, clock=world.clock)
    for _ in range(288):
        world.clock.advance(RECHECK)
        assert round_trips(keyring)
    assert (place.reads, world.root.calls) == (289, {"unwrap": 1})


@pytest.mark.parametrize("error", [UnavailableError, PermissionDeniedError])
def test_an_outage_of_the_place_leaves_the_primary_in_use(
    world: World, error: type[SecretStoreError]
) -> None:
    """Wrapping needs nobody; the place is asked again after another 300 s."""
    world.create()
    place = WatchedPlace(world.path)
    keyring = Keyring.open(place, [world.root], name=NAME, clock=world.clock)
    place.error, place.reads = error("no answer"), 0
    world.clock.advance(RECHECK)
    for _ in range(5):
        assert round_trips(keyring)
    assert place.reads == 1
    world.clock.advance(RECHECK)
    assert round_trips(keyring)
    assert place.reads == 2


def test_a_keyring_that_is_gone_wraps_no_more(world: World) -> None:
    """What it wrapped nobody else could open; what was wrapped before, it opens."""
    keyring = world.create()
    message = sealed(keys=[keyring])
    world.clock.advance(RECHECK)
    whole = world.path.read_bytes()
    world.path.unlink()
    for _ in range(3):
        with pytest.raises(UnavailableError, match="no keyring") as caught:
            sealed(keys=[keyring])
        assert not caught.value.retryable
    assert opens(keyring, message)
    world.path.write_bytes(whole)
    world.path.chmod(0o600)
    assert round_trips(keyring)


def test_an_older_keyring_that_is_put_back_is_noticed(world: World) -> None:
    """By whoever has seen the newer one: at the next look, at a rotation, and when it is opened again."""
    keyring = world.create()
    older = world.path.read_bytes()
    message = sealed(keys=[keyring])
    keyring.rotate()
    world.path.write_bytes(older)
    world.clock.advance(RECHECK)
    for attempt in (lambda: sealed(keys=[keyring]), keyring.rotate, keyring.rewrap, world.open):
        with pytest.raises(IntegrityError, match="older keyring"):
            attempt()
    assert world.path.read_bytes() == older
    assert opens(keyring, message)


def test_what_was_unchanged_here_but_is_old_elsewhere_is_noticed(world: World) -> None:
    """Two keyrings of one process share what it has seen."""
    keyring, other = world.create(), world.open()
    older = world.path.read_bytes()
    other.rotate()
    world.path.write_bytes(older)
    world.clock.advance(RECHECK)
    with pytest.raises(IntegrityError, match="older keyring"):
        sealed(keys=[keyring])


def test_another_history_of_the_same_length_is_noticed(world: World) -> None:
    """A backup that was restored and rotated: the generation is the same, the version is another."""
    keyring = world.create()
    older = world.path.read_bytes()
    keyring.rotate()
    ours = world.path.read_bytes()
    world.path.write_bytes(older)
    _forget()
    world.open().rotate()
    assert world.path.read_bytes() != ours
    world.clock.advance(RECHECK)
    with pytest.raises(IntegrityError, match="another history"):
        sealed(keys=[keyring])


def test_another_keyring_in_its_place_is_noticed(world: World, tmp_path: Path) -> None:
    """Of the same name and under the same roots: only a process that saw the first can tell."""
    keyring = world.create()
    there = FilePlace(tmp_path / "other")
    Keyring.create(there, [world.root], name=NAME)
    world.path.write_bytes(there.path.read_bytes())
    world.clock.advance(RECHECK)
    with pytest.raises(IntegrityError, match="another keyring"):
        sealed(keys=[keyring])


def test_a_keyring_of_another_name_is_refused(world: World) -> None:
    """Its message names its alias."""
    world.create()
    with pytest.raises(IntegrityError, match="strongroom-name"):
        Keyring.open(FilePlace(world.path), [world.root], name="other")


def test_a_secrets_message_is_no_keyring(world: World) -> None:
    """Not under the same root, and not even if its name and what it holds are the keyring's."""
    keyring = world.create()
    document = decrypt(
        world.path.read_bytes(),
        keys=[world.root],
        context={},
        bindings={"strongroom-kind": "keyring", "strongroom-name": NAME},
    ).value
    inner, key = MemoryBackend(), Name(NAME)
    store = Encrypted(inner, [world.root], "prod")
    store.put(key, SecretValue(document), None)
    messages = [
        inner.get(key, Stage.CURRENT).value.reveal(),
        encrypt(document, keys=[world.root], context={"name": NAME}),
        encrypt(document, keys=[world.root], context={}),
    ]
    for message in messages:
        world.path.write_bytes(message)
        with pytest.raises(IntegrityError):
            world.open()
    world.path.write_bytes(b"something else")
    with pytest.raises(IntegrityError):
        world.open()
    keyring.close()


def test_a_keyring_is_no_secret(world: World) -> None:
    """An encrypted store does not give its message as a value, nor does `decrypt`."""
    world.create()
    message = world.path.read_bytes()
    inner, key = MemoryBackend(), Name(NAME)
    inner.put(key, SecretValue(message), None)
    with pytest.raises(IntegrityError):
        Encrypted(inner, [world.root], "prod").get(key, Stage.CURRENT)
    with pytest.raises(IntegrityError):
        decrypt(message, keys=[world.root], context={})


def test_a_message_of_another_kind_of_document_is_refused(world: World) -> None:
    """A newer version of the format, or what lacks a key that wraps."""
    keyring = world.create()
    bindings = {"strongroom-kind": "keyring", "strongroom-name": NAME}
    plain = decrypt(world.path.read_bytes(), keys=[world.root], context={}, bindings=bindings)
    facts = json.loads(plain.value)
    version = facts["keys"][0]
    wrong = [
        {**facts, "version": 2},
        {**facts, "format": "strongroom-keyset"},
        {**facts, "primary": "0" * 16},
        {**facts, "keys": []},
        {**facts, "keys": [version, version]},
        {**facts, "keys": [{**version, "key": version["key"][4:]}]},
        {**facts, "keys": [{**version, "name": "../../../etc/pas"}]},
        {**facts, "keys": [{**version, "algorithm": "AES-128-GCM"}]},
        {**facts, "generation": 0},
        {**facts, "generation": True},
        {**facts, "id": "other/place"},
        [],
    ]
    for document in wrong:
        world.path.write_bytes(
            encrypt(json.dumps(document).encode(), keys=[world.root], context={}, bindings=bindings)
        )
        with pytest.raises(IntegrityError, match="newer version, or none"):
            world.open()
    keyring.close()


def test_any_root_opens_it_alone(world: World) -> None:
    """KMS in each region, the HSM, the recovery key: each by itself, and what is wrapped is the same."""
    roots = [Root(name) for name in ("eu", "us", "hsm", "recovery")]
    writer = world.create(*roots)
    for root in roots:
        alone = world.open(root)
        assert round_trips(writer, alone)
        assert round_trips(alone, writer)
        assert [found.configured for found in writer.roots] == [True] * 4
        assert {found.key_id for found in alone.roots if found.configured} == {root.key_id}


def test_a_root_that_is_down_is_passed_over_when_opening(world: World) -> None:
    """And told; if all are, the error says which."""
    eu, us = Root("eu"), Root("us")
    world.create(eu, us)
    eu.error = UnavailableError("no answer")
    opened = world.open(eu, us)
    assert opened.passed_over == ("eu",)
    us.error = UnavailableError("no answer")
    with pytest.raises(UnavailableError, match=r"root (eu|us): no answer"):
        world.open(eu, us)


@pytest.mark.parametrize("error", [UnavailableError, PermissionDeniedError])
@pytest.mark.parametrize("change", ["rotate", "rewrap"])
@pytest.mark.parametrize("down", ["eu", "us"])
def test_a_root_that_is_down_keeps_the_keyring_as_it_is(
    world: World, error: type[SecretStoreError], change: str, down: str
) -> None:
    """An error that names it; the file and its counters are the same, and wrapping goes on."""
    roots = {name: Root(name) for name in ("eu", "us")}
    keyring = world.create(*roots.values())
    before = _contents(world)
    roots[down].error = error("no answer", hint="look after it")
    with pytest.raises(error, match=rf"root {down}: no answer \(look after it\)"):
        getattr(keyring, change)()
    assert _contents(world) == before
    assert round_trips(keyring)
    roots[down].error = None
    getattr(keyring, change)()
    assert keyring.generation == 2


def test_changing_roots_rewrites_one_message(tmp_path: Path) -> None:
    """1,000 messages under the keyring stay as they are, and open with only the new root."""
    backend, old, new = _Writes(), Root("old"), Root("new")
    place = StorePlace(backend, NAME)
    keyring = Keyring.create(place, [old], name=NAME)
    store = Encrypted(backend, [keyring], "prod")
    names = [Name(f"db/n{number}") for number in range(scaled(1000))]
    for name in names:
        store.put(name, SecretValue(CANARY), None)
    both = Keyring.open(place, [old, new], name=NAME)
    backend.written.clear()
    assert both.rewrap() == (("new",), ())
    assert Keyring.open(place, [new], name=NAME).rewrap(drop_roots=True) == ((), ("old",))
    assert backend.written == [MESSAGE, MESSAGE]
    after = Encrypted(backend, [Keyring.open(place, [new], name=NAME)], "prod")
    assert all(after.get(name, Stage.CURRENT).value == SecretValue(CANARY) for name in names)
    with pytest.raises(IntegrityError, match="none of the configured keys"):
        Keyring.open(place, [old], name=NAME)


def test_a_root_that_is_not_configured_is_never_dropped_in_silence(world: World) -> None:
    """Rotating refuses it, rewrapping too unless told; the error names it and what to do."""
    eu, us = Root("eu"), Root("us")
    world.create(eu, us)
    before = _contents(world)
    keyring = world.open(eu)
    for change in (keyring.rotate, keyring.rewrap):
        with pytest.raises(InvalidRequestError, match=r"not configured: us \(.*--drop-roots"):
            change()
    assert _contents(world) == before
    assert keyring.roots == (
        NamedRoot("strongroom-local", "eu", True),
        NamedRoot("strongroom-local", "us", False),
    )
    assert keyring.rewrap(drop_roots=True).removed == ("us",)
    assert [root.key_id for root in keyring.roots] == ["eu"]
    assert keyring.rotate()


def test_a_configured_root_is_added_by_rewrapping(world: World) -> None:
    """Until then it is told that it cannot open the keyring."""
    eu, us = Root("eu"), Root("us")
    world.create(eu)
    keyring = world.open(eu, us)
    assert list(keyring.roots_missing) == ["us"]
    assert keyring.rewrap() == (("us",), ())
    assert list(keyring.roots_missing) == []
    assert round_trips(keyring, world.open(us))
    assert keyring.rewrap() == ((), ())
    assert keyring.generation == 3


def test_an_asymmetric_root_is_refused(world: World) -> None:
    """Whoever has its public half could put a keyring of his own in the place."""
    world.create()
    public = Root("public", symmetric=False)
    with pytest.raises(InvalidRequestError, match="asymmetric"):
        world.open(world.root, public)
    world.path.unlink()
    with pytest.raises(InvalidRequestError, match="asymmetric"):
        world.create(public)


def test_a_forgeable_keyring_is_as_asymmetric_as_its_roots(tmp_path: Path) -> None:
    """So that an encrypted store asks for the same word again."""
    place = FilePlace(tmp_path / "k")
    keyring = Keyring.create(place, [Root(symmetric=False)], name=NAME, forgeable=True)
    assert not keyring.symmetric
    with pytest.raises(InvalidRequestError, match="asymmetric"):
        Encrypted(MemoryBackend(), [keyring], "prod")
    other = Keyring.create(FilePlace(tmp_path / "o"), [Root()], name=NAME, forgeable=True)
    assert other.symmetric


def test_a_keyring_has_one_to_sixteen_roots(world: World) -> None:
    """As every message has."""
    for count in (0, 17):
        with pytest.raises(InvalidRequestError, match="1 to 16"):
            Keyring.create(FilePlace(world.path), [Root(f"r{number}") for number in range(count)], name=NAME)
    assert _contents(world) == {}


def test_a_thousand_encryptions_call_the_root_once(world: World) -> None:
    """Opening does; encrypting and decrypting ask nobody."""
    world.create()
    world.root.calls.clear()
    keyring = world.open()
    assert all(round_trips(keyring) for _ in range(scaled(1000)))
    assert world.root.calls == {"unwrap": 1}
    assert not keyring.remote


def test_a_block_of_wraps_is_taken_before_the_first(world: World) -> None:
    """Opening and unwrapping take none; each process that wraps takes one, of the version that wraps."""
    keyring = world.create()
    [counter] = world.path.parent.glob("*.wraps")
    assert (counter.stat().st_size, counter.stat().st_mode & 0o777) == (0, 0o600)
    message = sealed(keys=[keyring])
    assert counter.stat().st_size == 1
    other = world.open()
    assert opens(other, message)
    assert counter.stat().st_size == 1
    sealed(keys=[other])
    assert counter.stat().st_size == 2
    keyring.rotate()
    keyring.rotate()
    sealed(keys=[keyring])
    assert sorted(file.stat().st_size for file in world.path.parent.glob("*.wraps")) == [0, 1, 2]


def test_rotating_and_rewrapping_go_on_with_the_block_in_hand(world: World) -> None:
    """A version that is known keeps its numbers."""
    keyring = world.create()
    sealed(keys=[keyring])
    for _ in range(3):
        keyring.rewrap()
        sealed(keys=[keyring])
    [counter] = world.path.parent.glob("*.wraps")
    assert counter.stat().st_size == 1


def test_a_version_without_its_counter_only_unwraps(world: World) -> None:
    """A counter made anew would forget every wrap there was; a rotation makes a new key."""
    keyring = world.create()
    message = sealed(keys=[keyring])
    [counter] = world.path.parent.glob("*.wraps")
    counter.unlink()
    again = world.open()
    with pytest.raises(IntegrityError, match="counter"):
        sealed(keys=[again])
    assert not counter.exists()
    assert opens(again, message)
    again.rotate()
    assert round_trips(again)


def test_the_wraps_taken_are_told(world: World) -> None:
    """Of the primary, in blocks; without its counter it wraps no more, which is told too."""
    keyring = world.create()
    assert keyring.wraps == 0
    sealed(keys=[keyring])
    assert keyring.wraps == FIRST_BLOCK
    keyring.rotate()
    assert keyring.wraps == 0
    for counter in world.path.parent.glob("*.wraps"):
        counter.unlink()
    with pytest.raises(IntegrityError, match="missing"):
        _ = keyring.wraps


def test_each_root_is_tried_by_itself(world: World) -> None:
    """One opens it, one is down, and one was never added."""
    eu, us, new = Root("eu"), Root("us"), Root("new")
    world.create(eu, us)
    us.error = UnavailableError("no answer")
    opened, down, missing = world.open(eu, us, new).try_roots()
    assert opened is None
    assert (type(down), str(down)) == (UnavailableError, "root us: no answer")
    assert isinstance(missing, IntegrityError)


def test_a_spent_version_says_to_rotate(world: World) -> None:
    """After 2^31 wraps; what it wrapped still opens."""
    keyring = world.create()
    message = sealed(keys=[keyring])
    [counter] = world.path.parent.glob("*.wraps")
    counter.write_bytes(b"." * (2**31 // WRAP_BLOCK))
    spent = world.open()
    with pytest.raises(InvalidRequestError, match=f"key rotate {NAME}"):
        sealed(keys=[spent])
    assert opens(spent, message)
    spent.rotate()
    assert round_trips(spent)


def test_no_key_shows(world: World) -> None:
    """Not in the repr of anything that is held, and it cannot be pickled or copied."""
    keyring = world.create()
    shown = repr(keyring) + repr(vars(keyring)) + repr(keyring._keeper._seen)
    assert keyring.key_id in repr(keyring)
    for version in keyring._keeper._seen.document.keys:  # type: ignore[union-attr]
        assert repr(version.key)[2:-1] not in shown
        for thing in (keyring, version, keyring._keeper._seen.document):  # type: ignore[union-attr]
            for copied in (pickle.dumps, copy.copy, copy.deepcopy):
                with pytest.raises(TypeError, match="cannot be pickled"):
                    copied(thing)


def test_no_error_shows_a_key(world: World) -> None:
    """Neither the data key that is wrapped nor a version's own, whatever fails."""
    keyring = world.create()
    world.clock.advance(RECHECK)
    world.path.unlink()
    with pytest.raises(UnavailableError) as caught:
        keyring.wrap(DATA_KEY, CONTEXT)
    assert_no_canary_in(caught.value)
    assert CANARY_BYTES not in DATA_KEY[DATA_KEY_LENGTH:]
    world.root.error = UnavailableError("no answer")
    with pytest.raises(UnavailableError) as failed:
        world.create()
    frames = [frame for frame, _ in traceback.walk_tb(failed.value.__traceback__)]
    shown = "".join(repr(frame.f_locals) for frame in frames if "keyring" in frame.f_globals["__name__"])
    assert "AES-256-GCM" not in shown


def test_closing_closes_roots_and_place(world: World) -> None:
    """Twice does no harm; a closed keyring has no keys."""
    keyring = world.create()
    wrapped = keyring.wrap(DATA_KEY, CONTEXT)
    keyring.close()
    keyring.close()
    assert world.root.calls["close"] == 2
    for attempt in (lambda: keyring.wrap(DATA_KEY, CONTEXT), lambda: keyring.unwrap(wrapped, CONTEXT)):
        with pytest.raises(InvalidRequestError, match="closed"):
            attempt()


class _Writes(MemoryBackend):
    """Notes what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[Key] = []

    def put(
        self, key: Key, value: SecretValue, if_version: str | Absent | None, record: str | None = None
    ) -> SecretVersion:
        self.written.append(key)
        return super().put(key, value, if_version, record)


def _contents(world: World) -> dict[str, bytes]:
    """Every file of the place."""
    return {file.name: file.read_bytes() for file in world.path.parent.iterdir()}


def _forget() -> None:
    """What another process would not know."""
    keyring_keeping._newest.clear()


def test_a_keyring_that_is_gone_does_not_pass_for_a_secret_that_is(world: World) -> None:
    """A store that reads under a version it does not know says that it cannot, never "not found"."""
    writer, inner, key = world.create(), MemoryBackend(), Name("db/password")
    reader = Encrypted(inner, [world.open()], "prod")
    writer.rotate()
    Encrypted(inner, [writer], "prod").put(key, SecretValue(CANARY), None)
    world.path.unlink()
    with pytest.raises(UnavailableError, match="no keyring"):
        reader.get(key, Stage.CURRENT)


def test_nobody_waits_for_the_thread_that_looks(world: World) -> None:
    """While one thread reads the place again or rotates, the others wrap on under the primary they know."""
    keyring = world.create()
    world.clock.advance(RECHECK)
    with keyring._lock:
        assert round_trips(keyring)
    world.root.error = UnavailableError("no answer")
    assert round_trips(keyring)


def test_once_set_back_no_thread_wraps(world: World) -> None:
    """Not even while another one looks again; when the newer one is there again, all do."""
    keyring = world.create()
    older = world.path.read_bytes()
    keyring.rotate()
    newer = world.path.read_bytes()
    world.path.write_bytes(older)
    world.clock.advance(RECHECK)
    attempts = [lambda: sealed(keys=[keyring])] * 8
    assert error_of(attempts[0])
    assert all(isinstance(result, IntegrityError) for result in at_once(attempts))
    world.path.write_bytes(newer)
    assert not [result for result in at_once(attempts) if isinstance(result, SecretStoreError)]


def test_eight_threads_that_meet_a_new_version_read_it_once(world: World) -> None:
    """The others wait for the one that reads."""
    place = WatchedPlace(world.path)
    writer = Keyring.create(place, [world.root], name=NAME, clock=world.clock)
    reader = Keyring.open(place, [world.root], name=NAME, clock=world.clock)
    writer.rotate()
    message = sealed(keys=[writer])
    reads = place.reads
    assert at_once([lambda: opens(reader, message)] * 8) == [True] * 8
    assert place.reads == reads + 1


def test_a_fork_is_told_to_roots_and_place(world: World) -> None:
    """Their sessions are the parent's; the opened keyring goes on."""
    keyring = world.create()
    keyring.after_fork()
    assert world.root.calls["after_fork"] == 1
    assert round_trips(keyring)


def test_a_keyring_behind_a_link_is_replaced_where_it_is(world: World) -> None:
    """And not the link: whoever reads the file itself must see the rotation."""
    link = world.path.with_name("link")
    link.symlink_to(world.path)
    made = Keyring.create(FilePlace(link), [world.root], name=NAME)
    made.rotate()
    assert link.is_symlink()
    assert world.open().versions == made.versions
    assert round_trips(made, world.open())
