"""Starting a real server on a free loopback port, and making sure that it does not outlive the tests."""

from __future__ import annotations

import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.canary import plaintext
from tests.session import note

START_SECONDS = 30


def free_port() -> int:
    """A loopback port that nothing listens on. If another process takes it first, the start fails."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(
    name: str, argv: Sequence[str], ready: Callable[[], bool], env: Mapping[str, str] | None = None
) -> Iterator[None]:
    """Run `argv` until the block ends, entering it once `ready` answers True; the run's summary names it.

    `setpriv --pdeathsig` has the kernel kill the server when the test process dies, even by SIGKILL.
    """
    note("servers", name=name)
    with tempfile.TemporaryDirectory(prefix="server-") as folder:
        log = plaintext(folder, f"the log of {name}, which is not ours") / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *argv],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env,
            )  # fmt: skip
        try:
            _wait(name, process, ready, log)
            yield
        finally:
            process.kill()
            process.wait()


def _wait(name: str, process: subprocess.Popen[bytes], ready: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{name} did not start:\n{log.read_text(errors='replace')[-2000:]}")
        time.sleep(0.02)  # another process is starting; nothing to inject a clock into


def listens(port: int, host: str = "127.0.0.1") -> bool:
    """Whether something accepts connections on this port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


def wait_for_interrupt(lines: Sequence[str]) -> None:
    """For servers started by hand: say how to use them, then wait for Ctrl-C."""
    print(*lines, "", "Ctrl-C stops it.", sep="\n", flush=True)
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        print()
