"""The encrypted layer over memory: what lies below holds messages only, and none opens in another place."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from strongroom.backend import ABSENT, Backend, Capability, Secret, SecretVersion, Stage
from strongroom.envelope.cipher import encrypt
from strongroom.envelope.datakeys import DataKeyCache
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.keys import KeyWrapper, WrappedKey
from strongroom.layers.encrypted import Encrypted
from strongroom.layers.failover import Failover
from strongroom.memory import ALL, MemoryBackend
from strongroom.names import Companion, Key, Name
from strongroom.store import SecretStore
from strongroom.value import SecretValue
from tests.canary import CANARY, assert_no_canary_in, holds_canary
from tests.scale import scaled
from tests.unit.envelope_support import SpyKey, local_key

NAME, OTHER = Name("db/password"), Name("db/other")
NATIVE, COMPANION = ALL, ALL & ~Capability.NATIVE_PENDING
KEY = local_key()
SECRET = SecretValue(CANARY)
ROTATION = "6e4f2a7c-3d0f-4a67-9d5a-2f5a3f0b9c11"


def encrypted(inner: MemoryBackend, domain: str = "prod", key: KeyWrapper = KEY) -> Encrypted:
    return Encrypted(inner, [key], domain)


def stored(backend: MemoryBackend) -> list[bytes]:
    """Every value anywhere inside the backend, also held and superseded ones."""
    versions = [version for entry in backend._entries.values() for version in entry.history]
    versions += [entry.held.version for entry in backend._entries.values() if entry.held]
    return [version.value.reveal() for version in versions if version.value]


@pytest.fixture(params=[NATIVE, COMPANION], ids=["native", "companion"])
def inner(request: pytest.FixtureRequest) -> MemoryBackend:
    """What lies below: with pending values of its own, or with companions."""
    return MemoryBackend(request.param)


def test_what_lies_below_never_sees_a_value(inner: MemoryBackend) -> None:
    """Current, previous, pending, promoted and rolled back: messages, every one ▲."""
    rotation = str(uuid.uuid4())
    with SecretStore(encrypted(inner), cache=None) as store:
        store.put("db/password", CANARY)
        base = store.put("db/password", {"key": CANARY})
        pending = store.pending("db/password", rotation)
        pending.put(f"new {CANARY}", base_version=base.id)
        assert pending.get().value.matches(f"new {CANARY}")
        below = stored(inner)
        new = pending.promote()
        store.rollback("db/password", if_version=new.id)
        below += stored(inner)
        assert store.get("db/password").value.reveal_json("/key") == CANARY
        assert store.get("db/password", stage=Stage.PREVIOUS).value.matches(f"new {CANARY}")
    assert len(below) >= 7
    assert all(message[:1] == b"\x02" and not holds_canary(message) for message in below)


def test_the_kind_comes_back_as_it_went_in(inner: MemoryBackend) -> None:
    """Text stays text though every message is binary below."""
    layer = encrypted(inner)
    for value in (SecretValue("text"), SecretValue(b"text"), SecretValue(""), SecretValue(b"\xff\x00")):
        layer.put(NAME, value, None)
        found = layer.get(NAME, Stage.CURRENT).value
        assert (found.reveal(), found.kind) == (value.reveal(), value.kind)
        assert inner.get(NAME, Stage.CURRENT).value.kind == "binary"


def test_the_same_value_is_never_the_same_message(inner: MemoryBackend) -> None:
    """Equal ciphertexts would tell who shares a password, and that a rotation changed nothing."""
    layer = encrypted(inner)
    for key in (NAME, NAME, OTHER):
        layer.put(key, SECRET, None)
    assert len(set(stored(inner))) == 3


def moved(inner: MemoryBackend, source: Key, target: Key) -> None:
    inner.put(target, inner.get(source, Stage.CURRENT).value, None)


@pytest.mark.parametrize("target", [OTHER, Companion(NAME), Companion(OTHER)], ids=str)
def test_a_message_moved_to_another_key_does_not_open(target: Key) -> None:
    """Whoever may write the store could else give the read-only user's password to the admin's name ▲."""
    inner = MemoryBackend(COMPANION)
    layer = encrypted(inner)
    layer.put(NAME, SECRET, None)
    moved(inner, NAME, target)
    with pytest.raises(IntegrityError, match="strongroom-name") as caught:
        layer.get(target, Stage.CURRENT)
    assert_no_canary_in(caught.value)


def test_a_message_out_of_a_companion_does_not_open_as_the_secret() -> None:
    """A pending value copied over the secret would promote it without compare-and-set ▲."""
    inner = MemoryBackend(COMPANION)
    layer = encrypted(inner)
    layer.put(Companion(NAME), SECRET, None)
    moved(inner, Companion(NAME), NAME)
    with pytest.raises(IntegrityError):
        layer.get(NAME, Stage.CURRENT)


def test_a_message_of_another_domain_does_not_open(inner: MemoryBackend) -> None:
    """The same name in test and prod, under the same key ▲."""
    encrypted(inner, "test").put(NAME, SECRET, None)
    with pytest.raises(IntegrityError, match="strongroom-domain"):
        encrypted(inner, "prod").get(NAME, Stage.CURRENT)


def test_a_message_that_an_application_encrypted_does_not_pass_for_a_stored_one(inner: MemoryBackend) -> None:
    """`encrypt` refuses our own context keys, so an application's key use forges no secret ▲."""
    claims = {"strongroom-domain": "prod", "strongroom-name": "db/password"}
    with pytest.raises(InvalidRequestError, match="reserved"):
        encrypt(b"x", keys=[KEY], context=claims)
    inner.put(NAME, SecretValue(encrypt(b"x", keys=[KEY], context={"name": "db/password"})), None)
    with pytest.raises(IntegrityError):
        encrypted(inner).get(NAME, Stage.CURRENT)


