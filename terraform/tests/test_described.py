"""Many secrets are looked at together, and no listing that lags is trusted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import strongroom
from strongroom.backend import Capability, SecretInfo
from strongroom.errors import PermissionDeniedError
from strongroom.memory import MemoryBackend
from strongroom.testing.clock import FakeClock
from strongroom.testing.faults import Fault
from strongroom_terraform.blocks import FunctionProblemError
from strongroom_terraform.described import ALONE, MOST, Described
from strongroom_terraform.metadata import MetadataSource
from strongroom_terraform.problems import ProblemError
from strongroom_terraform.reference import ReferenceFunction, identified, identity
from strongroom_terraform.secret import SecretResource
from terraform.tests.life import Life, configured, told
from terraform.tests.test_secret_resource import NAME, REFERENCE, Rig, said
from tests.canary import CANARY
from tests.scale import scaled
from tests.unit.strict_aws_support import Aws

THREADS = 10
"""So many resources Terraform reads at once."""


def planned(rig: Rig, lives: list[tuple[Life, Any]]) -> list[bool]:
    """One plan of many in a new process: whether each is empty."""
    rig._described.clear()
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(lambda one: Life(SecretResource(rig), one[0].state).is_empty(one[1]), lives))


def made(rig: Rig, names: list[str]) -> list[tuple[Life, Any]]:
    """Resources that were applied."""
    lives = [(Life(SecretResource(rig)), said(name=name)) for name in names]
    for life, config in lives:
        life.apply(config)
    return lives


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    monkeypatch.setenv("TF_DATA_DIR", str(tmp_path))
    return Rig(tmp_path)


class TestMany:
    """Terraform asks for ten at once, and for a hundred in all."""

    def test_a_plan_of_a_hundred_is_one_listing(self, rig: Rig) -> None:
        """And the few by name that came before it was worth one."""
        lives = made(rig, [f"app/n{number}" for number in range(100)])
        rig.faulty.calls.clear()
        assert all(planned(rig, lives))
        assert rig.faulty.calls == {"list_info": 1, "describe": ALONE}

    def test_names_without_a_folder_in_common_are_listed_from_the_top(self, rig: Rig) -> None:
        """Whatever comes after is covered."""
        lives = made(rig, [f"n{number}/x" for number in range(20)])
        rig.faulty.calls.clear()
        assert all(planned(rig, lives))
        assert rig.faulty.calls["list_info"] <= 2
        assert rig.faulty.calls["describe"] <= 2 * ALONE + 1

    def test_a_store_with_many_more_secrets_is_not_listed_to_its_end(self, rig: Rig) -> None:
        """Past the bound, names are asked for one by one."""
        taken: list[SecretInfo] = []
        rig.faulty.plan(Fault("list_info", change=lambda infos: _many(infos, taken)))
        rig.prod.put("x/present", "a")
        found = Described(rig.prod, rig.clock)
        for number in range(3 * ALONE):
            assert found.of(f"x/n{number}", lambda _: True) is None
        assert (len(taken), rig.faulty.calls["list_info"]) == (MOST, 1)

    def test_without_the_right_to_list_each_is_asked_by_name(self, rig: Rig) -> None:
        """It is tried once."""
        lives = made(rig, [f"app/n{number}" for number in range(9)])
        rig.faulty.deny("list_info")
        rig.faulty.calls.clear()
        assert all(planned(rig, lives))
        assert rig.faulty.calls == {"list_info": 1, "describe": 9}

    def test_a_listing_that_tells_no_versions_is_given_up(self, rig: Rig) -> None:
        """As Google's and Azure's: tags without the version."""
        lives = made(rig, [f"app/n{number}" for number in range(40)])
        silent = Fault("list_info", change=lambda infos: (replace(info, newest=None) for info in infos))
        rig.faulty.plan(silent)
        rig.faulty.calls.clear()
        assert all(planned(rig, lives))
        assert rig.faulty.calls == {"list_info": 1, "describe": 40}


class TestLag:
    """Lists are eventually consistent."""

    @pytest.mark.parametrize("lag", ["an older version", "missing", "other tags"])
    def test_what_a_listing_tells_otherwise_is_asked_by_name(self, rig: Rig, lag: str) -> None:
        """A plan then is as empty as it would be."""
        lives = made(rig, [f"app/n{number}" for number in range(8)])
        stale = list(rig.faulty.inner.list_info("", detail=True))
        for life, config in lives:
            config |= said("second", 2, name=config["name"], tags={"a": "1"})  # noqa: PLW2901
            life.apply(config)
        listed = list(rig.faulty.inner.list_info("", detail=True))
        lagging = {
            "an older version": stale,
            "missing": listed[:2],
            "other tags": [replace(info, tags={}) for info in listed],
        }[lag]
        rig.faulty.plan(Fault("list_info", change=lambda _: iter(lagging), times=9))
        assert all(planned(rig, lives))

    def test_what_was_written_here_is_not_taken_from_an_older_listing(self, rig: Rig) -> None:
        """And a listing is not kept for longer than a plan."""
        lives = made(rig, [f"app/n{number}" for number in range(8)])
        planned(rig, lives)
        life, config = lives[-1]
        assert life.state
        rig.prod.purge(config["name"])
        described = rig.described(rig.prod)
        assert described.of(config["name"], lambda _: True) is not None
        described.changed(config["name"])
        assert described.of(config["name"], lambda _: True) is None
        rig.prod.purge(lives[0][1]["name"])
        assert isinstance(rig.clock, FakeClock)
        rig.clock.advance(60)
        assert described.of(lives[0][1]["name"], lambda _: True) is None


def test_a_hundred_secrets_at_aws_are_planned_by_a_page_and_a_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ListSecrets gives a hundred a page; no value is asked for. By day there are fewer."""
    monkeypatch.setenv("TF_DATA_DIR", str(tmp_path))
    aws, rig = Aws(), Rig(tmp_path)
    count = scaled(100, "secrets planned at AWS", 4)
    url = f"aws-sm://eu-west-1/prod?endpoint={aws.server.url}"
    with aws.server, strongroom.open(url) as rig.prod:
        rig.prod._alias = "prod"
        lives = made(rig, [f"app/n{number}" for number in range(count)])
        aws.server.calls.clear()
        assert all(planned(rig, lives))
        asked = dict(aws.server.calls)
    assert asked.pop("ListSecrets") <= 1 + count // 100
    assert asked == {"DescribeSecret": ALONE}


