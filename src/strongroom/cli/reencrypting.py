"""``reencrypt``: other keys for files, folders and whole stores."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import click

from strongroom.envelope.reencrypt import Outcome
from strongroom.envelope.tree import Report, Step, reencrypt_tree
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PartialFailureError,
    SecretConflictError,
    SecretStoreError,
    UnavailableError,
)

from .bar import bar
from .failure import describe, one_line
from .keychain import key_option, opened_keys
from .options import Options, changing, configuration, opened, pass_options
from .output import on_terminal, print_json

if TYPE_CHECKING:
    from strongroom.keys import KeyWrapper
    from strongroom.reencryption import StoreReport


@click.command(short_help="put files, folders or a store under other keys")
@click.argument("paths", nargs=-1, type=click.Path(), metavar="[FILE|FOLDER]...")
@key_option("--to", text="A key or keyring for the new messages.")
@key_option("-k", "--key", "old", text="One that opens the old ones.")
@click.option("--signed/--unsigned", default=None, help="Sign the new messages, or not; else as before.")
@click.option("--prefix", default="", help="Of a store: all names that begin so.")
@changing
@pass_options
def reencrypt(
    options: Options,
    *,
    paths: tuple[str, ...],
    to: tuple[str, ...],
    old: tuple[str, ...],
    signed: bool | None,
    prefix: str,
) -> None:
    """Decrypt and encrypt anew, under the keys of --to and no others: files, folders, or a store.

    Each message says the same of itself as before. In a FOLDER and below it every message is found; links are
    not followed. A file is replaced at once: at every moment it is the old message or the new one. It keeps
    its mode, and its owner where that may be set; its times are new, so that a backup takes it again. What is
    done already is passed over, so that a run that was cut short is simply repeated; exit code 8 tells that
    something is left, such as a damaged message, or a file of two names (hard links).

    --store ALIAS puts a store under the keys that strongroom.toml names for it, with its former ones as
    old_keys; --to then checks that those are meant. Nothing is revoked: who has an old message and an old key
    still reads it.
    """
    if bool(paths) == bool(options.store):
        raise InvalidRequestError("name either files and folders, or --store ALIAS")
    if paths and not prefix:
        _paths(options, paths, to, old, signed)
    elif paths or old or signed is not None:
        raise InvalidRequestError("--prefix is for a store; -k and --signed are for files")
    else:
        _store(options, to, prefix)


def _paths(
    options: Options, paths: Sequence[str], to: Sequence[str], old: Sequence[str], signed: bool | None
) -> None:
    with ExitStack() as stack:
        keys = stack.enter_context(opened_keys(options, to, "--to"))
        more = [name for name in old if name not in keys]
        opens = {**keys, **(stack.enter_context(opened_keys(options, more)) if more else {})}
        report = _run(options, paths, opens, keys, signed)
    _tell(options, report)
    if not report.complete:
        raise _failure(report, paths)


def _run(
    options: Options,
    paths: Sequence[str],
    opens: Mapping[str, KeyWrapper],
    keys: Mapping[str, KeyWrapper],
    signed: bool | None,
) -> Report:
    report = Report()
    change = {"opens": list(opens.values()), "keys": list(keys.values()), "signed": signed}
    with bar(options, "reencrypting", unit="items", hidden=options.dry_run and on_terminal()) as advance:

        def count(step: Step) -> None:
            report.add(step)
            if advance:
                advance(report.total)
            if options.dry_run and step.outcome is Outcome.REENCRYPTED:
                _say(options, f"would reencrypt {step.path}")

        for path in dict.fromkeys(paths):
            if report.stopped is None:
                report.stopped = _tree(path, count, {**change, "dry_run": options.dry_run})
    return report


def _tree(path: str, count: Callable[[Step], None], change: dict[str, Any]) -> SecretStoreError | None:
    """Work through one of the paths that were named; the error that stops all, if one does."""

    def judged(step: Step) -> None:
        named = step.path == path and step.outcome is Outcome.FOREIGN
        count(step if not named else Step(path, Outcome.FAILED, error=IntegrityError("it is no message")))

    try:
        return reencrypt_tree(path, progress=judged, **change).stopped
    except SecretStoreError as error:
        count(Step(path, Outcome.FAILED, error=error.with_traceback(None)))
    return None


def _say(options: Options, line: str, *, err: bool = False) -> None:
    if not (options.json or options.quiet):
        click.echo(one_line(line), err=err)


def _tell(options: Options, report: Report) -> None:
    counts = {outcome.value: count for outcome, count in report.counts.items()}
    if options.json:
        document = {"dry_run": options.dry_run, "counts": counts, "skipped": _shown(report.skipped)}
        failed = {path: describe(error) for path, error in _shown(report.failures).items()}
        print_json({**document, "failed": failed, "complete": report.complete})
        return
    for path, reason in report.skipped.items():
        _say(options, f"skipped {path}: {reason}", err=True)
    counts["other files"] = counts.pop("foreign")
    _sum(options, counts)


def _sum(options: Options, counts: Mapping[str, int]) -> None:
    total = ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "nothing"
    _say(options, f"{'would do' if options.dry_run else 'done'}: {total}")


def _shown(paths: Mapping[str, Any]) -> dict[str, Any]:
    """File names are bytes: what is not UTF-8 in them is shown as escapes."""
    return {os.fsencode(path).decode(errors="backslashreplace"): fact for path, fact in paths.items()}


def _failure(report: Report, paths: Sequence[str]) -> SecretStoreError:
    errors = dict(report.failures)
    if report.stopped is not None:
        errors["--to"] = report.stopped
    named = errors.keys() <= ({*paths, "--to"} if len(paths) == 1 else {"--to"})
    done, failed = report.counts[Outcome.REENCRYPTED], report.counts[Outcome.FAILED]
    if len(errors) == 1 and report.total <= 1 and named:
        return next(iter(errors.values()))
    return _partial(f"{done} of {report.total} are reencrypted now, {failed} failed", errors, done)


def _partial(message: str, errors: Mapping[str, SecretStoreError], done: int) -> SecretStoreError:
    return PartialFailureError(
        message,
        results={},
        errors=_shown(errors),
        performed=bool(done),
        hint="repeat the command: what is done already is passed over",
    )


def _store(options: Options, to: Sequence[str], prefix: str) -> None:
    from strongroom.reencryption import reencrypt_store

    _check_meant(options, to)
    with opened(options) as store, bar(options, "reencrypting", unit="items") as advance:
        report = reencrypt_store(store, prefix, dry_run=options.dry_run, progress=advance)
    _tell_store(options, report)
    if errors := _errors(report):
        done = len(report.done)
        raise _partial(f"{done} are reencrypted now, {len(errors)} are not", errors, done)


def _check_meant(options: Options, to: Sequence[str]) -> None:
    """Under keys that the configuration does not name, applications could not read their secrets any more."""
    entry = configuration(options).entry(options.store)
    if to and set(to) != set(entry.keys):
        raise InvalidRequestError(
            f"store {entry.alias} encrypts under {', '.join(entry.keys) or 'no key'}, not {', '.join(to)}",
            hint="write the new keys in strongroom.toml first, and the former ones as old_keys",
        )


def _tell_store(options: Options, report: StoreReport) -> None:
    if options.json:
        failed = {name: describe(error) for name, error in report.failures.items()}
        document = {**asdict(replace(report, failures={})), "failed": failed, "dry_run": options.dry_run}
        del document["failures"]
        print_json(document)
        return
    for name in report.due:
        _say(options, f"would reencrypt {name}")
    counts = {
        "reencrypted": len(report.due if options.dry_run else report.done),
        "already": report.already,
        "waiting for a rotation": len(report.pending),
        "failed": len(_errors(report)) - len(report.pending),
    }
    _sum(options, counts)


def _errors(report: StoreReport) -> dict[str, SecretStoreError]:
    """Why each name is not under the store's keys after all."""
    pending = SecretConflictError("the value of a rotation waits: repeat it when the rotation is over")
    conflict = SecretConflictError("others wrote it each time: repeat it")
    skipped = UnavailableError("not tried, since the ones before did not answer")
    return {
        **dict.fromkeys(report.pending, pending),
        **dict.fromkeys(report.conflicts, conflict),
        **dict.fromkeys(report.skipped, skipped),
        **report.failures,
    }
