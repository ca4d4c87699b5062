"""Which journal a command works on, who its actors are, and what moments are called."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from strongroom.errors import InvalidRequestError, SecretStoreError

from .options import Decorated, Options, configuration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.audit.actor import Actor
    from strongroom.audit.subjects import Subjects
    from strongroom.config import Config
    from strongroom.keys import KeyWrapper

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def journal_argument(command: Decorated) -> Decorated:
    """Give a command an optional PATH, which `journal_folder` takes."""
    return click.argument("path", required=False, type=click.Path())(command)


def journal_folder(options: Options, path: str | None) -> Path:
    """The folder of the journal: the one given, or the one that strongroom.toml names.

    Raises:
        InvalidRequestError: none is named, or there is no journal.
    """
    entry = None if path else configuration(options).audit
    if not path and not (entry and entry.path):
        hint = "name its folder, or configure one: [audit] journal in strongroom.toml"
        raise InvalidRequestError("no journal is named", hint=hint)
    folder = Path(path or (entry.path if entry else ""))
    if not (folder / "chains").is_dir():
        raise InvalidRequestError(f"{folder} is not an audit journal", hint="it would hold a folder chains")
    return folder


def moment(text: str) -> str:
    """A moment as records tell it: of a time in RFC 3339, a day, or how long ago, such as ``2h``; in UTC.

    Raises:
        InvalidRequestError: it is none of them.
    """
    from strongroom.audit.record import stamp

    number, unit = text[:-1], _UNITS.get(text[-1:])
    try:
        if unit and number.isascii() and number.isdigit():
            return stamp(datetime.now(UTC) - timedelta(seconds=int(number) * unit))
        said = datetime.fromisoformat(text)
        return stamp(said if said.tzinfo else said.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        pass
    raise InvalidRequestError(
        "that is no moment", hint="write 2026-11-23, 2026-11-23T09:30:00Z, 90m, 24h or 7d"
    )


class Actors:
    """Who the actors of a journal are, as far as the keys of its subjects are at hand. Close it.

    Attributes:
        problem: why the first that could not be opened was not; None while all went well.
    """

    def __init__(self, options: Options, folder: Path):
        self.problem: SecretStoreError | None = None
        self._options, self._folder = options, folder
        self._held = ExitStack()
        self._subjects: Subjects | None = None
        self._known: dict[str, Actor | None] = {}

    def of(self, record: Mapping[str, object]) -> Actor | None:
        """The actor of a record; None where there is none, or it cannot be known any more."""
        sealed = record.get("actor")
        if not isinstance(sealed, dict) or "sealed" not in sealed or self.problem:
            return None
        text: str = sealed["sealed"]
        if text not in self._known:
            try:
                self._known[text] = self._opened().open(sealed)
            except SecretStoreError as problem:
                self.problem = problem
                return None
        return self._known[text]

    def uids(self, subjects: tuple[str, ...]) -> list[str]:
        """The subjects' uids, given those or their principals; what nobody is known by stays as it is."""
        return [self._uid(subject) for subject in subjects]

    def close(self) -> None:
        """Let go of the keys."""
        self._held.close()

    def _uid(self, subject: str) -> str:
        try:
            return self._opened().find(subject) or subject
        except SecretStoreError as problem:
            self.problem = problem
            return subject

    def _opened(self) -> Subjects:
        if self._subjects is None:
            from strongroom.audit.subjects import Subjects

            self._subjects = Subjects(self._folder, self._key(), reading=True)
            self._held.callback(self._subjects.close)
        return self._subjects

    def _key(self) -> KeyWrapper | None:
        return subject_key(configuration(self._options), self._held)


def subject_key(config: Config, held: ExitStack) -> KeyWrapper | None:
    """The key that the keys of the subjects stand under, if the configuration names one; closed by `held`.

    Its use here is not recorded: whoever only reads a journal writes none.
    """
    from strongroom.config import reach
    from strongroom.registry import open_key

    alias = config.audit.subject_key if config.audit else ""
    if not alias:
        return None
    entry = config.key(alias)
    opened = open_key(entry.url, reach(entry, config))
    held.callback(opened.close)
    return opened