@pytest.mark.parametrize("position", [0, 1, 40, 120, -1])
def test_a_changed_message_does_not_open(inner: MemoryBackend, position: int) -> None:
    """One bit, wherever it stands."""
    layer = encrypted(inner)
    layer.put(NAME, SECRET, None)
    message = bytearray(inner.get(NAME, Stage.CURRENT).value.reveal())
    message[position] ^= 1
    inner.put(NAME, SecretValue(bytes(message)), None)
    with pytest.raises(IntegrityError) as caught:
        layer.get(NAME, Stage.CURRENT)
    assert_no_canary_in(caught.value)


def test_a_message_under_another_key_does_not_open(inner: MemoryBackend) -> None:
    """A key of the same name is another key all the same."""
    encrypted(inner, key=local_key(b"\x07" * 32)).put(NAME, SECRET, None)
    with pytest.raises(IntegrityError):
        encrypted(inner).get(NAME, Stage.CURRENT)


@pytest.mark.parametrize("foreign", [CANARY, f'{{"password": "{CANARY}"}}', b"", b"\x01" + CANARY.encode()])
def test_plaintext_in_an_encrypted_store_is_an_error_with_a_hint_and_is_never_served(
    inner: MemoryBackend, foreign: Any
) -> None:
    """Serving it would let whoever can write the store, without any key, choose the values ▲."""
    inner.put(NAME, SecretValue(foreign), None)
    with pytest.raises(IntegrityError, match="no encrypted message") as caught:
        encrypted(inner).get(NAME, Stage.CURRENT)
    assert caught.value.hint
    assert_no_canary_in(caught.value)


class PublicKey(KeyWrapper):
    """An RSA-like key: anybody can wrap."""

    provider_id = "acme-rsa"
    key_id = "rsa-1"
    symmetric = False

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> WrappedKey:
        return self.wrapped(data_key)

    def unwrap(self, wrapped: WrappedKey, context: Mapping[str, str]) -> bytes:
        return wrapped.ciphertext


def test_an_asymmetric_key_is_refused_unless_forgeable_is_written() -> None:
    """Whoever has the public half can make messages that open ▲."""
    with pytest.raises(InvalidRequestError, match="forgeable = true"):
        Encrypted(MemoryBackend(), [PublicKey()], "prod")
    with pytest.raises(InvalidRequestError, match="rsa-1"):
        Encrypted(MemoryBackend(), [KEY, PublicKey()], "prod")
    layer = Encrypted(MemoryBackend(), [PublicKey()], "prod", forgeable=True)
    layer.put(NAME, SECRET, None)
    assert layer.get(NAME, Stage.CURRENT).value == SECRET


