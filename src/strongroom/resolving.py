"""``strongroom.resolve``: a configuration with references in, the same with secrets out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from . import config as _config
from .errors import InvalidRequestError
from .references import Document, Resolver

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from .store import SecretStore
    from .value import SecretValue


def resolve(
    document: Any,
    *,
    allow: Sequence[str],
    config: str | os.PathLike[str] | _config.Config | None = None,
    stores: Mapping[str, SecretStore] | None = None,
    reveal: bool = False,
) -> Any:
    """A copy of nested mappings, lists and tuples, in which a ``strongroom://`` text is the secret it names.

    Only a whole text is a reference, keys are left alone, and what was put in is never looked through again.
    The current values of one store come in one request.

    Never give it what came from outside, such as a request, an upload or a tenant's settings: whoever writes
    a reference reads the secret. That is why `allow` has no default.

    Args:
        document: such as a parsed YAML, JSON or TOML file, or one text.
        allow: aliases of the stores that references may name.
        config: as of `strongroom.open`.
        stores: open stores by alias, which are used and left open; others are opened and closed.
        reveal: put in plain text (bytes where a value is binary) for a framework that takes nothing else. By
            default a secret is a `SecretValue`, so that a configuration that is logged or printed shows none.

    Raises:
        PartialFailureError: ``errors`` has every reference that could not be resolved, by its place in the
            document, an RFC 6901 pointer.
        InvalidRequestError: `allow` is a text, the configuration is wrong, or the document holds itself or is
            nested deeper than 100 levels.
    """
    if isinstance(allow, str) or not isinstance(allow, Sequence):
        raise InvalidRequestError("allow is a list of aliases", hint='write allow=["prod"]')
    found, given = Document(document), dict(stores or {})
    if not found.references:
        return found.filled({})
    loaded = config if isinstance(config, _config.Config) else _config.Config.load(config)
    with Resolver(lambda alias: _config.open(alias, config=loaded), allow, given) as resolver:
        values = resolver.read(found.references)
    return found.filled({place: _plain(value) for place, value in values.items()} if reveal else values)


def _plain(value: SecretValue) -> str | bytes:
    return value.reveal_text() if value.kind == "text" else value.reveal()
