"""No older value than this process has seen, and none older than is known without a mark."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import pytest

from strongroom.backend import ABSENT, Secret, Stage
from strongroom.cache import CachePolicy
from strongroom.errors import PermissionDeniedError, SecretNotFoundError, SecretStoreError, UnavailableError
from strongroom.layers.failover import Failover
from strongroom.memory import MemoryBackend
from strongroom.names import Companion, Name
from strongroom.replication.record import Record
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.testing.faults import FaultyBackend, lost_answer
from strongroom.value import SecretValue
from tests.canary import CANARY

NAME = Name("db/password")
ROTATION = "6e4f2a7c-3d0f-4a67-9d5a-2f5a3f0b9c11"


class Member(FaultyBackend):
    """Counts its calls, fails as it is told to, and holds what replication would have brought."""

    def __init__(self) -> None:
        super().__init__(MemoryBackend())

    def holds(self, place: str | None, value: str = "") -> None:
        """Its current version stands at `place` (``epoch.seq``), or has no record."""
        self.inner.put(NAME, SecretValue(f"{CANARY} {value or place}"), None, place and record(place, value))


def record(place: str, value: str = "") -> str:
    epoch, seq = map(int, place.split("."))
    digest = hashlib.sha256(f"{place} {value}".encode()).hexdigest()[:32]
    return Record(epoch, seq, "0" * 32, digest).text


@pytest.fixture
def eu() -> Member:
    """Takes the writes."""
    return Member()


@pytest.fixture
def us() -> Member:
    """A replica."""
    return Member()


@pytest.fixture
def both(eu: Member, us: Member) -> Failover:
    """The two as one."""
    return Failover({"eu": eu, "us": us}, clock=FakeClock())


def read(both: Failover) -> tuple[str, str]:
    """Which version of which member, and its marks."""
    return shown(both.get(NAME, Stage.CURRENT))


def batch(both: Failover) -> tuple[str, str]:
    """The same by a batch."""
    outcome = both.get_many([NAME])[NAME]
    if isinstance(outcome, SecretStoreError):
        raise outcome
    return shown(outcome)


def shown(secret: Secret) -> tuple[str, str]:
    marks = [mark for mark in ("behind", "degraded", "stale") if getattr(secret, mark)]
    place = secret.value.reveal_text().removeprefix(CANARY).strip()
    return f"{secret.version.partition(':')[0]} {place}", " ".join(marks)


either_way = pytest.mark.parametrize("read", [read, batch], ids=["get", "get_many"])
Read = Callable[[Failover], tuple[str, str]]


@either_way
def test_a_replica_that_has_caught_up_answers_without_a_mark(
    both: Failover, eu: Member, us: Member, read: Read
) -> None:
    """Its record proves that it is as new as what the first member showed."""
    eu.holds("1.5")
    us.holds("1.5")
    assert read(both) == ("eu 1.5", "")
    eu.unreachable()
    assert read(both) == ("us 1.5", "")


@either_way
def test_a_newer_version_of_a_replica_is_served(both: Failover, eu: Member, us: Member, read: Read) -> None:
    """Another process wrote, and replication was faster than our next read."""
    eu.holds("1.5")
    us.holds("1.6")
    read(both)
    eu.unreachable()
    assert read(both) == ("us 1.6", "")


@either_way
def test_an_older_version_than_was_handed_out_is_never_handed_out(
    both: Failover, eu: Member, us: Member, read: Read
) -> None:
    """The one before may have been revoked because it leaked ▲; the error says so and takes no time."""
    eu.holds("1.6")
    us.holds("1.5")
    read(both)
    eu.unreachable()
    for _ in range(3):
        with pytest.raises(UnavailableError, match="us has an older version") as caught:
            read(both)
    assert caught.value.retryable


@either_way
def test_a_first_member_that_went_back_is_passed_over(
    both: Failover, eu: Member, us: Member, read: Read
) -> None:
    """An old source that returns after a takeover, or a label that lags: who has the newer one answers."""
    eu.holds("1.5")
    us.holds("2.1")
    eu.unreachable(times=1)
    assert read(both) == ("us 2.1", "degraded")
    assert read(both)[0] == "us 2.1"
    us.unreachable()
    with pytest.raises(UnavailableError, match="eu has an older version"):
        read(both)


@either_way
def test_what_is_refused_is_served_once_it_has_caught_up(
    both: Failover, eu: Member, us: Member, read: Read
) -> None:
    """A lag is no verdict on the member."""
    eu.holds("1.6")
    us.holds("1.5")
    read(both)
    eu.unreachable()
    with pytest.raises(UnavailableError):
        read(both)
    us.holds("1.6")
    assert read(both) == ("us 1.6", "")


@either_way
@pytest.mark.parametrize("told", ["describe", "list"])
def test_an_older_version_than_is_known_of_is_marked_behind(
    both: Failover, eu: Member, us: Member, told: str, read: Read
) -> None:
    """This process never had the newer value, so the older one is better than none; it is marked."""
    eu.holds("1.6")
    us.holds("1.5")
    if told == "describe":
        both.describe(NAME)
    else:
        list(both.list_info("", detail=True))
    eu.unreachable()
    assert read(both) == ("us 1.5", "behind")
    eu.clear()
    assert read(both) == ("eu 1.6", "")


def test_the_newest_of_those_that_are_behind_is_served(eu: Member, us: Member) -> None:
    """Not the first one that answers."""
    far, near = Member(), Member()
    three = Failover({"eu": eu, "far": far, "near": near, "us": us}, clock=FakeClock())
    for member, place in ((eu, "1.9"), (far, "1.3"), (near, "1.8"), (us, "1.7")):
        member.holds(place)
    three.describe(NAME)
    eu.unreachable()
    assert read(three) == ("near 1.8", "behind")


@either_way
def test_a_member_without_a_record_answers_as_degraded(
    both: Failover, eu: Member, us: Member, read: Read
) -> None:
    """Nobody can tell how new it is."""
    eu.holds("1.6")
    us.holds(None, "replica's")
    read(both)
    eu.unreachable()
    assert read(both) == ("us replica's", "degraded")


@pytest.mark.parametrize("text", ["", "v2.1.5." + "0" * 65, "not a record", "v1.01.5." + "0" * 65])
def test_a_record_that_cannot_be_read_is_none(both: Failover, eu: Member, us: Member, text: str) -> None:
    """Damage to a tag must not take the secret away, and proves nothing."""
    eu.holds("1.6")
    us.inner.put(NAME, SecretValue(CANARY), None, text)
    read(both)
    eu.unreachable()
    assert read(both) == ("us ", "degraded")


@either_way
def test_without_a_record_of_the_first_member_a_replicas_proves_nothing(
    both: Failover, eu: Member, us: Member, read: Read
) -> None:
    """A process that starts in the outage cannot know what the source had."""
    eu.unreachable()
    us.holds("1.5")
    assert read(both) == ("us 1.5", "degraded")


@either_way
def test_the_first_member_without_its_record_is_degraded_once_there_was_one(
    both: Failover, eu: Member, us: Member, read: Read
) -> None:
    """Somebody wrote by other means: it is the source, and it cannot prove to be newer than 1.5."""
    eu.holds("1.5")
    assert read(both) == ("eu 1.5", "")
    eu.holds(None, "foreign")
    assert read(both) == ("eu foreign", "degraded")


def test_without_any_records_the_first_member_is_not_degraded(both: Failover, eu: Member, us: Member) -> None:
    """Stores that are not replicated by us answer as ever."""
    eu.holds(None, "one")
    assert read(both) == ("eu one", "")


@either_way
def test_two_values_at_one_place_are_the_first_members_to_decide(
    both: Failover, eu: Member, us: Member, read: Read
) -> None:
    """A contradiction is settled by replication; until then nobody is handed now this, now that."""
    eu.holds("2.7", "one")
    us.holds("2.7", "another")
    eu.unreachable(times=1)
    assert read(both) == ("us another", "degraded")
    assert read(both) == ("eu one", "degraded")
    assert read(both) == ("eu one", "")
    eu.unreachable()
    with pytest.raises(UnavailableError, match="or contradicts it"):
        read(both)


WRITES: dict[str, Callable[[SecretStore], object]] = {
    "put": lambda store: store.put("db/password", "n"),
    "promote": lambda store: (
        store.pending("db/password", ROTATION).put("n", base_version=store.get("db/password").version),
        store.pending("db/password", ROTATION).promote(),
    ),
    "rollback": lambda store: store.rollback("db/password", if_version=store.get("db/password").version),
    "delete": lambda store: store.delete("db/password"),
    "purge": lambda store: store.purge("db/password"),
}


@pytest.mark.parametrize("write", WRITES)
def test_after_a_write_of_ours_a_replicas_older_answer_is_behind_it(
    both: Failover, eu: Member, us: Member, write: str
) -> None:
    """Its record is none above what was known before the write, so it has not got what we wrote."""
    eu.holds("1.4")
    eu.holds("1.5")
    us.holds("1.5")
    with SecretStore(both, cache=None, clock=FakeClock()) as store:
        store.get("db/password")
        WRITES[write](store)
        eu.unreachable()
        assert read(both) == ("us 1.5", "behind degraded")
        assert both.get(NAME, Stage.CURRENT).behind == 1


def test_a_write_of_ours_is_proved_by_the_first_members_next_record(
    both: Failover, eu: Member, us: Member
) -> None:
    """A record above the one that was known when we wrote stands for it, or for something later."""
    eu.holds("1.5")
    read(both)
    both.put(NAME, SecretValue("mine"), None)
    eu.holds("1.6")
    us.holds("1.6")
    read(both)
    eu.unreachable()
    assert read(both) == ("us 1.6", "")


def test_an_old_label_proves_nothing_of_a_write_of_ours(both: Failover, eu: Member, us: Member) -> None:
    """Labels lag: the record that was known before the write says nothing of it."""
    eu.holds("1.5")
    us.holds("1.5")
    read(both)
    both.put(NAME, SecretValue("mine"), None)
    eu.stale("get")
    assert read(both) == ("eu 1.5", "degraded")
    eu.unreachable()
    assert read(both) == ("us 1.5", "behind degraded")


def test_a_write_whose_answer_was_lost_counts_as_one(both: Failover, eu: Member, us: Member) -> None:
    """It may have happened."""
    eu.holds("1.5")
    us.holds("1.5")
    read(both)
    eu.fault("put", lost_answer, after=True)
    with pytest.raises(UnavailableError):
        both.put(NAME, SecretValue("mine"), None)
    eu.unreachable()
    assert read(both) == ("us 1.5", "degraded")


def test_a_write_that_did_not_happen_changes_nothing(both: Failover, eu: Member, us: Member) -> None:
    """A conflict leaves what was proved as it was."""
    eu.holds("1.5")
    us.holds("1.5")
    read(both)
    with pytest.raises(SecretStoreError):
        both.put(NAME, SecretValue("mine"), ABSENT)
    eu.unreachable()
    assert read(both) == ("us 1.5", "")


def test_a_write_with_a_record_is_seen(both: Failover, eu: Member, us: Member) -> None:
    """What we wrote ourselves is as good as read."""
    us.holds("1.5")
    both.put(NAME, SecretValue("mine"), None, record("1.6"))
    eu.unreachable()
    with pytest.raises(UnavailableError, match="older version"):
        read(both)
    us.holds("1.6")
    assert read(both) == ("us 1.6", "")


def test_a_read_that_began_before_our_write_proves_nothing_of_it(
    both: Failover, eu: Member, us: Member
) -> None:
    """Its answer was long on its way: it may be what we wrote over."""
    eu.holds("1.5")
    us.holds("1.6")
    read(both)
    eu.holds("1.6")
    eu.run("get", lambda: both.put(NAME, SecretValue("mine"), None), after=True)
    assert read(both) == ("eu 1.6", "")
    eu.unreachable()
    assert read(both) == ("us 1.6", "degraded")


def test_reads_that_overlap_do_not_make_each_other_fail(both: Failover, eu: Member, us: Member) -> None:
    """One that began before the newer version was handed out may still bring the older one."""
    eu.holds("1.5")
    us.holds("1.5")

    def another() -> None:
        eu.holds("1.6")
        assert read(both) == ("eu 1.6", "")

    eu.run("get", another, after=True)
    assert read(both) == ("eu 1.5", "")
    assert read(both) == ("eu 1.6", "")


def test_a_rollback_is_served_by_whoever_had_the_newer_version(both: Failover, eu: Member) -> None:
    """What is written anew is new: with the old version's record it would be refused everywhere."""
    eu.holds("1.4")
    eu.holds("1.5")
    other = Failover({"eu": eu, "us": Member()}, clock=FakeClock())
    with SecretStore(both, cache=None, clock=FakeClock()) as store:
        store.rollback("db/password", if_version=other.get(NAME, Stage.CURRENT).version)
    assert read(other) == ("eu 1.4", "degraded")


