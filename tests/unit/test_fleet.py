"""The simulated fleet: the same each time, whatever its weights, and as the real cache on a real clock."""

from __future__ import annotations

import json
import random
import threading
from dataclasses import replace

import pytest

from strongroom import cache, retry
from strongroom.cache import CachePolicy
from tests.bench import fleet, fleet_page, fleet_plots
from tests.bench.fleet_network import Bucket
from tests.bench.fleet_plan import Plan, Push, Rotation
from tests.bench.fleet_providers import GOOGLE, PUSH, Limit
from tests.bench.fleet_results import results, staleness
from tests.bench.fleet_runs import Run
from tests.bench.fleet_scenarios import scenarios
from tests.bench.fleet_world import World
from tests.scale import by_day

SMALL = Plan(
    900,
    instances=200,
    secrets=10,
    sample=200,
    rotations=tuple(Rotation(50.0 + number, number) for number in range(10)),
)
KEPT = json.loads(fleet.RESULTS.read_text())
LONG = "region lost for 90 min, defaults, 10,000 instances"
TENTH = "a tenth of the limits for 30 min"
CHEAP = ("fresh 24 h, push", "one change, push over 30 s", "start within an hour, patient")


def asked(run: Run) -> int:
    """Requests of the sample."""
    return run.services[0].asked("GetSecretValue").total()


class TestTheSameEachTime:
    """By a seed, whatever else happens in the process."""

    def test_two_runs_tell_the_same(self) -> None:
        plan = replace(SMALL, sample=20, limits=0.0005, push=Push())
        first, again, other = (json.dumps(results(Run(plan, seed))) for seed in (1, 1, 2))
        assert first == again != other

    @pytest.mark.parametrize("title", by_day("scenarios of the fleet", KEPT, lambda title: title in CHEAP))
    def test_what_is_kept_is_what_comes_of_it(self, title: str) -> None:
        assert json.loads(json.dumps(fleet.simulated(title))) == KEPT[title]

    def test_every_scenario_is_kept(self) -> None:
        assert list(KEPT) == list(scenarios())

    def test_afterwards_threads_are_threads_again(self) -> None:
        Run(replace(SMALL, seconds=10, sample=2))
        assert vars(cache)["threading"] is threading
        assert vars(retry)["random"] is random


class TestWeights:
    """A sample that stands for all tells what all would."""

    def test_of_a_steady_fleet(self) -> None:
        whole, part = Run(SMALL), Run(replace(SMALL, sample=40))
        assert asked(part) * part.plan.weight == pytest.approx(asked(whole), rel=0.05)
        assert staleness(part)["p50"] == pytest.approx(staleness(whole)["p50"], rel=0.15)

    def test_of_a_fleet_at_its_limit(self) -> None:
        """A start of all at once, with a limit that takes 100 seconds for it."""
        start = replace(SMALL, start="singly", limits=0.002, rotations=(), secrets=10)
        whole, part = Run(start), Run(replace(start, sample=40))
        ends = [sorted(run.heard.starts) for run in (whole, part)]
        assert len(ends[0]) == 200
        assert len(ends[1]) == 40
        assert ends[1][20] == pytest.approx(ends[0][100], rel=0.15)
        assert ends[1][-1] == pytest.approx(ends[0][-1], rel=0.15)

    def test_of_a_fleet_beyond_its_limit(self) -> None:
        """Where it needs 122 % of it, and refused reads are asked again and again."""
        policy = CachePolicy(fresh=60, stale=3000)
        plan = replace(SMALL, seconds=400, secrets=5, policy=policy, limits=0.0016, rotations=())
        whole, part = Run(plan), Run(replace(plan, sample=40))
        assert asked(whole) > 5 * 400 * 0.0016 * 10_000
        assert asked(part) * part.plan.weight == pytest.approx(asked(whole), rel=0.05)
        stale = [results(run)["stale reads"] for run in (whole, part)]
        assert stale[1] == pytest.approx(stale[0], rel=0.2)

    def test_what_a_limit_lets_through_is_right_on_average(self) -> None:
        world = World(1)
        bucket = Bucket(Limit(100, 1.0, "a test"))
        passed = sum(bucket.take(turn / 50, 200.0, world.chance.random) for turn in range(50 * 6000))
        assert passed * 200 == pytest.approx(100 * 6000, rel=0.1)


