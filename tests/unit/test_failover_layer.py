"""Failover: only an unavailable member is passed over, only by reads, and versions say whose they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from strongroom.backend import ABSENT, Capability, Secret, SecretInfo, Stage
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
    UnsupportedOperationError,
)
from strongroom.layers.failover import Failover
from strongroom.memory import ALL, MemoryBackend
from strongroom.names import Companion, Key, Name, Reserved
from strongroom.store import SecretStore
from strongroom.value import SecretValue
from tests.canary import CANARY

NAME, OTHER = Name("db/password"), Name("db/other")
ROTATION = "6e4f2a7c-3d0f-4a67-9d5a-2f5a3f0b9c11"
IO = {
    *("get", "put", "purge", "delete", "restore", "retire", "list_info", "versions", "versions_after"),
    *("describe", "set_tags", "get_many"),
}


class Member(MemoryBackend):
    """Fails with ``failure`` while it is set, and counts its calls."""

    def __init__(self, capabilities: Capability = ALL):
        super().__init__(capabilities)
        self.failure: SecretStoreError | None = None
        self.calls: list[str] = []
        self.closed = self.forked = 0

    def __getattribute__(self, name: str) -> Any:
        if name in IO:
            self.calls.append(name)
            if self.failure:
                raise self.failure
        return super().__getattribute__(name)

    def after_fork(self) -> None:
        self.forked += 1

    def close(self) -> None:
        self.closed += 1
        if self.failure:
            raise self.failure


@pytest.fixture
def first() -> Member:
    """Takes the writes."""
    return seeded()


@pytest.fixture
def second() -> Member:
    """A replica."""
    return seeded()


@pytest.fixture
def both(first: Member, second: Member) -> Failover:
    """The two as one."""
    return Failover({"eu": first, "us": second})


def seeded(capabilities: Capability = ALL) -> Member:
    member = Member(capabilities)
    for name in (NAME, OTHER):
        member.put(name, SecretValue(CANARY), None)
    member.calls.clear()
    return member


READS: dict[str, Callable[[Failover], object]] = {
    "get": lambda both: both.get(NAME, Stage.CURRENT),
    "get_many": lambda both: both.get_many([NAME, OTHER]),
    "versions": lambda both: both.versions(NAME),
    "describe": lambda both: both.describe(NAME),
    "list_info": lambda both: list(both.list_info("")),
}
ANSWERS = [
    PermissionDeniedError,
    SecretNotFoundError,
    IntegrityError,
    SecretConflictError,
    InvalidRequestError,
]


@pytest.mark.parametrize("answer", ANSWERS)
@pytest.mark.parametrize("read", READS)
def test_an_answer_is_an_answer_and_nobody_else_is_asked(
    both: Failover, first: Member, second: Member, read: str, answer: type[SecretStoreError]
) -> None:
    """Asking around after a denial or a "not found" would bring revoked secrets back ▲."""
    first.failure = answer("no")
    with pytest.raises(answer):
        READS[read](both)
    assert second.calls == []


@pytest.mark.parametrize("read", READS)
def test_a_read_goes_on_when_a_member_is_unavailable(
    both: Failover, first: Member, second: Member, read: str
) -> None:
    """One region is down; the answer comes from the other."""
    first.failure = UnavailableError("down")
    assert READS[read](both)
    assert second.calls[0] == read


@pytest.mark.parametrize("read", READS)
def test_a_working_first_member_is_the_only_one_asked(both: Failover, second: Member, read: str) -> None:
    """Replicas cost nothing while nothing is wrong."""
    assert READS[read](both)
    assert second.calls == []


@pytest.mark.parametrize("read", READS)
def test_when_all_are_unavailable_the_first_members_error_stands(
    both: Failover, first: Member, second: Member, read: str
) -> None:
    """It is the one to repair."""
    first.failure, second.failure = UnavailableError("eu is down"), UnavailableError("us is down")
    with pytest.raises(UnavailableError, match="eu is down"):
        READS[read](both)


def test_the_next_members_answer_stands_too(both: Failover, first: Member, second: Member) -> None:
    """Where the replica denies, the read is denied: it was asked, and a revocation may be what it knows."""
    first.failure, second.failure = UnavailableError("down"), PermissionDeniedError("no")
    with pytest.raises(PermissionDeniedError):
        both.get(NAME, Stage.CURRENT)


def test_another_members_answer_is_marked_degraded(both: Failover, first: Member) -> None:
    """Without a common record nobody can tell how new it is."""
    assert not both.get(NAME, Stage.CURRENT).degraded
    first.failure = UnavailableError("down")
    assert both.get(NAME, Stage.CURRENT).degraded
    many = both.get_many([NAME, OTHER])
    assert all(isinstance(found, Secret) and found.degraded for found in many.values())


def test_every_version_names_its_member(both: Failover, first: Member, second: Member) -> None:
    """Ids of two members look alike; only with its member's name does one mean a version."""
    own, others = first.get(NAME, Stage.CURRENT).version, second.get(NAME, Stage.CURRENT).version
    assert both.get(NAME, Stage.CURRENT).version == f"eu:{own}"
    assert both.versions(NAME)[0].id == f"eu:{own}"
    newest = both.describe(NAME).newest
    assert newest
    assert newest.id == f"eu:{own}"
    assert both.put(OTHER, SecretValue("n"), None).id.startswith("eu:")
    first.failure = UnavailableError("down")
    assert both.get(NAME, Stage.CURRENT).version == f"us:{others}"
    assert both.versions(NAME)[0].id == f"us:{others}"


