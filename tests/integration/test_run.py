"""``run`` as a process: exit codes, signals, terminals, masked output, and a program started again."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

import strongroom
from strongroom.cli.main import cli
from tests.canary import CANARY, assert_no_canary

STRONGROOM = str(Path(sys.executable).with_name("strongroom"))
REFERENCE = "strongroom://local/db/password"
MASKED = b"<redacted>"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a configuration and a local store that holds one secret, looked at often."""
    home = tmp_path_factory.mktemp("run-home")
    (home / "work").mkdir(mode=0o700)
    config, store, keyset = home / "work" / "strongroom.toml", home / "work" / "secrets.db", home / "keyset"
    made = ["--config", str(config), "init", "--yes", "--database", str(store), "--keyset", str(keyset)]
    assert CliRunner().invoke(cli, made).exit_code == 0
    config.write_text(config.read_text() + 'cache = { fresh = "1s", poll = "100ms" }\n')
    _put(home, "db/password", CANARY)
    return home


def _environment(home: Path, **more: str) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "STRONGROOM_CONFIG"))}
    return {**kept, "HOME": str(home), "TERM": "dumb", "PW": REFERENCE, **more}


def _put(home: Path, name: str, value: str) -> None:
    with strongroom.open(config=home / "work" / "strongroom.toml") as store:
        store.put(name, value)


def _start(home: Path, *args: str, **more: str) -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [STRONGROOM, "run", *args],
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
        cwd=home / "work",
        env=_environment(home, **more),
    )


def _run(home: Path, *args: str, stdin: bytes = b"", **more: str) -> subprocess.CompletedProcess[bytes]:
    with _start(home, *args, **more) as process:
        out, err = process.communicate(stdin)
    return subprocess.CompletedProcess(args, process.returncode, out, err)


def test_nothing_stands_between_cmd_and_its_parent(home: Path) -> None:
    """CMD takes the place of strongroom: the same process, with the secret in no command line."""
    with _start(home, "--", "sh", "-c", 'echo $$ "$PW"; read line; echo "$line"; exit 7') as process:
        assert process.stdout
        assert process.stdin
        pid, value = process.stdout.readline().split()
        assert (int(pid), value) == (process.pid, CANARY.encode())
        shown = Path("/proc", str(process.pid), "cmdline").read_bytes()
        assert shown.startswith(b"sh\0-c\0")
        assert_no_canary(shown)
        process.stdin.write(b"typed\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"typed\n"
    assert process.returncode == 7


def test_what_python_ignores_ends_cmd_as_elsewhere(home: Path) -> None:
    """A filter whose reader has gone is killed by SIGPIPE; masked, it is told as 141."""
    endless = ("--", "sh", "-c", "while echo y; do :; done")
    for args, code in ((endless, -signal.SIGPIPE), (("--redact", *endless), 128 + signal.SIGPIPE)):
        with _start(home, *args) as process:
            assert process.stdout
            assert process.stdout.readline() == b"y\n"
            process.stdout.close()
        assert process.returncode == code


@pytest.mark.parametrize(
    ("args", "code"),
    [
        (["--redact", "--", "sh", "-c", "kill -KILL $$"], 137),
        (["--redact", "--", "no-such-program"], 127),
        (["/etc/passwd"], 126),
    ],
    ids=["killed", "missing", "not a program"],
)
def test_exit_codes_come_through(home: Path, args: list[str], code: int) -> None:
    """CMD's own, 128 + n for a signal, and those of env(1) if it cannot be run, with one line."""
    done = _run(home, *args)
    assert done.returncode == code
    assert done.stderr.count(b"\n") == (code != 137)


def test_a_script_without_an_interpreter_is_run_by_a_shell(home: Path) -> None:
    """As by env, which finds it on the PATH too."""
    script = home / "work" / "plain-script"
    script.write_text('echo "$1 $PW"; exit 4\n')
    script.chmod(0o700)
    done = _run(home, "--redact", "--", "plain-script", "one", PATH=f"{script.parent}:{os.environ['PATH']}")
    assert (done.returncode, done.stdout) == (4, b"one " + MASKED + b"\n")


def test_secrets_are_masked_however_they_are_written(home: Path) -> None:
    """Cut in two, on both streams, encoded, at the end without a newline; all else comes through as it is."""
    script = (
        "import os, base64, time; pw = os.environ['PW'].encode()\n"
        "w = os.write; w(1, b'a ' + pw[:9]); time.sleep(0.05); w(1, pw[9:] + b' b\\n\\xff')\n"
        "w(2, pw + b'\\n' + base64.b64encode(b'app:' + pw + b'.') + b'\\n'); w(1, b'CANARY-')"
    )
    done = _run(home, "--redact", "--", sys.executable, "-Ic", script)
    assert done.returncode == 0
    assert done.stdout == b"a " + MASKED + b" b\n\xffCANARY-"
    assert done.stderr.startswith(MASKED + b"\nYXBw")
    assert_no_canary(done.stdout, done.stderr)


def test_what_cmd_leaves_running_is_not_waited_for(home: Path) -> None:
    """A daemon holds its output open; what CMD itself wrote is all there."""
    done = _run(home, "--redact", "--", "sh", "-c", "sleep 60 & head -c 300000 /dev/zero; echo $! >&2")
    os.kill(int(done.stderr), signal.SIGKILL)
    assert len(done.stdout) == 300_000


_TRAPS = (
    "import os, signal, sys\n"
    "def told(number, frame): os.write(1, b'%d\\n' % number); number == signal.SIGTERM and sys.exit(5)\n"
    "for name in ('HUP', 'INT', 'QUIT', 'USR1', 'TERM'): signal.signal(getattr(signal, 'SIG' + name), told)\n"
    "os.write(1, b'ready\\n')\n"
    "while True: signal.pause()\n"
)


@pytest.mark.parametrize("option", [["--redact"], ["--watch"]], ids=["redact", "watch"])
def test_signals_reach_cmd(home: Path, option: list[str]) -> None:
    """Each, once, in order; CMD decides what it does, and with what code."""
    with _start(home, *option, "--", sys.executable, "-Ic", _TRAPS) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGTERM):
            process.send_signal(number)
            assert process.stdout.readline() == b"%d\n" % number
    assert process.returncode == 5


