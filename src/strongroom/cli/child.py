"""Starting the program of ``run``: in place of this one, or as its child."""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn, final

from strongroom.errors import InvalidRequestError

from .failure import BEFORE_COMMAND, Ended

NOT_EXECUTABLE: Final = 126
NOT_FOUND: Final = 127
# CPython ignores these, and what is ignored stays so across an exec: a CMD that is a filter would not end
# when its reader does. `subprocess` restores the same (restore_signals).
_IGNORED_BY_PYTHON: Final = ("SIGPIPE", "SIGXFSZ")


@final
class Environment(dict[bytes, bytes]):
    """Variables of which some are secrets, so that it shows none."""

    def __repr__(self) -> str:
        return f"<Environment of {len(self)} variables>"


def become(command: Sequence[str], environment: Environment) -> NoReturn:
    """Replace this process: nothing stands between CMD and whoever waits for it.

    Raises:
        Ended: with 127 if there is no such program, 126 if it cannot be run.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream:
            stream.flush()
    restore_signals()
    problem = _exec(command, environment)
    raise cannot_run(command[0], problem)


def spawn(command: Sequence[str], environment: Environment, prepare: Callable[[], object]) -> int:
    """Start a child, and give its process id once it runs the program.

    Args:
        prepare: called in the child: what it does to its descriptors, groups and signals.

    Raises:
        OSError: the program cannot be run.
    """
    told, telling = os.pipe()  # closed by a successful exec
    pid = os.fork()
    if not pid:
        _in_child(command, environment, prepare, telling)
    os.close(telling)
    with os.fdopen(told, "rb") as reader:
        problem = reader.read()
    if problem:
        os.waitpid(pid, 0)
        raise OSError(int(problem), os.strerror(int(problem)))
    return pid


def _in_child(
    command: Sequence[str], environment: Environment, prepare: Callable[[], object], telling: int
) -> NoReturn:
    number = errno.EINVAL
    try:
        prepare()
        restore_signals()
        number = _exec(command, environment)
    finally:  # whatever happened, two processes must not go on with one program
        os.write(telling, str(number).encode())
        os._exit(NOT_FOUND)


def _exec(command: Sequence[str], environment: Environment) -> int:
    """Return the error's number, never raise it: its traceback would hold the environment."""
    try:
        os.execvpe(command[0], list(command), environment)  # noqa: S606  (no shell on purpose)
    except OSError as error:
        number = error.errno or errno.EINVAL
    except ValueError:  # a zero byte in an argument
        return errno.EINVAL
    return _exec_script(command, environment) if number == errno.ENOEXEC else number


def _exec_script(command: Sequence[str], environment: Environment) -> int:
    """Run a script that does not name its interpreter by a shell, as execvp(3) and so env(1) do."""
    import shutil

    path = os.fsdecode(environment.get(b"PATH", os.defpath.encode()))
    script = shutil.which(command[0], path=path) or command[0]
    try:
        os.execve("/bin/sh", ["sh", script, *command[1:]], environment)  # noqa: S606  (nothing is interpolated)
    except OSError as error:
        return error.errno or errno.ENOEXEC


def restore_signals() -> None:
    """Give the signals that Python ignores the meaning they have for other programs."""
    for name in _IGNORED_BY_PYTHON:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)


def cannot_run(program: str, number: int) -> Ended:
    """The end of a ``run`` whose CMD cannot be started, with the codes of env(1)."""
    missing = number in (errno.ENOENT, errno.ENOTDIR)
    hint = "the environment or the arguments are too large" if number == errno.E2BIG else None
    problem = InvalidRequestError(f"cannot run {program!r}: {os.strerror(number).lower()}", hint=hint)
    return Ended(problem, NOT_FOUND if missing else NOT_EXECUTABLE)


def refuse(problem: str, hint: str | None = None) -> Ended:
    """The end of a ``run`` that did not come to CMD."""
    return Ended(InvalidRequestError(problem, hint=hint), BEFORE_COMMAND)


def code_of(status: int) -> int:
    """The exit code that a shell makes of a wait status: 128 + n for signal n."""
    return 128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


@dataclass(slots=True)
class Child:
    """A child in this process's own group, with its terminal.

    Attributes:
        pid: whom signals go to.
    """

    pid: int
    separate = False
    """Whether it has a terminal of its own, so that the signals of ours do not reach it."""

    def poll(self) -> int | None:
        """The wait status of a change since the last time, if there is one: ended, or stopped."""
        pid, status = os.waitpid(self.pid, os.WNOHANG | os.WUNTRACED)
        return status if pid else None

    def send(self, number: int) -> None:
        """Send it a signal; it has not been waited for yet, so that its id is its own."""
        os.kill(self.pid, number)

    def resume(self) -> None:
        """Let it go on after a stop."""
        self.send(signal.SIGCONT)

    def release(self) -> None:
        """It has ended: free what it held."""
