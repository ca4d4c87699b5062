"""``key create``, ``key list``, and what ``check`` says of keys and of the coordinator."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from strongroom.backend import Settings
from strongroom.cli import keys
from strongroom.cli.main import cli
from strongroom.errors import InvalidRequestError, PermissionDeniedError, UnavailableError
from strongroom.keys import KeyWrapper, Signer, WrappedKey
from strongroom.value import SecretValue
from strongroom_pkcs11.create import KINDS
from tests.canary import CANARY, assert_no_canary
from tests.servers.softhsm import TestToken
from tests.unit.cli_support import Result


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STRONGROOM_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)


def _run(*args: str, stdin: str = "") -> Result:
    done = CliRunner().invoke(cli, args, input=stdin, prog_name="strongroom")
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert_no_canary(done.stdout + done.stderr)
    return Result(done.exit_code, done.stdout, done.stderr, done.stdout_bytes)


def _configure(**tables: Mapping[str, str]) -> None:
    text = ""
    for title, facts in tables.items():
        lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in facts.items())
        text += f"[{title.replace('__', '.')}]\n{lines}"
    Path("strongroom.toml").write_text(text)


class Wraps(KeyWrapper):
    """A key that is on this machine."""

    key_id, provider_id, symmetric = "k", "test", False
    algorithm, context = "RSA", "bound by digest"
    error: Exception | None = None

    def __init__(self) -> None:
        self.calls: list[str] = []

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> WrappedKey:
        self.calls.append("wrap")
        if self.error:
            raise self.error
        return self.wrapped(data_key)

    def unwrap(self, wrapped: WrappedKey, context: Mapping[str, str]) -> bytes:
        self.calls.append("unwrap")
        return wrapped.ciphertext

    def close(self) -> None:
        self.calls.append("close")


class Signs(Signer):
    """Counts its signatures."""

    key_id, provider_id, algorithm = "s", "test", "ES256"
    signed = 0

    def sign_digest(self, digest: bytes) -> bytes:
        Signs.signed += 1
        return digest

    def public_key(self) -> bytes | None:
        return b"public"


@pytest.fixture
def wraps(monkeypatch: pytest.MonkeyPatch) -> Wraps:
    """What every aws-kms key of the configuration is."""
    key = Wraps()
    monkeypatch.setattr("strongroom.registry.open_key", lambda *_: key)
    return key


def _no_signer(*_: Any) -> Signer:
    raise InvalidRequestError("no signer")


_KMS = {"key__main": {"url": "aws-kms://eu-west-1/alias/main"}}


def test_a_keyset_is_made_once_and_never_replaced(tmp_path: Path) -> None:
    """0600; a second time is a conflict, a dry run leaves nothing."""
    url = f"local-key://{tmp_path}/keyset.json"
    assert "would make" in _run("key", "create", url, "--dry-run").out
    assert not (tmp_path / "keyset.json").exists()
    assert _run("key", "create", url, "--json").json["url"] == url
    before = (tmp_path / "keyset.json").read_bytes()
    assert (tmp_path / "keyset.json").stat().st_mode & 0o777 == 0o600
    assert _run("key", "create", url).code == 5
    assert (tmp_path / "keyset.json").read_bytes() == before
    assert _run("key", "create", url.replace("keyset", "other"), "--kind", "p256").code == 2


@pytest.mark.parametrize("url", ["aws-kms://eu-west-1/alias/x", "no-such://x", "main"])
def test_what_cannot_be_made_here_is_refused(url: str) -> None:
    """A key of a cloud is made there; an alias that is not configured is unknown."""
    assert _run("key", "create", url).code == 2


def test_the_kinds_are_those_of_the_token() -> None:
    """The list in the help is the backend's own."""
    assert keys.KINDS == KINDS


def test_a_key_that_is_only_listed_is_not_used(wraps: Wraps) -> None:
    """How it wraps is told, and it is given back."""
    _configure(**_KMS)
    [found] = _run("key", "list", "--json").json["keys"]
    assert (found["key"], found["algorithm"], found["symmetric"]) == ("main", "RSA", False)
    assert not found["checked"]
    assert wraps.calls == ["close"]
    assert "not checked" in _run("key", "list").out


def test_a_checked_key_wraps_and_unwraps(wraps: Wraps) -> None:
    """Random bytes, and nothing of them is shown."""
    _configure(**_KMS)
    done = _run("key", "list", "--check", "--json")
    assert done.code == 0
    assert wraps.calls == ["wrap", "unwrap", "close"]
    [found] = done.json["keys"]
    assert (found["use"], found["checked"]) == ("wraps", True)


