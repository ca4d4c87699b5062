"""Stands between CMD and the outside where CMD cannot take our place: to mask, or to start it again."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Final, Protocol, TypeVar, final

from strongroom.errors import UnsupportedOperationError
from strongroom.redaction import Needles, Redactor

from .child import Child, Environment, cannot_run, code_of, spawn

if TYPE_CHECKING:
    from .pump import Pump
    from .terminal import RealTerminal, TerminalChild

_HANDED_ON: Final = ("HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "ALRM", "CONT", "TSTP", "WINCH")
SIGNALS: Final = frozenset(getattr(signal, f"SIG{name}") for name in (*_HANDED_ON, "CHLD"))
_FROM_THE_TERMINAL: Final = frozenset([signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGWINCH])
_ENDING: Final = frozenset([signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM])
GRACE: Final = 10.0
"""Seconds that CMD has to end before it is killed, when it is to be started again."""


Result = TypeVar("Result")


class News(Protocol):
    """Where a changed environment comes from."""

    def start(self) -> None:
        """Begin to look; each change is told to the main thread by a SIGCHLD."""

    def take(self) -> tuple[Environment, Needles | None] | None:
        """The environment as it is now and what is to be masked of it, once for each change."""


@final
class Launcher:
    """Starts CMD, masked or not.

    Args:
        command: CMD and its arguments.
        mask: the signals that are blocked in it.
    """

    def __init__(self, command: Sequence[str], mask: set[signal.Signals]):
        self._command, self._mask = command, mask
        self._terminal: RealTerminal | None = None
        self._pumps: list[Pump] = []

    def start(self, environment: Environment, needles: Needles | None) -> Child | TerminalChild:
        """Start it, with the needles masked in what it prints; None lets it print by itself.

        Raises:
            Ended: it cannot be run.
        """
        if needles is None:
            return self._spawn(environment, {})
        from .pump import Pump

        on_terminal = os.isatty(1)
        pipes = {fd: os.pipe() for fd in (1, 2) if not (on_terminal and os.isatty(fd))}
        outputs = {fd: writing for fd, (_, writing) in pipes.items()}
        start = self._on_terminal if on_terminal else self._spawn
        child = start(environment, outputs)
        streams = {fd: reading for fd, (reading, _) in pipes.items()}
        if not isinstance(child, Child):
            streams[1] = child.master
        for writing in outputs.values():
            os.close(writing)
        self._pumps += [Pump(source, fd, Redactor(needles)) for fd, source in streams.items()]
        return child

    def finish(self, child: Child | TerminalChild) -> None:
        """The child has ended: let out what it wrote, and free what it held."""
        for pump in self._pumps:
            pump.finish()
        self._pumps.clear()
        child.release()

    def pause(self) -> None:
        """This process stops, for now or for good: give the terminal back."""
        if self._terminal:
            self._terminal.take_back()

    def _spawn(self, environment: Environment, outputs: dict[int, int]) -> Child:
        def prepare() -> None:
            for descriptor, writing in outputs.items():
                os.dup2(writing, descriptor)
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

        try:
            return Child(spawn(self._command, environment, prepare))
        except OSError as error:
            number = error.errno or 0
        raise cannot_run(self._command[0], number)

    def _on_terminal(self, environment: Environment, outputs: dict[int, int]) -> TerminalChild:
        from .terminal import RealTerminal, TerminalChild

        self._terminal = self._terminal or RealTerminal()
        return TerminalChild(
            self._command, environment, outputs=outputs, mask=self._mask, real=self._terminal
        )


@final
class Supervisor:
    """Waits for CMD, hands on what happens to this process, and starts it again on news.

    Args:
        launcher: how CMD is started.
        news: tells of a changed environment, or None.
        notice: the signal that CMD is sent on news, with the environment it has; None starts it again.
        say: tells a person what is done.
        grace: seconds to end in.
    """

    def __init__(
        self,
        launcher: Launcher,
        *,
        news: News | None = None,
        notice: signal.Signals | None = None,
        say: Callable[[str], object] = lambda _: None,
        grace: float = GRACE,
    ):
        self._launcher, self._news, self._notice = launcher, news, notice
        self._say, self._grace = say, grace
        self._next: tuple[Environment, Needles | None] | None = None  # what CMD is being ended for
        self._deadline: float | None = None

    def run(self, environment: Environment, needles: Needles | None) -> int:
        """Run CMD to its end, and give its exit code. Signals must be blocked (`blocked`)."""
        try:
            return self._run(self._launcher.start(environment, needles))
        finally:
            self._launcher.pause()  # a terminal that stays as CMD had it is of no use to anybody

    def _run(self, child: Child | TerminalChild) -> int:
        if self._news:
            self._news.start()
        while True:
            self._wait(child)
            while (status := child.poll()) is not None:
                if not os.WIFSTOPPED(status):
                    self._launcher.finish(child)
                    if self._next is None:
                        return code_of(status)
                    child = self._again(self._next)
                else:
                    self._stop_too(child, os.WSTOPSIG(status))
            self._look_for_news(child)

    def _wait(self, child: Child | TerminalChild) -> None:
        left = None if self._deadline is None else max(0.0, self._deadline - time.monotonic())
        info = signal.sigwaitinfo(SIGNALS) if left is None else signal.sigtimedwait(SIGNALS, left)
        if info is None:
            self._deadline = None
            child.send(signal.SIGKILL)
        elif info.si_signo != signal.SIGCHLD:
            self._hand_on(child, info)

    def _hand_on(self, child: Child | TerminalChild, info: signal.struct_siginfo) -> None:
        # A positive code is the kernel's: our terminal told the whole group, and so the child already.
        told_already = info.si_code > 0 and info.si_signo in _FROM_THE_TERMINAL and not child.separate
        if not told_already:
            child.send(info.si_signo)
        if info.si_signo in _ENDING:  # whoever wants an end does not want another beginning
            self._next = self._deadline = None

    def _stop_too(self, child: Child | TerminalChild, number: int) -> None:
        """CMD has been stopped: stop as it did, so that the shell sees it, and go on with it."""
        if not _is_orphan():
            self._launcher.pause()
            os.kill(os.getpid(), signal.SIGSTOP)
            child.resume()
        elif child.separate and number == signal.SIGTSTP:  # nobody could let us go on
            child.resume()

    def _look_for_news(self, child: Child | TerminalChild) -> None:
        news = self._news.take() if self._news else None
        if news is None:
            return
        if self._notice is not None:
            self._say(f"a secret has changed: sending {self._notice.name}")
            child.send(self._notice)
            return
        self._say("a secret has changed: starting again")
        if self._next is None:
            self._deadline = time.monotonic() + self._grace
            child.send(signal.SIGTERM)
            child.send(signal.SIGCONT)
        self._next = news

    def _again(self, following: tuple[Environment, Needles | None]) -> Child | TerminalChild:
        self._next = self._deadline = None
        return self._launcher.start(*following)


def _is_orphan() -> bool:
    """Whether our process group has no shell that could let it go on after a stop (POSIX 3.259)."""
    try:
        parent = os.getppid()
        return os.getsid(parent) != os.getsid(0) or os.getpgid(parent) == os.getpgrp()
    except OSError:
        return True


def interruptible(call: Callable[[], Result]) -> Result:
    """Do what may start threads while signals are `blocked`, and let those that ask for an end end it.

    Begun before, the threads of an SDK (gRPC has its own) would take signals that are meant for CMD, and a
    signal that no thread expects ends the process.
    """
    main, done = threading.get_ident(), threading.Event()
    outcome: list[Result | BaseException] = []

    def work() -> None:
        try:
            outcome.append(call())
        except BaseException as error:  # noqa: BLE001  (raised again where it is waited for)
            outcome.append(error)
        done.set()
        signal.pthread_kill(main, signal.SIGCHLD)

    threading.Thread(target=work, name="strongroom-resolve", daemon=True).start()
    while not done.is_set():
        number = signal.sigwaitinfo(SIGNALS).si_signo
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        if number in _ENDING:
            raise SystemExit(128 + number)
    [result] = outcome
    if isinstance(result, BaseException):
        raise result
    return result


@contextlib.contextmanager
def blocked() -> Iterator[set[signal.Signals]]:
    """Take signals one by one instead of being interrupted by them; gives those blocked before.

    Raises:
        UnsupportedOperationError: this system cannot tell who sent a signal.
    """
    if not hasattr(signal, "sigwaitinfo"):
        raise UnsupportedOperationError("--redact and --watch need a system with sigwaitinfo, such as Linux")
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, as some are started, children leave no status
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield {signal.Signals(number) for number in before}
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
