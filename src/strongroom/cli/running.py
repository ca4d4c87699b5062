"""``run``: a program whose environment holds secrets where it held references."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, final

import click

from strongroom.errors import PartialFailureError
from strongroom.references import Resolver

from . import environment
from .child import become
from .failure import BEFORE_COMMAND, Ended, one_line
from .options import Options, common, configuration, pass_options

if TYPE_CHECKING:
    from strongroom.redaction import Needles
    from strongroom.store import SecretStore
    from strongroom.toml.file import Config
    from strongroom.value import SecretValue

    from .child import Environment
    from .following import Values


class RunCommand(click.Command):
    """Whatever fails before CMD runs ends with 125, as with env(1): CMD's own codes mean something else."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """As of click."""
        try:
            return super().make_context(*args, **kwargs)
        except click.ClickException as error:
            problem = error
        raise Ended(problem, BEFORE_COMMAND)

    def invoke(self, ctx: click.Context) -> Any:
        """As of click."""
        try:
            return super().invoke(ctx)
        except (click.exceptions.Exit, click.Abort, Ended):
            raise
        except Exception as error:  # noqa: BLE001  (told by `failure`, whatever it is)
            problem = error
        raise Ended(problem, BEFORE_COMMAND)


def _signal(_: click.Context, __: click.Parameter, name: str | None) -> signal.Signals | None:
    if name is None:
        return None
    found = getattr(signal, f"SIG{name.upper().removeprefix('SIG')}", None)
    if not isinstance(found, signal.Signals):
        raise click.UsageError("--signal takes the name of a signal, such as HUP")
    return found


@click.command(
    cls=RunCommand,
    short_help="start a program with references in its environment resolved",
    context_settings={"allow_interspersed_args": False},
)
@click.argument("command", metavar="-- CMD [ARG]...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option(
    "--env-file",
    "files",
    metavar="FILE",
    multiple=True,
    type=click.Path(),
    help="Variables over the ones there are: .env, .json, .yaml or .toml. May be repeated.",
)
@click.option(
    "--allow", metavar="ALIAS", multiple=True, help="Only these stores; by default that of --store, or all."
)
@click.option("--unset", metavar="NAME", multiple=True, help="Leave a variable out.")
@click.option("--keep", metavar="NAME", multiple=True, help="Leave in a variable that holds a credential.")
@click.option("--redact", is_flag=True, help="Mask the secrets in what CMD prints.")
@click.option("--watch", is_flag=True, help="Start CMD again when a secret changes.")
@click.option(
    "--signal", "notice", metavar="NAME", callback=_signal, help="With --watch: only send this signal."
)
@common
@pass_options
def run(
    options: Options,
    *,
    command: tuple[str, ...],
    files: tuple[str, ...],
    allow: tuple[str, ...],
    unset: tuple[str, ...],
    keep: tuple[str, ...],
    redact: bool,
    watch: bool,
    notice: signal.Signals | None,
) -> int:
    """Start CMD with every variable that is a reference replaced by the secret it names.

    A reference is the whole value of a variable: strongroom://ALIAS/NAME[?version=ID][#/json/pointer].
    Nothing else of a store reaches CMD, and the variables from which Strongroom took its own credentials are
    left out.

    Exit: CMD's own code, 128 + n if signal n ended it; 125 if it was not started, 126 if it cannot be run,
    127 if it is not there.
    """
    if notice and not watch:
        raise click.UsageError("--signal goes with --watch")
    environment.check_arguments(command)
    config = configuration(options)
    unset = (*unset, *(environment.credentials(config.path) - set(keep)))
    allow = allow or tuple(filter(None, [options.store]))
    plan = _Plan(config, environment.given(environment.from_files(files), unset), allow or None, options)
    if not (redact or watch):
        become(command, plan.filled(plan.read()))
    return _supervised(command, plan, redact=redact, watch=watch, notice=notice)


@final
class _Plan:
    """What CMD's environment is made of."""

    def __init__(
        self, config: Config, variables: Mapping[str, str], allow: Sequence[str] | None, options: Options
    ):
        self._config, self._variables, self._allow = config, variables, allow
        self._quiet = options.quiet
        self.references = environment.references(variables)

    def resolver(self) -> Resolver:
        """What reads the references."""
        return Resolver(self._open, self._allow)

    def read(self) -> dict[str, SecretValue]:
        """The values of the references, by the variable."""
        with self.resolver() as resolver:
            values = resolver.read(self.references)
            if resolver.doubts:
                self.say(f"some answers are {', '.join(sorted(resolver.doubts))} (see docs/guide.md)")
        return values

    def filled(self, values: Values) -> Environment:
        """The environment."""
        return environment.filled(self._variables, values)

    def say(self, line: str) -> None:
        """Tell a person; a terminal that is lent to CMD needs the carriage return."""
        if not self._quiet:
            end = "\r" if sys.stderr.isatty() else ""
            click.echo(f"strongroom: {one_line(line)}{end}", err=True)

    def _open(self, alias: str) -> SecretStore:
        from strongroom.config import open as open_store

        return open_store(alias, config=self._config)


def _supervised(
    command: Sequence[str],
    plan: _Plan,
    *,
    redact: bool,
    watch: bool,
    notice: signal.Signals | None,
) -> int:
    from .supervising import Launcher, Supervisor, blocked, interruptible

    with blocked() as mask:
        values = interruptible(plan.read)
        needles = _needles(values, plan.say) if redact else None
        news = _News(plan, values, needles) if watch else None
        launcher = Launcher(command, mask)
        supervisor = Supervisor(launcher, news=news, notice=notice, say=plan.say)
        return supervisor.run(plan.filled(values), needles)


def _needles(values: Values, say: Callable[[str], object]) -> Needles:
    from strongroom.redaction import Needles, needles_of

    found: set[bytes] = set()
    for name, value in values.items():
        needles = needles_of(value.reveal())
        if not needles and not value.matches(b""):
            say(f"the value of {name} is too short to be masked")
        found |= needles
    return Needles(found)


@final
class _News:
    """The environment anew on each change, for the supervisor's thread."""

    def __init__(self, plan: _Plan, values: Values, masked: Needles | None):
        from .following import Follower

        self._plan, self._masked = plan, masked
        self._ready: tuple[Environment, Needles | None] | None = None
        self._lock = threading.Lock()
        self._main = threading.get_ident()
        self._follower = Follower(plan.resolver, plan.references, values, self._changed, plan.say)

    def start(self) -> None:
        """As of `News`."""
        self._follower.start()

    def take(self) -> tuple[Environment, Needles | None] | None:
        """As of `News`."""
        with self._lock:
            ready, self._ready = self._ready, None
        return ready

    def _changed(self, values: Values) -> None:
        try:
            filled = self._plan.filled(values)
        except PartialFailureError as error:
            self._plan.say(f"{error}; what is in use stays in use")
            return
        needles = self._masked_with(values)
        with self._lock:
            self._ready = filled, needles
        signal.pthread_kill(self._main, signal.SIGCHLD)

    def _masked_with(self, values: Values) -> Needles | None:
        """And with those before: CMD may have kept them in a file."""
        if self._masked is None:
            return None
        before, self._masked = self._masked, _needles(values, self._plan.say)
        return type(before)(before | self._masked)