def test_a_version_is_read_from_its_own_member_and_no_other(
    both: Failover, first: Member, second: Member
) -> None:
    """Another member's version under the same id may be another value."""
    us = f"us:{second.get(NAME, Stage.CURRENT).version}"
    second.calls.clear()
    first.calls.clear()
    assert both.get(NAME, us).version == us
    assert first.calls == []
    second.failure = UnavailableError("down")
    with pytest.raises(UnavailableError):
        both.get(NAME, us)
    assert first.calls == []
    for unknown in ("asia:1", "1", ":1", ""):
        with pytest.raises(SecretConflictError):
            both.get(NAME, unknown)


def test_another_members_version_is_a_conflict_for_a_write(
    both: Failover, first: Member, second: Member
) -> None:
    """Compare-and-set across members compares nothing ▲."""
    us = f"us:{second.get(NAME, Stage.CURRENT).version}"
    first.calls.clear()
    for write in (
        lambda: both.put(NAME, SecretValue("n"), us),
        lambda: both.retire(NAME, us),
        lambda: both.versions_after(NAME, us),
        lambda: both.own_version(us),
    ):
        with pytest.raises(SecretConflictError, match="member"):
            write()
    assert first.calls == []
    with SecretStore(both, cache=None) as store:
        with pytest.raises(SecretConflictError):
            store.rollback("db/password", if_version=us)
        with pytest.raises(SecretConflictError):
            store.pending("db/password", ROTATION).put("n", base_version=us)


WRITES: dict[str, Callable[[SecretStore], object]] = {
    "put": lambda store: store.put("db/password", "n"),
    "create": lambda store: store.put("db/new", "n", if_version=ABSENT),
    "delete": lambda store: store.delete("db/password"),
    "restore": lambda store: store.restore("db/password"),
    "purge": lambda store: store.purge("db/password"),
    "set_tags": lambda store: store.set_tags("db/password", {"a": "b"}),
    "pending": lambda store: store.pending("db/password", ROTATION).put("n", base_version="eu:1"),
    "promote": lambda store: store.pending("db/password", ROTATION).promote(),
    "rollback": lambda store: store.rollback("db/password", if_version="eu:1"),
}


