"""A store under other keys: what is written anew, what is left alone and told, what others do meanwhile."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from strongroom.audit.event import AuditEvent, AuditHook
from strongroom.backend import Absent, Backend, Capability, Secret, SecretVersion, Stage
from strongroom.envelope.message import decode_header
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    SecretConflictError,
    SecretNotFoundError,
    UnavailableError,
    UnsupportedOperationError,
)
from strongroom.keys import KeyWrapper, WrappedKey
from strongroom.layers.encrypted import Encrypted
from strongroom.layers.failover import Failover
from strongroom.layers.reencrypting import Outcome
from strongroom.memory import ALL, MemoryBackend
from strongroom.names import Companion, Key, Name
from strongroom.reencryption import StoreReport, reencrypt_store
from strongroom.store import SecretStore
from strongroom.value import SecretValue
from tests.canary import CANARY, assert_no_canary_in
from tests.unit.envelope_support import SpyKey, local_key

NAME = "db/password"
OLD, NEW = local_key(bytes(32), "old"), local_key(b"\x01" * 32, "new")
NATIVE, COMPANION = ALL, ALL & ~Capability.NATIVE_PENDING
PENDING = [pytest.param(NATIVE, id="native"), pytest.param(COMPANION, id="companion")]


def under(inner: Backend, *keys: KeyWrapper, old: Sequence[KeyWrapper] = (), **options: Any) -> SecretStore:
    """A store whose values are under `keys`; without keys a plain one."""
    backend = Encrypted(inner, keys, "prod", old_keys=old, **options) if keys else inner
    return SecretStore(backend, cache=None, alias="prod")


def moving(inner: Backend, **options: Any) -> SecretStore:
    """As it is configured while its values move to the new key."""
    return under(inner, NEW, old=[OLD], **options)


def key_names(inner: Backend, key: Key) -> list[str]:
    """Under which keys a stored value says to be."""
    header, _ = decode_header(inner.get(key, Stage.CURRENT).value.reveal())
    return [wrapped.key_info[:3].decode() for wrapped in header.wrapped_keys]


def summary(report: StoreReport) -> dict[str, Any]:
    fields = ("done", "due", "already", "pending", "conflicts", "failures", "skipped")
    return {field: value for field in fields if (value := getattr(report, field))}


def test_every_secret_is_written_anew_under_exactly_the_new_keys() -> None:
    """The value and its kind stay; the run after it finds nothing to do, and the old key can go."""
    inner = MemoryBackend()
    names = [f"db/n{number}" for number in range(20)]
    for name in names:
        under(inner, OLD).put(name, f"{CANARY}-{name}")
    under(inner, OLD).put("db/binary", b"\xff\x00")
    seen: list[tuple[int, int]] = []
    report = reencrypt_store(moving(inner), progress=lambda *count: seen.append(count))
    assert summary(report) == {"done": ["db/binary", *sorted(names)]}
    assert (report.left, seen[0], seen[-1]) == ([], (1, 21), (21, 21))
    assert all(key_names(inner, Name(name)) == ["new"] for name in names)
    assert summary(reencrypt_store(moving(inner))) == {"already": 21}
    found = under(inner, NEW).get_many(names)
    assert all(secret.value.matches(f"{CANARY}-{name}") for name, secret in found.items())
    assert all(secret.value.kind == "text" for secret in found.values())
    assert under(inner, NEW).get("db/binary").value.kind == "binary"


def test_a_prefix_is_all_that_is_touched() -> None:
    """A store can be moved a part at a time."""
    inner = MemoryBackend()
    for name in ("a/x", "b/x"):
        under(inner, OLD).put(name, CANARY)
    assert reencrypt_store(moving(inner), "a/").done == ["a/x"]
    assert (key_names(inner, Name("a/x")), key_names(inner, Name("b/x"))) == (["new"], ["old"])


@pytest.mark.parametrize(
    ("before", "after", "due"),
    [
        ((OLD,), (NEW,), True),
        ((OLD,), (OLD, NEW), True),
        ((OLD, NEW), (NEW,), True),
        ((OLD, NEW), (NEW, OLD), False),
        ((NEW, NEW), (NEW,), True),
        ((NEW,), (NEW,), False),
    ],
)
def test_exactly_the_keys_are_what_a_header_is_judged_by(
    before: tuple[KeyWrapper, ...], after: tuple[KeyWrapper, ...], due: bool
) -> None:
    """A key too many opens it still; a key too few does not open it on the day it is needed."""
    inner = MemoryBackend()
    under(inner, *before).put(NAME, CANARY)
    result = under(inner, *after, old=[OLD]).reencrypt(NAME)
    assert result.outcome is (Outcome.DONE if due else Outcome.ALREADY)
    assert (result.version == under(inner, *after).get(NAME).version) is due


def test_a_dry_run_decrypts_everything_and_writes_nothing() -> None:
    """It tells what would be done, and what would fail."""
    inner = MemoryBackend()
    under(inner, OLD).put(NAME, CANARY)
    under(inner, local_key(b"\x07" * 32, "old")).put("db/foreign", CANARY)
    before = inner.get(Name(NAME), Stage.CURRENT).version
    report = reencrypt_store(moving(inner), dry_run=True)
    assert (report.due, list(report.failures)) == ([NAME], ["db/foreign"])
    assert isinstance(report.failures["db/foreign"], IntegrityError)
    assert report.left == ["db/foreign", NAME]
    assert inner.get(Name(NAME), Stage.CURRENT).version == before
    assert_no_canary_in(report.failures["db/foreign"])


class Meanwhile(MemoryBackend):
    """Before each conditional write of the run something else happens, as often as it is told."""

    def __init__(self, capabilities: Capability = ALL):
        super().__init__(capabilities)
        self.happens: Callable[[], object] | None = None
        self.times = 1

    def put(
        self, key: Key, value: SecretValue, if_version: str | Absent | None, record: str | None = None
    ) -> SecretVersion:
        if isinstance(if_version, str) and self.happens and self.times:
            self.times -= 1
            self.happens()
        return super().put(key, value, if_version, record)


def test_what_somebody_writes_meanwhile_is_never_replaced_by_what_was_before() -> None:
    """Compare-and-set on the version that was read; then theirs is looked at ▲."""
    inner = Meanwhile()
    under(inner, OLD).put(NAME, f"{CANARY}-before")
    inner.happens = lambda: under(inner, OLD).put(NAME, f"{CANARY}-theirs")
    assert moving(inner).reencrypt(NAME).outcome is Outcome.DONE
    assert under(inner, NEW).get(NAME).value.matches(f"{CANARY}-theirs")
    assert len(inner.versions(Name(NAME))) == 3


def test_what_somebody_wrote_under_the_new_keys_meanwhile_needs_nothing() -> None:
    """An application that is configured already helps."""
    inner = Meanwhile()
    under(inner, OLD).put(NAME, CANARY)
    inner.happens = lambda: under(inner, NEW).put(NAME, CANARY)
    assert moving(inner).reencrypt(NAME).outcome is Outcome.ALREADY


def test_a_secret_that_others_write_all_the_time_is_a_conflict_and_the_rest_goes_on() -> None:
    """After five looks it is told, not fought over."""
    inner = Meanwhile()
    for name in ("a/busy", "b/quiet"):
        under(inner, OLD).put(name, CANARY)
    inner.happens, inner.times = lambda: under(inner, OLD).put("a/busy", CANARY), 5
    report = reencrypt_store(moving(inner))
    assert summary(report) == {"done": ["b/quiet"], "conflicts": ["a/busy"]}
    inner.times = 5
    with pytest.raises(SecretConflictError):
        moving(inner).reencrypt("a/busy")


@pytest.mark.parametrize("end", ["delete", "purge"])
def test_a_secret_that_somebody_deletes_meanwhile_stays_deleted(end: str) -> None:
    """It is neither brought back nor a failure."""
    inner = Meanwhile()
    under(inner, OLD).put(NAME, CANARY)
    inner.happens = lambda: getattr(under(inner, OLD), end)(NAME)
    assert summary(reencrypt_store(moving(inner))) == {}
    with pytest.raises(SecretNotFoundError):
        moving(inner).reencrypt(NAME)


def held(inner: Backend, key: KeyWrapper = OLD, base: KeyWrapper = OLD) -> tuple[str, str]:
    """A secret under `base` with a value waiting under `key`: rotation id and base version."""
    version = under(inner, base).put(NAME, f"{CANARY}-old").id
    rotation = str(uuid.uuid4())
    under(inner, key, old=[OLD, NEW]).pending(NAME, rotation).put(f"{CANARY}-new", base_version=version)
    return rotation, version


@pytest.mark.parametrize("capabilities", PENDING)
@pytest.mark.parametrize(("key", "base"), [(OLD, OLD), (NEW, OLD), (OLD, NEW)], ids=["both", "current", "it"])
def test_a_value_that_waits_and_its_base_are_reported_and_not_touched(
    capabilities: Capability, key: KeyWrapper, base: KeyWrapper
) -> None:
    """A new current version would supersede a rotation whose password the target has already ▲."""
    inner = MemoryBackend(capabilities)
    rotation, version = held(inner, key, base)
    for dry_run in (True, False):
        report = reencrypt_store(moving(inner), dry_run=dry_run)
        assert summary(report) == {"pending": [NAME]}
    assert moving(inner).reencrypt(NAME).pending == ((rotation,) if key is OLD else ())
    assert inner.get(Name(NAME), Stage.CURRENT).version == version
    moving(inner).pending(NAME, rotation).promote()
    reencrypt_store(moving(inner))
    assert summary(reencrypt_store(moving(inner))) == {"already": 1}
    assert under(inner, NEW).get(NAME).value.matches(f"{CANARY}-new")
    with pytest.raises(
        SecretConflictError
    ):  # what tells that the rotation is done can be read without the old key
        under(inner, NEW).pending(NAME, rotation).discard()


@pytest.mark.parametrize("capabilities", PENDING)
def test_a_rotation_that_is_wholly_under_the_new_keys_needs_nothing(capabilities: Capability) -> None:
    """Neither its value nor its base."""
    inner = MemoryBackend(capabilities)
    held(inner, NEW, NEW)
    assert summary(reencrypt_store(moving(inner))) == {"already": 1}


@pytest.mark.parametrize("capabilities", PENDING)
def test_a_value_that_waits_for_a_base_that_is_gone_keeps_nothing_back(capabilities: Capability) -> None:
    """It cannot be promoted any more; it is still told, since its rotation would not find it."""
    inner = MemoryBackend(capabilities)
    rotation, _ = held(inner)
    under(inner, OLD).put(NAME, f"{CANARY}-superseded")
    result = moving(inner).reencrypt(NAME)
    assert (result.outcome, result.pending) == (Outcome.DONE, (rotation,))
    assert reencrypt_store(moving(inner)).pending == [NAME]
    moving(inner).pending(NAME, rotation).discard()
    reencrypt_store(moving(inner))
    assert summary(reencrypt_store(moving(inner))) == {"already": 1}


def test_the_companion_of_a_finished_rotation_comes_along() -> None:
    """Under the old key alone it would block every rotation to come once that key is gone."""
    inner = MemoryBackend(COMPANION)
    rotation, _ = held(inner)
    under(inner, OLD).pending(NAME, rotation).promote()
    dry = reencrypt_store(moving(inner), dry_run=True)
    assert summary(dry) == {"due": [NAME]}
    assert key_names(inner, Companion(Name(NAME))) == ["old"]
    under(inner, NEW, old=[OLD]).put(NAME, CANARY)
    assert moving(inner).reencrypt(NAME).outcome is Outcome.DONE
    assert key_names(inner, Companion(Name(NAME))) == ["new"]
    store = under(inner, NEW)
    assert store.pending(NAME, rotation).promote().id
    again = store.pending(NAME, str(uuid.uuid4()))
    again.put(CANARY, base_version=store.get(NAME).version)
    again.promote()


def test_a_rotation_that_begins_at_the_wrong_moment_is_superseded_and_nothing_is_lost() -> None:
    """Its value waits for a base that the run just replaced: promote says so, and a new one begins."""
    inner = Meanwhile(COMPANION)
    base = under(inner, OLD).put(NAME, f"{CANARY}-old").id
    pending = under(inner, NEW, old=[OLD]).pending(NAME, str(uuid.uuid4()))
    inner.happens = lambda: pending.put(f"{CANARY}-new", base_version=base)
    assert moving(inner).reencrypt(NAME).outcome is Outcome.DONE
    with pytest.raises(SecretConflictError, match="superseded"):
        pending.promote()
    pending.discard()
    assert under(inner, NEW).get(NAME).value.matches(f"{CANARY}-old")


@pytest.mark.parametrize("capabilities", PENDING)
def test_a_store_in_transition_works_in_every_way_until_nothing_is_left(capabilities: Capability) -> None:
    """Lists, reads, rotates; a value held in plaintext promotes; then allow_plaintext can go ▲."""
    inner = MemoryBackend(capabilities)
    plain, mixed = under(inner), under(inner, NEW, allow_plaintext=True)
    versions = {name: plain.put(name, f"{CANARY}-{name}").id for name in ("a/put", "a/read", "a/rotated")}
    rotation = str(uuid.uuid4())
    plain.pending("a/rotated", rotation).put(f"{CANARY}-next", base_version=versions["a/rotated"])
    with pytest.raises(IntegrityError, match="allow_plaintext"):
        under(inner, NEW).get("a/read")
    assert list(mixed.list_names()) == sorted(versions)
    found = mixed.get_many(versions)
    assert all(secret.value.matches(f"{CANARY}-{name}") for name, secret in found.items())
    mixed.put("a/put", CANARY, if_version=versions["a/put"])
    assert key_names(inner, Name("a/put")) == ["new"]
    held = mixed.pending("a/rotated", rotation)
    held.put(f"{CANARY}-next", base_version=versions["a/rotated"])
    assert held.get().value.matches(f"{CANARY}-next")
    first = reencrypt_store(mixed)
    assert (first.done, first.already, first.left) == (["a/read"], 1, ["a/rotated"])
    held.promote()
    assert reencrypt_store(mixed).left == []
    strict = under(inner, NEW)
    assert strict.get("a/rotated").value.matches(f"{CANARY}-next")
    assert strict.get("a/read").value.kind == "text"
    begun = strict.pending("a/rotated", str(uuid.uuid4()))
    begun.put(CANARY, base_version=strict.get("a/rotated").version)
    begun.promote()


def test_a_rollback_afterwards_writes_the_same_value() -> None:
    """What was current before the run is the previous version now, under the old key as before."""
    inner = MemoryBackend()
    under(inner, OLD).put(NAME, f"{CANARY}-first")
    second = under(inner, OLD).put(NAME, f"{CANARY}-second").id
    now = moving(inner).reencrypt(NAME).version or ""
    moving(inner).rollback(NAME, if_version=now)
    assert under(inner, NEW).get(NAME).value.matches(f"{CANARY}-second")
    assert moving(inner).get(NAME, version=second).value.matches(f"{CANARY}-second")
    with pytest.raises(IntegrityError):
        under(inner, NEW).get(NAME, version=second)


class Watching(AuditHook):
    """An audit hook that keeps what it hears."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str, str, str | None]] = []

    def after(self, event: AuditEvent) -> None:
        self.heard.append((event.operation, event.name, str(event.outcome), event.version))


