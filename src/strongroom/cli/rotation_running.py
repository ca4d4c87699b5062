"""``rotation start|tick|resume|abort|take-in|clean``: what a person or a timer asks of the engine."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

import click

from strongroom.errors import InvalidRequestError, SecretNotFoundError

from .failure import ACTION_NEEDED, one_line
from .options import Options, changing, pass_options
from .output import can_ask, print_json, report
from .revoking import keep_list
from .rotations import document, engine_of, needs_a_person, opened_engine, told

if TYPE_CHECKING:
    from strongroom.rotation.engine import Engine, Pass
    from strongroom.rotation.ledger import Entry

_PARTIAL: Final = 8
_CONFLICT: Final = 5
_UNAVAILABLE: Final = 6


@click.command(short_help="rotate one secret now")
@click.argument("name")
@changing
@pass_options
def start(options: Options, name: str) -> int:
    """Rotate NAME now, whether it is due or not, as far as that goes at once.

    What is left, such as the end of the old value's grace, `rotation tick` or a worker does. NAME is a name
    of [rotation.LABEL], or STORE:NAME where two stores have it. Exit code 6 says that a step failed and is
    tried again later, 10 that a person is needed.
    """
    with engine_of(options, _watching(options)) as engine:
        policy = engine.policy(name)
        if options.dry_run:
            said = {"name": policy.name, "rotation": policy.label, "dry_run": True}
            report(options, said, f"would rotate {policy.name} by rotation.{policy.label}")
            return 0
        return _tell(options, engine.advance(engine.start(name).id))


@click.command(short_help="do all that is due, once: for cron and timers")
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=100,
    show_default=True,
    metavar="N",
    help="At most so many rotations; the rest next time.",
)
@changing
@pass_options
def tick(options: Options, limit: int) -> int:
    """Begin what is due and let go on what waited, once; never sleeps. Any number may run at once.

    For cron, a systemd timer or a Kubernetes CronJob. Rotations that are long over are forgotten, as `keep`
    of [ledger] says; the list of [revocations] is signed anew in time. Exit code 8 says that a step failed
    and is tried again, 10 that a person is needed.
    """
    with opened_engine(options, _watching(options)) as opened:
        if options.dry_run:
            waiting = opened.ledger.due(limit)
            secrets = [{"secret": secret, "due": due} for secret, due in waiting]
            report(options, {"due": secrets, "dry_run": True}, f"would begin {len(waiting)} rotations")
            return 0
        found = opened.engine.tick(limit)
        keep_list(options)
        return _tell_pass(options, found, opened.forget())


@click.command(short_help="let a rotation that has stopped go on")
@click.argument("which", metavar="NAME|ID")
@click.option("--new-value", is_flag=True, help="Make another value: the target will never take this one.")
@changing
@pass_options
def resume(options: Options, which: str, *, new_value: bool) -> int:
    """Let the rotation of NAME, or the one of ID, go on where it stopped, and at once.

    Attempts are counted anew. --new-value first proves that the target is not on the pending value.
    """
    with engine_of(options, _watching(options)) as engine:
        found = one_open(engine, which)
        if options.dry_run:
            return _would(options, "resume", found)
        return _tell(options, engine.resume(found.id, new_value=new_value))


@click.command(short_help="end a rotation; the current value stays (asks)")
@click.argument("which", metavar="NAME|ID")
@changing
@pass_options
def abort(options: Options, which: str) -> int:
    """End the rotation of NAME, or the one of ID, before its value is current.

    What it made at the target is taken back; once its value is current, `strongroom rollback` is the way.
    """
    with engine_of(options, _watching(options)) as engine:
        found = one_open(engine, which)
        if options.dry_run:
            return _would(options, "abort", found)
        confirmed(options, f"End the rotation of {found.secret}, which is {found.state.value}?")
        return _tell(options, engine.abort(found.id))


@click.command("take-in", short_help="go on with a pending value that somebody else left")
@click.argument("name")
@changing
@pass_options
def take_in(options: Options, name: str) -> int:
    """Make the pending value of NAME, which no rotation of ours knows, one of ours; it is tested first."""
    with engine_of(options, _watching(options)) as engine:
        policy = engine.policy(name)
        if options.dry_run:
            report(options, {"name": name, "dry_run": True}, f"would take in what waits for {policy.name}")
            return 0
        return _tell(options, engine.take_in(name))


@click.command(short_help="remove a pending value that nobody needs (asks)")
@click.argument("name")
@changing
@pass_options
def clean(options: Options, name: str) -> int:
    """Remove the pending value of NAME that no open rotation of ours knows. The current value stays."""
    with engine_of(options, _watching(options)) as engine:
        policy = engine.policy(name)
        if options.dry_run:
            report(options, {"name": name, "dry_run": True}, f"would remove what waits for {policy.name}")
            return 0
        confirmed(options, f"Remove the pending value of {policy.name}?")
        removed = engine.clean(name)
        said = "removed what was pending" if removed else "nothing was pending that no rotation knows"
        report(options, {"name": policy.name, "removed": removed}, f"{policy.name}: {said}")
        return 0


def one_open(engine: Engine, which: str) -> Entry:
    """The open rotation of a name, or the one of an id.

    Raises:
        SecretNotFoundError: there is none.
    """
    for entry in engine.status():
        if which == entry.id:
            return entry
    known = engine.policy(which)
    for entry in engine.status(which):
        if entry.state.open:
            return entry
    raise SecretNotFoundError(
        f"no rotation of {known.name} is open", operation="rotation", hint="see: strongroom rotation status"
    )


def confirmed(options: Options, question: str, operation: str = "rotation") -> None:
    """Ask, but for --yes; an answer is never read from a pipe.

    Raises:
        InvalidRequestError: nobody can be asked, or the answer is no.
    """
    if options.yes:
        return
    if not can_ask():
        raise InvalidRequestError("nobody can be asked here", operation=operation, hint="add --yes")
    if not click.confirm(question, err=True):
        raise InvalidRequestError("not confirmed; nothing was done", operation=operation)


def _would(options: Options, verb: str, entry: Entry) -> int:
    report(options, {**document(entry), "dry_run": True}, f"would {verb} {entry.secret}, {entry.id}")
    return 0


def _tell(options: Options, entry: Entry) -> int:
    report(options, document(entry), told(entry))
    return exit_code(entry)


def exit_code(entry: Entry) -> int:
    """Whether it is well, tried again later, given up for another, or waits for a person."""
    if needs_a_person(entry):
        return ACTION_NEEDED
    if entry.state.value in ("superseded", "aborted"):
        return _CONFLICT if entry.state.value == "superseded" else 0
    return _UNAVAILABLE if entry.attempts else 0


def _tell_pass(options: Options, found: Pass, forgotten: int) -> int:
    changed = {entry.id: entry for entry in (*found.begun, *found.advanced, *found.overdue)}
    failed = sum(bool(entry.attempts) for entry in changed.values())
    people = sum(map(needs_a_person, changed.values()))
    if options.json:
        print_json({"rotations": list(map(document, changed.values())), "forgotten": forgotten})
    elif not options.quiet or people:
        for entry in changed.values():
            click.echo(one_line(told(entry)))
        click.echo(f"begun {len(found.begun)}, carried on {len(found.advanced)}, failed {failed}")
    return ACTION_NEEDED if people else _PARTIAL if failed else 0


def on_stderr() -> bool:
    """Whether a person sees stderr."""
    return sys.stderr.isatty()


def _watching(options: Options) -> tuple[Any, ...]:
    """Each step as it is done, on stderr, if that is a terminal."""
    if options.quiet or options.json or not on_stderr():
        return ()
    from .rotation_progress import Progress

    return (Progress(),)
