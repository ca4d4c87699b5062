"""Listens to queues of change notices, and hints at what they name.

A message is taken out of its queue whether or not it was understood, after its names were hinted at: one that
nobody understands must not come for ever, and one that is lost is made good by polling. A queue that does not
answer is asked again after a pause that grows to a minute; nobody who reads secrets notices.
"""

from __future__ import annotations

import threading
import weakref
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain, islice
from typing import TYPE_CHECKING, Final, final

from strongroom import observing
from strongroom.errors import SecretStoreError, UnavailableError
from strongroom.names import Name
from strongroom.quiet import hush, release
from strongroom.registry import open_receiver

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from strongroom.backend import Clock, Settings
    from strongroom.hinting import Hints
    from strongroom.notices import Message, Receiver
    from strongroom.store import SecretStore
    from strongroom.telemetry import Family, Labels

WAIT: Final = 20.0
"""Seconds that a queue may hold a request open."""
_JOIN: Final = 0.5
"""Seconds that closing waits for a request that is held open; after that it ends by itself."""
_LONGEST_PAUSE: Final = 60.0
_SETTLE: Final = 1.0
"""Seconds until the first request, and between two looks whether the store has read anything: a command that
is done by then, or a parent that only forks, takes no message from anybody."""
_RELEARN: Final = 1.0
"""Seconds between two looks at which names the store knows, while notices come of others."""
_MOST: Final = 1000
"""Resources of one batch that are looked at: no provider's message names more than a few."""
_COUNTS: Final = {
    "received": "Messages that came out of a queue of change notices.",
    "understood": "Messages that told which secret may have changed.",
    "hinted": "Names of this store that were read again for them.",
    "failures": "Requests to the queue that failed.",
}


