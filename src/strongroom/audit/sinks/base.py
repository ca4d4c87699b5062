"""What a sink is, and how a record is made to fit one."""

from __future__ import annotations

import json
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

from strongroom.errors import InvalidRequestError, UnavailableError
from strongroom.value import SecretValue

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from strongroom.webhooks.schemes import SigningKey

T = TypeVar("T")

FORMATS: Final = ("json", "ocsf", "ecs", "cef")
CLIPS: Final = (512, 128, 48)
"""Characters that texts of a record too large for its receiver are cut to, one attempt after another."""

_FEW: Final = 8
_TURN: Final = 8
_KEPT: Final = ("chain", "seq", "time", "kind", "phase", "op", "outcome", "performed")
_UNUSUAL: Final = re.compile(rb"[^ -~]")
_NOT_ON_ONE_LINE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


class TooLargeError(InvalidRequestError):
    """The receiver refuses the size of what it was sent; less at once, or shorter texts, may pass."""


@dataclass(frozen=True)
class Entry:
    """One record on its way.

    Attributes:
        line: its bytes in the journal, which its leaf hash is over; of a clipped record its JSON.
        host: where the writer of its chain runs, if known.
        place: its id as who read the journal counted; empty for what the record says itself.
    """

    line: bytes
    host: str = ""
    place: str = ""

    @cached_property
    def fields(self) -> Mapping[str, Any]:
        """The record decoded, when it is first asked for; nothing of what is no record."""
        try:
            fields = json.loads(self.line)
        except (ValueError, RecursionError):
            fields = None
        return fields if isinstance(fields, dict) else {}

    @property
    def id(self) -> str:
        """``<chain>:<seq>``, by which a receiver knows a record that it was sent again."""
        return self.place or f"{self.fields.get('chain', '')}:{self.fields.get('seq', '')}"

    def shorter(self) -> Iterator[Entry]:
        """Ever shorter forms of it; the last says only that it is, where, and how it ended."""
        kept = {key: self.fields[key] for key in _KEPT if key in self.fields}
        for fields in (*(clip(self.fields, longest) for longest in CLIPS), clip(kept, CLIPS[-1])):
            yield replace(self, line=_compact(fields).encode())


Item = bytes | Mapping[str, Any] | Entry
"""A record as a sink takes it."""


class Sink(ABC):
    """Takes batches of records. Not safe across threads: one shipper has it, or one gate under its lock.

    Args:
        form: one of `FORMATS`; how each record is written.
        limit: bytes of one written record that the receiver takes; a longer one is clipped.
    """

    formats: ClassVar[Sequence[str]] = FORMATS

    def __init__(self, form: str = "json", *, limit: int | None = None):
        if form not in self.formats:
            raise InvalidRequestError(
                f"this sink has no format {form!r}", hint=f"write one of {', '.join(self.formats)}"
            )
        self.form, self.limit = form, limit

    def send(self, batch: Sequence[Item]) -> None:
        """Hand over records, as lines of the journal or decoded; returns when the receiver has them.

        What was handed over before an error may have arrived: a repeat may tell it twice, by the same ids.

        Raises:
            UnavailableError: the receiver did not take them; they may be sent again.
            TooLargeError: it refuses their size.
        """
        entries = [_entry(item) for item in batch]
        if entries:
            self.deliver(entries)

    def send_fitting(self, batch: Sequence[Item]) -> list[Entry]:
        """As `send`, but in parts and clipped where the receiver refuses a size.

        Returns:
            The records it refused in every form, while it took others.

        Raises:
            UnavailableError: the receiver did not take them, or nothing of any size; they may be sent again.
        """
        pieces, taken = [[_entry(item) for item in batch]], False
        refused: list[Entry] = []
        while pieces and (taken or len(refused) < 2):  # two at their shortest: it is not the records
            piece = pieces.pop()
            middle = len(piece) // 2
            if not piece or self._takes(piece):
                taken = True
            elif middle:
                pieces += [piece[middle:], piece[:middle]]
            elif any(self._takes([form]) for form in piece[0].shorter()):
                taken = True
            else:
                refused += piece
        if refused and not taken:
            raise UnavailableError("the receiver refuses every size", performed=None)
        return refused

    def _takes(self, entries: list[Entry]) -> bool:
        try:
            self.deliver(entries)
        except TooLargeError:
            return False
        return True

    @abstractmethod
    def deliver(self, entries: Sequence[Entry]) -> None:
        """What `send` does, for at least one record."""

    def close(self) -> None:
        """Release what the sink holds; a later `send` may open it again."""

    def after_fork(self) -> None:
        """Forget what the parent holds, without ending it for the parent."""

    def all_written(self, entries: Sequence[Entry]) -> Iterator[bytes]:
        """Each record as one line."""
        return map(self.written, unhurried(entries))

    def written(self, entry: Entry) -> bytes:
        """The record as one line in the sink's format, clipped until it fits.

        Raises:
            TooLargeError: it does not fit, however short its texts.
        """
        for version in chain([entry], entry.shorter()):
            text = self._render(version)
            if self.limit is None or len(text) <= self.limit:
                return text
        raise TooLargeError("a record is too large for its sink, clipped too")

    def _render(self, entry: Entry) -> bytes:
        if self.form == "json":
            if not _UNUSUAL.search(entry.line):
                return entry.line
            return one_line(entry.line.decode("utf-8", "replace")).encode()
        from strongroom.audit.formats import render

        rendered = render(entry.fields, self.form, host=entry.host, line=entry.line)
        text = rendered if isinstance(rendered, str) else _compact(rendered)
        return one_line(text).encode()