def test_a_key_that_unwraps_something_else_needs_action(
    wraps: Wraps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 10."""
    monkeypatch.setattr(wraps, "unwrap", lambda *_: b"something else")
    monkeypatch.setattr("strongroom.registry.open_signer", _no_signer)
    _configure(**_KMS)
    assert _run("key", "list", "--check").code == 10


def test_a_refused_key_is_told_with_what_to_do(wraps: Wraps, monkeypatch: pytest.MonkeyPatch) -> None:
    """By `key list --check` and by `check`, which goes on to the rest."""
    wraps.error = PermissionDeniedError("denied", hint="allow kms:Encrypt")
    monkeypatch.setattr("strongroom.registry.open_signer", _no_signer)
    _configure(**_KMS, store__prod={"url": f"memory://{Path.cwd().name}"})
    listed = _run("key", "list", "--check")
    assert listed.code == 10
    assert "allow kms:Encrypt" in listed.out
    checked = _run("check", "--json")
    assert checked.code == 10
    assert checked.json["stores"][0]["problem"] == ""
    assert "kms:Encrypt" in checked.json["keys"][0]["problem"]


def test_a_signing_key_shows_its_public_half_and_signs_nothing(
    wraps: Wraps, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not wrap may sign; a signature that nobody ordered would be an alarm."""
    wraps.error = InvalidRequestError("this key does not encrypt")
    monkeypatch.setattr("strongroom.registry.open_signer", lambda *_: Signs())
    monkeypatch.setattr(Signs, "signed", 0)
    _configure(**_KMS)
    done = _run("key", "list", "--check", "--json")
    [found] = done.json["keys"]
    assert (done.code, found["use"], found["algorithm"]) == (0, "signs", "ES256")
    assert Signs.signed == 0


def test_a_provider_that_does_not_answer_is_asked_once(wraps: Wraps, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for it a second time under another name."""
    wraps.error = UnavailableError("no answer")
    monkeypatch.setattr("strongroom.registry.open_signer", lambda *_: pytest.fail("asked again"))
    _configure(**_KMS)
    assert _run("key", "list", "--check").code == 10


def test_checking_a_keyset_uses_none_of_its_wraps(tmp_path: Path) -> None:
    """A monitoring that runs every minute would end the key's life within weeks."""
    url = f"local-key://{tmp_path}/keyset.json"
    _run("key", "create", url)
    _configure(key__main={"url": url})
    [counter] = tmp_path.glob("*.wraps")
    before = counter.read_bytes()
    assert _run("check").code == 0
    assert counter.read_bytes() == before
    (tmp_path / "keyset.json").chmod(0o644)
    assert _run("check").code == 10


def test_check_asks_the_coordinator_for_a_lease(tmp_path: Path) -> None:
    """And says what is wrong with it; each run finds the lease free again."""
    store = {"url": f"memory://{tmp_path.name}"}
    _configure(store__prod=store, coordinator={"url": f"sqlite://{tmp_path}/leases.db"})
    for _ in range(2):
        done = _run("check", "--json")
        assert (done.code, done.json["coordinator"]["problem"]) == (0, "")
    assert f"coordinator sqlite://{tmp_path}/leases.db: ok" in _run("check").out
    _configure(store__prod=store, coordinator={"url": f"sqlite://{tmp_path}/no/such/folder.db"})
    done = _run("check", "--json")
    assert done.code == 10
    assert "does not answer" in done.json["coordinator"]["problem"]


def test_a_store_that_cannot_coordinate_is_told(tmp_path: Path) -> None:
    """It has no compare-and-set; without a coordinator there is nothing to tell."""
    _configure(store__env={"url": "env://APP"}, coordinator={"url": "strongroom://env"})
    assert "cannot coordinate" in _run("check", "--json").json["coordinator"]["problem"]
    _configure(store__env={"url": "env://APP"})
    assert _run("check", "--json").json["coordinator"] is None


def test_a_key_is_made_inside_a_token(softhsm_token: TestToken, monkeypatch: pytest.MonkeyPatch) -> None:
    """By alias with the configured PIN; it wraps, and a signing key signs."""
    monkeypatch.setenv("TEST_PIN", softhsm_token.pin)
    reach = {"module": softhsm_token.module, "pin": "env://TEST_PIN"}
    kek, audit = softhsm_token.unique("kek"), softhsm_token.unique("audit")
    _configure(
        key__kek={"url": softhsm_token.url(kek), **reach},
        key__audit={"url": softhsm_token.url(audit), **reach},
    )
    assert _run("check").code == 10
    assert _run("key", "create", "kek").code == 0
    assert _run("key", "create", "audit", "--kind", "secp256k1").code == 0
    assert _run("key", "create", "kek").code == 5
    found = {one["key"]: one for one in _run("key", "list", "--check", "--json").json["keys"]}
    assert (found["kek"]["use"], found["audit"]["use"]) == ("wraps", "signs")
    assert (found["kek"]["algorithm"], found["audit"]["algorithm"]) == ("AES-KEY-WRAP-PAD", "ES256K")
    assert _run("check").code == 0


def test_the_pin_of_a_url_is_asked_for(softhsm_token: TestToken, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal only; without one, what is missing is told."""
    url = softhsm_token.url(softhsm_token.unique("asked"))
    denied = _run("key", "create", url, "--module", softhsm_token.module)
    assert denied.code in (2, 4)
    monkeypatch.setattr(keys, "can_ask", lambda: True)
    monkeypatch.setattr(keys, "typed", lambda _: SecretValue(softhsm_token.pin))
    assert _run("key", "create", url, "--module", softhsm_token.module).code == 0


def test_a_configured_pin_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor that of a key which has none."""
    from strongroom.config import KeyEntry

    monkeypatch.setattr(keys, "can_ask", lambda: True)
    monkeypatch.setattr(keys, "typed", lambda _: pytest.fail("asked"))
    settings = Settings(auth={"pin": SecretValue(CANARY)})
    assert keys._unlocked(KeyEntry("k", "pkcs11:token=t;object=k", settings), None) is settings
    assert keys._unlocked(KeyEntry("k", "local-key:///k"), None).auth == {}
