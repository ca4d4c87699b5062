"""``audit watch``: what the rules find in a journal, as it is written."""

from __future__ import annotations

import json
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

import click

from strongroom.clock import Clock
from strongroom.errors import InvalidRequestError, UnavailableError

from .failure import one_line
from .journals import Actors, journal_argument, journal_folder
from .options import Options, common, configuration, pass_options
from .output import report

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from strongroom.audit.detect.settings import DetectSettings
    from strongroom.audit.detect.watcher import Watcher
    from strongroom.audit.hook import Trail

ACTION_NEEDED: Final = 10
_INTERVAL: Final = 1.0
_RETRY: Final = 10.0


@click.command(short_help="raise alerts by rules")
@journal_argument
@click.option("--once", is_flag=True, help="Judge what is there and end; exit with 10 if anything was found.")
@click.option("--learn", is_flag=True, help="Take what was not judged yet for normal.")
@click.option("--rules", metavar="FOLDER", type=click.Path(), help="Sigma rules of your own.")
@click.option("--suppress", metavar="RULE", help="Do not tell what RULE finds, for a while; then end.")
@click.option(
    "--for", "span", metavar="SPAN", help="With --suppress: how long, such as 2h or 7d; at most 90d."
)
@click.option("--reason", metavar="TEXT", help="With --suppress: why; it is recorded.")
@click.option("--actor", metavar="WHO", help="With --suppress: only of this principal or uid.")
@click.option("--name", metavar="NAME", help="With --suppress: only of this secret.")
@common
@pass_options
def watch(
    options: Options,
    path: str | None,
    *,
    once: bool,
    learn: bool,
    rules: str | None,
    suppress: str | None,
    span: str | None,
    reason: str | None,
    actor: str | None,
    name: str | None,
) -> int:
    """Follow the journal in PATH, or the configured one, and tell what the rules find.

    Each detection is also a record of the journal, from where the sinks take it as they take everything. It
    is told once, whatever happens to this process. --json prints one line of JSON for each.
    """
    folder, settings = journal_folder(options, path), _settings(options, rules)
    if suppress:
        wanted = _Suppression(suppress, span or "", reason or "", actor, name)
        return _suppress(options, folder, settings, wanted)
    if span or reason or actor or name:
        raise InvalidRequestError("--for, --reason, --actor and --name belong to --suppress")
    if not once:
        return _follow(options, folder, settings, learn)
    with _watcher(options, folder, settings, learn) as watcher:
        return ACTION_NEEDED if _poll(options, watcher, drain=True) else 0


class _Suppression(NamedTuple):
    rule: str
    span: str
    reason: str
    actor: str | None
    name: str | None


def _settings(options: Options, rules: str | None) -> DetectSettings:
    """Without a configuration there are defaults: the journal may be a copy, on another machine."""
    from strongroom.audit.detect.settings import DetectSettings

    entry = configuration(options).audit
    given = dict(entry.detect) if entry else {}
    return DetectSettings.parse(given | ({"rules": rules} if rules else {}))


@contextmanager
def _watcher(options: Options, folder: Path, settings: DetectSettings, learn: bool) -> Iterator[Watcher]:
    from strongroom.audit.detect.watcher import Watcher

    with ExitStack() as held:
        watcher = Watcher(folder, settings=settings, trail=lambda: _trail(options, folder, held))
        held.push(watcher)
        if learn:
            watcher.learn()
        yield watcher


def _trail(options: Options, folder: Path, held: ExitStack) -> Trail:
    """The configured trail, with its sinks; of another journal the folder is all that is known."""
    from strongroom.audit.journal import Journal
    from strongroom.config import audit

    config = configuration(options)
    if config.audit is None or not config.audit.path or folder.resolve() != Path(config.audit.path).resolve():
        return held.enter_context(closing(Journal.open(folder)))
    return held.enter_context(closing(audit(config, config.audit))).trail()


def _follow(options: Options, folder: Path, settings: DetectSettings, learn: bool) -> NoReturn:
    """A full disk ends a watcher, not the watch: the next one goes on where that one was."""
    clock = Clock()
    while True:
        try:
            with _watcher(options, folder, settings, learn) as watcher:
                learn = False
                while True:
                    _poll(options, watcher)
                    clock.sleep(_INTERVAL)
        except UnavailableError as error:
            click.echo(one_line(f"{error}; trying again"), err=True)
        clock.sleep(_RETRY)


def _poll(options: Options, watcher: Watcher, *, drain: bool = False) -> int:
    found = watcher.poll(drain=drain)
    for told in found:
        click.echo(json.dumps(told) if options.json else one_line(_line(told)))
    return len(found)


def _line(told: Mapping[str, Any]) -> str:
    facts = ", ".join(f"{key} {value}" for key, value in _worth(told["facts"]))
    return f"{told['at'][:19]}Z  {told['severity']}  {told['rule']}  {told['title']}: {facts}"


def _worth(facts: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    return ((key, value) for key, value in facts.items() if key != "id")


def _suppress(options: Options, folder: Path, settings: DetectSettings, wanted: _Suppression) -> int:
    from strongroom.audit.detect.sigma import load_rules
    from strongroom.audit.detect.spans import parse_span
    from strongroom.audit.detect.suppressing import suppression

    known = [one.name for one in load_rules(settings.rules) if one.alerts]
    clock, span, facts = Clock(), parse_span(wanted.span, "--for"), _facts(options, folder, wanted)
    fields = suppression(wanted.rule, known, now=clock.now(), span=span, reason=wanted.reason, facts=facts)
    with ExitStack() as held:
        record = _trail(options, folder, held).append({**fields, "actor": _who(options, folder, clock)})
    document = {"record": record, "rule": wanted.rule, "until": fields["until"]}
    report(options, document, f"{wanted.rule} is suppressed until {fields['until'][:19]}Z: record {record}")
    return 0


def _facts(options: Options, folder: Path, wanted: _Suppression) -> dict[str, str]:
    facts = {"name": wanted.name} if wanted.name else {}
    if wanted.actor:
        with closing(Actors(options, folder)) as actors:
            [facts["actor.uid"]] = actors.uids((wanted.actor,))
    return facts


def _who(options: Options, folder: Path, clock: Clock) -> dict[str, str]:
    """Whoever suppresses is recorded as whoever reads is."""
    from strongroom.audit.identity import Identity
    from strongroom.audit.subjects import Subjects
    from strongroom.config import key

    config = configuration(options)
    alias = config.audit.subject_key if config.audit else ""
    wrapper = key(alias, config=config) if alias else None
    try:
        with closing(Subjects(folder, wrapper)) as subjects:
            return dict(subjects.seal(Identity(lambda: None, clock).actor()))
    finally:
        if wrapper:
            wrapper.close()