def test_cmd_is_started_again_with_the_new_value(home: Path) -> None:
    """Ended by SIGTERM, masked again, and what it printed before stays masked."""
    _put(home, "app/key", f"{CANARY}-one")
    script = 'trap "echo ends; exit" TERM; echo "${KEY##*-}" "$KEY"; while :; do sleep 0.05; done'
    key = {"KEY": "strongroom://local/app/key"}
    with _start(home, "--watch", "--redact", "--", "sh", "-c", script, **key) as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == b"one " + MASKED + b"\n"
        _put(home, "app/key", f"{CANARY}-two")
        assert [process.stdout.readline() for _ in range(2)] == [b"ends\n", b"two " + MASKED + b"\n"]
        process.terminate()
        assert process.stdout.readline() == b"ends\n"
        assert b"starting again" in process.stderr.read()
    assert process.returncode == 0


def test_cmd_is_told_by_a_signal_if_that_is_wished(home: Path) -> None:
    """It goes on with the environment it has; one that reads files anew needs no more."""
    _put(home, "app/key", f"{CANARY}-one")
    args = ("--watch", "--signal", "HUP", "--", sys.executable, "-Ic", _TRAPS)
    with _start(home, *args, KEY="strongroom://local/app/key") as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        _put(home, "app/key", f"{CANARY}-two")
        assert process.stdout.readline() == b"%d\n" % signal.SIGHUP
        process.terminate()
        assert process.stdout.readline() == b"%d\n" % signal.SIGTERM
    assert process.returncode == 5


class Screen:
    """A terminal with an interactive shell on it, as a person uses it."""

    def __init__(self, master: int):
        self.master, self.shown = master, b""

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self.master, text.encode())

    def wait_for(self, pattern: bytes) -> bytes:
        """Read until the pattern stands on the screen; what was read up to there."""
        while not (found := re.search(pattern, self.shown)):
            self.shown += os.read(self.master, 4096)
        seen, self.shown = self.shown[: found.end()], self.shown[found.end() :]
        return seen


