"""Templates of ``render``: Jinja in its sandbox; each expression is written as one value of the format."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final, final
from urllib.parse import quote

from strongroom.errors import BackendNotInstalledError, InvalidRequestError, SecretStoreError
from strongroom.value import SecretValue

from .literals import AFTER, BEFORE, Raw, Unwritable, write

if TYPE_CHECKING:
    from types import TracebackType

    from jinja2 import nodes
    from jinja2.sandbox import SandboxedEnvironment

_FUNCTION: Final = "secret"
_GLOBALS: Final = ("dict", "namespace", "range")
_TEMPLATE_SUFFIXES: Final = (".j2", ".jinja", ".jinja2", ".tmpl", ".tpl")
_FORMAT_OF: Final = {
    "env": "env", "json": "json", "yaml": "yaml", "yml": "yaml",
    "toml": "toml", "sh": "shell", "ini": "ini", "cfg": "ini",
}  # fmt: skip

Secret = Callable[[str, str], SecretValue]
"""Gives the value of a name or a reference, and of a pointer into it."""


def format_of(path: str) -> str | None:
    """The format that a file's name promises, without a template's suffix; None if it promises none."""
    name = path.rsplit("/", 1)[-1].lower()
    for suffix in _TEMPLATE_SUFFIXES:
        name = name.removesuffix(suffix)
    return _FORMAT_OF.get(name.rsplit(".", 1)[-1]) if "." in name else None


@final
class Template:
    """A template, parsed and checked before anything is read.

    Args:
        text: what it says.
        kind: the format, a key of `strongroom.cli.literals.WRITERS`.

    Attributes:
        constants: what it surely asks for: names or references, with their pointers.

    Raises:
        InvalidRequestError: it is no template, uses a name that does not exist, or has a value that is
            written with its quotes in the middle of a text.
        BackendNotInstalledError: Jinja is not there.
    """

    def __init__(self, text: str, kind: str):
        self._kind = kind
        environment = _environment(kind)
        tree = _parsed(environment, text)
        _check_names(tree, environment)
        _check_neighbours(tree, kind)
        self.constants = sorted(set(_constants(tree)))
        self._compiled = environment.from_string(tree)

    def render(self, secret: Secret) -> SecretValue:
        """Fill it.

        Raises:
            InvalidRequestError: an expression fails or gives what the format cannot hold, or the result is
                not of that format.
            SecretStoreError: as `secret` says.
        """
        rendered = self._rendered(secret)
        if isinstance(rendered, SecretStoreError):
            raise rendered
        problem = _problem_of(rendered, self._kind)
        if problem:
            raise InvalidRequestError(f"the result is not {self._kind}: {problem}")
        return rendered

    def _rendered(self, secret: Secret) -> SecretValue | SecretStoreError:
        """Never raises: the template's frames hold values, and what its errors say may quote them."""

        def reveal(name: str, pointer: str = "") -> str | bytes:
            value = secret(name, pointer)
            return value.reveal_text() if value.kind == "text" else value.reveal()

        try:
            return SecretValue(self._compiled.render({_FUNCTION: reveal}))
        except SecretStoreError as error:
            return _without_frames(error)
        except Unwritable as error:
            line, problem, hint = _line(error.__traceback__), error.problem, error.hint
        except Exception as error:  # noqa: BLE001  (whatever a template does)
            line, hint = _line(error.__traceback__), None
            problem = f"an expression fails ({type(error).__name__})"
        return InvalidRequestError(f"line {line} of the template: {problem}", hint=hint)


def _without_frames(error: SecretStoreError) -> SecretStoreError:
    error.__context__ = None
    return error.with_traceback(None)


def _environment(kind: str) -> SandboxedEnvironment:
    sandbox: Any = None
    try:
        import jinja2
        from jinja2 import sandbox
    except ImportError:
        pass
    if sandbox is None:
        problem = "templates need a package that is not here"
        raise BackendNotInstalledError(problem, hint="pip install 'strongroom[render]'")
    writer = write(kind)
    environment: SandboxedEnvironment = sandbox.ImmutableSandboxedEnvironment(
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        # `{{ x if y }}` is nothing where y is not so; all else that is undefined is a StrictUndefined.
        finalize=lambda value: "" if type(value) is jinja2.Undefined else writer(value),
    )
    for name in environment.globals.keys() - set(_GLOBALS):
        del environment.globals[name]
    environment.filters |= {"raw": Raw, "base64": _base64, "urlencode": _urlencode}
    return environment