def test_an_old_key_that_is_asymmetric_is_refused_too() -> None:
    """It makes no new message, and whoever has its public half can make one that opens ▲."""
    with pytest.raises(InvalidRequestError, match="rsa-1 is asymmetric"):
        Encrypted(MemoryBackend(), [KEY], "prod", old_keys=[PublicKey()])
    inner = MemoryBackend()
    Encrypted(inner, [PublicKey()], "prod", forgeable=True).put(NAME, SECRET, None)
    layer = Encrypted(inner, [KEY], "prod", old_keys=[PublicKey()], forgeable=True)
    assert layer.get(NAME, Stage.CURRENT).value == SECRET


def test_old_keys_open_what_there_is_and_no_new_message_is_under_them(inner: MemoryBackend) -> None:
    """Nothing more is needed to move: what is written from now on is under the new keys alone."""
    old = local_key(b"\x07" * 32, "local-old")
    encrypted(inner, key=old).put(NAME, SECRET, None)
    layer = Encrypted(inner, [KEY], "prod", old_keys=[old])
    assert layer.get(NAME, Stage.CURRENT).value == SECRET
    layer.put(NAME, SECRET, None)
    assert encrypted(inner).get(NAME, Stage.CURRENT).value == SECRET
    with pytest.raises(IntegrityError, match="none of the configured keys"):
        encrypted(inner, key=old).get(NAME, Stage.CURRENT)


def test_any_of_several_keys_opens_and_one_that_fails_is_passed_over(inner: MemoryBackend) -> None:
    """An outage of a region, or a right that is missing, costs nothing while another key answers."""
    down, denied = SpyKey("a"), SpyKey("b")
    layer = Encrypted(inner, [down, denied, KEY], "prod")
    layer.put(NAME, SECRET, None)
    down.failure, denied.failure = UnavailableError("no answer"), PermissionDeniedError("no")
    assert layer.get(NAME, Stage.CURRENT).value == SECRET
    with pytest.raises(UnavailableError):
        Encrypted(inner, [denied, down], "prod").get(NAME, Stage.CURRENT)


def test_failover_goes_on_when_a_members_key_is_out_and_each_member_has_its_own() -> None:
    """A regional outage of KMS is an outage of that region's member; a message is no other member's ▲."""
    down, other = SpyKey("kms-eu"), SpyKey("kms-us")
    one, two = MemoryBackend(), MemoryBackend()
    members = {"eu": Encrypted(one, [down], "prod"), "us": Encrypted(two, [other], "prod")}
    for alias, member in members.items():
        member.put(NAME, SecretValue(f"{CANARY}-{alias}"), None)
    failover = Failover(members)
    assert failover.get(NAME, Stage.CURRENT).version.startswith("eu:")
    down.failure = UnavailableError("KMS does not answer")
    found = failover.get(NAME, Stage.CURRENT)
    assert (found.value.matches(f"{CANARY}-us"), found.degraded) == (True, True)
    with pytest.raises(UnavailableError):
        failover.put(NAME, SECRET, None)
    down.failure = PermissionDeniedError("revoked")
    with pytest.raises(PermissionDeniedError):
        failover.get(NAME, Stage.CURRENT)
    down.failure = None
    two.put(NAME, one.get(NAME, Stage.CURRENT).value, None)
    with pytest.raises(IntegrityError, match="none of the configured keys"):
        members["us"].get(NAME, Stage.CURRENT)


def test_sixteen_keys_are_the_most_old_ones_included() -> None:
    """A message is tried with no more."""
    keys = [local_key(bytes([number]) * 32, f"k{number}") for number in range(17)]
    Encrypted(MemoryBackend(), keys[:8], "prod", old_keys=keys[8:16])
    with pytest.raises(InvalidRequestError, match="at most 16 keys"):
        Encrypted(MemoryBackend(), keys[:8], "prod", old_keys=keys[8:])


PLAIN = SecretValue(f"{CANARY} from before")


def test_a_store_in_transition_reads_what_is_older_than_its_encryption(inner: MemoryBackend) -> None:
    """Text stays text; what it writes is encrypted."""
    layer = Encrypted(inner, [KEY], "prod", allow_plaintext=True)
    for value in (PLAIN, SecretValue(b""), SecretValue(b"\x02"), SecretValue(b"\x02\x04\x00" + bytes(200))):
        inner.put(NAME, value, None)
        found = layer.get(NAME, Stage.CURRENT).value
        assert (found, found.kind) == (value, value.kind)
    layer.put(NAME, PLAIN, None)
    assert encrypted(inner).get(NAME, Stage.CURRENT).value == PLAIN


