"""The program as a process: exit codes, pipes, terminals, signals, and what others can see of it."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.canary import CANARY, assert_no_canary
from tests.servers.openbao import OpenBao
from tests.servers.process import free_port

STRONGROOM = str(Path(sys.executable).with_name("strongroom"))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a configuration and a local store that holds one secret."""
    home = tmp_path_factory.mktemp("cli-home")
    (home / "work").mkdir(mode=0o700)
    assert _run(home, "init", "--yes").returncode == 0
    assert _run(home, "put", "db/password", stdin=CANARY.encode()).returncode == 0
    return home


def _environment(home: Path, **more: str) -> dict[str, str]:
    ours = {"HOME": str(home), "TERM": "dumb", "COLUMNS": "200", **more}
    drop = ("XDG_", "STRONGROOM_CONFIG", "VAULT_", "BAO_", "AWS_")
    return {k: v for k, v in os.environ.items() if not k.startswith(drop)} | ours


def _run(
    home: Path, *args: str, stdin: bytes = b"", env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [STRONGROOM, *args],
        input=stdin,
        capture_output=True,
        cwd=home / "work",
        env=_environment(home, **(env or {})),
        check=False,
    )


def test_a_value_goes_through_pipes_unchanged(home: Path) -> None:
    """In by stdin, out by stdout: the same bytes."""
    assert _run(home, "get", "db/password").stdout == CANARY.encode()
    every_byte = bytes(range(256))
    assert _run(home, "put", "every/byte", "--exact", stdin=every_byte).returncode == 0
    assert _run(home, "get", "every/byte").stdout == every_byte


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["get", "no/such"], 3),
        (["get", "Illegal Name"], 2),
        (["--store", "nowhere", "list"], 2),
        (["--store", "vualt://h/secret", "list"], 2),
        (["--store", "local:///no/such/dir/x.db", "list"], 2),
        (["put", "db/password", "--if-version", "absent", "--generate"], 5),
        (["purge", "db/password"], 2),
        (["--store", f"vault:///secret?endpoint=http://127.0.0.1:{free_port()}", "get", "a"], 6),
        (["no-such-command"], 2),
        ([], 2),
        (["--help"], 0),
        (["--version"], 0),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else str(value),
)
def test_exit_codes(home: Path, args: list[str], code: int) -> None:
    """Each meaning has its code; an error is one line on stderr, with nothing on stdout."""
    address = args[1].partition("endpoint=")[2] if len(args) > 1 else ""
    env = {"VAULT_ADDR": address, "VAULT_TOKEN": CANARY}
    done = _run(home, *args, env=env)
    assert done.returncode == code
    if code and args:
        assert (done.stdout, done.stderr.count(b"\n")) == (b"", 1)
        failed = _run(home, "--json", *args, env=env)
        assert json.loads(failed.stderr)["exit"] == code
    assert_no_canary(done.stdout, done.stderr)


def test_a_wrong_token_exits_with_4(home: Path, openbao_server: OpenBao) -> None:
    """Denied is never "not found"; the chain that --debug prints holds no token."""
    url = f"vault:///secret/app?endpoint={openbao_server.address}"
    env = {"VAULT_ADDR": openbao_server.address, "VAULT_TOKEN": f"wrong-{CANARY}"}
    done = _run(home, "--store", url, "--debug", "get", "db/password", env=env)
    assert done.returncode == 4
    assert_no_canary(done.stdout, done.stderr)


def test_other_processes_do_not_see_the_value(home: Path) -> None:
    """While put waits for the rest of stdin: not in its command line, nor in its environment."""
    argv = [STRONGROOM, "put", "seen/by-others"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, cwd=home / "work", env=_environment(home)) as put:
        assert put.stdin
        put.stdin.write(CANARY.encode())
        put.stdin.flush()
        _wait_until_read(put.stdin.fileno())
        process = Path("/proc", str(put.pid))
        assert b"put" in (process / "cmdline").read_bytes()
        assert_no_canary((process / "cmdline").read_bytes(), (process / "environ").read_bytes())
        put.stdin.close()
    assert put.returncode == 0


def _wait_until_read(pipe: int) -> None:
    """Until the process has taken out what was written, so that it surely runs."""
    while int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder):
        os.sched_yield()


def test_a_reader_that_leaves_ends_the_program_quietly(home: Path, tmp_path: Path) -> None:
    """As any filter: killed by SIGPIPE, with nothing on stderr."""
    for number in range(6000):
        (tmp_path / f"a-name-of-some-length-{number:05}").write_text("x")
    argv = [STRONGROOM, "--store", f"file://{tmp_path}", "list"]
    env = _environment(home)
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env) as listing:
        assert listing.stdout
        assert listing.stderr
        assert listing.stdout.read(6) == b"a-name"
        listing.stdout.close()
        assert listing.stderr.read() == b""
    assert listing.returncode == -signal.SIGPIPE


