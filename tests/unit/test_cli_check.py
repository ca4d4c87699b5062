"""``check``: access, ages and what is missing, of everything at once; what hangs is left behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from strongroom.backend import Capability, Secret, SecretInfo, Settings, Stage
from strongroom.cli import storecheck
from strongroom.cli.sidebyside import Job, side_by_side
from strongroom.errors import BackendNotInstalledError, PermissionDeniedError, UnavailableError
from strongroom.memory import ALL, MemoryBackend
from strongroom.names import Key, Name
from strongroom.value import SecretValue
from tests.canary import CANARY, assert_no_canary
from tests.unit.cli_support import Result
from tests.unit.test_cli_keys import _run


class Odd(MemoryBackend):
    """A store whose URL says what is odd about it."""

    reads = 0
    hung = threading.Event()
    asked = threading.Barrier(1)

    def __init__(self, oddity: str):
        super().__init__(Capability.PUT if oddity == "bare" else ALL, origin=oddity)
        self._oddity = oddity

    def get(self, key: Key, version: str | Stage) -> Secret:
        Odd.reads += 1
        if self._oddity == "hangs":
            Odd.hung.wait()
        if self._oddity == "meets":
            Odd.asked.wait(30)
        if self._oddity in ("unreadable", "denied"):
            raise PermissionDeniedError("may not read")
        return super().get(key, version)

    def list_info(self, prefix: str, detail: bool = False) -> Iterator[SecretInfo]:
        if self._oddity in ("unlisted", "denied"):
            raise PermissionDeniedError("may not list")
        if self._oddity == "down":
            raise UnavailableError("no answer")
        return super().list_info(prefix, detail)

    def describe(self, key: Key) -> SecretInfo:
        if self._oddity == "undescribed":
            raise PermissionDeniedError("may not describe")
        return super().describe(key)


@pytest.fixture(autouse=True)
def _odd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """memory://ODDITY opens such a store, with one secret in it."""

    def from_url(url: Any, settings: Settings) -> MemoryBackend:
        if url.host == "missing":
            raise BackendNotInstalledError("the module 'acme' is not installed", hint="pip install acme")
        store = Odd(url.host)
        if url.host not in ("empty", "bare"):
            MemoryBackend.put(store, Name("db/password"), SecretValue(CANARY), None)
        return store

    monkeypatch.delenv("STRONGROOM_CONFIG", raising=False)
    monkeypatch.delenv("STRONGROOM_PROFILE", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(MemoryBackend, "from_url", from_url)
    monkeypatch.setattr(Odd, "reads", 0)
    monkeypatch.setattr(Odd, "hung", threading.Event())
    yield
    Odd.hung.set()


def check(*stores: str, args: tuple[str, ...] = (), more: str = "") -> Result:
    text = "".join(f'[store.{store}]\nurl = "memory://{store}"\n' for store in stores)
    Path("strongroom.toml").write_text(text + more)
    return _run("check", *args)


def stores(done: Result) -> dict[str, Any]:
    return {store["store"]: store for store in done.json["stores"]}


def access(done: Result) -> dict[str, tuple[bool | None, bool | None, bool]]:
    return {
        name: (store["may_list"], store["may_read"], store["needs_action"])
        for name, store in stores(done).items()
    }


def test_access_is_told_apart() -> None:
    """Who only reads need not list; who cannot read has nothing."""
    done = check("good", "empty", "bare", "unlisted", "unreadable", "denied", "down", args=("--json",))
    assert done.code == 10
    assert access(done) == {
        "good": (True, True, False),
        "empty": (True, True, False),
        "bare": (None, True, False),
        "unlisted": (False, True, False),
        "unreadable": (True, False, True),
        "denied": (False, False, True),
        "down": (None, None, True),
    }
    assert_no_canary(done.out)


def test_one_value_is_read_of_a_store_and_none_of_the_others() -> None:
    """Reading alone proves that it decrypts, and each read is an entry in somebody's audit trail."""
    check("good", "empty")
    assert Odd.reads == 2


def test_what_is_missing_is_told_with_what_to_do() -> None:
    """A package with its pip line, a credential with its line in the file."""
    more = '[store.prod]\nurl = "vault://vault.example.net/secret"\nauth = { token = "env://NO_SUCH" }\n'
    done = check("missing", "good", args=("--json",), more=more)
    assert "pip install acme" in stores(done)["missing"]["problem"]
    problem = stores(done)["prod"]["problem"]
    assert problem.endswith(
        "strongroom.toml:7: store.prod.auth.token: the environment has no NO_SUCH, or an empty one"
    )
    assert not stores(done)["good"]["problem"]


def test_ages_are_those_of_the_newest_versions() -> None:
    """Of all secrets, or of those that told it; who may not ask is told only if ages were asked for."""
    done = check("good", "undescribed", "empty", args=("--json",))
    good, silent, empty = stores(done).values()
    assert done.code == 0
    assert good["oldest"] == good["newest"] is not None
    assert (good["dated"], silent["dated"], silent["oldest"], empty["oldest"]) == (1, 0, None, None)
    asked = check("good", "undescribed", args=("--json", "--max-age", "1"))
    assert (asked.code, stores(asked)["good"]["problem"]) == (10, "")
    assert "may not describe" in stores(asked)["undescribed"]["problem"]


def test_ages_that_take_too_long_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are told; whoever asked for ages is told that some are not known."""
    monkeypatch.setattr(storecheck, "_SHARE_FOR_AGES", -1.0)
    plain = check("good", args=("--json",))
    assert (plain.code, stores(plain)["good"]["dated"]) == (0, 0)
    asked = check("good", args=("--max-age", "5"))
    assert asked.code == 10
    assert "only 0 of 1 secrets told their age in time: give it longer with --timeout" in asked.out


def test_a_store_that_hangs_does_not_hang_the_check() -> None:
    """It is told as such, in its place; the process does not wait for it to end."""
    done = check("good", "hangs", "empty", args=("--timeout", "1"))
    assert done.code == 10
    rows = [line.split()[0] for line in done.out.splitlines()[1:4]]
    assert rows == ["good", "hangs", "empty"]
    assert "hangs: no answer within 1 s" in done.out
    told = check("hangs", args=("--timeout", "1", "--json"))
    assert (stores(told)["hangs"]["names"], stores(told)["hangs"]["may_read"]) == (1, None)
    hanging = [thread for thread in threading.enumerate() if thread.name == "strongroom-job"]
    assert hanging
    Odd.hung.set()
    for thread in hanging:
        thread.join(10)


def test_all_are_asked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """None answers before every one is asked."""
    monkeypatch.setattr(Odd, "asked", threading.Barrier(3))
    more = "".join(f'[store.{name}]\nurl = "memory://meets"\n' for name in "abc")
    assert check(more=more).code == 0


def test_keys_keyrings_and_the_coordinator_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each in its place, with what is known without an answer."""
    monkeypatch.setattr("strongroom.registry.open_key", lambda *_: Odd.hung.wait())
    monkeypatch.setattr("strongroom.config.open_key", lambda *_: Odd.hung.wait())
    more = (
        '[key.k]\nurl = "aws-kms://eu-west-1/alias/k"\n[keyring.main]\nroots = ["k"]\nfile = "/k"\n'
        '[coordinator]\nurl = "strongroom://good"\n'
    )
    monkeypatch.setattr("strongroom.config.coordinator", lambda _: Odd.hung.wait())
    done = check("good", args=("--timeout", "1", "--json"), more=more)
    told = done.json
    assert done.code == 10
    [key], [ring] = told["keys"], told["keyrings"]
    assert (key["key"], key["url"], key["checked"]) == ("k", "aws-kms://eu-west-1/alias/k", False)
    assert (ring["keyring"], ring["place"], ring["roots"]) == ("main", "/k", ["k"])
    for problem in (key["problem"], ring["problems"][0], told["coordinator"]["problem"]):
        assert problem.startswith("no answer within 1 s")


def test_a_wrong_file_is_2_and_one_store_alone_is_only_that() -> None:
    """Nothing else is asked."""
    assert check(more="[stroe.x]\n").code == 2
    done = check("good", "down", args=("--store", "good", "--json"))
    assert (done.code, [*stores(done)]) == (0, ["good"])


def test_a_bug_in_one_piece_of_work_is_a_bug() -> None:
    """It is not taken for a store that does not answer."""

    def broken() -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        side_by_side([Job(lambda: 1, lambda: 2), Job(broken, lambda: 3)], 10)


def test_work_that_is_late_is_told_as_far_as_it_came() -> None:
    """The order is that of the jobs, whoever is first."""
    gate = threading.Event()
    jobs = [Job(lambda: int(gate.wait(30)), lambda: 7), Job(lambda: 2, lambda: 8)]
    assert side_by_side(jobs, 0.2) == [7, 2]
    gate.set()
