"""Other keys for all messages in a tree of folders, however many, in runs that may be killed and repeated."""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from strongroom.errors import InvalidRequestError, SecretNotFoundError, SecretStoreError

from .atomic import TEMPORARY_PREFIX, TEMPORARY_SUFFIX, attempt
from .reencrypt import LOOKS_AFTER_KEYRINGS, Change, Outcome, TargetError, check_kind, kind_of, reencrypt_at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from strongroom.keys import KeyWrapper

KEPT: Final = 1000
"""How many paths a `Report` names of each kind; it only counts the others, since a tree has no bound."""

_TEMPORARY: Final = re.compile(re.escape(TEMPORARY_PREFIX) + "[0-9a-f]{16}" + re.escape(TEMPORARY_SUFFIX))


class Step(NamedTuple):
    """One path of a tree and its outcome.

    Attributes:
        reason: why it was skipped; else empty.
        error: why it failed; else None.
    """

    path: str
    outcome: Outcome
    reason: str = ""
    error: SecretStoreError | None = None


@dataclass(slots=True)
class Report:
    """What became of the files of a tree.

    Attributes:
        counts: how many paths had each outcome.
        skipped: why, by path, of the first `KEPT` that were skipped.
        failures: the error, by path, of the first `KEPT` that failed.
        stopped: the error of a key in `keys` that does not answer; what follows it was not tried.
    """

    counts: dict[Outcome, int] = field(default_factory=lambda: dict.fromkeys(Outcome, 0))
    skipped: dict[str, str] = field(default_factory=dict)
    failures: dict[str, SecretStoreError] = field(default_factory=dict)
    stopped: SecretStoreError | None = None

    @property
    def total(self) -> int:
        """How many paths there were so far."""
        return sum(self.counts.values())

    @property
    def complete(self) -> bool:
        """Whether every message that was found is under the wanted keys (or would be, in a dry run)."""
        return not self.counts[Outcome.FAILED] and self.stopped is None

    def add(self, step: Step) -> None:
        """Count one more."""
        self.counts[step.outcome] += 1
        if step.error is not None and len(self.failures) < KEPT:
            self.failures[step.path] = step.error
        if step.reason and len(self.skipped) < KEPT:
            self.skipped[step.path] = step.reason


def reencrypt_tree(
    path: str | os.PathLike[str],
    *,
    opens: Sequence[KeyWrapper],
    keys: Sequence[KeyWrapper],
    signed: bool | None = None,
    dry_run: bool = False,
    progress: Callable[[Step], None] | None = None,
) -> Report:
    """`reencrypt_file` for every message in a folder and the folders below it.

    What is under exactly `keys` already is passed over by its header, so a run that was killed is simply
    repeated. Files that are no messages are left alone. Symbolic links are not followed. A file that fails is
    reported and the others go on; only when one of `keys` does not answer the run stops, as every other file
    would wait for it too. Of the tree only one folder's names are in memory at a time.

    Args:
        path: the folder; or a file, which is a tree of one.
        progress: called after each path.

    Raises:
        InvalidRequestError: `path` is a symbolic link or something else that is neither file nor folder.
        SecretNotFoundError: it does not exist.
    """
    report, change = Report(), Change(opens, keys, signed, dry_run)
    try:
        for step in _steps(os.fspath(path), change):
            report.add(step)
            if progress is not None:
                progress(step)
    except TargetError as failed:
        report.stopped = failed.error
    return report


def _steps(path: str, change: Change) -> Iterator[Step]:
    mode = attempt(path, os.lstat, path).st_mode
    if not stat.S_ISDIR(mode):
        check_kind(path)
        yield _named(_step(path, change))
        return
    folders = [path]
    while folders:
        folder, inner = folders.pop(), list[str]()
        for found in _listed(folder):
            if isinstance(found, Step):
                yield found
            elif found.is_dir(follow_symlinks=False):
                inner.append(found.path)
            else:
                yield _step_of(found, change)
        folders += reversed(inner)


def _named(step: Step) -> Step:
    """A keyring beside messages is passed over; whoever names one means something else."""
    if step.reason.startswith("a keyring"):
        return _failed(step.path, InvalidRequestError("this is a keyring", hint=LOOKS_AFTER_KEYRINGS))
    return step


def _listed(folder: str) -> Iterator[os.DirEntry[str] | Step]:
    """All names first: a folder that is read while files in it are replaced may show them twice."""
    try:
        found = attempt(folder, _sorted, folder)
    except SecretStoreError as error:
        yield _failed(folder, error)
    else:
        yield from found


def _sorted(folder: str) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _step_of(entry: os.DirEntry[str], change: Change) -> Step:
    if _TEMPORARY.fullmatch(entry.name):
        return Step(entry.path, Outcome.SKIPPED, "not whole: being written, or left by a run that was killed")
    try:
        kind = kind_of(attempt(entry.path, entry.stat, follow_symlinks=False).st_mode)
    except SecretStoreError as error:
        return _failed(entry.path, error)
    return Step(entry.path, Outcome.SKIPPED, kind) if kind else _step(entry.path, change)


def _step(path: str, change: Change) -> Step:
    try:
        outcome = reencrypt_at(path, change)
    except SecretStoreError as error:
        return _failed(path, error)
    return Step(path, outcome, f"a keyring: {LOOKS_AFTER_KEYRINGS}" if outcome is Outcome.SKIPPED else "")


def _failed(path: str, error: SecretStoreError) -> Step:
    if isinstance(error, SecretNotFoundError):
        return Step(path, Outcome.SKIPPED, "gone meanwhile")
    return Step(path, Outcome.FAILED, error=error.with_traceback(None))
