"""A whole encrypted store under other keys, or a plain one under its first.

The store is configured with the new keys, and with the old ones as ``old_keys`` (or ``allow_plaintext``).
Then `reencrypt_store` writes anew what is not under the new keys yet. A run that was cut short is repeated
and finds by itself what is left. Once it reports nothing left, ``allow_plaintext`` can go; ``old_keys`` too
when nobody needs previous versions or what is in the bin.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from .errors import (
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
    UnsupportedOperationError,
)
from .layers.reencrypting import Outcome, Reencryption, encryption

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .layers.encrypted import Encrypted
    from .layers.reencrypting import Reencrypted
    from .store import SecretStore

REPLICATION: Final = "(what replication keeps)"
"""Stands among names for all that: without it the order is lost with the old keys, though no secret is."""

_GIVE_UP_AFTER: Final = 5
"""Names in a row that were unavailable: the rest would wait for the same outage, each for itself."""


@dataclass(slots=True)
class StoreReport:
    """What `reencrypt_store` did, by name.

    Attributes:
        done: written anew.
        due: of a dry run, what would be.
        already: how many were under exactly the store's keys before.
        pending: rotations, by the name of their secret, whose values wait and were not touched: repeat when
            they are over.
        conflicts: others wrote each time: repeat.
        failures: what did not open, or could not be reached or written, and why.
        skipped: not looked at, because the store or a key had been unavailable for several in a row.
    """

    done: list[str] = field(default_factory=list)
    due: list[str] = field(default_factory=list)
    already: int = 0
    pending: list[str] = field(default_factory=list)
    conflicts: list[str] = field(default_factory=list)
    failures: dict[str, SecretStoreError] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    @property
    def left(self) -> list[str]:
        """The names that are not under exactly the store's keys, or not known to be."""
        return sorted({*self.due, *self.pending, *self.conflicts, *self.failures, *self.skipped})

    def add(self, name: str, found: Reencrypted) -> None:
        """What became of one secret."""
        if found.outcome is Outcome.ALREADY:
            self.already += 1
        elif found.outcome is not Outcome.PENDING:
            (self.done if found.outcome is Outcome.DONE else self.due).append(name)
        if found.pending or found.outcome is Outcome.PENDING:
            self.pending.append(name)


def reencrypt_store(
    store: SecretStore,
    prefix: str = "",
    *,
    dry_run: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> StoreReport:
    """Put every secret whose name begins with ``prefix`` under exactly the store's keys.

    Each one is audited as ``reencrypt``. What replication keeps beside them goes along where no prefix is
    given: its order, its digest key, its divergence report. Not touched: previous versions, which stay
    readable as long as the old keys are configured; secrets in the bin; secrets that a rotation is about to
    change. A ``rollback`` afterwards writes the value again that there was: the version before is the same
    value under other keys.

    Args:
        store: with ``encrypt`` in its configuration, and compare-and-set.
        prefix: what names begin with.
        dry_run: decrypt and verify everything, and write nothing.
        progress: called after each name with how many are through, and how many there are.

    Raises:
        InvalidRequestError: the store is not encrypted by its configuration, or is a failover.
        UnsupportedOperationError: it cannot list, or has no compare-and-set.
        SecretStoreError: its names cannot be listed.
    """
    layer = encryption(store._backend)  # noqa: SLF001  (one that cannot be refuses here, whatever it holds)
    names = list(store.list_names(prefix))
    report, unavailable = StoreReport(), 0
    for count, name in enumerate(names, 1):
        if unavailable >= _GIVE_UP_AFTER:
            report.skipped.append(name)
        else:
            _one(store, name, dry_run, report)
            unavailable = unavailable + 1 if isinstance(report.failures.get(name), UnavailableError) else 0
        if progress:
            progress(count, len(names))
    if not (prefix or report.skipped):
        _replication(layer, names, dry_run, report)
    return report


def _replication(layer: Encrypted, names: Sequence[str], dry_run: bool, report: StoreReport) -> None:
    from .replication.kept import kept

    work, found = Reencryption(layer, dry_run=dry_run), set[Outcome | None]()
    try:
        for series in kept(layer, names):
            for key in series:
                found.add(one := work.beside(key))
                if one is None:
                    break
    except SecretStoreError as error:
        report.failures[REPLICATION] = error.with_traceback(None)
    if Outcome.DUE in found:
        report.due.append(REPLICATION)
    if Outcome.DONE in found:
        report.done.append(REPLICATION)


def _one(store: SecretStore, name: str, dry_run: bool, report: StoreReport) -> None:
    try:
        report.add(name, store.reencrypt(name, dry_run=dry_run))
    except SecretNotFoundError:  # deleted since it was listed
        pass
    except SecretConflictError:
        report.conflicts.append(name)
    except UnsupportedOperationError:  # as all others would
        raise
    except SecretStoreError as error:
        report.failures[name] = error.with_traceback(None)