def test_each_secret_is_audited() -> None:
    """By name, with what came of it and the version that was written."""
    inner, hook = MemoryBackend(), Watching()
    for name in ("a/good", "b/foreign"):
        under(inner, OLD if name == "a/good" else local_key(b"\x07" * 32, "old")).put(name, CANARY)
    store = SecretStore(Encrypted(inner, [NEW], "prod", old_keys=[OLD]), cache=None, hooks=[hook])
    reencrypt_store(store)
    written = inner.get(Name("a/good"), Stage.CURRENT).version
    assert hook.heard == [
        ("list", "", "ok", None),
        ("reencrypt", "a/good", "ok", written),
        ("reencrypt", "b/foreign", "IntegrityError", None),
    ]


def test_a_result_whose_outcome_could_not_be_recorded_is_flagged() -> None:
    """It happened; the next one is refused until the record is whole."""

    class Full(AuditHook):
        def after(self, event: AuditEvent) -> None:
            raise UnavailableError("disk full")

    inner = MemoryBackend()
    under(inner, OLD).put(NAME, CANARY)
    store = SecretStore(Encrypted(inner, [NEW], "prod", old_keys=[OLD]), cache=None, hooks=[Full()])
    assert store.reencrypt(NAME).audit_degraded
    with pytest.raises(UnavailableError):
        store.reencrypt(NAME)


