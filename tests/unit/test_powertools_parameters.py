"""Powertools for AWS Lambda over a store, beside Powertools' own cache."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from aws_lambda_powertools.utilities import parameters
from aws_lambda_powertools.utilities.parameters import BaseProvider, base
from aws_lambda_powertools.utilities.parameters.constants import DEFAULT_PROVIDERS
from aws_lambda_powertools.utilities.parameters.exceptions import GetParameterError, TransformParameterError

from strongroom.cachepolicy import CachePolicy
from strongroom.errors import PermissionDeniedError, SecretNotFoundError, UnavailableError
from strongroom.integrations.powertools_parameters import MAX_AGE, StrongroomProvider
from strongroom.memory import MemoryBackend
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.testing.faults import FaultyBackend
from tests.canary import CANARY, assert_no_canary, assert_no_canary_in

NAME = "db/password"
POLICY = CachePolicy(fresh=300, stale=3300)


class Function:
    """A Lambda function's store and clock."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.backend = FaultyBackend(MemoryBackend(clock=self.clock), clock=self.clock)
        self.store = SecretStore(self.backend, cache=POLICY, clock=self.clock)
        self.parameters = StrongroomProvider(self.store, clock=self.clock)
        self.written(f"{CANARY} 1")

    def written(self, value: Any, name: str = NAME) -> None:
        """By another process: the store's cache does not know of it."""
        SecretStore(self.backend.inner, clock=self.clock).put(name, value)


@pytest.fixture
def function(monkeypatch: pytest.MonkeyPatch) -> Iterator[Function]:
    monkeypatch.delenv(MAX_AGE, raising=False)
    function = Function()
    with function.store:
        yield function


class Peer(BaseProvider):
    """Powertools' own cache, transforms and errors, over the same store without its cache."""

    def __init__(self, function: Function):
        super().__init__()
        self._store = SecretStore(function.backend, cache=None, clock=function.clock)

    def _get(self, name: str, **_: Any) -> str:
        return self._store.get(name).value.reveal_text()

    def _get_multiple(self, path: str, **_: Any) -> dict[str, str]:
        raise NotImplementedError


