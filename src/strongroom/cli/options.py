"""The options that mean the same in every command."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

if TYPE_CHECKING:
    from strongroom.store import SecretStore
    from strongroom.toml.file import Config

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


@dataclass(slots=True)
class Options:
    """What was said before or after the command's name; either place will do.

    Attributes:
        store: alias from the configuration or a URL; None is the configuration's default.
        config: path of the configuration file; None lets it be looked up.
        profile: the environment whose entries the configuration takes; None lets the variable say it.
        json: print JSON, one document on stdout, errors as one line of JSON on stderr.
        quiet: print only what was asked for.
        debug: add the chain of causes to an error.
        yes: do not ask.
        dry_run: say what would happen and change nothing.
    """

    store: str | None = None
    config: str | None = None
    profile: str | None = None
    json: bool = False
    quiet: bool = False
    debug: bool = False
    yes: bool = False
    dry_run: bool = False


def _remember(ctx: click.Context, param: click.Parameter, value: object) -> None:
    options = ctx.ensure_object(Options)
    if value:
        setattr(options, param.name or "", value)


def _flag(name: str, text: str, *short: str) -> Callable[[Decorated], Decorated]:
    return click.option(*short, name, is_flag=True, expose_value=False, callback=_remember, help=text)


_STORE: Final = click.option(
    "--store",
    metavar="ALIAS|URL",
    expose_value=False,
    callback=_remember,
    help="Which store; else the default.",
)
_CONFIG: Final = click.option(
    "--config",
    metavar="FILE",
    type=click.Path(),
    expose_value=False,
    callback=_remember,
    help="Configuration; else $STRONGROOM_CONFIG, then ./strongroom.toml.",
)
_PROFILE: Final = click.option(
    "--profile",
    metavar="NAME",
    expose_value=False,
    callback=_remember,
    help="Environment of the configuration; else $STRONGROOM_PROFILE, or none.",
)
_JSON: Final = _flag("--json", "Print JSON; errors too, on stderr.")
_QUIET: Final = _flag("--quiet", "Print only what was asked for.", "-q")
_DEBUG: Final = _flag("--debug", "Print the causes of an error; never a value.")
_YES: Final = _flag("--yes", "Do not ask.", "-y")
_DRY_RUN: Final = _flag("--dry-run", "Say what would happen; change nothing.")


def common(command: Decorated) -> Decorated:
    """Give a command the options that every command has."""
    for option in (_DEBUG, _QUIET, _JSON, _PROFILE, _CONFIG, _STORE):
        command = option(command)
    return command


def changing(command: Decorated) -> Decorated:
    """Give a command that changes something `--yes` and `--dry-run` as well."""
    return common(_YES(_DRY_RUN(command)))


pass_options = click.make_pass_decorator(Options, ensure=True)


@contextmanager
def opened(options: Options, target: str | None = None) -> Iterator[SecretStore]:
    """The store the options name, or `target`; closed at the end."""
    from strongroom.config import open as open_store

    with open_store(target or options.store, config=configuration(options)) as store:
        yield store


def configuration(options: Options) -> Config:
    """The configuration that the options name."""
    from strongroom.toml.file import Config

    return Config.load(options.config, options.profile)


@contextmanager
def recorded(config: Config, name: str) -> Iterator[Callable[[str, Callable[[], Any]], Any]]:
    """Gives what runs an operation on what is named, and records it where there is an audit.

    What the audit itself stands on is made before there can be one.
    """
    entry = config.audit
    own = (entry.subject_key, entry.checkpoint.signer if entry.checkpoint else "") if entry else ()
    if entry is None or name in own:
        yield lambda _operation, call: call()
        return
    from strongroom.config import audit

    with closing(audit(config, entry)) as lease:
        yield lambda operation, call: lease.record(operation, name, call)