class TestMetadata:
    """The data source."""

    def test_it_tells_all_but_the_value(self, rig: Rig) -> None:
        """Versions newest first, stages by name; the value is not asked for."""
        first = rig.prod.put(NAME, f"{CANARY} a").id
        second = rig.prod.put(NAME, f"{CANARY} b").id
        rig.prod.set_tags(NAME, {"team": "x"})
        rig.faulty.calls.clear()
        block = MetadataSource(rig)
        told = block.read(configured(block, {"name": NAME}))
        assert told.keys() == block.schema.attributes.keys()
        assert (told["id"], told["version"], told["versions"]) == (REFERENCE, second, [second, first])
        assert (told["stages"], told["tags"]) == ({"current": second, "previous": first}, {"team": "x"})
        assert str(told["created_at"]).endswith("Z")
        assert str(told["updated_at"]).endswith("Z")
        assert rig.faulty.calls == {"describe": 1, "versions": 1}

    def test_a_store_without_versions_tells_none(self, tmp_path: Path) -> None:
        """Null, and not an empty list."""
        rig = Rig(tmp_path, MemoryBackend.capabilities & ~Capability.VERSIONS)
        rig.prod.put(NAME, "a")
        block = MetadataSource(rig)
        told = block.read(configured(block, {"name": NAME}))
        assert (told["versions"], told["updated_at"]) == (None, None)
        assert told["stages"] == {"current": told["version"]}

    def test_a_secret_that_is_not_there_is_an_error_at_its_name(self, rig: Rig) -> None:
        """And one that may not be looked at as well."""
        block = MetadataSource(rig)
        with pytest.raises(ProblemError) as failed:
            block.read(configured(block, {"name": NAME}))
        assert told(failed.value) == [("there is no such secret", ("name",))]
        rig.faulty.deny("describe")
        with pytest.raises(ProblemError) as failed:
            block.read(configured(block, {"name": NAME}))
        assert told(failed.value)[0][1] == ("name",)


class TestReference:
    """The function, and what imports."""

    @pytest.mark.parametrize(
        ("arguments", "reference"),
        [
            (("prod", "db/password"), "strongroom://prod/db/password"),
            (("prod", "db/password", "version=7"), "strongroom://prod/db/password?version=7"),
            (("prod", "db", "/a~1b/ü", "version=a&b"), "strongroom://prod/db?version=a%26b#/a~1b/%C3%BC"),
            (("prod", "Na me?#%"), "strongroom://prod/Na%20me%3F%23%25"),
        ],
    )
    def test_it_is_what_the_library_reads(self, arguments: tuple[str, ...], reference: str) -> None:
        """Escaped where it must be, and nowhere else."""
        assert ReferenceFunction().call(*arguments) == reference

    @pytest.mark.parametrize(
        ("arguments", "blamed"),
        [
            (("local:///x.db", "db"), 0),
            (("", "db"), 0),
            (("Prod", "db"), 0),
            (("prod", ""), 1),
            (("prod", "../db"), 1),
            (("prod", "a\nb"), 1),
            (("prod", "x" * 5000), 1),
            (("prod", "db", "stage=pending"), 2),
            (("prod", "db", "version="), 2),
            (("prod", "db", "version=1", "version=2"), 3),
            (("prod", "db", "/a", "password"), 3),
            (("prod", "db", "/a", "/b"), 3),
        ],
    )
    def test_what_the_library_refuses_is_refused_at_its_argument(
        self, arguments: tuple[str, ...], blamed: int
    ) -> None:
        """Counted from nothing."""
        with pytest.raises(FunctionProblemError) as failed:
            ReferenceFunction().call(*arguments)
        assert failed.value.argument == blamed

    @pytest.mark.parametrize("store", ["prod", "local:///srv/s.db", "aws-sm://eu-west-1/prod?endpoint=x"])
    def test_what_names_a_secret_in_state_imports_it(self, store: str) -> None:
        """A store by URL has no alias: URL and name, with a space between them."""
        assert identified(identity(store, NAME)) == (store, NAME)


def _many(infos: Iterable[SecretInfo], taken: list[SecretInfo]) -> Iterator[SecretInfo]:
    """One of them for ever."""
    [one] = infos
    while True:
        taken.append(one)
        yield one


def test_a_denied_look_is_an_error_and_no_absence(rig: Rig) -> None:
    """A secret that may not be described is not taken for one that is gone."""
    rig.faulty.deny("describe")
    with pytest.raises(PermissionDeniedError):
        Described(rig.prod, FakeClock()).of(NAME, lambda _: True)
