"""From a table of options to a rotator's arguments, and from a file to policies."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from strongroom.cli.rotatortable import markdown
from strongroom.errors import BackendNotInstalledError, InvalidRequestError, SecretStoreError
from strongroom.passwords import Policy
from strongroom.rotation.rotator import Rotation, Rotator
from strongroom.rotation.rotators.names import ROTATORS, rotator_class
from strongroom.rotations import Rotations, engine, rotations
from strongroom.toml.file import read_text
from tests.canary import CANARY
from tests.unit.cli_support import library, new_store_url
from tests.unit.rotation_cli_support import Options

LOGIN = 'login = "env://TEST_LOGIN"'
OURS = "tests.unit.rotation_cli_support:Options"


@contextmanager
def opened(
    options: str, *, url: str = "memory://", rotator: str = OURS, more: str = ""
) -> Iterator[Rotations]:
    """The rotations of a file whose one table has these options."""
    text = (
        f'[store.prod]\nurl = "{url}"\n[rotation.db]\nnames = ["db/**"]\nrotator = "{rotator}"\n'
        f'options = {{ {options} }}\n{more}\n[ledger]\nurl = "strongroom://prod"\n'
    )
    with rotations(read_text(Path("c.toml"), text, "")) as found:
        yield found


def made(options: str) -> dict[str, Any]:
    url = new_store_url()
    with library(url) as store:
        store.put("db/a", "x")
    with opened(options, url=url) as found:
        [policy] = found.policies
        assert isinstance(policy.rotator, Options)
        return policy.rotator.given


def test_each_option_is_what_its_annotation_says() -> None:
    """Text, numbers, durations, lists, true or false, and a password policy as a table."""
    given = made(
        f'{LOGIN}, host = "h", port = 5432, wait = "30s", tls = false, names = ["a"],'
        ' policy = { length = 40, classes = ["lower", "digits"] }'
    )
    assert (given["host"], given["port"], given["wait"]) == ("h", 5432, timedelta(seconds=30))
    assert (given["tls"], given["names"]) == (False, ["a"])
    assert given["policy"] == Policy(40, ("lower", "digits"))


def test_a_credential_is_read_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """And each time anew: that one rotates too ▲."""
    login = made(LOGIN)["login"]
    with pytest.raises(InvalidRequestError, match="the environment has no TEST_LOGIN"):
        login()
    for value in (f"{CANARY}-one", f"{CANARY}-two"):
        monkeypatch.setenv("TEST_LOGIN", value)
        assert login().matches(value)


def test_a_credential_of_another_store_is_read_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a reference; what it reads is the version that is current then."""
    url = new_store_url()
    with library(url) as store:
        store.put("db/a", "x")
        store.put("admin", {"password": CANARY})
    with opened('login = "strongroom://prod/admin#/password"', url=url) as found:
        rotator = found.policies[0].rotator
        assert isinstance(rotator, Options)
        login: Any = rotator.given["login"]
        assert login().matches(CANARY)
        with library(url) as store:
            store.put("admin", {"password": f"{CANARY}-new"})
        assert login().matches(f"{CANARY}-new")


