"""``render --watch``: a file that follows its secrets, through outages and starts, and who is told of it."""

from __future__ import annotations

import os
import signal
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from strongroom.backend import Secret, Stage
from strongroom.cli import keeping, rendering
from strongroom.cli.options import Options
from strongroom.cli.templates import Template
from strongroom.errors import PartialFailureError, PermissionDeniedError, UnavailableError
from strongroom.memory import MemoryBackend
from strongroom.names import Key
from strongroom.value import SecretValue
from tests.canary import CANARY, plaintext
from tests.unit.cli_support import Cli

TEXT = 'A={{ secret("db/password") }}\n'
NEW = "another-value"


@pytest.fixture
def run() -> Iterator[Cli]:
    """The program on a store with one secret."""
    run = Cli()
    with run.store() as store:
        store.put("db/password", CANARY)
        yield run


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where the file is to be."""
    return plaintext(tmp_path / "app.env", "render writes values where it is told to")


@pytest.fixture
def down(monkeypatch: pytest.MonkeyPatch) -> Callable[[type[Exception] | None], None]:
    """Has every read of a memory store fail so, or answer again."""
    get = MemoryBackend.get
    failing: list[type[Exception] | None] = [None]

    def may_fail(self: MemoryBackend, key: Key, version: str | Stage) -> Secret:
        if failing[0]:
            raise failing[0]("no answer")
        return get(self, key, version)

    monkeypatch.setattr(MemoryBackend, "get", may_fail)
    return lambda kind: failing.__setitem__(0, kind)


def _rendering(run: Cli, out: Path, *then: str) -> rendering._Rendering:
    options = Options(store=run.url, quiet=True)
    return rendering._Rendering(options, Template(TEXT, "env"), str(out), None, mode=0o400, then=then)


def test_only_the_owner_reads_the_file_and_nobody_writes_it(run: Cli, out: Path, tmp_path: Path) -> None:
    """As --mode says; a file that may not be written is replaced all the same, and others read none."""
    (tmp_path / "t.env.j2").write_text(TEXT)
    for mode in ("400", "400", "440"):
        done = run("render", str(tmp_path / "t.env.j2"), "--out", str(out), "--mode", mode)
        assert done.code == 0, done.err
        assert stat.S_IMODE(out.stat().st_mode) == int(mode, 8)
    assert run("render", str(tmp_path / "t.env.j2"), "--out", str(out), "--mode", "644").code == 2


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--mode", "400"], "--mode goes with --out"),
        (["--watch"], "--watch goes with --out"),
        (["--out", "x", "--on-change", "true"], "--on-change goes with --watch"),
        (["--out", "x", "--watch", "--on-change", ""], "--on-change is a command"),
        (["--out", "x", "--watch", "--on-change", "say 'it"], "--on-change is a command"),
    ],
)
def test_what_goes_together_is_told(run: Cli, args: list[str], said: str) -> None:
    """Before anything is read."""
    done = run("render", "no-such-template.env", *args)
    assert (done.code, done.out) == (2, "")
    assert said in done.err


def test_a_start_in_an_outage_leaves_the_file_of_before_in_use(
    run: Cli, out: Path, down: Callable[[type[Exception] | None], None]
) -> None:
    """And follows, so that what has changed meanwhile is written, and told, once the provider answers."""
    _rendering(run, out).once()
    down(UnavailableError)
    told = out.parent / "told"
    filling = _rendering(run, out, "touch", str(told))
    filling.begin()
    assert out.read_text() == f"A={CANARY}\n"
    down(None)
    with run.store() as store:
        store.put("db/password", NEW)
    values = {"db/password": store_value(run)}
    filling._changed(values)
    assert out.read_text() == f"A={NEW}\n"
    assert told.exists()


def store_value(run: Cli) -> SecretValue:
    """The current value."""
    with run.store() as store:
        return store.get("db/password").value


def test_a_start_in_an_outage_fails_where_there_is_no_file(
    run: Cli, out: Path, down: Callable[[type[Exception] | None], None]
) -> None:
    """Whoever waits for the first file must not be told that it is there."""
    down(UnavailableError)
    with pytest.raises(PartialFailureError):
        _rendering(run, out).begin()
    assert not out.exists()


def test_a_start_that_is_denied_fails_with_any_file(
    run: Cli, out: Path, down: Callable[[type[Exception] | None], None]
) -> None:
    """An outage passes by itself, a grant that is lacking does not."""
    _rendering(run, out).once()
    down(PermissionDeniedError)
    with pytest.raises(PartialFailureError):
        _rendering(run, out).begin()
    assert out.read_text() == f"A={CANARY}\n"


def test_a_change_while_nobody_watched_is_told_at_the_start(run: Cli, out: Path) -> None:
    """The program that has the old file would keep it; a start that changes nothing tells nothing."""
    told = out.parent / "told"
    _rendering(run, out, "touch", str(told)).begin()
    assert not told.exists(), "the first file is no change: nobody has an older one"
    _rendering(run, out, "touch", str(told)).begin()
    assert not told.exists()
    with run.store() as store:
        store.put("db/password", NEW)
    _rendering(run, out, "touch", str(told)).begin()
    assert told.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["false"], "false failed with 1"),
        (["/no/such/program"], "cannot be run: No such file or directory"),
        ([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"], "was ended by signal 9"),
        (["sleep", "60"], "was killed: it took more than 0 s"),
        (["true"], None),
    ],
)
def test_a_command_that_fails_is_told_and_nothing_more(words: list[str], said: str | None) -> None:
    """The file is in its place all the same."""
    lines: list[str] = []
    keeping.Announcer(words, None, lines.append, 0.2 if "sleep" in words else keeping.LONGEST)()
    assert len(lines) == (said is not None)
    assert not said or said in lines[0]


def test_the_command_gets_no_credential_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the configuration takes from variables, and the passphrase; all others it has."""
    config = tmp_path / "strongroom.toml"
    config.write_text(
        '[store.p]\nurl = "vault://v.example.net/secret"\nauth = { token = "env://TOKEN_OF_OURS" }'
    )
    for name in ("TOKEN_OF_OURS", "STRONGROOM_PASSPHRASE", "ANOTHER"):
        monkeypatch.setenv(name, "set")
    seen = tmp_path / "seen"
    keeping.Announcer(["sh", "-c", f"env > {seen}"], config, lambda _: None)()
    names = {line.partition("=")[0] for line in seen.read_text().splitlines()}
    assert "ANOTHER" in names
    assert not names & {"TOKEN_OF_OURS", "STRONGROOM_PASSPHRASE"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_wherever_it_is(number: signal.Signals, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while a provider hangs: its thread is left behind."""
    monkeypatch.setattr(keeping, "_GRACE", 0.1)
    hangs, ended = threading.Event(), []

    def follow() -> None:
        os.kill(os.getpid(), number)
        hangs.wait()

    keeping.until_stopped(follow, lambda: ended.append(True))
    assert ended == [True]
    hangs.set()


def test_what_follows_fails_where_it_was_started(run: Cli, out: Path) -> None:
    """Its error comes out of the thread."""

    def follow() -> None:
        raise PermissionDeniedError("may not read")

    with pytest.raises(PermissionDeniedError):
        keeping.until_stopped(follow, lambda: None)


def test_a_stop_before_it_follows_is_heeded(run: Cli, out: Path) -> None:
    """The file is written, and nothing is waited for."""
    filling = _rendering(run, out)
    filling.stop()
    filling.follow()
    assert out.exists()