@pytest.mark.parametrize("capabilities", [ALL, ALL & ~Capability.NATIVE_PENDING], ids=["native", "companion"])
@pytest.mark.parametrize("write", WRITES)
def test_writes_and_the_reads_that_feed_them_never_leave_the_first_member(
    write: str, capabilities: Capability
) -> None:
    """Two members that both take writes are two truths; a base read from a replica is no base."""
    first, second = seeded(capabilities), seeded(capabilities)
    first.failure = UnavailableError("down")
    with SecretStore(Failover({"eu": first, "us": second}), cache=None) as store:
        first_only = write not in {"pending", "promote"} or Capability.NATIVE_PENDING not in capabilities
        with pytest.raises(UnavailableError if first_only else SecretStoreError):
            WRITES[write](store)
        first.failure = None
    assert second.calls == []


@pytest.mark.parametrize("key", [Companion(NAME), Reserved("lease", NAME)], ids=str)
def test_companions_and_leases_never_fail_over(
    both: Failover, first: Member, second: Member, key: Key
) -> None:
    """A replica's pending value may be one that was discarded; its lease may be lost ▲."""
    second.put(key, SecretValue("old"), None)
    second.calls.clear()
    first.failure = UnavailableError("down")
    with pytest.raises(UnavailableError):
        both.get(key, Stage.CURRENT)
    assert second.calls == []


def test_capabilities_are_the_firsts_writes_and_what_all_can_read() -> None:
    """A read that only some members answer would fail just when it fails over."""
    lesser = Capability.LIST | Capability.PUT
    assert Failover({"a": MemoryBackend(), "b": MemoryBackend(lesser)}).capabilities == (
        ALL.writes | Capability.LIST
    )
    assert Failover({"a": MemoryBackend(lesser), "b": MemoryBackend()}).capabilities == lesser
    store = SecretStore(Failover({"a": MemoryBackend(), "b": MemoryBackend(lesser)}))
    with store, pytest.raises(UnsupportedOperationError):
        store.versions("db/password")


class HalfPage(Member):
    """Its listing breaks after the first item."""

    def list_info(self, prefix: str, detail: bool = False) -> Iterator[SecretInfo]:
        yield SecretInfo(NAME)
        raise UnavailableError("the second page did not come")


def test_a_listing_changes_members_only_before_its_first_item(second: Member) -> None:
    """Two members' pages do not join: names would be missing or twice, without an error."""
    names = Failover({"eu": HalfPage(), "us": second}).list_info("")
    assert next(names).key == NAME
    with pytest.raises(UnavailableError, match="second page"):
        next(names)
    assert second.calls == []


class Half(Member):
    """One item of its batches cannot be read now."""

    def get_many(self, keys: Sequence[Key]) -> Mapping[Key, Secret | SecretStoreError]:
        return {**super().get_many(keys), keys[0]: UnavailableError("throttled")}


def test_a_batch_with_an_unavailable_item_is_asked_of_the_next_member_as_a_whole(second: Member) -> None:
    """Half from here and half from there would be a state that no member ever had."""
    many = Failover({"eu": Half(), "us": second}).get_many([NAME, OTHER])
    assert [found.version[:3] for found in many.values() if isinstance(found, Secret)] == ["us:", "us:"]


def test_a_batch_keeps_denied_and_missing_items(both: Failover, second: Member) -> None:
    """They are answers."""
    missing = Name("db/missing")
    outcomes = both.get_many([NAME, missing])
    assert isinstance(outcomes[missing], SecretNotFoundError)
    assert second.calls == []


def test_close_closes_every_member_even_if_one_fails(both: Failover, first: Member, second: Member) -> None:
    """A session that is left open keeps a token alive."""
    first.failure = UnavailableError("down")
    with pytest.raises(UnavailableError):
        both.close()
    assert (first.closed, second.closed) == (1, 1)


def test_a_fork_reaches_every_member(both: Failover, first: Member, second: Member) -> None:
    """A socket shared with the parent would mix answers."""
    both.after_fork()
    assert (first.forked, second.forked) == (1, 1)


@pytest.mark.parametrize("members", [{}, {"": Member()}, {"a:b": Member()}], ids=["none", "empty", "colon"])
def test_members_have_names_without_a_colon(members: dict[str, Member]) -> None:
    """`a:b:1` could be version `1` of `a:b`, or `b:1` of `a`."""
    with pytest.raises(InvalidRequestError):
        Failover(members)