def test_a_keyring_is_opened_by_its_alias(tmp_path: Path) -> None:
    """When a hook needs it; the file alone is read before."""
    text = (
        '[store.prod]\nurl = "memory://"\n[key.root]\nurl = "local-key:k"\n'
        f'[keyring.main]\nroots = ["root"]\nfile = "{tmp_path}/ring"\n'
        '[rotation.ring]\nnames = ["ring"]\nrotator = "keyring"\noptions = { keyring = "main" }\n'
        '[ledger]\nurl = "strongroom://prod"\n'
    )
    with rotations(read_text(Path("c.toml"), text, "")) as found:
        [policy] = found.policies
        with pytest.raises(SecretStoreError):  # it was never made
            policy.rotator.create_secret(Rotation("0c6f1d0a-2f3c-4b57-9d3c-0f2c7b1f7a10", "ring"))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("", "options: needs login"),
        (f'login = "{CANARY}"', "options.login: must not stand in the file"),
        (f'{LOGIN}, hots = "h"', "options.hots: there is no such option (did you mean 'host'?)"),
        (f'{LOGIN}, host = "env://HOST"', "options.host: is no credential"),
        (f"{LOGIN}, host = 1", "options.host: is no str"),
        (f'{LOGIN}, port = "1"', "options.port: is no int"),
        (f"{LOGIN}, port = true", "options.port: is no int"),
        (f'{LOGIN}, names = "a"', "options.names: is no list"),
        (f'{LOGIN}, wait = "soon"', "options.wait: is a duration"),
        (f"{LOGIN}, policy = {{ length = 4 }}", "options.policy: the policy allows 22 bits"),
        (f"{LOGIN}, policy = {{ size = 4 }}", "options.policy: is a table of length"),
    ],
)
def test_what_is_wrong_is_told(options: str, problem: str) -> None:
    """With file, line and key, and never the value ▲."""
    with pytest.raises(InvalidRequestError) as caught, opened(options):
        pass
    assert problem in str(caught.value)
    assert "c.toml:" in str(caught.value)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    ("rotator", "problem"),
    [
        ("postgrsql", "did you mean 'postgresql'"),
        ("no.such.module:Class", "there is no module no"),
        ("json:JSONDecoder", "is no rotator"),
        ("json:nothing", "is no rotator"),
    ],
)
def test_a_rotator_that_is_none_is_told(rotator: str, problem: str) -> None:
    """With the line that names it."""
    with pytest.raises(InvalidRequestError) as caught, opened("", rotator=rotator):
        pass
    assert str(caught.value).startswith("c.toml:5: rotation.db.rotator: ")
    assert problem in str(caught.value)


def test_a_missing_package_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the line that installs it, not as a bug."""
    (tmp_path / "needy_rotator.py").write_text("import no_such_package\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BackendNotInstalledError, match="pip install no_such_package"):
        rotator_class("needy_rotator:Class")


def test_a_schedule_that_cannot_be_is_told() -> None:
    """When rotation is asked for; a program that reads secrets does not load schedules."""
    never = 'schedule = { every = "rate(0 days)" }'
    told = r"c.toml:\d+: rotation.db.schedule: "
    with pytest.raises(InvalidRequestError, match=told), opened(LOGIN, more=never):
        pass


def test_a_prefix_means_what_is_below_it_now() -> None:
    """Each name once, and no other store's; one that another table names too is refused."""
    url = new_store_url()
    with library(url) as store:
        for name in ("db/a", "db/b", "dba"):
            store.put(name, "x")
    with opened(LOGIN, url=url) as found:
        assert [(policy.name, policy.label) for policy in found.policies] == [("db/a", "db"), ("db/b", "db")]
        assert found.policies[0].store is found.policies[1].store
    twice = '[rotation.too]\nnames = ["db/b"]\nrotator = "random"'
    told = "db/b is in rotation[.]db too"
    with pytest.raises(InvalidRequestError, match=told), opened(LOGIN, url=url, more=twice):
        pass


def test_an_engine_refuses_what_would_break_its_readers() -> None:
    """Unless it is asked not to judge, by whoever ends a rotation ▲."""
    url = new_store_url()
    with library(url) as store:
        store.put("a", "x")
    text = f'[store.prod]\nurl = "{url}"\n[rotation.r]\nnames = ["a"]\nrotator = "random"\ngrace = "1s"\n'
    config = read_text(Path("c.toml"), f'{text}[ledger]\nurl = "strongroom://prod"\n', "")
    with pytest.raises(InvalidRequestError, match="is shorter than"), engine(config):
        pass
    with engine(config, judged=False) as found:
        assert found.policy("a").label == "r"


@pytest.mark.parametrize("name", ROTATORS)
def test_every_short_name_is_a_rotator_that_says_what_it_takes(name: str) -> None:
    """Its options are keyword-only, and each is told in its docstring; nothing else has to be given."""
    found = rotator_class(name)
    assert issubclass(found, Rotator)
    parameters = [one for one in inspect.signature(found).parameters.values() if one.name != "self"]
    told = inspect.getdoc(found) or ""
    for one in parameters:
        assert one.kind is one.KEYWORD_ONLY or one.default is not one.empty, one.name
        assert one.name in told, one.name


def test_the_page_on_rotators_is_generated() -> None:
    """`python -m strongroom.cli.rotatortable` prints what belongs there, from the classes' own docstrings."""
    page = (Path(__file__).parents[2] / "docs" / "rotators.md").read_text()
    shown = page.split("<!-- generated: python -m strongroom.cli.rotatortable -->\n")[1]
    assert shown.split("<!-- end -->")[0] == markdown()
