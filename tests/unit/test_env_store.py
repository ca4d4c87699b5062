"""The environment as a store: which variable is which secret."""

from __future__ import annotations

import os
from collections.abc import Iterator
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from strongroom.backend import Settings, Stage
from strongroom.errors import InvalidRequestError, SecretNotFoundError
from strongroom.names import Companion, Name
from strongroom.registry import open_backend
from strongroom.value import SecretValue
from strongroom_local.env import EnvBackend, decode, encode
from tests.canary import CANARY

segments = st.from_regex(r"[a-z0-9]{1,3}([._-](dot|dash|[a-z0-9]{1,3})){0,3}", fullmatch=True)
names = st.lists(segments, min_size=1, max_size=3).map("/".join)


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """The environment of this test alone."""
    with mock.patch.dict(os.environ, {"APP__DB__API_DASH_KEY": CANARY, "OTHER": CANARY}):
        yield


def test_the_url_s_prefix_stands_before_the_name() -> None:
    """`/` is `__`, `.` is `_DOT_`, `-` is `_DASH_`, letters are upper case."""
    backend = open_backend("env://APP")
    secret = backend.get(Name("db/api-key"), Stage.CURRENT)
    assert (secret.value, secret.value.kind, secret.origin) == (SecretValue(CANARY), "text", "env")
    assert backend.locate(Name("a.b/c_d-e")) == "APP__A_DOT_B__C_D_DASH_E"


def test_without_a_prefix_all_variables_count() -> None:
    """Those that are somebody's secret by name."""
    assert open_backend("env://").get(Name("other"), Stage.CURRENT).value == SecretValue(CANARY)


@given(names)
def test_an_encoded_name_decodes_to_itself(name: str) -> None:
    """Or it is refused: no variable is two secrets."""
    try:
        encoded = encode(name)
    except InvalidRequestError:
        return
    assert decode(encoded, "portable") in (Name(name), None)  # None: too long for a portable name
    assert encoded == encoded.upper()


@pytest.mark.parametrize("name", ["a_dot_b", "x/a_dash_b", "a_dot_dot_b"])
def test_a_name_that_reads_back_as_another_is_refused(name: str) -> None:
    """It would be found under two names."""
    with pytest.raises(InvalidRequestError, match="no variable of its own"):
        open_backend("env://APP").get(Name(name), Stage.CURRENT)


@pytest.mark.parametrize("name", ["Upper", "with space", "ü", "a__b", "a=b"])
def test_a_native_name_that_is_no_variable_is_refused(name: str) -> None:
    """Also in native mode there is one way to write each."""
    with pytest.raises(InvalidRequestError):
        EnvBackend("APP", Settings(names="native")).get(Name(name), Stage.CURRENT)


@pytest.mark.parametrize("prefix", ["1APP", "A-B", "APP/more", "A.B", "APP="])
def test_a_prefix_that_begins_no_variable_is_refused(prefix: str) -> None:
    """At opening."""
    with pytest.raises(InvalidRequestError, match="cannot begin"):
        open_backend(f"env://{prefix}")


def test_a_listing_shows_what_can_be_read() -> None:
    """Under the prefix, portable names only, by what they begin with."""
    os.environ.update(
        {"APP__A": "1", "APP__DB__X": "2", "APP___": "3", "APP__a": "4", "APP": "5", "APPX": "6"}
    )
    backend = open_backend("env://APP")
    assert [str(info.key) for info in backend.list_info("")] == ["a", "db/api-key", "db/x"]
    assert [str(info.key) for info in backend.list_info("db/")] == ["db/api-key", "db/x"]
    assert all(backend.get(info.key, Stage.CURRENT) for info in backend.list_info(""))


def test_bytes_that_are_no_text_are_binary() -> None:
    """An environment holds bytes."""
    os.environb[b"APP__RAW"] = b"\xff\xfe"
    secret = open_backend("env://APP").get(Name("raw"), Stage.CURRENT)
    assert (secret.value.reveal(), secret.value.kind) == (b"\xff\xfe", "binary")


def test_each_read_sees_the_value_of_now_under_one_id() -> None:
    """An id made of the value would be its fingerprint; one that is not `env` is not found."""
    backend = open_backend("env://APP")
    before = backend.get(Name("db/api-key"), Stage.CURRENT)
    os.environ["APP__DB__API_DASH_KEY"] = "new"
    after = backend.get(Name("db/api-key"), "env")
    assert (before.version, after.version, after.value) == ("env", "env", SecretValue("new"))
    for missing in ("other", Stage.PREVIOUS):
        with pytest.raises(SecretNotFoundError):
            backend.get(Name("db/api-key"), missing)


def test_what_is_missing_is_told_with_its_variable() -> None:
    """The hint is what to set. Keys that are no secrets are nowhere."""
    backend = open_backend("env://APP")
    with pytest.raises(SecretNotFoundError, match="APP__NO__SUCH"):
        backend.get(Name("no/such"), Stage.CURRENT)
    with pytest.raises(SecretNotFoundError):
        backend.get(Companion(Name("db/api-key")), Stage.CURRENT)