@pytest.mark.parametrize("start", [b"\x02\x04\x78", b"\x02\x05\x78"])
def test_in_transition_a_message_that_does_not_open_is_not_taken_for_plaintext(
    inner: MemoryBackend, start: bytes
) -> None:
    """Damaged, cut short or another store's: an error all the same ▲."""
    layer = Encrypted(inner, [KEY], "prod", allow_plaintext=True)
    inner.put(NAME, SecretValue(start), None)
    encrypted(inner, "other").put(OTHER, SECRET, None)
    for key in (NAME, OTHER):
        with pytest.raises(IntegrityError):
            layer.get(key, Stage.CURRENT)


def test_in_transition_a_plain_pending_value_is_repeated_and_promoted() -> None:
    """What waits is compared as plaintexts, and stays the very bytes that are held."""
    inner = MemoryBackend(NATIVE)
    base = inner.put(NAME, PLAIN, ABSENT)
    first = inner.put_pending(NAME, ROTATION, SECRET, base.id)
    layer = Encrypted(inner, [KEY], "prod", allow_plaintext=True)
    assert layer.put_pending(NAME, ROTATION, SECRET, base.id) == first
    with pytest.raises(SecretConflictError, match="another value"):
        layer.put_pending(NAME, ROTATION, PLAIN, base.id)
    assert layer.get_pending(NAME, ROTATION).value == SECRET
    layer.promote_pending(NAME, ROTATION)
    assert layer.get(NAME, Stage.CURRENT).value == SECRET


def cached(inner: MemoryBackend, key: SpyKey) -> Encrypted:
    return Encrypted(inner, [key], "prod", data_keys=DataKeyCache())


def test_a_version_read_again_asks_no_key_and_every_write_asks(inner: MemoryBackend) -> None:
    """No two messages share a data key: what one leak opens stays one message."""
    key = SpyKey()
    layer = cached(inner, key)
    for _ in range(3):
        layer.put(NAME, SECRET, None)
    assert key.calls == ["wrap"] * 3
    for _ in range(5):
        assert layer.get(NAME, Stage.CURRENT).value == SECRET
    assert key.calls == ["wrap"] * 3 + ["unwrap"]


ENDS: dict[str, Callable[[Encrypted], object]] = {
    "delete": lambda layer: layer.delete(OTHER),
    "purge": lambda layer: layer.purge(OTHER),
    "retire": lambda layer: layer.retire(OTHER, "1"),
    "close": lambda layer: layer.close(),
}


@pytest.mark.parametrize("end", ENDS)
def test_what_is_taken_away_takes_the_cached_data_keys_along(inner: MemoryBackend, end: str) -> None:
    """All of them: whose they are is not known here ▲."""
    key = SpyKey()
    layer = cached(inner, key)
    for name in (NAME, OTHER):
        layer.put(name, SECRET, None)
    layer.get(NAME, Stage.CURRENT)
    ENDS[end](layer)
    layer.get(NAME, Stage.CURRENT)
    assert key.calls.count("unwrap") == 2


def test_a_cached_data_key_opens_no_message_in_another_place(inner: MemoryBackend) -> None:
    """The cache spares a call, not a check ▲."""
    layer = cached(inner, SpyKey())
    layer.put(NAME, SECRET, None)
    layer.get(NAME, Stage.CURRENT)
    moved(inner, NAME, OTHER)
    with pytest.raises(IntegrityError):
        layer.get(OTHER, Stage.CURRENT)


@pytest.mark.parametrize(("keys", "domain"), [([], "prod"), ([KEY], "")])
def test_an_encrypted_store_needs_a_key_and_a_domain(keys: list[KeyWrapper], domain: str) -> None:
    """Without a domain, messages of two stores could be swapped."""
    with pytest.raises(InvalidRequestError, match="needs a key and a domain"):
        Encrypted(MemoryBackend(), keys, domain)


class Small(MemoryBackend):
    """Refuses, as providers do, what is over its limit: 4,096 bytes, or as many as it is given."""

    bytes_allowed = 4096
    puts = 0

    def limit(self, key: Key) -> int | None:
        return self.bytes_allowed

    def put(self, key: Key, value: SecretValue, *rest: Any) -> SecretVersion:
        self.puts += 1
        assert len(value.reveal()) <= self.bytes_allowed
        return super().put(key, value, *rest)


