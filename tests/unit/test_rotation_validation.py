"""Policies that would break their readers, or that cannot be carried out, are refused before anything is."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from strongroom.backend import Capability
from strongroom.errors import InvalidRequestError
from strongroom.memory import ALL, MemoryBackend
from strongroom.rotation.policy import Policy
from strongroom.rotation.rotator import Rotation, Rotator
from strongroom.rotation.schedule import Schedule
from strongroom.rotation.validation import Problem, Readers, problems, refuse
from strongroom.rotationchecks import readers
from strongroom.store import SecretStore
from strongroom.toml.file import Config, read_text
from strongroom.value import SecretValue

HOUR = timedelta(hours=1)


class Two(Rotator):
    """Two credentials at once."""

    def create_secret(self, r: Rotation) -> str:
        return "x"

    def test_secret(self, r: Rotation, value: SecretValue) -> None:
        pass


class One(Two):
    """One alone."""

    slots = "single"


def policy(name: str = "db/password", able: Capability = ALL, **changes: object) -> Policy:
    store = SecretStore(MemoryBackend(able), cache=None)
    return replace(Policy(name, store, Two()), **changes)  # type: ignore[arg-type]


def found(*policies: Policy, cache: timedelta = HOUR, lag: timedelta = timedelta()) -> list[Problem]:
    return problems(policies, lambda _: Readers(cache, lag))


def test_the_defaults_are_sound() -> None:
    """Two hours of grace, the default cache, a rotation each week."""
    assert problems([policy(schedule=Schedule("rate(7 days)"))], lambda _: Readers()) == []


def test_grace_covers_cache_lag_and_skew_together() -> None:
    """A second less is refused, and the text names the parts."""
    least = Readers(HOUR, HOUR / 2).bound
    assert least > HOUR * 1.5
    assert found(policy(grace=least), lag=HOUR / 2) == []
    [problem] = found(policy(grace=least - timedelta(seconds=1)), lag=HOUR / 2)
    assert "cache 1:00:00 + replica lag 0:30:00 + clock skew" in problem.text
    assert str(least) in problem.hint


def test_an_hour_of_cache_and_a_rotation_an_hour_do_not_go_together() -> None:
    """Whatever the grace: too short for the cache, or it lasts until the next rotation."""
    hourly = Schedule("rate(1 hour)")
    for grace in (HOUR / 2, HOUR, 2 * HOUR):
        assert [problem.severity for problem in found(policy(schedule=hourly, grace=grace))][:1] == ["error"]
    assert found(policy(schedule=hourly, grace=HOUR * 0.9), cache=HOUR / 2) == []


def test_the_shortest_interval_counts() -> None:
    """Two ticks an hour apart, once a week."""
    schedule = Schedule("cron(0 3,4 ? * SUN *)")
    [problem] = found(policy(schedule=schedule, grace=HOUR), cache=HOUR / 2)
    assert "until the next rotation, 1:00:00 later" in problem.text


def test_one_slot_has_no_grace_to_be_too_short() -> None:
    """The target refuses the old credential at once, whatever is written."""
    assert found(policy(rotator=One(), grace=timedelta())) == []


@pytest.mark.parametrize("lacking", [Capability.CAS, Capability.NATIVE_PENDING | Capability.VERSIONS])
def test_a_store_that_cannot_compare_or_hold_back_is_refused(lacking: Capability) -> None:
    """A coordinator would guard it: then it says so by its capabilities."""
    [problem] = found(policy(able=ALL & ~lacking))
    assert "store" in problem.text
    guarded = ALL & ~Capability.CAS | Capability.CAS_GUARDED
    assert found(policy(able=guarded)) == []


def test_secrets_that_nothing_spreads_are_a_warning() -> None:
    """Two secrets at one minute: once, and not if somebody wants it so, or if there is a window."""
    nightly = Schedule("cron(0 3 * * ? *)")
    herd = [policy(name, schedule=nightly) for name in ("a", "b", "c")]
    [problem] = found(*herd)
    assert (problem.severity, problem.text[:9]) == ("warning", "3 secrets")
    assert refuse(herd, lambda _: Readers()) == [problem]
    assert found(herd[0]) == []
    for schedule in (replace(nightly, jitter=False), replace(nightly, window=2 * HOUR)):
        assert found(*(replace(one, schedule=schedule) for one in herd)) == []


def test_all_errors_are_told_at_once() -> None:
    """Each with its secret; after five it says how many more."""
    bad = [policy(f"db/{number}", grace=HOUR / 2) for number in range(7)]
    with pytest.raises(InvalidRequestError, match=r"db/0: grace.*db/4: grace.*and 2 more"):
        refuse(bad, lambda _: Readers())


def config(text: str) -> Config:
    return read_text(Path("strongroom.toml"), text, "")


def test_the_caches_of_a_configuration_count() -> None:
    """Whoever reaches the same place: the store, another alias of it, and a failover that has it."""
    text = (
        '[store.prod]\nurl = "memory://a"\ncache = { fresh = "1m", stale = "1m" }\n'
        '[store.other]\nurl = "memory://b"\ncache = { fresh = "9h", stale = "1h" }\n'
    )
    store = SecretStore(MemoryBackend(ALL), cache=None, alias="prod")
    one = Policy("db/password", store, Two())
    assert readers(config(text), one).cache == timedelta(minutes=2)
    failover = '[store.all]\nfailover = ["prod", "other"]\ncache = { fresh = "5m", stale = "25m" }\n'
    assert readers(config(text + failover), one).cache == timedelta(minutes=30)
    names = 'names = { "db/**" = { fresh = "3h", stale = "0s" } }'
    twin = f'[store.twin]\nurl = "memory://a"\ncache = {{ fresh = "1m", stale = "0s", {names} }}\n'
    assert readers(config(text + twin), one).cache == 3 * HOUR
    assert readers(config(text.replace('{ fresh = "1m", stale = "1m" }', "false")), one).cache == timedelta()


def test_replicas_count_by_their_lag_and_by_their_caches() -> None:
    """Who reads a replica learns of a rotation once it is there and the replica's own cache lets go."""
    text = (
        '[store.prod]\nurl = "memory://a"\ncache = { fresh = "1m", stale = "1m" }\n'
        '[store.far]\nurl = "memory://b"\ncache = { fresh = "9m", stale = "1m" }\n'
        '[replica.far]\nsource = "prod"\nmax_lag = "7m"\nnames = ["db/**"]\n'
    )
    store = SecretStore(MemoryBackend(ALL), cache=None, alias="prod")
    replicated, other = (Policy(name, store, Two()) for name in ("db/password", "api/key"))
    assert readers(config(text), replicated) == Readers(timedelta(minutes=10), timedelta(minutes=7))
    assert readers(config(text), other) == Readers(timedelta(minutes=2))
