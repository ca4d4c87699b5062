"""A terminal for CMD whose output is read here, and the real one, which is handed through to it.

CMD is the foreground of a session of its own, led by a monitor that this process forks. The monitor is what
makes Ctrl-Z work: the kernel does not let a group stop whose members' parents are all in other sessions.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import struct
import termios
import threading
import tty
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NoReturn, final

from .child import Environment, cannot_run, restore_signals, spawn
from .pump import write_all

_RECORD: Final = struct.Struct("ii")
_STARTED, _CHANGED, _FAILED = range(3)


@final
class RealTerminal:
    """This process's terminal, whose keys go to the child untouched while it is in the foreground."""

    def __init__(self) -> None:
        self._keys = os.isatty(0)
        self._saved: list[Any] | None = None
        self._typed_into = -1
        self._reader: threading.Thread | None = None

    def lend(self, master: int) -> None:
        """From now on what is typed goes to the child's terminal."""
        self._typed_into = master
        self.resize(master)
        if not self._keys or os.tcgetpgrp(0) != os.getpgrp():
            return
        if self._saved is None:
            self._saved = termios.tcgetattr(0)
        tty.setraw(0, termios.TCSADRAIN)
        if self._reader is None:
            self._reader = threading.Thread(target=self._carry, name="strongroom-keys", daemon=True)
            self._reader.start()

    def take_back(self) -> None:
        """Make it as it was before."""
        if self._saved is not None:
            with contextlib.suppress(termios.error):  # it has been hung up
                termios.tcsetattr(0, termios.TCSADRAIN, self._saved)
            self._saved = None

    def resize(self, master: int) -> None:
        """Give the child's terminal the size of the real one; the kernel tells the child."""
        with contextlib.suppress(OSError):
            fcntl.ioctl(master, termios.TIOCSWINSZ, fcntl.ioctl(1, termios.TIOCGWINSZ, bytes(8)))

    def _carry(self) -> None:
        with contextlib.suppress(OSError):  # hung up
            while typed := os.read(0, 4096):
                with contextlib.suppress(OSError):  # between two children nobody listens
                    write_all(self._typed_into, typed)


@final
class TerminalChild:
    """A child with a terminal of its own.

    Args:
        outputs: what its descriptors 1 and 2 are where they are not that terminal.
        mask: the signals that are blocked in it.

    Attributes:
        pid: whom signals go to.
        master: our side of its terminal.

    Raises:
        Ended: the program cannot be run.
    """

    separate = True

    def __init__(
        self,
        command: Sequence[str],
        environment: Environment,
        *,
        outputs: dict[int, int],
        mask: Iterable[int],
        real: RealTerminal,
    ):
        self.master, slave = os.openpty()
        self._real = real
        with contextlib.suppress(termios.error):
            termios.tcsetattr(slave, termios.TCSANOW, termios.tcgetattr(0 if os.isatty(0) else 1))
        real.resize(self.master)
        self._told, telling = os.pipe()
        self._monitor = os.fork()
        if not self._monitor:
            keep = {slave, telling, *outputs.values()}
            _monitor(lambda: _session(command, environment, slave, outputs, mask, keep), telling)
        os.close(slave)
        os.close(telling)
        kind, number = self._record() or (_FAILED, 0)
        if kind == _FAILED:
            self.release()
            os.close(self.master)
            raise cannot_run(command[0], number)
        self.pid = number
        os.set_blocking(self._told, False)
        real.lend(self.master)

    def poll(self) -> int | None:
        """As of `Child`."""
        record = self._record()
        return record[1] if record else None

    def send(self, number: int) -> None:
        """As of `Child`; a change of size is for its terminal, which tells it."""
        if number == signal.SIGWINCH:
            self._real.resize(self.master)
        else:
            with contextlib.suppress(ProcessLookupError):  # the monitor waited for it already
                os.kill(self.pid, number)

    def resume(self) -> None:
        """As of `Child`, for all of its group."""
        self._real.lend(self.master)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGCONT)

    def release(self) -> None:
        """As of `Child`."""
        self._real.take_back()
        os.close(self._told)
        os.waitpid(self._monitor, 0)

    def _record(self) -> tuple[int, int] | None:
        try:
            data = os.read(self._told, _RECORD.size)
        except BlockingIOError:
            return None
        return _RECORD.unpack(data) if len(data) == _RECORD.size else None


def _monitor(session: Callable[[], tuple[int, int]], telling: int) -> NoReturn:
    """Lead the session of a child: start it, and tell each change of it by a record and a SIGCHLD."""
    parent = os.getppid()
    try:
        kind, number = session()
        os.write(telling, _RECORD.pack(kind, number))
        while kind == _STARTED:
            _, status = os.waitpid(number, os.WUNTRACED)
            os.write(telling, _RECORD.pack(_CHANGED, status))
            if os.getppid() == parent:
                os.kill(parent, signal.SIGCHLD)
            if not os.WIFSTOPPED(status):
                break
    finally:
        os._exit(0)


def _session(
    command: Sequence[str],
    environment: Environment,
    slave: int,
    outputs: dict[int, int],
    mask: Iterable[int],
    keep: set[int],
) -> tuple[int, int]:
    """Begin a session on the terminal, and start the child in its foreground."""
    _close_private(keep)
    os.setsid()
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    restore_signals()
    # Hung up, the session ends and its foreground is told: so the child does not outlive a killed parent.
    signal.pthread_sigmask(signal.SIG_SETMASK, {*mask, signal.SIGTTOU})
    signal.signal(signal.SIGINT, signal.SIG_DFL)

    def prepare() -> None:
        os.setpgid(0, 0)
        os.tcsetpgrp(slave, os.getpid())  # allowed from behind while SIGTTOU is blocked
        for descriptor in range(3):
            if descriptor in outputs:
                os.dup2(outputs[descriptor], descriptor)
            elif os.isatty(descriptor):
                os.dup2(slave, descriptor)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    try:
        pid = spawn(command, environment, prepare)
    except OSError as error:
        return _FAILED, error.errno or 0
    for descriptor in outputs.values():
        os.close(descriptor)
    return _STARTED, pid


def _close_private(keep: set[int]) -> None:
    """Close what is this process's own, such as a store's locks, and leave what is meant to be inherited."""
    names: list[str] = []
    with contextlib.suppress(OSError):  # no /proc here: what stays open is closed when CMD ends
        names = os.listdir("/dev/fd")
    for name in names:
        with contextlib.suppress(OSError):
            if int(name) > 2 and int(name) not in keep and not os.get_inheritable(int(name)):
                os.close(int(name))