@pytest.mark.parametrize("allowed", [4096, 65_536, 3 << 20])
@pytest.mark.parametrize("name", ["a", "a/" * 26 + "a", "native/" + "é" * 900])
def test_the_largest_value_that_is_accepted_fits_and_one_byte_more_is_refused_before_any_write(
    allowed: int, name: str
) -> None:
    """Limits count after encryption ▲; a long name stands in the message too."""
    inner = Small()
    inner.bytes_allowed = allowed
    with SecretStore(encrypted(inner), cache=None, names="native") as store:
        largest = _largest(store, name)
        inner.puts = 0
        with pytest.raises(InvalidRequestError, match="over the limit"):
            store.put(name, b"x" * (largest + 1))
        assert inner.puts == 0
        store.put(name, b"x" * largest)
        assert len(store.get(name).value.reveal()) == largest
    assert allowed - largest < 4096, "the reserve for the message is too large"


def _largest(store: SecretStore, name: str) -> int:
    return _largest_of(store._backend, Name(name))


def _largest_of(backend: Backend, key: Name) -> int:
    limit, fits, over = backend.limit(key) or 0, 0, 4 << 20
    while over - fits > 1:
        middle = (fits + over) // 2
        fits, over = (middle, over) if backend.size(SecretValue(bytes(middle))) <= limit else (fits, middle)
    return fits


class Sized(KeyWrapper):
    """Wraps into as many bytes as it says, under identifiers as long as they may get."""

    def __init__(self, length: int, key_id: str, more: int):
        self.longest = length
        self.provider_id, self.key_id, self._more = f"acme-{key_id}", key_id, more

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> WrappedKey:
        sized = data_key.ljust(self.longest, b"\0")
        return WrappedKey(self.provider_id, self.key_id.encode() + b"/" * self._more, sized)

    def unwrap(self, wrapped: WrappedKey, context: Mapping[str, str]) -> bytes:
        return wrapped.ciphertext[:32]

    def matches(self, wrapped: WrappedKey) -> bool:
        return wrapped.key_info.rstrip(b"/") == self.key_id.encode()


