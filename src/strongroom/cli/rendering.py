"""``render``: a file with secrets where its template asks for them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, final

import click

from strongroom.errors import InvalidRequestError, PartialFailureError, SecretStoreError, UnavailableError
from strongroom.references import Reference, Resolver, is_reference

from . import keeping, sources
from .failure import one_line
from .literals import WRITERS
from .options import Options, common, configuration, pass_options
from .output import on_terminal
from .templates import Template, format_of

if TYPE_CHECKING:
    from strongroom.store import SecretStore
    from strongroom.value import SecretValue

    from .following import Follower, Values


@click.command(short_help="fill a template with secrets")
@click.argument("template", type=click.Path())
@click.option(
    "--out", metavar="FILE", type=click.Path(), help="Write here, only you may read it; else stdout."
)
@click.option(
    "--format", "kind", type=click.Choice(list(WRITERS)), help="By default by the name of FILE or TEMPLATE."
)
@click.option("--allow", metavar="ALIAS", multiple=True, help="Only these stores; by default all.")
@click.option(
    "--mode", type=click.Choice(list(keeping.MODES)), help="The permissions of FILE; by default 600."
)
@click.option("--watch", is_flag=True, help="Write FILE again whenever a secret changes, until SIGTERM.")
@click.option(
    "--on-change",
    "then",
    metavar="COMMAND",
    callback=keeping.command,
    help="With --watch: run this after each change.",
)
@click.option("--reveal", is_flag=True, help="Allow secrets on a terminal.")
@common
@pass_options
def render(
    options: Options,
    *,
    template: str,
    out: str | None,
    kind: str | None,
    allow: tuple[str, ...],
    mode: str | None,
    watch: bool,
    then: tuple[str, ...],
    reveal: bool,
) -> None:
    """Fill TEMPLATE, in which {{ secret("NAME") }} stands for a value; - reads it from stdin.

    NAME is a secret of the store, or strongroom://ALIAS/NAME[?version=ID][#/json/pointer]; a pointer may also
    be the second argument. Each {{ }} writes one whole value as the format has it, with quotes and escapes;
    {{ … | raw }} writes text as it is. The file appears whole or not at all.
    """
    if (watch or mode) and not out:
        raise click.UsageError(f"{'--watch' if watch else '--mode'} goes with --out")
    if then and not watch:
        raise click.UsageError("--on-change goes with --watch")
    if not out and on_terminal() and not reveal:
        raise InvalidRequestError("stdout is a terminal", hint="add --reveal, pipe it, or use --out")
    kind = kind or (format_of(out) if out else None) or format_of(template)
    if kind is None:
        raise click.UsageError(f"say --format: one of {', '.join(WRITERS)}")
    parsed = Template(sources.read_file(template).reveal_text(), kind)
    rendering = _Rendering(options, parsed, out, allow or None, mode=keeping.MODES[mode or "600"], then=then)
    if not watch:
        rendering.once()
        return
    keeping.until_stopped(rendering.follow, rendering.stop)


@final
class _Rendering:
    """A template, the secrets it asked for, and where it goes."""

    def __init__(
        self,
        options: Options,
        template: Template,
        out: str | None,
        allow: tuple[str, ...] | None,
        *,
        mode: int = 0o600,
        then: tuple[str, ...] = (),
    ):
        self._template, self._out, self._allow, self._mode = template, out, allow, mode
        self._quiet, self._config = options.quiet, configuration(options)
        self._announce = keeping.Announcer(then, self._config.path, self._say)
        self._follower: Follower | None = None
        self._stopped = False
        self._default = options.store
        self._references: dict[str, Reference] = {}
        self._values: dict[str, SecretValue] = {}
        self._written: SecretValue | None = None

    def once(self) -> None:
        """Read what it asks for, in one request where that can be, and write it."""
        with self._resolver() as resolver:
            self._references = {_place(*one): self._reference(*one) for one in self._template.constants}
            self._values = resolver.read(self._references)
            self._write(resolver)
            if resolver.doubts:
                self._say(f"some answers are {', '.join(sorted(resolver.doubts))} (see docs/guide.md)")

    def follow(self) -> None:
        """Write it now and on each change, until `stop`."""
        self.begin()
        self._follower = self.follower()
        if not self._stopped:
            self._follower.run()

    def stop(self) -> None:
        """End soon what follows, wherever it is."""
        self._stopped = True
        if self._follower:
            self._follower.stop()

    def begin(self) -> None:
        """As `once`, for whoever follows: a file of before tells whether anything has changed since.

        While nothing answers it stays in place and in use: a process that was started again in an outage
        must not take from a program the file that it works with.

        Raises:
            SecretStoreError: it cannot be written, and there is none, or something else is wrong.
        """
        before = sources.read_file(self._out) if self._out and os.path.isfile(self._out) else None
        self._written = before
        try:
            self.once()
        except SecretStoreError as error:
            if before is None or not _is_outage(error):
                raise
            self._values = {}
            self._say(f"{one_line(str(error))}; {self._out} stays as it is")
            return
        if before is not None and self._written != before:
            self._announce()

    def follower(self) -> Follower:
        """What writes it again on each change."""
        from .following import Follower

        return Follower(self._resolver, self._references, self._values, self._changed, self._say)

    def _changed(self, values: Values) -> None:
        self._values = dict(values)
        with self._resolver() as resolver:
            if self._write(resolver):
                self._say(f"a secret has changed: wrote {self._out}")
                self._announce()

    def _write(self, resolver: Resolver) -> bool:
        """Whether something else was written than before."""
        rendered = self._template.render(lambda name, pointer: self._secret(resolver, name, pointer))
        if rendered == self._written:
            return False
        _put_out(rendered, self._out, self._mode)
        self._written = rendered
        return True

    def _secret(self, resolver: Resolver, name: str, pointer: str) -> SecretValue:
        place = _place(name, pointer)
        if place not in self._values:
            self._references[place] = self._reference(name, pointer)
            self._values |= resolver.read({place: self._references[place]})
        return self._values[place]

    def _reference(self, name: str, pointer: str) -> Reference:
        if not is_reference(name):
            return Reference(self._config.entry(self._default).alias, name, None, pointer)
        reference = Reference.parse(name)
        if pointer and reference.pointer:
            raise InvalidRequestError(f"{name} has a pointer already")
        return Reference(reference.alias, reference.name, reference.version, pointer or reference.pointer)

    def _resolver(self) -> Resolver:
        return Resolver(self._open, self._allow)

    def _open(self, alias: str) -> SecretStore:
        from strongroom.config import open as open_store

        return open_store(alias, config=self._config)

    def _say(self, line: str) -> None:
        if not self._quiet:
            click.echo(f"strongroom: {line}", err=True)


def _place(name: str, pointer: str) -> str:
    return f"{name} {pointer}" if pointer else name


def _is_outage(error: SecretStoreError) -> bool:
    told = error.errors.values() if isinstance(error, PartialFailureError) else (error,)
    return all(isinstance(one, UnavailableError) for one in told)


def _put_out(rendered: SecretValue, out: str | None, mode: int) -> None:
    if out is None:
        click.echo(rendered.reveal(), nl=False)
        return
    from strongroom.envelope.atomic import atomic_output

    with atomic_output(out, overwrite=True, mode=mode) as file:
        left = memoryview(rendered.reveal())
        while left:
            left = left[file.write(left) :]
