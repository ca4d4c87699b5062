"""``render``: a file with secrets where its template asks for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

import click

from strongroom.errors import InvalidRequestError
from strongroom.references import Reference, Resolver, is_reference

from . import sources
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
@click.option("--watch", is_flag=True, help="Write FILE again whenever a secret changes, until interrupted.")
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
    watch: bool,
    reveal: bool,
) -> None:
    """Fill TEMPLATE, in which {{ secret("NAME") }} stands for a value; - reads it from stdin.

    NAME is a secret of the store, or strongroom://ALIAS/NAME[?version=ID][#/json/pointer]; a pointer may also
    be the second argument. Each {{ }} writes one whole value as the format has it, with quotes and escapes;
    {{ … | raw }} writes text as it is. The file appears whole or not at all.
    """
    if watch and not out:
        raise click.UsageError("--watch goes with --out")
    if not out and on_terminal() and not reveal:
        raise InvalidRequestError("stdout is a terminal", hint="add --reveal, pipe it, or use --out")
    kind = kind or (format_of(out) if out else None) or format_of(template)
    if kind is None:
        raise click.UsageError(f"say --format: one of {', '.join(WRITERS)}")
    parsed = Template(sources.read_file(template).reveal_text(), kind)
    rendering = _Rendering(options, parsed, out, allow or None)
    rendering.once()
    if watch:
        rendering.follower().run()


@final
class _Rendering:
    """A template, the secrets it asked for, and where it goes."""

    def __init__(self, options: Options, template: Template, out: str | None, allow: tuple[str, ...] | None):
        self._template, self._out, self._allow = template, out, allow
        self._quiet, self._config = options.quiet, configuration(options)
        self._default = options.store
        self._references: dict[str, Reference] = {}
        self._values: dict[str, SecretValue] = {}
        self._written: SecretValue | None = None

    def once(self) -> None:
        """Read what it asks for, in one request where that can be, and write it."""
        with self._resolver() as resolver:
            asked = {_place(*one): self._reference(*one) for one in self._template.constants}
            self._references, self._values = dict(asked), resolver.read(asked)
            self._write(resolver)
            if resolver.doubts:
                self._say(f"some answers are {', '.join(sorted(resolver.doubts))} (see docs/guide.md)")

    def follower(self) -> Follower:
        """What writes it again on each change."""
        from .following import Follower

        return Follower(self._resolver, self._references, self._values, self._changed, self._say)

    def _changed(self, values: Values) -> None:
        self._values = dict(values)
        with self._resolver() as resolver:
            if self._write(resolver):
                self._say(f"a secret has changed: wrote {self._out}")

    def _write(self, resolver: Resolver) -> bool:
        """Whether something else was written than before."""
        rendered = self._template.render(lambda name, pointer: self._secret(resolver, name, pointer))
        if rendered == self._written:
            return False
        _put_out(rendered, self._out)
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


def _put_out(rendered: SecretValue, out: str | None) -> None:
    if out is None:
        click.echo(rendered.reveal(), nl=False)
        return
    from strongroom.envelope.atomic import atomic_output

    with atomic_output(out, overwrite=True) as file:
        left = memoryview(rendered.reveal())
        while left:
            left = left[file.write(left) :]