class TestPeers:
    """What Powertools' cache does, and what a store's does in its place."""

    def test_an_outage_ends_what_the_peer_knows(
        self, function: Function, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """It forgets by age alone: past `max_age` it has the value in memory, and raises."""

        class Later(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
                return datetime.now(tz) + timedelta(minutes=6)

        peer = Peer(function)
        assert peer.get(NAME) == function.parameters.get(NAME) == f"{CANARY} 1"
        function.backend.unreachable()
        monkeypatch.setattr(base, "datetime", Later)
        function.clock.advance(360)
        with pytest.raises(GetParameterError):
            peer.get(NAME)
        with caplog.at_level(logging.WARNING):
            assert function.parameters.get(NAME) == f"{CANARY} 1"
        assert f"{NAME} is 360 s old" in caplog.text
        function.clock.advance(3600)  # past `fresh` and `stale` there is an end to it
        with pytest.raises(GetParameterError):
            function.parameters.get(NAME)

    def test_a_long_age_hides_a_rotation_from_the_peer(self, function: Function) -> None:
        """An hour's `max_age` is an hour with the old password; a store is told that it was refused."""
        peer = Peer(function)
        peer.get(NAME, max_age=3600)
        version = function.store.get(NAME).version
        function.written(f"{CANARY} 2")
        function.store.refresh(NAME, rejected=version)
        assert function.parameters.get(NAME) == f"{CANARY} 2"
        assert peer.get(NAME) == f"{CANARY} 1"

    def test_the_peers_error_holds_the_value(self, function: Function) -> None:
        """A JSON error carries the document; crash reporters print it."""
        with pytest.raises(TransformParameterError) as leaking:
            Peer(function).get(NAME, transform="json")
        assert CANARY in vars(leaking.value.__cause__)["doc"]
        with pytest.raises(TransformParameterError, match=f"{NAME} is nothing that 'json' can") as caught:
            function.parameters.get(NAME, transform="json")
        assert_no_canary_in(caught.value)

    def test_the_peer_keeps_values_that_print(self, function: Function) -> None:
        """In a dict of the provider's; ours keeps none."""
        peer = Peer(function)
        peer.get(NAME)
        function.parameters.get(NAME)
        assert CANARY in repr(vars(peer))
        assert_no_canary(repr(vars(function.parameters)))


class TestAge:
    """`max_age` and `force_fetch`."""

    def test_an_answer_that_is_too_old_is_asked_for_again(self, function: Function) -> None:
        """Within its age, and without one, nothing is asked."""
        function.parameters.get(NAME)
        function.written(f"{CANARY} 2")
        function.clock.advance(10)
        function.backend.calls.clear()
        assert function.parameters.get(NAME) == f"{CANARY} 1"
        assert function.parameters.get(NAME, max_age=10) == f"{CANARY} 1"
        assert not function.backend.calls
        assert function.parameters.get(NAME, max_age=9) == f"{CANARY} 2"
        assert function.parameters.get(NAME, max_age=0) == f"{CANARY} 2"
        assert function.backend.calls == {"get": 1}

    def test_the_environment_gives_it(self, function: Function, monkeypatch: pytest.MonkeyPatch) -> None:
        """By Powertools' own variable."""
        function.parameters.get(NAME)
        function.written(f"{CANARY} 2")
        function.clock.advance(10)
        monkeypatch.setenv(MAX_AGE, "5")
        assert function.parameters.get(NAME) == f"{CANARY} 2"

    def test_an_outage_is_served_within_the_stores_bound_and_told(
        self, function: Function, caplog: pytest.LogCaptureFixture
    ) -> None:
        """An age that cannot be had is no reason to fail; whoever wants an answer or nothing forces it."""
        function.parameters.get(NAME)
        function.clock.advance(10)
        function.backend.unreachable()
        assert function.parameters.get(NAME, max_age=5) == f"{CANARY} 1"
        assert f"{NAME} is 10 s old" in caplog.text
        with pytest.raises(GetParameterError) as caught:
            function.parameters.get(NAME, force_fetch=True)
        assert isinstance(caught.value.__cause__, UnavailableError)
        assert_no_canary_in(caught.value)

    def test_denied_is_never_served(self, function: Function) -> None:
        """However old the answer may be."""
        function.parameters.get(NAME)
        function.clock.advance(10)
        function.backend.deny()
        with pytest.raises(GetParameterError) as caught:
            function.parameters.get(NAME, max_age=5)
        assert isinstance(caught.value.__cause__, PermissionDeniedError)
        with pytest.raises(GetParameterError):
            function.parameters.get(NAME)


class TestForms:
    """What comes out."""

    @pytest.mark.parametrize(
        ("name", "value", "transform", "made"),
        [
            ("a/text", "DEMO", None, "DEMO"),
            ("a/bytes", b"\xff\x00", None, b"\xff\x00"),
            ("a/login", {"username": "app"}, "json", {"username": "app"}),
            ("a/login.json", {"username": "app"}, "auto", {"username": "app"}),
            ("a/key.binary", base64.b64encode(b"\xff").decode(), "auto", b"\xff"),
            ("a/key", base64.b64encode(b"\xff").decode(), "binary", b"\xff"),
            ("a/plain", "{", "auto", "{"),
        ],
    )
    def test_transforms_are_powertools(
        self, function: Function, name: str, value: Any, transform: Any, made: object
    ) -> None:
        """The same as its own provider's."""
        function.written(value, name)
        assert function.parameters.get(name, transform=transform) == made
        if isinstance(value, str):
            assert Peer(function).get(name, transform=transform) == made

    def test_a_path_is_all_of_it_or_an_error(self, function: Function) -> None:
        """By what stands after the path; a value that one may not read is not left out."""
        function.written("DEMO", "app/api-key")
        function.written({"username": "app"}, "app/db.json")
        function.written("DEMO", "application/other")
        found = function.parameters.get_multiple("app", transform="auto")
        assert found == {"api-key": "DEMO", "db.json": {"username": "app"}}
        assert function.parameters.get_multiple("app/", transform="json") == {
            "api-key": None,
            "db.json": {"username": "app"},
        }
        with pytest.raises(TransformParameterError, match="app/api-key"):
            function.parameters.get_multiple("app/", transform="json", raise_on_transform_error=True)
        function.clock.advance(3601)
        function.backend.deny("get_many")
        function.backend.deny("get")
        with pytest.raises(GetParameterError) as caught:
            function.parameters.get_multiple("app/")
        assert isinstance(caught.value.__cause__, PermissionDeniedError)

    def test_powertools_own_functions_can_read_it(
        self, function: Function, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Code that calls `get_secret` stays as it is."""
        monkeypatch.setitem(DEFAULT_PROVIDERS, "secrets", function.parameters)
        assert parameters.get_secret(NAME) == f"{CANARY} 1"

    def test_what_is_missing_or_meant_for_an_sdk_says_so(self, function: Function) -> None:
        """No option is dropped in silence."""
        with pytest.raises(GetParameterError) as caught:
            function.parameters.get("db/missing")
        assert isinstance(caught.value.__cause__, SecretNotFoundError)
        with pytest.raises(TypeError, match="VersionStage"):
            function.parameters.get(NAME, VersionStage="AWSPREVIOUS")
        with pytest.raises(TransformParameterError, match="there is no transform 'xml'"):
            function.parameters.get(NAME, transform="xml")
