"""strongroom.testing.fixtures: a store, its faults and its clock for the tests of an application."""

from __future__ import annotations

import pytest

APPLICATION = """
import pytest
import strongroom
from strongroom.testing import override

@pytest.fixture(autouse=True)
def prod(store):
    with override(prod=store):
        yield

def password():
    with strongroom.open("prod") as opened:
        return opened.get("db/password")

def test_reads(store):
    store.put("db/password", "DEMO")
    assert password().value.matches("DEMO")

def test_begins_empty(store):
    assert list(store.list_names()) == []

def test_outage(store, faults, store_clock):
    store.put("db/password", "DEMO")
    password()
    faults.unreachable()
    store_clock.advance(301)
    assert password().stale
    store_clock.advance(3300)
    with pytest.raises(strongroom.UnavailableError):
        password()
    faults.clear()
    store_clock.advance(60)
    assert not password().stale

def test_denied(store, faults):
    faults.deny("get")
    with pytest.raises(strongroom.PermissionDeniedError):
        password()

def test_delay(store, faults, store_clock):
    store.put("db/password", "DEMO")
    faults.delay("get", 5.0)
    password()
    assert store_clock.slept == [5.0]

def test_counts(store, faults):
    store.put("db/password", "DEMO")
    for _ in range(10):
        password()
    assert faults.calls["get"] == 1
"""


def test_an_application_is_tested_with_them(pytester: pytest.Pytester) -> None:
    """They load on request alone; each test begins with an empty store."""
    pytester.makeconftest('pytest_plugins = ["strongroom.testing.fixtures"]')
    pytester.makepyfile(APPLICATION)
    pytester.runpytest_inprocess("-p", "no:randomly", "-p", "no:cacheprovider").assert_outcomes(passed=6)


def test_they_do_not_load_themselves(pytester: pytest.Pytester) -> None:
    """Without being asked for, no test run of others has them."""
    pytester.makepyfile("def test_reads(store): pass")
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*fixture 'store' not found*"])
