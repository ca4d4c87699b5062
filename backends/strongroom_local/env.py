"""EnvBackend: the process's environment as a read-only store, ``env://PREFIX``."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Final, Self

from strongroom.backend import Backend, Capability, Secret, SecretInfo, Settings, Stage
from strongroom.errors import InvalidRequestError, SecretNotFoundError, SecretStoreError
from strongroom.names import Key, Name, NameMode, StoreURL, path_key
from strongroom.value import SecretValue, is_utf8

VERSION: Final = "env"
"""The id of every version: a variable has one value and no history, and an id made of the value would be a
fingerprint of it."""

_WORDS: Final = {".": "_DOT_", "-": "_DASH_", "/": "__"}
_SIGNS: Final = {"_dot_": ".", "_dash_": "-"}


class EnvBackend(Backend):
    """Environment variables: name ``db/api-key`` under ``env://APP`` is ``APP__DB__API_DASH_KEY``.

    In names, ``/`` becomes ``__``, ``.`` becomes ``_DOT_``, ``-`` becomes ``_DASH_``, and letters upper case;
    the prefix stands before them as it is written, with ``__`` between. A name that this does not map back to
    itself (``a_dot_b`` reads back as ``a.b``) is refused. Each read asks the environment anew; a text that is
    not UTF-8 is binary. There is one version, current, whose id is ``env`` whatever the value.
    """

    scheme = "env"
    capabilities = Capability.LIST
    origin = "env"

    def __init__(self, prefix: str = "", settings: Settings | None = None):
        self._settings = settings or Settings()
        self._prefix = f"{prefix}__" if prefix else ""

    @classmethod
    def from_url(cls, url: StoreURL, settings: Settings) -> Self:
        """Take the prefix from ``env://PREFIX``; ``env://`` has none.

        Raises:
            InvalidRequestError: the prefix cannot begin the name of a variable.
        """
        url.allow()
        prefix = f"{url.host}/{url.path}" if url.path else url.host
        if prefix and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", prefix):
            raise InvalidRequestError(
                f"{prefix[:200]!r} cannot begin the name of a variable",
                hint="use letters, digits and _, as in env://APP",
            )
        return cls(prefix, settings)

    @staticmethod
    def error_for(exc: Exception, operation: str) -> SecretStoreError | None:
        """Reading the environment raises nothing of its own."""
        return None

    def get(self, key: Key, version: str | Stage) -> Secret:
        variable = self.locate(key)
        if not isinstance(key, Name) or variable not in os.environ or version not in (VERSION, Stage.CURRENT):
            raise SecretNotFoundError("no such variable, or no such version", hint=f"it would be {variable}")
        stage = version if isinstance(version, Stage) else None
        now = self._settings.clock.now()
        return Secret(key.text, _value(variable), VERSION, stage, self.origin, confirmed_at=now)

    def list_info(self, prefix: str, detail: bool = False) -> Iterator[SecretInfo]:
        for variable in sorted(os.environ):
            name = decode(variable.removeprefix(self._prefix), self._settings.names)
            if name is not None and variable.startswith(self._prefix) and name.text.startswith(prefix):
                yield SecretInfo(name)

    def locate(self, key: Key) -> str:
        """The variable's name.

        Raises:
            InvalidRequestError: the name has none.
        """
        return f"{self._prefix}{encode(str(key)) if isinstance(key, Name) else ''}"


def encode(name: str) -> str:
    """The part of a variable's name that stands for a secret's.

    Raises:
        InvalidRequestError: it would stand for another secret as well.
    """
    encoded = _encoded(name)
    if _decoded(encoded) != name or not re.fullmatch(r"[A-Z0-9_]+", encoded):
        raise InvalidRequestError(
            f"the name {name[:200]!r} has no variable of its own", hint="choose another, such as with - for _"
        )
    return encoded


def decode(encoded: str, mode: NameMode) -> Name | None:
    """The name that `encode` maps to `encoded`, or None."""
    name = path_key(_decoded(encoded), mode=mode)
    return name if isinstance(name, Name) and _encoded(name.text) == encoded else None


def _encoded(name: str) -> str:
    return "".join(_WORDS.get(char, char) for char in name).upper()


def _decoded(encoded: str) -> str:
    segments = encoded.lower().split("__")
    return "/".join(re.sub("_dot_|_dash_", lambda found: _SIGNS[found[0]], part) for part in segments)


def _value(variable: str) -> SecretValue:
    return SecretValue(
        os.environb[variable.encode()], "text" if is_utf8(os.environb[variable.encode()]) else "binary"
    )