def test_a_store_that_is_not_encrypted_by_its_configuration_is_refused() -> None:
    """Plain; or by its own key alone, as the embedded one; or a failover."""

    class Own(MemoryBackend):
        def own_key(self) -> KeyWrapper:
            return OLD

    own = Own()
    stores = {
        "no encrypt": under(MemoryBackend()),
        "encrypt": under(own, OLD),
        "members one by one": under(Failover({"one": Encrypted(MemoryBackend(), [NEW], "prod")})),
    }
    for hint, store in stores.items():
        with pytest.raises(InvalidRequestError, match=hint):
            reencrypt_store(store)
        with pytest.raises(InvalidRequestError, match=hint) as caught:
            store.reencrypt(NAME)
        assert caught.value.performed is False
    on_top = under(Encrypted(own, [OLD], "own"), NEW, allow_plaintext=True)
    on_top.put(NAME, CANARY)
    assert on_top.reencrypt(NAME).outcome is Outcome.ALREADY


def test_without_compare_and_set_it_can_only_be_looked_at() -> None:
    """An unconditional write could replace what somebody wrote meanwhile ▲."""
    inner = MemoryBackend(ALL & ~Capability.CAS)
    under(inner, OLD).put(NAME, CANARY)
    with pytest.raises(UnsupportedOperationError, match="cas"):
        moving(inner).reencrypt(NAME)
    with pytest.raises(UnsupportedOperationError):
        reencrypt_store(moving(inner))
    assert reencrypt_store(moving(inner), dry_run=True).due == [NAME]
    under(inner, NEW).put(NAME, CANARY)
    assert key_names(inner, Name(NAME)) == ["new"]


