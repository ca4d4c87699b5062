"""References in templates of Jinja (``pip install 'strongroom[render]'``).

::

    add_secrets(environment, {"prod": store})
    environment.from_string('{{ "strongroom://prod/db/password" | secret }}').render()
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.errors import BackendNotInstalledError, InvalidRequestError
from strongroom.patterns import matcher
from strongroom.references import Reference

try:
    from jinja2 import pass_context
except ImportError:
    installed = False
else:
    installed = True
if not installed:
    raise BackendNotInstalledError("jinja2 is not installed", hint="pip install 'strongroom[render]'")

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from jinja2 import Environment
    from jinja2.runtime import Context

    from strongroom.store import SecretStore


def add_secrets(
    environment: Environment, stores: Mapping[str, SecretStore], *, names: Sequence[str] = ("**",)
) -> None:
    """Give an environment the filter and the function ``secret``, which put the text of a reference.

    Each rendering reads the store, or its cache; a compiled template holds nothing. Whoever writes a template
    reads what is allowed here, so never filter what came from outside. What is put in is escaped as any text.

    Args:
        environment: any of Jinja's, sandboxed ones too.
        stores: open stores by the alias that references call them; no others can be named.
        names: patterns of the names that references may mean, as strongroom.toml spells them.
    """
    allowed, known = matcher(names), dict(stores)

    # With the context Jinja does not call it when it compiles: the optimizer would put the value in the code.
    @pass_context
    def secret(_context: Context, text: object) -> str:
        if not isinstance(text, str):
            raise InvalidRequestError("what is filtered is not a reference, or is undefined")
        reference = Reference.parse(text)
        if reference.alias not in known or not allowed(reference.name):
            raise InvalidRequestError(f"{reference.alias}/{reference.name} is not allowed in this template")
        found = known[reference.alias].get(reference.name, version=reference.version)
        return reference.part_of(found.value).reveal_text()

    environment.filters["secret"] = secret
    environment.globals["secret"] = secret
