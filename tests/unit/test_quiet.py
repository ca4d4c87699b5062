"""While a store is open its SDK's loggers do not log at DEBUG, where they print requests and answers."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from strongroom import registry
from strongroom.layers.edge import edge
from strongroom.memory import MemoryBackend
from strongroom.quiet import hush, release


class Chatty(MemoryBackend):
    """A backend whose SDK logs what it sends."""

    loggers = ("acme_sdk",)


SDK, BELOW = logging.getLogger("acme_sdk"), logging.getLogger("acme_sdk.wire")


@pytest.fixture(autouse=True)
def levels() -> Iterator[None]:
    """As somebody left them who is looking for a fault: the root and one logger below at DEBUG."""
    before = logging.root.level
    logging.root.setLevel(logging.DEBUG)
    SDK.setLevel(logging.NOTSET)
    BELOW.setLevel(logging.DEBUG)
    yield
    logging.root.setLevel(before)


def test_requests_are_not_logged_while_a_store_is_open() -> None:
    """Not by the SDK's logger nor by one below it that was set by hand; afterwards all is as before ▲."""
    assert SDK.isEnabledFor(logging.DEBUG)
    store = edge(Chatty())
    assert not SDK.isEnabledFor(logging.DEBUG)
    assert not BELOW.isEnabledFor(logging.DEBUG)
    assert SDK.isEnabledFor(logging.INFO)
    store.close()
    assert (SDK.level, BELOW.level) == (logging.NOTSET, logging.DEBUG)


def test_the_last_of_several_stores_gives_the_levels_back() -> None:
    """In whatever order they close, and a second close of one counts once."""
    first, second = edge(Chatty()), edge(Chatty())
    first.close()
    first.close()
    assert not SDK.isEnabledFor(logging.DEBUG)
    second.close()
    assert SDK.level == logging.NOTSET


def test_what_was_silent_stays_silent() -> None:
    """Below a root at WARNING nothing is shown that was not shown before."""
    logging.root.setLevel(logging.WARNING)
    held = hush(["acme_sdk"])
    assert not SDK.isEnabledFor(logging.INFO)
    release(held)


def test_a_level_that_somebody_set_meanwhile_stays() -> None:
    """The application's later word counts."""
    held = hush(["acme_sdk"])
    SDK.setLevel(logging.ERROR)
    release(held)
    assert SDK.level == logging.ERROR


def test_a_level_lowered_while_another_store_is_open_is_clamped_by_the_next() -> None:
    """Else the second would log its answers because the first was open ▲; the later word is given back."""
    first = edge(Chatty())
    SDK.setLevel(logging.DEBUG)
    second = edge(Chatty())
    assert not SDK.isEnabledFor(logging.DEBUG)
    first.close()
    assert not SDK.isEnabledFor(logging.DEBUG)
    second.close()
    assert SDK.level == logging.DEBUG


@pytest.mark.parametrize(
    ("scheme", "names"), [("aws-sm", {"botocore", "urllib3"}), ("vault", {"hvac", "requests", "urllib3"})]
)
def test_every_backend_with_an_sdk_names_its_loggers(scheme: str, names: set[str]) -> None:
    """A list that is empty would clamp nothing."""
    assert names <= set(registry.backend_class(scheme).loggers)
