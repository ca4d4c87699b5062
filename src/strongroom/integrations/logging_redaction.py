"""A filter for ``logging`` that masks secrets in what is logged.

::

    redaction = RedactSecrets(store)
    for handler in logging.getLogger().handlers:
        handler.addFilter(redaction)

It masks what the store has read into its cache, by value: wherever it stands, and however it was encoded.
"""

from __future__ import annotations

import copy
import html
import logging
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, final

from strongroom.redaction import Needles, Redactor, needles_of

if TYPE_CHECKING:
    from strongroom.store import SecretStore
    from strongroom.value import SecretValue

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
_PLAIN: Final = (int, float, complex, bool, type(None))
_DEEPEST: Final = 8
_KEPT: Final = 4
"""Versions of a name that are masked: the newest, and those that others may still print."""
_UNSEARCHED: Final = "a log record that could not be searched for secrets was left out"


@final
class RedactSecrets(logging.Filter):
    """Masks what stores hold in their caches, in messages, arguments, exceptions, stacks and extras.

    A value that has left the cache, by a rotation or a revocation, goes on being masked: the last four
    of each name. Values of fewer than 4 bytes are not looked for. Put it on handlers: filters
    of a logger do not see what its children log.

    Args:
        stores: open stores with a cache.
    """

    def __init__(self, *stores: SecretStore):
        super().__init__()
        self._stores = stores
        self._known: dict[tuple[int, str], list[SecretValue]] = {}
        self._seen: dict[tuple[int, str], int] = {}
        self._needles: dict[tuple[int, str], Needles] = {}
        self._redactor = Redactor(())
        self._lock = threading.RLock()

    def filter(self, record: logging.LogRecord) -> bool:
        """Mask a record in place; it is always logged."""
        try:
            self._mask(record)
        except Exception:  # noqa: BLE001  (an object that cannot be printed; no log call may fail for it)
            record.msg, record.args, record.exc_info = _UNSEARCHED, (), None
            record.exc_text = record.stack_info = None
            for key in vars(record).keys() - _STANDARD:
                setattr(record, key, _UNSEARCHED)
        return True

    def text(self, text: str) -> str:
        """A text with its secrets masked, for what logs by other ways."""
        self._learn()
        data = text.encode("utf-8", "surrogatepass")
        redactor = copy.copy(self._redactor)  # each has the state of its own stream
        masked = redactor.feed(data) + redactor.flush()
        return text if masked == data else masked.decode("utf-8", "replace")

    def _mask(self, record: logging.LogRecord) -> None:
        message = _message(record)
        if (masked := self.text(message)) != message:
            record.msg, record.args = masked, ()
        if record.exc_info and not record.exc_text:
            traceback = logging.Formatter().formatException(record.exc_info)
            if (masked := self.text(traceback)) != traceback:
                record.exc_text, record.exc_info = masked, None
        for field in ("exc_text", "stack_info"):
            if text := getattr(record, field):
                setattr(record, field, self.text(text))
        for key in vars(record).keys() - _STANDARD:
            setattr(record, key, self._data(getattr(record, key), 0))

    def _data(self, data: Any, depth: int) -> Any:
        if isinstance(data, _PLAIN):
            return data
        if isinstance(data, str):
            return self.text(data)
        if type(data) is dict and depth < _DEEPEST:
            return {self._key(key): self._data(value, depth + 1) for key, value in data.items()}
        if type(data) in (list, tuple) and depth < _DEEPEST:
            return type(data)(self._data(value, depth + 1) for value in data)
        shown = f"{data} {data!r}"
        return data if self.text(shown) == shown else self.text(str(data))

    def _key(self, key: Any) -> Any:
        return self.text(key) if isinstance(key, str) else key

    def _learn(self) -> None:
        """Look at what the caches hold now; only another value costs more than that."""
        changed = False
        for number, store in enumerate(self._stores):
            warm: Mapping[str, Any] = store._reads.warm  # noqa: SLF001
            for name, entry in list(warm.items()):
                key, value = (number, name), entry.secret.value
                if self._seen.get(key) != id(value):
                    changed |= self._note(key, value)
        if changed:
            with self._lock:
                self._redactor = Redactor(frozenset().union(*list(self._needles.values())))

    def _note(self, key: tuple[int, str], value: SecretValue) -> bool:
        with self._lock:
            known = self._known.setdefault(key, [])
            if new := value not in known:
                known[:] = [*known, value][-_KEPT:]
                self._needles[key] = Needles(form for one in known for form in _forms(one))
            elif known[-1] is not value:
                known[known.index(value)] = value  # the same text in another object
            self._seen[key] = id(value)  # the object is kept, so no other has its id
            return new


def _message(record: logging.LogRecord) -> str:
    """What the record says; where its arguments do not fit, both, which logging would print to stderr."""
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001  (whatever an argument's own code raises)
        record.msg, record.args = f"{record.msg} {record.args!r}", ()
    return str(record.msg)


def _forms(value: SecretValue) -> set[bytes]:
    raw = value.reveal()
    forms = needles_of(raw)
    if forms:
        text = raw.decode("utf-8", "surrogateescape")
        others = (repr(text)[1:-1], repr(raw)[2:-1], html.escape(text))
        forms |= {one.encode("utf-8", "surrogateescape") for one in others}
    return forms
