"""A failover that knows its replicas: how far behind they are, and what they do not have."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from strongroom.backend import Capability, Stage
from strongroom.errors import SecretNotFoundError, UnavailableError
from strongroom.layers.failover import Failover
from strongroom.names import Name
from strongroom.patterns import matcher
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.value import SecretValue
from tests.unit.test_failover_order import NAME, Member, read

OTHER = Name("exchange/key")


@dataclass(frozen=True)
class Held:
    """What a replica has."""

    patterns: tuple[str, ...] = ("**",)

    @property
    def whole(self) -> bool:
        return "**" in self.patterns

    def covers(self, name: str) -> bool:
        return matcher(self.patterns)(name)


def failover(eu: Member, us: Member, *patterns: str) -> Failover:
    return Failover({"eu": eu, "us": us}, replicas={"us": Held(patterns or ("**",))}, clock=FakeClock())


@pytest.fixture
def eu() -> Member:
    """The source."""
    return Member()


@pytest.fixture
def us() -> Member:
    """Its replica."""
    return Member()


@pytest.mark.parametrize(
    ("source", "replica", "behind"),
    [("1.9", "1.9", 0), ("1.9", "1.8", 1), ("1.9", "1.2", 7), ("2.9", "1.9", 1), ("3.12", "1.9", 3)],
)
def test_an_answer_says_how_many_writes_it_is_known_to_miss(
    eu: Member, us: Member, source: str, replica: str, behind: int
) -> None:
    """A takeover goes on counting, and is a write itself: epochs apart are one at least."""
    both = failover(eu, us)
    eu.holds(source)
    us.holds(replica)
    assert both.describe(NAME).record  # known of, and not handed out
    eu.unreachable()
    secret = both.get(NAME, Stage.CURRENT)
    assert (secret.behind, secret.version.partition(":")[0]) == (behind, "us")


def test_writes_of_ours_that_a_replica_cannot_have_are_counted(eu: Member, us: Member) -> None:
    """Besides those that its record tells of."""
    both = failover(eu, us)
    us.holds("1.3")
    eu.holds("1.5")
    both.describe(NAME)
    both.put(NAME, SecretValue("a"), None)
    both.put(NAME, SecretValue("b"), None)
    eu.unreachable()
    assert both.get(NAME, Stage.CURRENT).behind == 4


def test_a_write_of_ours_that_another_replica_shows_is_counted_once(eu: Member, us: Member) -> None:
    """Its record was told of since."""
    ap = Member()
    held = {"us": Held(), "ap": Held()}
    three = Failover({"eu": eu, "us": us, "ap": ap}, replicas=held, clock=FakeClock())
    eu.holds("1.5")
    three.describe(NAME)
    three.put(NAME, SecretValue("ours"), None)
    us.holds("1.6")
    ap.holds("1.5")
    eu.unreachable()
    three.describe(NAME)
    us.unreachable()
    assert three.get(NAME, Stage.CURRENT).behind == 1


def test_the_least_late_replica_answers(eu: Member, us: Member) -> None:
    """Where none is up to date, whatever their order."""
    ap = Member()
    held = {"us": Held(), "ap": Held()}
    three = Failover({"eu": eu, "us": us, "ap": ap}, replicas=held, clock=FakeClock())
    eu.holds("1.9")
    us.holds("1.4")
    ap.holds("1.7")
    three.describe(NAME)
    eu.unreachable()
    secret = three.get(NAME, Stage.CURRENT)
    assert (secret.version.partition(":")[0], secret.behind) == ("ap", 2)


def test_a_replica_is_not_asked_for_what_it_does_not_have(eu: Member, us: Member) -> None:
    """That a secret which is not replicated is not found there says nothing: it may well exist."""
    both = failover(eu, us, "db/**")
    eu.holds("1.1")
    us.holds("1.1")
    eu.unreachable()
    assert both.get(NAME, Stage.CURRENT).version.startswith("us:")
    for ask in (
        lambda: both.get(OTHER, Stage.CURRENT),
        lambda: both.get(OTHER, Stage.PREVIOUS),
        lambda: both.versions(OTHER),
        lambda: both.describe(OTHER),
    ):
        with pytest.raises(UnavailableError):
            ask()


def test_a_replica_that_has_everything_tells_that_a_secret_is_not_there(eu: Member, us: Member) -> None:
    """A deletion has come there too."""
    both = failover(eu, us)
    eu.unreachable()
    with pytest.raises(SecretNotFoundError):
        both.get(OTHER, Stage.CURRENT)


def test_a_batch_has_from_a_replica_what_that_has(eu: Member, us: Member) -> None:
    """And says of the rest that it is out of reach."""
    both = failover(eu, us, "db/**")
    us.holds("1.1")
    eu.unreachable()
    found = both.get_many([NAME, OTHER])
    assert str(getattr(found[NAME], "version", "")).startswith("us:")
    assert isinstance(found[OTHER], UnavailableError)


def test_a_list_is_whole_or_there_is_none(eu: Member, us: Member) -> None:
    """Half of the names would look like all of them."""
    us.holds("1.1")
    eu.unreachable()
    with pytest.raises(UnavailableError):
        list(failover(eu, us, "db/**").list_info(""))
    assert [info.key for info in failover(eu, us).list_info("")] == [NAME]


def test_where_a_replica_is_read_first_the_source_decides(eu: Member, us: Member) -> None:
    """A program near the replica reads there; until it has heard of the source the answer is unproved."""
    near = Failover({"us": us, "eu": eu}, replicas={"us": Held()}, clock=FakeClock())
    eu.holds("1.2")
    us.holds("1.2", "contradicts")
    assert read(near) == ("us contradicts", "degraded")
    us.unreachable(times=1)
    assert read(near)[0] == "eu 1.2"
    assert read(near)[0] == "eu 1.2", "two values at one place: the source's counts"


def test_a_replica_that_is_read_first_takes_no_writes(eu: Member, us: Member) -> None:
    """The writes of a failover go to its first member, and to no other in silence."""
    from strongroom.layers.replica import ReadOnly, said_of

    members = {"us": ReadOnly(us, said_of("us", "eu")), "eu": eu}
    with SecretStore(Failover(members, replicas={"us": Held()}), cache=None) as store:
        assert Capability.PUT not in store.capabilities
        with pytest.raises(Exception, match="us is a replica of eu: write to eu"):
            store.put("db/password", "n")
