"""Schemes: built-in ones first and for good, others by entry point, and a hint for whatever is wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from strongroom import registry
from strongroom.backend import Backend, Secret, Settings, Stage
from strongroom.errors import BackendNotInstalledError, InvalidRequestError, SecretStoreError
from strongroom.layers.edge import Edge
from strongroom.memory import MemoryBackend
from strongroom.names import Key
from strongroom.value import SecretValue
from tests.canary import CANARY, assert_no_canary_in


@pytest.mark.parametrize(
    ("scheme", "near"), [("vautl", "vault"), ("aws", "aws-sm"), ("locl", "local"), ("memry", "memory")]
)
def test_an_unknown_scheme_is_refused_with_the_nearest_one(scheme: str, near: str) -> None:
    """A typo costs one look."""
    with pytest.raises(InvalidRequestError, match=f"did you mean '{near}'"):
        registry.open_backend(f"{scheme}://x")


def test_a_scheme_like_no_other_is_refused_with_all_there_are() -> None:
    """Nothing near: the whole list."""
    with pytest.raises(InvalidRequestError, match="known schemes: aws-sm, aws-ssm, azure-kv, env, file"):
        registry.backend_class("qqqqqq")


@pytest.mark.parametrize("scheme", registry.schemes())
def test_every_built_in_scheme_leads_to_a_backend_that_opens_and_translates(scheme: str) -> None:
    """The table of strings is checked against the code, since nothing else would."""
    found = registry.backend_class(scheme)
    assert issubclass(found, Backend)


def test_what_is_opened_stands_behind_the_edge() -> None:
    """No way leads to a raw backend by URL."""
    assert isinstance(registry.open_backend("memory://"), Edge)


def run(code: str, *paths: Path) -> str:
    """What `code` prints, in an interpreter of its own that finds distributions in `paths` too."""
    setup = f"import sys; sys.path[:0] = {[str(path) for path in paths]!r}\n"
    return subprocess.run(
        [sys.executable, "-c", setup + code], capture_output=True, text=True, check=True
    ).stdout


MISSING = """
import importlib.abc

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())
from strongroom.errors import BackendNotInstalledError
from strongroom.registry import open_backend
try:
    open_backend({url!r})
except BackendNotInstalledError as error:
    print(error, error.__cause__, error.__context__)
"""


@pytest.mark.parametrize(
    ("url", "names", "extra"),
    [
        ("aws-sm://eu-west-1/prod", ("boto3", "botocore"), "aws"),
        ("vault://vault.example.net/secret", ("hvac",), "vault"),
    ],
)
def test_a_missing_sdk_is_said_with_the_command_that_installs_it(
    url: str, names: tuple[str, ...], extra: str
) -> None:
    """Not a traceback of an import, but what to type."""
    said = run(MISSING.format(names=names, url=url))
    assert f"pip install 'strongroom[{extra}]'" in said
    assert any(repr(name) in said for name in names)
    assert said.strip().endswith("None None")


THIRD_PARTY = """
from strongroom.backend import Backend, Secret
from strongroom.value import SecretValue


class Consul(Backend):
    scheme = "consul"
    origin = "third party"

    @classmethod
    def from_url(cls, url, settings):
        return cls()

    @staticmethod
    def error_for(exc, operation):
        return None

    def get(self, key, version):
        return Secret(str(key), SecretValue("value"), "1", origin=self.origin)


class NoTable(Backend):
    from_url = Consul.from_url

    def get(self, key, version): ...


class NoOpening(Backend):
    error_for = Consul.error_for

    def get(self, key, version): ...


class NoBackend:
    from_url = Consul.from_url
    error_for = Consul.error_for


