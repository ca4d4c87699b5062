"""``audit shred``."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from strongroom.errors import InvalidRequestError, SecretNotFoundError

from .journals import journal_argument, journal_folder, subject_key
from .options import Options, changing, configuration, pass_options
from .output import can_ask, report

if TYPE_CHECKING:
    from strongroom.config import Config
    from strongroom.toml.audit_entries import AuditEntry


@click.command(short_help="forget who a person was, for ever (asks)")
@click.argument("subject")
@journal_argument
@changing
@pass_options
def shred(options: Options, subject: str, path: str | None) -> None:
    """Destroy the key of SUBJECT in the journal at PATH, or in the one that strongroom.toml names.

    SUBJECT is a principal, such as alice@example.net, or its uid. No record tells any more who that was, or
    where the requests came from; the records stay, and the journal still verifies. It records that this was
    done, by the uid. A copy of subjects.db that somebody kept still opens them.
    """
    folder, config = journal_folder(options, path), configuration(options)
    uid = _uid(config, folder, subject)
    document = {"journal": str(folder), "uid": uid, "dry_run": options.dry_run}
    if options.dry_run:
        report(options, document, f"would shred subject {uid}")
        return
    if not options.yes:
        _confirm(uid)
    _shred(config, folder, uid)
    report(options, document, f"shredded subject {uid}: nobody can tell any more who that was")


def _uid(config: Config, folder: Path, subject: str) -> str:
    from strongroom.audit.subjects import Subjects

    with ExitStack() as held:
        subjects = Subjects(folder, subject_key(config, held), reading=True)
        held.callback(subjects.close)
        uid = subjects.find(subject)
    if uid is None:
        hint = "name a principal as the program or the provider calls it, or a uid that audit show prints"
        raise SecretNotFoundError("the journal knows no such subject", operation="audit.shred", hint=hint)
    return uid


def _confirm(uid: str) -> None:
    if not can_ask():
        problem = "a shred cannot be undone, and nobody can be asked here"
        raise InvalidRequestError(problem, operation="audit.shred", hint="add --yes")
    click.confirm(f"Nobody will ever know again who subject {uid} was. Go on?", abort=True, err=True)


def _shred(config: Config, folder: Path, uid: str) -> None:
    from strongroom.audit.subjects import Subjects
    from strongroom.config import audit

    with ExitStack() as held:
        lease = audit(config, _entry(config, folder))
        held.callback(lease.close)
        subjects = Subjects(folder)
        held.callback(subjects.close)
        lease.record("audit.shred", uid, lambda: subjects.shred(uid))


def _entry(config: Config, folder: Path) -> AuditEntry:
    """The table; for another journal, which others write, one that only appends."""
    from strongroom.toml.audit_entries import AuditEntry

    entry = config.audit or AuditEntry()
    if entry.path and folder.resolve() == Path(entry.path).resolve():
        return entry
    return replace(AuditEntry(), path=str(folder.absolute()), subject_key=entry.subject_key)