def test_previous_and_versions_by_id_are_not_held_against_the_newest(
    both: Failover, eu: Member, us: Member
) -> None:
    """Who asks for an older one gets it."""
    eu.holds("1.5")
    first = both.get(NAME, Stage.CURRENT).version
    eu.holds("1.6")
    read(both)
    assert shown(both.get(NAME, first)) == ("eu 1.5", "")
    assert shown(both.get(NAME, Stage.PREVIOUS)) == ("eu 1.5", "")
    us.holds("1.4")
    us.holds("1.5")
    eu.unreachable()
    assert shown(both.get(NAME, Stage.PREVIOUS)) == ("us 1.4", "degraded")


def test_a_name_is_not_held_against_its_companion_or_another_name(
    both: Failover, eu: Member, us: Member
) -> None:
    """Each has an order of its own."""
    eu.holds("1.6")
    read(both)
    for key in (Companion(NAME), Name("db/other")):
        eu.inner.put(key, SecretValue(CANARY), None, record("1.2"))
        assert not both.get(key, Stage.CURRENT).behind


def test_a_batch_asks_the_others_only_for_what_is_old(both: Failover, eu: Member, us: Member) -> None:
    """One lagging name does not turn the rest away from the first member."""
    other = Name("db/other")
    us.holds("2.1")
    eu.unreachable(times=1)
    read(both)
    eu.holds("1.5")
    eu.inner.put(other, SecretValue(CANARY), None)
    us.calls.clear()
    outcomes = both.get_many([NAME, other])
    versions = [found.version[:3] for found in outcomes.values() if isinstance(found, Secret)]
    assert versions == ["us:", "eu:"]
    assert us.calls == {"get": 1}


