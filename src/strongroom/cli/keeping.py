"""What ``render --watch`` does besides: it ends on a signal, and tells a program of its new file."""

from __future__ import annotations

import os
import shlex
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, final

import click

from . import environment
from .serving import stopped_by_signals

if TYPE_CHECKING:
    from pathlib import Path

    Say = Callable[[str], object]

MODES: Final[Mapping[str, int]] = {"400": 0o400, "440": 0o440, "600": 0o600, "640": 0o640}
"""What a rendered file may be: nobody but its owner and, where that is said, its group reads it."""
LONGEST: Final = 60.0
"""Seconds that the command after a change may take."""
_NOTHING: Final = subprocess.DEVNULL
_STDERR: Final = 2
_GRACE: Final = 5.0
"""Seconds to end in: a provider that does not answer must not keep a pod from going."""


def command(_: click.Context, __: click.Parameter, text: str | None) -> tuple[str, ...]:
    """The words of a command, as a shell splits them; no shell runs it.

    Raises:
        click.UsageError: it is no command.
    """
    try:
        words = tuple(shlex.split(text)) if text is not None else None
    except ValueError:
        words = ()
    if words == ():
        raise click.UsageError("--on-change is a command, such as: nginx -s reload")
    return words or ()


@final
class Announcer:
    """Runs a command after a change; that it fails is told, and the next change runs it again.

    Args:
        words: the command and its arguments; empty for none.
        config: the configuration; the variables that it takes credentials from are not handed on.
        say: tells a person.
        longest: seconds, as `LONGEST`.
    """

    def __init__(self, words: Sequence[str], config: Path | None, say: Say, longest: float = LONGEST):
        self._words, self._say, self._longest = words, say, longest
        self._ours = environment.credentials(config)

    def __call__(self) -> None:
        """A file is new. What the command prints goes to stderr, since stdout is for what was asked."""
        if self._words and (problem := self._run()):
            self._say(f"--on-change: {self._words[0]} {problem}")

    def _run(self) -> str:
        variables = {name: value for name, value in os.environ.items() if name not in self._ours}
        try:
            done = subprocess.run(
                self._words, env=variables, stdin=_NOTHING, stdout=_STDERR, timeout=self._longest, check=False
            )
        except subprocess.TimeoutExpired:
            return f"was killed: it took more than {self._longest:.0f} s"
        except OSError as error:
            return f"cannot be run: {error.strerror or type(error).__name__}"
        if done.returncode >= 0:
            return f"failed with {done.returncode}" if done.returncode else ""
        return f"was ended by signal {-done.returncode}"


def until_stopped(follow: Callable[[], object], stop: Callable[[], object]) -> None:
    """Follow until SIGTERM or SIGINT; what hangs then is left behind.

    The first process of a container is ended by no signal but one that it has a handler for. What follows
    has a thread of its own, so that its locks are never held by what a handler interrupts.

    Args:
        follow: returns after `stop`; what it raises is raised here.
        stop: ends it soon.
    """
    failed: list[BaseException] = []

    def run() -> None:
        try:
            follow()
        except BaseException as error:  # noqa: BLE001  (raised again where it is told)
            failed.append(error)

    told: list[bool] = []  # no event: a handler must not take the lock that it may have interrupted
    thread = threading.Thread(target=run, name="strongroom-render", daemon=True)
    with stopped_by_signals(lambda: told.append(True)):
        thread.start()
        while thread.is_alive() and not told:
            thread.join(1.0)  # a signal's handler runs between two waits
        stop()
        thread.join(_GRACE)
    if failed:
        raise failed[0]