class TestScenarios:
    """What the page says of them holds."""

    def test_the_defaults_take_ten_thousand_instances(self) -> None:
        told = KEPT["defaults, 10,000 instances"]
        assert told["requests"]["GetSecretValue"]["asked, peak"] < 10_000
        assert told["staleness"]["max"] < 300

    def test_a_hundred_thousand_instances_start(self) -> None:
        assert KEPT["start within a minute, patient"]["starts"]["ready"] == 1
        assert KEPT["start within a minute, giving up"]["starts"]["ready"] == 0

    def test_push_is_far_ahead_of_polling(self) -> None:
        pushed, polled = (KEPT[title] for title in ("fresh 24 h, push", "fresh 2 h"))
        assert 20 * pushed["staleness"]["p99"] < polled["staleness"]["p99"]
        assert pushed["dollars a month"] < polled["dollars a month"]

    def test_what_is_lost_is_made_up_for_by_polling(self) -> None:
        assert KEPT["fresh 24 h, push, 1 notice in 100 lost"]["staleness"]["max"] < 24 * 3600

    def test_a_failover_to_a_replica_leaves_no_reader_without(self) -> None:
        for title, told in KEPT.items():
            if "failover" in title:
                assert told["failed reads"] == 0

    def test_the_defaults_live_through_an_hour_and_no_longer(self) -> None:
        assert 0.25 < KEPT["region lost for 90 min, defaults, 10,000 instances"]["failed reads"] < 0.35


def mean(title: str, request: str = "GetSecretValue") -> float:
    """What is asked for in a second."""
    asked: float = KEPT[title]["requests"][request]["asked, mean"]
    return asked


FACTS = {
    "118 % of the limit": pytest.approx(1.18, abs=0.005) == 15_000 * 200 / 255 / 10_000,
    "under half of it up to 6,000": 6_000 * 200 / 255 < 5_000,
    "asks for 16 times of it": mean("defaults, 15,000 instances") / 10_000 == pytest.approx(16, abs=0.5),
    "a change that is met within 40 seconds": KEPT["fresh 24 h, push"]["staleness"]["max"] < 40,
    "cost more than a day's polling": 100_000 * PUSH["aws-sm"].idle > KEPT["fresh 24 h"]["dollars a month"],
    "in less than 33 minutes": 33 < 20_000_000 / 10_000 / 60 < 34,
    "at 78 % of the limit": mean("defaults, 10,000 instances") == pytest.approx(7_800, abs=50),
    "and stays so": mean(f"{LONG}, failover", "GetSecretValue, region b") > 10_000,
    "asks for a sixth": mean(f"{TENTH}, breaker") / mean(TENTH) == pytest.approx(1 / 6, abs=0.02),
    "recovers later": KEPT[f"{TENTH}, breaker"]["stale reads"] > KEPT[TENTH]["stale reads"],
    "5.6 hours": pytest.approx(5.6, abs=0.05) == 1_000 * 200 / 10 / 3600,
    "at least 100 seconds": GOOGLE.limits["GetSecret"].rate * 100 == 1_000,
    "from 3 in long outages to 200": {3, 200}
    == {find(plan.sample for plan in scenarios().values()) for find in (min, max)},
}
"""What the page's sentences say, and whether it is so."""


class TestThePage:
    """docs/scale.md says what was simulated."""

    @pytest.mark.parametrize("words", FACTS)
    def test_its_sentences(self, words: str) -> None:
        assert words in " ".join(fleet_page.PAGE.read_text().split())
        assert FACTS[words]

    def test_its_tables(self) -> None:
        page = fleet_page.PAGE.read_text()
        assert fleet_page.filled(page, KEPT) == page

    def test_its_plots(self) -> None:
        for name in ("staleness", "starts", "region-lost"):
            drawn = (fleet_page.PAGE.parent / "images" / f"scale-{name}.svg").read_text()
            assert f"data {fleet_plots.digest(KEPT)}" in drawn