not_even_a_class = 7
"""
ENTRIES = {
    "consul": "acme_consul:Consul",
    "memory": "acme_consul:Consul",
    "aws-sm": "acme_consul:Consul",
    "no-table": "acme_consul:NoTable",
    "no-opening": "acme_consul:NoOpening",
    "no-backend": "acme_consul:NoBackend",
    "no-class": "acme_consul:not_even_a_class",
    "no-such": "acme_consul:Missing",
    "no-module": "acme_gone:Backend",
}


@pytest.fixture
def distribution(tmp_path: Path) -> Path:
    """A package somebody else installed, with its entry points."""
    (tmp_path / "acme_consul.py").write_text(THIRD_PARTY)
    info = tmp_path / "acme_consul-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-consul\nVersion: 1.0\n")
    entries = "\n".join(f"{name} = {home}" for name, home in ENTRIES.items())
    (info / "entry_points.txt").write_text(f"[{registry.ENTRY_POINTS}]\n{entries}\n")
    return tmp_path


def test_a_third_partys_backend_is_found_by_its_entry_point(distribution: Path) -> None:
    """Installed is registered."""
    code = (
        "import strongroom; store = strongroom.open('consul://x'); "
        "print(store.get('db').value.reveal_text(), store.origin)"
    )
    assert run(code, distribution).split() == ["value", "third", "party"]


@pytest.mark.parametrize("scheme", ["memory", "aws-sm"])
def test_no_package_takes_a_built_in_scheme_over(distribution: Path, scheme: str) -> None:
    """It would receive every value written to it ▲."""
    code = f"from strongroom.registry import *; print(backend_class({scheme!r}).__module__, schemes())"
    said = run(code, distribution)
    assert said.startswith("strongroom")
    assert said.count(f"'{scheme}'") == 1


@pytest.mark.parametrize(
    ("scheme", "why"),
    [
        (
            "no-table",
            "InvalidRequestError: what is registered as 'no-table' is no backend: it lacks error_for",
        ),
        (
            "no-opening",
            "InvalidRequestError: what is registered as 'no-opening' is no backend: it lacks from_url",
        ),
        (
            "no-backend",
            "InvalidRequestError: what is registered as 'no-backend' is no backend: it is not a Backend",
        ),
        ("no-class", "InvalidRequestError: what is registered as 'no-class' is no backend: it lacks"),
        ("no-such", "BackendNotInstalledError: acme_consul:Missing cannot be imported"),
        (
            "no-module",
            "BackendNotInstalledError: acme_gone:Backend cannot be imported: 'acme_gone' is missing",
        ),
    ],
)
def test_what_is_registered_is_checked_when_it_is_opened(distribution: Path, scheme: str, why: str) -> None:
    """A backend without an error table would raise its SDK's exceptions as "unexpected", with every call."""
    code = f"""
from strongroom.registry import backend_class
try:
    backend_class({scheme!r})
except Exception as error:
    print(f"{{type(error).__name__}}: {{error}}")
"""
    assert run(code, distribution).startswith(why)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            Settings(auth={"tokne": SecretValue(CANARY)}),
            "memory stores take no 'tokne' in auth (did you mean 'token'?)",
        ),
        (Settings(options={"zzz": "x"}), "memory stores take no 'zzz' in options (known keys: none)"),
    ],
)
def test_a_backend_that_says_what_it_takes_is_given_nothing_else(
    settings: Settings, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A misspelled key would be ignored; what it says is not repeated."""
    monkeypatch.setattr(MemoryBackend, "auth_keys", ("token",))
    monkeypatch.setattr(MemoryBackend, "option_keys", ())
    registry.open_backend("memory://", Settings(auth={"token": "x"})).close()
    with pytest.raises(InvalidRequestError) as caught:
        registry.open_backend("memory://", settings)
    assert str(caught.value) == said
    assert_no_canary_in(caught.value)


class Exploding(MemoryBackend):
    """Its opening fails as SDKs fail."""

    @classmethod
    def from_url(cls, url: object, settings: object) -> Exploding:
        sent = CANARY
        raise RuntimeError(sent)

    def get(self, key: Key, version: str | Stage) -> Secret:
        raise NotImplementedError


def test_a_failure_to_open_is_translated_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials are read there."""
    monkeypatch.setattr(registry, "backend_class", lambda scheme: Exploding)
    with pytest.raises(SecretStoreError) as caught:
        registry.open_backend("exploding://x")
    assert_no_canary_in(caught.value)
    assert caught.value.backend == "exploding"


@pytest.mark.parametrize("url", ["local-kye:///k.json", "aws-sm://eu-west-1/x"])
def test_an_unknown_key_scheme_is_refused_with_those_there_are(url: str) -> None:
    """Stores and keys have schemes of their own."""
    with pytest.raises(InvalidRequestError, match=r"known: .*local-key"):
        registry.open_key(url)


def test_not_installed_is_an_error_of_its_own() -> None:
    """Exit code 2, not 1: the person can fix it."""
    assert issubclass(BackendNotInstalledError, SecretStoreError)