def _base64(value: str | bytes) -> str:
    return b64encode(value.encode() if isinstance(value, str) else value).decode()


def _urlencode(value: Any) -> str:
    """As Jinja's, which leaves a slash as it is: in a password it would end the host of a URL."""
    from jinja2.filters import do_urlencode

    return quote(value, safe="") if isinstance(value, str | bytes) else do_urlencode(value)


def _parsed(environment: SandboxedEnvironment, text: str) -> nodes.Template:
    from jinja2 import TemplateSyntaxError

    try:
        return environment.parse(text)
    except TemplateSyntaxError as error:
        problem, line = error.message, error.lineno
    except RecursionError:
        problem, line = "it is nested too deep", 1
    raise InvalidRequestError(f"line {line} of the template: {problem}")


def _check_names(tree: nodes.Template, environment: SandboxedEnvironment) -> None:
    from jinja2 import meta

    unknown = meta.find_undeclared_variables(tree) - environment.globals.keys() - {_FUNCTION}
    if unknown:
        raise InvalidRequestError(
            f"the template uses {', '.join(sorted(unknown))}, which is nothing",
            hint='a secret is written {{ secret("NAME") }}',
        )


def _check_neighbours(tree: nodes.Template, kind: str) -> None:
    """What is written with its quotes must not stand inside a text, or between quotes of the template."""
    from jinja2 import nodes

    for output in tree.find_all(nodes.Output):
        parts = [None, *output.nodes, None]
        for before, expression, after in zip(parts, parts[1:], parts[2:], strict=False):
            if expression is None or kind == "none" or _is_raw(expression):
                continue
            if not (_fits(_data(before)[-1:], BEFORE.get(kind)) and _fits(_data(after)[:1], AFTER.get(kind))):
                raise InvalidRequestError(
                    f"line {expression.lineno} of the template: {{{{ }}}} writes a whole value of {kind}, "
                    "with the quotes it needs",
                    hint='write no quotes, and join texts inside it: {{ "user:" ~ secret("NAME") }}',
                )


def _is_raw(node: nodes.Expr | None) -> bool:
    """Whether it is the template's own text, or is written as it is: ``x | raw``, also under a condition."""
    from jinja2 import nodes

    if isinstance(node, nodes.CondExpr):
        return _is_raw(node.expr1) and _is_raw(node.expr2)
    named = isinstance(node, nodes.Filter) and node.name == "raw"
    return node is None or named or isinstance(node, nodes.TemplateData)


def _data(node: nodes.Expr | None) -> str:
    return str(getattr(node, "data", ""))


def _fits(neighbour: str, allowed: str | None) -> bool:
    """Whether a value may stand beside this; where values are not always quoted only quotes are wrong."""
    if allowed is None:
        return neighbour not in ("'", '"')
    return not neighbour or neighbour.isspace() or neighbour in allowed


def _constants(tree: nodes.Template) -> Iterator[tuple[str, str]]:
    from jinja2 import nodes

    for call in tree.find_all(nodes.Call):
        values = [
            one.value for one in call.args if isinstance(one, nodes.Const) and isinstance(one.value, str)
        ]
        named = isinstance(call.node, nodes.Name) and call.node.name == _FUNCTION
        if named and len(values) == len(call.args) in (1, 2) and not call.kwargs:
            yield values[0], (*values, "")[1]


def _line(traceback: TracebackType | None) -> int:
    """The template's own line: Jinja compiles it under the name ``<template>``."""
    line = 0
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == "<template>":
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line


def _problem_of(rendered: SecretValue, kind: str) -> str | None:
    """Why the result is not of its format, without a word of it; None if it is."""
    try:
        _READERS.get(kind, len)(rendered.reveal_text())
    except ImportError:  # no YAML here: what reads it will tell
        return None
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", None)
        return f"look at line {line} of it" if line else "look at the template's punctuation"
    return None


def _read_toml(text: str) -> object:
    import tomllib

    return tomllib.loads(text)


def _read_yaml(text: str) -> None:
    import yaml

    wrong = False
    try:
        for _ in yaml.parse(text):  # its syntax alone: tags may be anybody's
            pass
    except yaml.YAMLError:
        wrong = True
    if wrong:
        raise ValueError


_READERS: Final[dict[str, Callable[[str], object]]] = {
    "json": json.loads,
    "toml": _read_toml,
    "yaml": _read_yaml,
}