def unhurried(items: Iterable[T]) -> Iterator[T]:
    """The items; now and then other threads may run.

    A batch is some milliseconds of work; a thread that comes back from the disk, where the journal's callers
    wait, would have to wait for the interpreter's switch interval (5 ms) instead.
    """
    for index, item in enumerate(items, 1):
        yield item
        if not index % _TURN:
            time.sleep(0)


def one_line(text: str) -> str:
    """`text` without anything that ends a line, moves a terminal's cursor or is not Unicode text.

    The formats escape what they know of; this is the last door, for every format and whatever comes.
    """
    return _NOT_ON_ONE_LINE.sub("\ufffd", text)


def hidden(secrets: SigningKey | Sequence[SigningKey] | None) -> tuple[SigningKey, ...]:
    """One secret or several as a tuple of what does not show itself."""
    several = secrets if isinstance(secrets, list | tuple) else () if secrets is None else (secrets,)
    return tuple(SecretValue.of(each) if isinstance(each, str | bytes) else each for each in several)


def hidden_values(headers: Mapping[str, str | SecretValue] | None) -> dict[str, SecretValue]:
    """Headers with values that do not show themselves."""
    return {name: SecretValue.of(text) for name, text in (headers or {}).items()}


def clip(fields: Mapping[str, Any], longest: int) -> dict[str, Any]:
    """The record with texts of at most `longest` characters, few items of each list, and ``clipped`` true.

    Its bytes are not those in the journal any more, so what ties it to them is left out.
    """
    kept = {key: _clip(value, longest) for key, value in fields.items() if key not in ("prev", "mono")}
    return {**kept, "clipped": True}


def _clip(value: Any, longest: int) -> Any:
    if isinstance(value, str):
        return value if len(value) <= longest else f"{value[:longest]}…(+{len(value) - longest})"
    if isinstance(value, Mapping):
        # A sealed identity that is cut opens for nobody, and would look altered.
        items = [(key, item) for key, item in value.items() if key != "sealed" or len(item) <= longest]
        return {key: _clip(item, longest) for key, item in items[:_FEW]}
    return [_clip(item, longest) for item in value[:_FEW]] if isinstance(value, list) else value


def _entry(item: Item) -> Entry:
    if isinstance(item, Entry):
        return item
    return Entry(_compact(item).encode() if isinstance(item, Mapping) else bytes(item))


def _compact(value: Mapping[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":")).replace("\x7f", "\\u007f")