class Out(MemoryBackend):
    """Does not answer for these names."""

    out: frozenset[str] = frozenset()

    def get(self, key: Key, version: str | Stage) -> Secret:
        if str(key) in self.out:
            raise UnavailableError("no answer")
        return super().get(key, version)


def test_an_outage_does_not_keep_the_run_for_as_long_as_there_are_names() -> None:
    """After five names in a row without an answer the rest is not asked; they are named as left."""
    inner = Out()
    names = [f"n/{number:02}" for number in range(20)]
    for name in names:
        under(inner, OLD).put(name, CANARY)
    inner.out = frozenset([names[1], *names[3:7]])
    assert list(reencrypt_store(moving(inner)).failures) == [names[1], *names[3:7]]
    inner.out = frozenset([names[1], *names[3:]])
    report = reencrypt_store(moving(inner))
    assert list(report.failures) == [names[1], *names[3:8]]
    assert report.skipped == names[8:]
    assert report.left == sorted([names[1], *names[3:]])


class Aliased(SpyKey):
    """Known by an alias until it first wrapped; until then it may be any key, as one of AWS KMS may."""

    arn = ""

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> WrappedKey:
        self.arn = self.arn or self.key_id
        return super().wrap(data_key, context)

    def matches(self, wrapped: WrappedKey) -> bool:
        return not self.arn or wrapped.key_info == self.arn.encode()