class Terminal:
    """The program on a terminal of its own."""

    def __init__(self, process: subprocess.Popen[bytes], master: int):
        self.process = process
        self.master = master
        self.screen = b""

    def wait_for(self, text: bytes) -> None:
        """Read the screen until `text` stands on it."""
        while text not in self.screen:
            self.screen += os.read(self.master, 4096)

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self.master, text.encode())

    def end(self) -> int:
        """Read the rest of the screen; the exit code."""
        try:
            while more := os.read(self.master, 4096):
                self.screen += more
        except OSError:  # Linux says EIO when the last process has left the terminal
            pass
        return self.process.wait()


@contextmanager
def _terminal(home: Path, *args: str) -> Iterator[Terminal]:
    master, slave = pty.openpty()
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", _ON_TERMINAL, STRONGROOM, *args],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=home / "work",
            env=_environment(home),
            start_new_session=True,
        )
        os.close(slave)
        with process:
            yield Terminal(process, master)
    finally:
        os.close(master)


# The terminal must be the one that controls the session, or Ctrl-C there would interrupt nobody.
_ON_TERMINAL = """
import fcntl, os, signal, sys, termios
signal.signal(signal.SIGINT, signal.SIG_DFL)  # a test run in the background has it ignored
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_what_is_typed_at_the_prompt_is_not_echoed(home: Path) -> None:
    """Twice, and then it is stored."""
    with _terminal(home, "put", "typed/value") as terminal:
        for question in (b"Value: ", b"Again: "):
            terminal.wait_for(question)
            terminal.type(f"{CANARY}\n")
        assert terminal.end() == 0
    assert_no_canary(terminal.screen)
    assert _run(home, "get", "typed/value").stdout == CANARY.encode()


def test_ctrl_c_exits_with_130_and_one_line(home: Path) -> None:
    """At the prompt; nothing is stored."""
    with _terminal(home, "put", "typed/never") as terminal:
        terminal.wait_for(b"Value: ")
        terminal.type("\x03")
        assert terminal.end() == 130
    assert b"interrupted" in terminal.screen
    assert b"Traceback" not in terminal.screen
    assert _run(home, "get", "typed/never").returncode == 3


def test_a_terminal_shows_a_value_only_with_reveal(home: Path) -> None:
    """A real one: refused without, shown with."""
    with _terminal(home, "get", "db/password") as terminal:
        assert terminal.end() == 2
    assert_no_canary(terminal.screen)
    with _terminal(home, "get", "db/password", "--reveal") as terminal:
        assert terminal.end() == 0
    assert terminal.screen.strip() == CANARY.encode()


def test_a_purge_asks_for_the_name_on_a_terminal(home: Path) -> None:
    """Anything but the name leaves the secret."""
    with _terminal(home, "purge", "db/password") as terminal:
        terminal.wait_for(b"destroy it: ")
        terminal.type("yes\n")
        assert terminal.end() == 2
    assert _run(home, "get", "db/password").returncode == 0


def _loaded(home: Path, *args: str) -> set[str]:
    code = (
        "import sys, json, io\n"
        "from strongroom.cli.main import cli\n"
        "try: cli.main(sys.argv[1:])\n"
        "except SystemExit: pass\n"
        "print(json.dumps(sorted(sys.modules)), file=sys.stderr)\n"
    )
    argv = [sys.executable, "-c", code, *args]
    done = subprocess.run(argv, capture_output=True, cwd=home / "work", env=_environment(home), check=True)
    return {name.split(".")[0] for name in json.loads(done.stderr)}


HEAVY = {
    "rich",
    "boto3",
    "botocore",
    "hvac",
    "requests",
    "cryptography",
    "dotenv",
    "yaml",
    "keyring",
    "pytest",
}


def test_the_overview_loads_nothing_heavy(home: Path) -> None:
    """No rich, no SDK, no cryptography; not even the commands."""
    assert not _loaded(home, "--help") & HEAVY


def test_a_command_loads_what_it_needs(home: Path) -> None:
    """Reading the local store takes cryptography and nothing else of these; rich is for terminals only."""
    assert _loaded(home, "get", "db/password") & HEAVY == {"cryptography"}
    assert _loaded(home, "show", "db/password") & HEAVY <= {"cryptography"}