class Base64(Small):
    """Counts what a text-only provider would store."""

    def size(self, value: SecretValue) -> int:
        return 4 + 4 * -(-len(value.reveal()) // 3)

    def put(self, key: Key, value: SecretValue, *rest: Any) -> SecretVersion:
        assert self.size(value) <= self.bytes_allowed
        return super().put(key, value, *rest)


SIZED = st.builds(
    Sized, st.integers(48, 1024), st.text("abc-é", min_size=1, max_size=90), st.integers(0, 128)
)


@settings(max_examples=scaled(500, "limits after encryption"), deadline=None)
@example([Sized(48, "aaaaaaaaéééé", 127)], "a", "d", Base64, 30_000)  # names count in bytes
@example([Sized(1024, "é" * 90, 128)], "é" * 200, "é" * 60, Base64, 30_001)
@given(
    st.lists(SIZED, min_size=1, max_size=16, unique_by=lambda key: key.key_id),
    st.text("abé", min_size=1, max_size=200),
    st.text("prod-é", min_size=1, max_size=60),
    st.sampled_from([Small, Base64]),
    st.integers(30_000, 70_000),
)
def test_a_value_at_the_announced_limit_fits_whatever_the_keys_are(
    keys: list[Sized], name: str, domain: str, kind: type[Small], allowed: int
) -> None:
    """KMS wraps into 184 bytes, RSA into up to 1,024: the estimate is never too small, nor far too large."""
    inner = kind()
    inner.bytes_allowed = allowed
    layer, key = Encrypted(inner, keys, domain), Name(name)
    largest = _largest_of(layer, key)
    layer.put(key, SecretValue(b"x" * largest), None)
    assert layer.get(key, Stage.CURRENT).value.reveal() == b"x" * largest
    layer.put(key, SecretValue("é" * (largest // 2)), None)
    spare = allowed - inner.size(inner.get(key, Stage.CURRENT).value)
    assert spare <= 16 + 200 * len(keys) * 4 / 3


def test_a_key_that_wraps_into_more_than_it_said_is_refused_before_any_write() -> None:
    """The provider's refusal would come too late, or cut the value."""
    inner, key = Small(), Sized(200, "a", 0)
    layer = Encrypted(inner, [key], "prod")
    value = SecretValue(b"x" * _largest_of(layer, NAME))
    key.longest = 4096
    with pytest.raises(InvalidRequestError, match="once encrypted"):
        layer.put(NAME, value, None)
    assert inner.puts == 0


def test_no_limit_stays_no_limit() -> None:
    """A backend without one gets none from the layer."""

    class Endless(MemoryBackend):
        def limit(self, key: Key) -> int | None:
            return None

    assert encrypted(Endless()).limit(NAME) is None


def test_a_repeated_put_of_a_pending_value_is_one_write() -> None:
    """Each message differs, so only plaintexts can be compared; the message that is held stays."""
    inner = MemoryBackend(NATIVE)
    layer = encrypted(inner)
    base = layer.put(NAME, SecretValue("base"), ABSENT)
    first = layer.put_pending(NAME, ROTATION, SECRET, base.id)
    held = inner.get_pending(NAME, ROTATION).value
    assert layer.put_pending(NAME, ROTATION, SECRET, base.id) == first
    assert inner.get_pending(NAME, ROTATION).value == held
    with pytest.raises(SecretConflictError, match="another value"):
        layer.put_pending(NAME, ROTATION, SecretValue("other"), base.id)
    with pytest.raises(SecretConflictError):
        layer.put_pending(NAME, str(uuid.uuid4()), SECRET, base.id)


class HalfDone(MemoryBackend):
    """Like AWS: the version is made, its label not yet, when the answer is lost; a repeat completes it."""

    labelled = False
    half: SecretValue | None = None

    def put_pending(
        self, key: Key, rotation_id: str, value: SecretValue, base_version: str, record: str | None = None
    ) -> SecretVersion:
        if self.half is None:
            self.half = value
            raise UnavailableError("the answer was lost", performed=None)
        if value != self.half:
            raise SecretConflictError("the id was used with another value")
        self.labelled = True
        return SecretVersion("v2", stages=frozenset({Stage.PENDING}))

    def get_pending(self, key: Key, rotation_id: str) -> Secret:
        if self.half is None:
            raise SecretNotFoundError("nothing")
        return Secret(str(key), self.half, "v2", Stage.PENDING)


def test_a_repeat_finishes_what_was_half_done_below() -> None:
    """Encrypting anew would meet "the id was used with another value" for ever."""
    inner = HalfDone(NATIVE)
    layer = encrypted(inner)
    base = layer.put(NAME, SecretValue("base"), ABSENT)
    with pytest.raises(UnavailableError):
        layer.put_pending(NAME, ROTATION, SECRET, base.id)
    assert layer.put_pending(NAME, ROTATION, SECRET, base.id).id == "v2"
    assert inner.labelled


class Unreadable(HalfDone):
    """What is held cannot be read just now."""

    def get_pending(self, key: Key, rotation_id: str) -> Secret:
        raise UnavailableError("no answer")


def test_a_conflict_is_not_reported_while_it_is_unknown_whether_the_held_value_is_ours() -> None:
    """A rotation would be given up for our own earlier write."""
    layer = encrypted(Unreadable(NATIVE))
    for _ in range(2):
        with pytest.raises(UnavailableError):
            layer.put_pending(NAME, ROTATION, SECRET, "v1")


def test_a_batch_opens_each_item_for_itself(inner: MemoryBackend) -> None:
    """One damaged message costs one item, and a missing one is still missing."""
    layer = encrypted(inner)
    damaged, missing = Name("db/damaged"), Name("db/missing")
    layer.put(NAME, SECRET, None)
    inner.put(damaged, SecretValue(CANARY), None)
    outcomes = layer.get_many([NAME, damaged, missing])
    good, bad, none = outcomes[NAME], outcomes[damaged], outcomes[missing]
    assert isinstance(good, Secret)
    assert good.value == SECRET
    assert isinstance(bad, IntegrityError)
    assert_no_canary_in(bad)
    assert isinstance(none, SecretNotFoundError)


def test_an_unreachable_key_writes_nothing(inner: MemoryBackend) -> None:
    """No plaintext goes down because a KMS is out."""

    class Down(PublicKey):
        symmetric = True

        def wrap(self, data_key: bytes, context: Mapping[str, str]) -> WrappedKey:
            raise UnavailableError("KMS does not answer")

    with pytest.raises(SecretStoreError) as caught:
        encrypted(inner, key=Down()).put(NAME, SECRET, None)
    assert isinstance(caught.value, UnavailableError)
    assert caught.value.performed is False
    assert stored(inner) == []
    assert_no_canary_in(caught.value)