def test_a_batch_names_the_one_that_is_only_old(both: Failover, eu: Member) -> None:
    """As an outcome beside the others, not in their place."""
    other = Name("db/other")
    eu.holds("1.6")
    eu.inner.put(other, SecretValue(CANARY), None)
    read(both)
    eu.holds("1.5")
    outcomes = both.get_many([NAME, other])
    assert isinstance(outcomes[NAME], SecretStoreError)
    assert isinstance(outcomes[other], Secret)


@pytest.mark.parametrize("answer", [PermissionDeniedError, SecretNotFoundError])
def test_another_members_denial_stands_where_the_first_has_only_an_older_version(
    both: Failover, eu: Member, us: Member, answer: type[SecretStoreError]
) -> None:
    """It was asked, and a revocation may be what it knows."""
    eu.holds("1.6")
    read(both)
    eu.holds("1.5")
    us.fault("get", lambda: answer("no"), times=9)
    with pytest.raises(answer):
        read(both)


def test_a_cache_serves_its_newer_value_rather_than_a_replicas_older_one(eu: Member, us: Member) -> None:
    """Within the stale bound, marked; after it there is an error, and still not the older value."""
    clock = FakeClock()
    both = Failover({"eu": eu, "us": us}, clock=clock)
    eu.holds("1.6")
    us.holds("1.5")
    with SecretStore(both, cache=CachePolicy(fresh=60, stale=600), clock=clock) as store:
        store.get("db/password")
        eu.unreachable()
        clock.advance(61)
        assert shown(store.get("db/password")) == ("eu 1.6", "stale")
        clock.advance(700)
        with pytest.raises(UnavailableError):
            store.get("db/password")


def test_an_answer_names_where_it_comes_from(eu: Member) -> None:
    """`origin` is the member's own, not the failover's."""
    us = MemoryBackend()
    us.origin = "memory:us"
    us.put(NAME, SecretValue(CANARY), None)
    eu.unreachable()
    assert Failover({"eu": eu, "us": us}).get(NAME, Stage.CURRENT).origin == "memory:us"


def test_a_child_of_a_fork_knows_what_its_parent_had_seen(both: Failover, eu: Member, us: Member) -> None:
    """It was handed the same memory, with the newer value in it."""
    eu.holds("1.6")
    us.holds("1.5")
    read(both)
    both.after_fork()
    eu.unreachable()
    with pytest.raises(UnavailableError, match="older version"):
        read(both)
