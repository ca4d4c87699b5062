"""[replica.ALIAS]: what it means, and what is wrong with one, told with its line."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from strongroom.errors import InvalidRequestError
from strongroom.toml.file import Config, read_text
from strongroom.toml.replicas import ReplicaEntry

STORES = (
    '[key.k]\nurl = "local-key:///k"\n'
    '[store.eu]\nurl = "memory://eu"\nencrypt = { keys = ["k"], domain = "prod" }\n'
    '[store.us]\nurl = "memory://us"\nencrypt = { keys = ["k"], domain = "prod" }\n'
    '[store.other]\nurl = "memory://other"\nencrypt = { keys = ["k"], domain = "other" }\n'
    '[store.plain]\nurl = "memory://plain"\n[store.bare]\nurl = "memory://bare"\n'
    '[store.both]\nfailover = ["eu", "us"]\n'
)
LIST = '[revocations]\ndomain = "prod"\nfile = "/srv/prod.revocations"\nkeys = ["x"]\n'
US = '[replica.us]\nsource = "eu"\n'


def read(text: str, profile: str = "") -> Config:
    return read_text(Path("c.toml"), STORES + text, profile)


def replica(text: str) -> ReplicaEntry:
    [found] = read(text).replicas.values()
    return found


def refused(text: str) -> str:
    with pytest.raises(InvalidRequestError) as caught:
        read(text)
    return str(caught.value)


def test_what_is_not_written_has_a_default() -> None:
    """Every name, five minutes, nothing overwritten, the domain of the source's encryption."""
    entry = replica(US)
    assert (entry.alias, entry.source, entry.domain, entry.names) == ("us", "eu", "prod", ("**",))
    assert (entry.max_lag, entry.revocable, entry.adopt) == (timedelta(minutes=5), (), False)
    assert (entry.native, dict(entry.regions)) == (False, {})
    assert read("").replicas == {}


def test_what_is_written_is_read() -> None:
    """Also of a native one."""
    entry = replica(
        '[replica.us]\nsource = "eu"\nnames = ["db/**", "*/key"]\nmax_lag = "1m"\nadopt = true\n'
        'revocable = ["db/admin"]\nnative = true\nregions = { us-east-1 = "alias/k", ap-south-1 = "" }\n'
        + LIST
    )
    assert (entry.names, entry.max_lag, entry.adopt) == (("db/**", "*/key"), timedelta(minutes=1), True)
    assert (entry.native, entry.regions) == (True, {"us-east-1": "alias/k", "ap-south-1": ""})
    assert [entry.covers(name) for name in ("db/a/b", "x/key", "x/y/key", "dbx")] == [
        True,
        True,
        False,
        False,
    ]
    assert [entry.may_be_revoked(name) for name in ("db/admin", "db/x")] == [True, False]


def test_a_domain_outlives_the_source_that_it_was_named_after() -> None:
    """Without encryption the source's alias stands for it, until it is written."""
    assert replica('[replica.bare]\nsource = "plain"\n').domain == "plain"
    assert replica('[replica.plain]\nsource = "bare"\ndomain = "plain"\n').domain == "plain"
    assert replica('[replica.us]\nsource = "plain"\n').domain == "prod"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[replica.us]\n", "replica.us: needs a source"),
        ('[replica.mars]\nsource = "eu"\n', "no store is called 'mars'"),
        ('[replica.us]\nsource = "ue"\n', "replica.us.source: no store is called 'ue'"),
        ('[replica.us]\nsource = "both"\n', "'both' is a failover"),
        ('[replica.both]\nsource = "eu"\n', "'both' is a failover"),
        ('[replica.eu]\nsource = "eu"\n', "no replica of itself"),
        (US + 'revocable = ["db/**"]\n', "revocable: needs [revocations]"),
        (US + '[replica.plain]\nsource = "us"\n', "'us' is a replica itself"),
        ('[replica.us]\nsource = "eu"\n[replica.eu]\nsource = "us"\n', "is a replica itself"),
        ('[replica.us]\nsource = "other"\n', "encrypted under different domains"),
        (US + '[replica.plain]\nsource = "eu"\ndomain = "x"\n', "of the same source has another"),
        ('[replica.us]\nsource = "eu"\nnames = []\n', "names nothing"),
        ('[replica.us]\nsource = "eu"\nnames = ["/db"]\n', "holds names, or patterns"),
        ('[replica.us]\nsource = "eu"\nnames = ["a***"]\n', "holds names, or patterns"),
        ('[replica.us]\nsource = "eu"\nmax_lag = "8d"\n', "at most 7d"),
        ('[replica.us]\nsource = "eu"\nregions = { us-east-1 = "" }\n', "regions: stands with native only"),
        ('[replica.us]\nsource = "eu"\nnative = true\nregions = { us_1 = "" }\n', "a region is"),
        ('[replica.us]\nsource = "eu"\nlag = "1m"\n', "there is no such key"),
    ],
)
def test_what_cannot_be_is_refused_with_its_line(text: str, problem: str) -> None:
    """Before anything is opened: a replica that is not one is found when the source is gone."""
    said = refused(text)
    assert problem in said
    assert said.startswith("c.toml:")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            '[rotation.r]\nnames = ["a"]\nstore = "us"\nrotator = "x"\n',
            "rotation.r.store: 'us' is a replica of eu",
        ),
        ('[ledger]\nurl = "strongroom://us"\n', "ledger.url: 'us' is a replica of eu"),
        ('[coordinator]\nurl = "strongroom://us"\n', "coordinator.url: 'us' is a replica of eu"),
    ],
)
def test_nothing_that_is_written_has_a_replica_for_its_place(text: str, problem: str) -> None:
    """It would be refused at the first write, in the night."""
    assert problem in refused(US + text)


def test_a_profile_replaces_a_replica_as_a_whole() -> None:
    """As it does every other entry."""
    text = LIST + US + 'revocable = ["a"]\n[profile.lab.replica.us]\nsource = "plain"\n'
    assert read(text).replicas["us"].revocable == ("a",)
    assert (read(text, "lab").replicas["us"].source, read(text, "lab").replicas["us"].revocable) == (
        "plain",
        (),
    )