def test_an_alias_that_was_not_heard_of_yet_is_not_taken_for_every_key() -> None:
    """Until KMS answered, an alias may mean the old key too: all would seem to be done ▲."""
    inner = MemoryBackend()
    for name in ("a/x", "b/x"):
        under(inner, Aliased("old")).put(name, CANARY)
    new = Aliased("new")
    report = reencrypt_store(under(inner, new, old=[SpyKey("old")]), dry_run=True)
    assert report.due == ["a/x", "b/x"]
    assert new.calls.count("wrap") == 1
    assert reencrypt_store(under(inner, Aliased("new"), old=[SpyKey("old")])).done == ["a/x", "b/x"]
    assert reencrypt_store(under(inner, Aliased("new"), old=[SpyKey("old")])).already == 2


def test_who_may_not_encrypt_can_look_and_not_write() -> None:
    """`check` is run by readers too; a run by one is denied before anything is written."""
    inner = MemoryBackend()
    under(inner, SpyKey("new")).put(NAME, CANARY)
    reader = SpyKey("new", PermissionDeniedError("no"))
    assert under(inner, reader).reencrypt(NAME, dry_run=True).outcome is Outcome.ALREADY
    assert isinstance(reencrypt_store(under(inner, reader)).failures[NAME], PermissionDeniedError)