@contextmanager
def _shell(home: Path) -> Iterator[tuple[Screen, int]]:
    """A bash with job control; its prompt ends in ``#>``."""
    pid, master = pty.fork()
    if not pid:
        os.chdir(home / "work")
        for number in (signal.SIGINT, signal.SIGHUP):  # a test run under nohup ignores them, and so would CMD
            signal.signal(number, signal.SIG_DFL)
        fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 31, 77, 0, 0))
        env = _environment(home, PS1="#>", PATH=f"{Path(STRONGROOM).parent}:{os.environ['PATH']}")
        os.execvpe("bash", ["bash", "--norc", "--noediting", "-i"], env)
    screen = Screen(master)
    try:
        screen.wait_for(b"#>")
        yield screen, pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(master)


def test_cmd_has_a_terminal(home: Path) -> None:
    """All three descriptors, of the right size, also after a change of it; keys arrive, and echo as ever."""
    with _shell(home) as (screen, _):
        screen.type("stty -g | md5sum; strongroom run --redact -- sh\n")
        before = screen.wait_for(rb"[0-9a-f]{32}")[-32:]
        screen.type('test -t 0 -a -t 1 -a -t 2 && echo "tty:" $(stty size) "$PW"\n')
        screen.wait_for(rb"tty: 31 77 " + MASKED)
        fcntl.ioctl(screen.master, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        screen.type("while ! stty size | grep 40.100; do :; done; exit 9\n")
        screen.wait_for(rb"\n40 100")
        screen.wait_for(b"#>")
        screen.type("echo code: $?; stty -g | md5sum\n")
        screen.wait_for(b"code: 9")
        assert screen.wait_for(rb"[0-9a-f]{32}")[-32:] == before
        assert_no_canary(screen.shown)


@pytest.mark.parametrize("option", ["--redact", "--watch"])
def test_keys_that_send_signals_do_so(home: Path, option: str) -> None:
    """Ctrl-Z stops the job for the shell, `fg` lets it go on, Ctrl-C ends it; the terminal is as before."""
    with _shell(home) as (screen, _):
        screen.type(
            f"strongroom run {option} -- sh -c 'echo be''gun; read a; echo \"got $a\"; exec sleep 60'\n"
        )
        screen.wait_for(b"begun")
        screen.type("\x1a")
        screen.wait_for(rb"Stopped")
        screen.wait_for(b"#>")
        screen.type("stty -a | grep -c ' icanon'; fg\n")
        screen.wait_for(rb"\n1\r")
        screen.wait_for(rb"strongroom run")
        screen.type("typed\n")
        screen.wait_for(b"got typed")
        screen.type("\x03")
        screen.wait_for(b"#>")
        screen.type("echo code: $?\n")
        screen.wait_for(b"code: 130")


def test_a_key_that_sends_a_signal_sends_one(home: Path) -> None:
    """CMD is in our group, so that the terminal told it already: a second Ctrl-C means "at once" to many."""
    with _shell(home) as (screen, _):
        script = home / "work" / "traps.py"
        script.write_text(f"open('pid', 'w').write(str(__import__('os').getpid()))\n{_TRAPS}")
        screen.type(f"strongroom run --watch -- {sys.executable} -I traps.py\n")
        screen.wait_for(b"ready")
        screen.type("\x03")
        seen = screen.wait_for(rb"\^C2\r")
        screen.type("\x1c")
        seen += screen.wait_for(rb"\n?3\r")
        assert seen.count(b"2\r") == 1
        os.kill(int((home / "work" / "pid").read_text()), signal.SIGTERM)  # it outlives its terminal
        screen.wait_for(b"#>")


def test_cmd_does_not_outlive_a_killed_strongroom_on_a_terminal(home: Path) -> None:
    """Its terminal is hung up, as if the window had been closed."""
    with _shell(home) as (screen, _):
        screen.type("strongroom run --redact -- sh -c 'echo pid=$$ parent=$PPID; exec sleep 60'\n")
        line = screen.wait_for(rb"pid=(\d+) parent=(\d+)\r")
        found = re.search(rb"pid=(\d+) parent=(\d+)", line)
        assert found
        child, monitor = int(found[1]), int(found[2])
        wrapper = int(Path(f"/proc/{monitor}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(wrapper, signal.SIGKILL)
        screen.wait_for(b"Killed")
        deadline = time.monotonic() + 20
        while _runs(child):
            assert time.monotonic() < deadline
            os.sched_yield()


def _runs(process: int) -> bool:
    """An orphan that has ended may wait long for a new parent to take its status."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


_WAITING = """
import sys, time
from strongroom.cli.supervising import blocked, interruptible
with blocked():
    interruptible(lambda: print("waits", flush=True) or time.sleep(60))
"""


def test_an_end_while_the_store_is_waited_for_is_an_end() -> None:
    """The signals that CMD will get are blocked before an SDK starts threads, and yet not lost."""
    argv = [sys.executable, "-c", _WAITING]
    for number, code in ((signal.SIGTERM, 143), (signal.SIGINT, -signal.SIGINT)):
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as waiting:
            assert waiting.stdout
            assert waiting.stdout.readline() == b"waits\n"
            waiting.send_signal(number)
        assert waiting.returncode == code


_SUPERVISED = """
import os, signal, sys, threading
from strongroom.cli.child import Environment
from strongroom.cli.supervising import Launcher, Supervisor, blocked

def environment(n):
    return Environment({**os.environb, b"ROUND": b"%d" % n})

class News:
    # The next round's environment, each time that CMD says it has begun.
    rounds = iter(range(1, 3))
    def start(self):
        self.main = threading.get_ident()
        threading.Thread(target=self.listen, daemon=True).start()
    def listen(self):
        for line in os.fdopen(int(sys.argv[1])):
            self.ready = environment(next(self.rounds)), None
            signal.pthread_kill(self.main, signal.SIGCHLD)
    ready = None
    def take(self):
        ready, self.ready = self.ready, None
        return ready

with blocked() as mask:
    supervisor = Supervisor(Launcher(sys.argv[2:], mask), news=News(), grace=0.05)
    sys.exit(supervisor.run(environment(0), None))
"""


def test_cmd_that_does_not_end_is_killed_before_it_is_started_again() -> None:
    """After the time it is given; the last round ends by itself, with its own code."""
    begun, begins = os.pipe()
    script = 'trap "" TERM; echo "round $ROUND"; test $ROUND = 2 && exit 6; echo >/dev/fd/$1; exec sleep 60'
    argv = [sys.executable, "-c", _SUPERVISED, str(begun), "sh", "-c", script, "sh", str(begins)]
    done = subprocess.run(argv, capture_output=True, pass_fds=(begun, begins), check=False, timeout=60)
    os.close(begun)
    os.close(begins)
    assert (done.returncode, done.stdout) == (6, b"round 0\nround 1\nround 2\n"), done.stderr


_LOADED = """
import sys
from strongroom.cli import main, running
def shown(command, environment):
    assert environment[b"PW"] and not environment[b"PW"].startswith(b"strongroom://")
    print(*sys.modules)
    sys.exit()
running.become = shown
main.main()
"""


def test_a_start_loads_only_what_it_takes(home: Path) -> None:
    """Nothing for files, masks, terminals, changes or templates that were not asked for."""
    argv = [sys.executable, "-c", _LOADED, "run", "--", "true"]
    done = subprocess.run(argv, capture_output=True, cwd=home / "work", env=_environment(home), check=True)
    loaded = set(done.stdout.decode().split())
    ours = {"formats", "sources", "redaction", "supervising", "following", "pump", "terminal", "templates"}
    assert not loaded & {f"strongroom.cli.{name}" for name in ours}
    assert not loaded & {"dotenv", "yaml", "jinja2", "rich", "subprocess", "asyncio", "select", "pty"}
