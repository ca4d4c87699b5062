"""What ``-k``, ``--to`` and ``-c`` say: the keys of a message, and its context."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import click

from strongroom.errors import InvalidRequestError, SecretStoreError
from strongroom.keys import KeyWrapper

from .options import Decorated, Options, configuration

if TYPE_CHECKING:
    from strongroom.config import Config


def key_option(*names: str, text: str) -> Callable[[Decorated], Decorated]:
    """A repeatable option that names a key or a keyring; shells complete the configured aliases."""
    return click.option(*names, multiple=True, metavar="ALIAS|URL", shell_complete=aliases, help=text)


@contextmanager
def opened_keys(
    options: Options, targets: Sequence[str], flag: str = "-k"
) -> Iterator[dict[str, KeyWrapper]]:
    """The keys and keyrings by the aliases or URLs that name them, each once; closed at the end.

    Raises:
        InvalidRequestError: none is named, since none is ever guessed, or nothing is called so.
        SecretStoreError: one cannot be opened.
    """
    from strongroom.config import key

    config = configuration(options)
    if not targets:
        raise InvalidRequestError(f"no key is named: {flag} ALIAS or {flag} URL", hint=_known(config))
    with ExitStack() as opened:
        keys = dict[str, KeyWrapper]()
        for target in targets:
            if target not in keys:
                keys[target] = key(target, config=config)
                opened.callback(keys[target].close)
        yield keys


def aliases(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """The configured keys and keyrings that begin so, for a shell that completes."""
    try:
        config = configuration(ctx.ensure_object(Options))
    except SecretStoreError:
        return []
    return [name for name in (*config.keys, *config.keyrings) if name.startswith(incomplete)]


def _known(config: Config) -> str:
    known = [*config.keys, *config.keyrings]
    return f"strongroom.toml has {', '.join(known)}" if known else "as in local-key:///path of a keyset"


def pairs(texts: Sequence[str]) -> Mapping[str, str]:
    """The encryption context that ``name=value`` pairs make.

    Raises:
        InvalidRequestError: one is no pair, or a name comes twice. The library refuses the reserved names.
    """
    context: dict[str, str] = {}
    for text in texts:
        name, mark, value = text.partition("=")
        if not name or not mark:
            raise InvalidRequestError("a context pair reads NAME=VALUE", hint="for example -c purpose=backup")
        if name in context:
            raise InvalidRequestError(f"the context has {name!r} twice")
        context[name] = value
    return context