@final
class Listener:
    """One queue and one store, and the thread between them. It ends with the store, or before it.

    A forked child does not listen: it would take messages that its parent needs. What it opens itself does.

    Args:
        store: what is hinted at.
        receiver: the queue, which is closed with this.
        wait: seconds that the queue may hold a request open; None for `WAIT`.
        clock: injected in tests.

    Raises:
        RuntimeError: no thread can be started.

    Attributes:
        counts: how many messages were received and understood, names hinted at, and requests failed.
    """

    def __init__(
        self, store: SecretStore, receiver: Receiver, *, wait: float | None = None, clock: Clock | None = None
    ):
        self._store = weakref.ref(store)  # one that is forgotten without being closed ends this as well
        self._alias, self._receiver = store.alias, receiver
        self._wait = WAIT if wait is None else wait
        self._clock = clock or store._clock  # noqa: SLF001
        self._names: dict[str, Name] = {}
        self._learned, self._trouble = float("-inf"), ""
        self.counts = dict.fromkeys(_COUNTS, 0)
        self._stop = threading.Event()
        self._hushed = hush(receiver.loggers)
        self._thread = threading.Thread(target=self._run, name="strongroom-listen", daemon=True)
        try:
            self._thread.start()
        except RuntimeError:
            release(self._hushed)
            raise
        observing.tell_of(self)

    def families(self) -> Iterable[Family]:
        """What was counted, as metrics; no secret's name is a label."""
        kind = observing.scheme_of(self._receiver.origin)
        labels: Labels = (("store", self._alias), ("queue", kind))
        for name, meaning in _COUNTS.items():
            yield f"strongroom_notices_{name}_total", "counter", meaning, {labels: self.counts[name]}

    def close(self) -> None:
        """End the thread, which may be waiting for the queue, and close the queue. Safe to repeat."""
        if self._stop.is_set():
            return
        self._stop.set()
        self._receiver.close()
        if self._thread is not threading.current_thread():
            self._thread.join(_JOIN)
        observing.tell_no_more_of(self)
        release(self._hushed)

    def after_fork(self) -> None:
        """The thread is the parent's."""
        self._stop = threading.Event()
        self._stop.set()
        self._receiver.after_fork()

    def _run(self) -> None:
        pause, failures = _SETTLE, 0
        while not self._clock.wait(self._stop, pause):
            hints = self._hints()
            if hints is None:
                self.close()
            elif hints.idle:
                pause = _SETTLE
            else:
                failures = 0 if self._heard() else failures + 1
                pause = self._pause(failures)

    def _hints(self) -> Hints | None:
        store = self._store()
        return store._hints if store else None  # noqa: SLF001

    def _pause(self, failures: int) -> float:
        """Seconds until the next request; spread, since a fleet meets an outage together."""
        longest = min(_LONGEST_PAUSE, 2.0 ** min(failures, 10))
        return longest * (0.5 + 0.5 * self._clock.chance()) if failures else 0.0

    def _heard(self) -> bool:
        """Take what there is; whether the queue answered."""
        try:
            messages = self._receiver.receive(self._wait)
            if messages and not self._stop.is_set():
                self._take(messages)
        except SecretStoreError as error:
            return self._failed(error.message)
        except Exception as error:  # noqa: BLE001  (a receiver's bug must not end the notices for good)
            return self._failed(type(error).__name__)
        if self._trouble and not self._stop.is_set():
            self._log("info", "notices of %s come again", self._receiver.origin)
            self._trouble = ""
        return True

    def _take(self, messages: Sequence[Message]) -> None:
        found = [self._resources(message) for message in messages]
        store, names = self._store(), set[Name]()
        if store:
            names = self._known(store, set(islice(chain.from_iterable(found), _MOST)))
            for name in names:
                store.hint(name.text)
        self.counts["received"] += len(messages)
        self.counts["understood"] += sum(map(bool, found))
        self.counts["hinted"] += len(names)
        self._receiver.acknowledge(messages)

    def _resources(self, message: Message) -> Collection[str]:
        with suppress(Exception):  # whoever writes into the queue chose it: it may not come again and again
            return self._receiver.resources(message)
        return ()

    def _known(self, store: SecretStore, resources: Collection[str]) -> set[Name]:
        """The store's names among them; most notices of an account are of secrets that nobody here reads."""
        now = self._clock.monotonic()
        if now - self._learned >= _RELEARN and any(one not in self._names for one in resources):
            self._learned, before = now, {name: one for one, name in self._names.items()}
            known = store._hints.known()  # noqa: SLF001
            self._names = {before.get(name) or self._resource(store, name): name for name in known}
        return {self._names[one] for one in resources if one and one in self._names}

    def _resource(self, store: SecretStore, name: Name) -> str:
        with suppress(SecretStoreError):  # a name that this provider cannot have
            return self._receiver.resource(store._backend.locate(name))  # noqa: SLF001
        return ""

    def _failed(self, trouble: str) -> bool:
        if not self._stop.is_set():
            self.counts["failures"] += 1
            if trouble != self._trouble:
                told = "no notices of %s, changes are found by polling: %s"
                self._log("warning", told, self._receiver.origin, trouble)
                self._trouble = trouble
        return False

    def _log(self, level: str, message: str, *facts: object) -> None:
        import logging  # a start that listens to nothing does without

        getattr(logging.getLogger(__name__), level)(message, *facts)


def listen(store: SecretStore, queues: Sequence[tuple[str, Settings]]) -> list[Listener]:
    """Listen to queues for a store, until it is closed.

    Args:
        store: what is hinted at.
        queues: the URL of each, and how to reach it.

    Raises:
        InvalidRequestError: a URL or a setting is wrong; nothing listens then.
        BackendNotInstalledError: an SDK is missing.
        UnavailableError: no thread can be started.
    """
    listeners: list[Listener] = []
    with ExitStack() as opened:
        receivers = [open_receiver(url, settings) for url, settings in queues]
        for receiver in receivers:
            opened.callback(receiver.close)
        with threads():
            for receiver in receivers:
                listeners.append(Listener(store, receiver))
                opened.callback(listeners[-1].close)
        opened.pop_all()
    for listener in listeners:
        store._hints.own(listener)  # noqa: SLF001
    return listeners


@contextmanager
def threads() -> Iterator[None]:
    """In this block it is an error of ours that no thread can be started."""
    try:
        yield
        return
    except RuntimeError:  # no more threads, or the interpreter ends
        pass
    raise UnavailableError("no thread can be started to listen for notices")
