"""Credentials of a strongroom.toml: named by reference, read when their store or key opens and not before.

So a file can name what only some of its machines have, and what was changed is found changed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from strongroom.errors import InvalidRequestError, SecretStoreError
from strongroom.value import SecretValue

if TYPE_CHECKING:
    from .spot import Spot

Fetch = Callable[[str], SecretValue]
"""Gives the value that a ``strongroom://`` reference names."""


class Credential:
    """Where one credential is: a variable, a file, or a secret of another store.

    Args:
        spot: the key that names it, where its absence is told.
        source: ``env``, ``file`` or ``strongroom``.
        rest: what follows ``://``.
    """

    __slots__ = ("_rest", "_source", "spot")

    def __init__(self, spot: Spot, source: str, rest: str):
        self.spot, self._source, self._rest = spot, source, rest

    @classmethod
    def parse(cls, spot: Spot, text: str) -> Credential | None:
        """Read ``env://VAR``, ``file:///path`` or ``strongroom://ALIAS/NAME``; None for anything else."""
        source, _, rest = text.partition("://")
        if not rest or source not in ("env", "file", "strongroom") or (source == "file" and rest[0] != "/"):
            return None
        return cls(spot, source, rest)

    def __repr__(self) -> str:
        return f"{self._source}://{self._rest}"

    @property
    def reference(self) -> str:
        """The ``strongroom://`` reference, or an empty string."""
        return f"strongroom://{self._rest}" if self._source == "strongroom" else ""

    @property
    def alias(self) -> str:
        """The store that keeps it; empty for a variable or a file."""
        return self._rest.partition("/")[0] if self.reference else ""

    def read(self, fetch: Fetch | None) -> SecretValue:
        """The credential itself.

        Raises:
            InvalidRequestError: it is missing or unreadable; with file, line and key.
            SecretStoreError: as the store that keeps it says.
        """
        if self._source == "env":
            return self._from_environment()
        return self._from_file() if self._source == "file" else self._from_store(fetch)

    def _from_environment(self) -> SecretValue:
        if not os.environ.get(self._rest):
            self.spot.fail(f"the environment has no {self._rest}, or an empty one")
        return SecretValue(os.fsencode(os.environ[self._rest]), "text")

    def _from_file(self) -> SecretValue:
        try:
            return SecretValue(Path(self._rest).read_bytes().removesuffix(b"\n"), "text")
        except OSError as exc:
            problem = exc.strerror or "cannot be read"
        except InvalidRequestError:
            problem = "not UTF-8 text"
        raise self.spot.error(f"{self._rest}: {problem}")

    def _from_store(self, fetch: Fetch | None) -> SecretValue:
        if fetch is None:
            self.spot.fail("stands in another store, which is not open here", "open it by its alias")
        try:
            return fetch(self.reference)
        except SecretStoreError as error:
            failed = error
        failed.message = f"{self.spot.error(self.reference).message}: {failed.message}"
        raise failed.with_traceback(None)


class Auth(Mapping[str, str | SecretValue]):
    """What ``auth`` of a store or a key says; each credential is read when it is asked for.

    Args:
        given: by key; in clear what is no secret, or was given by the program.
        fetch: what gives a secret of another store; without it such a credential is an error.
    """

    __slots__ = ("_fetch", "given")

    def __init__(self, given: Mapping[str, str | SecretValue | Credential], fetch: Fetch | None = None):
        self.given, self._fetch = given, fetch

    def __getitem__(self, name: str) -> str | SecretValue:
        found = self.given[name]
        return found.read(self._fetch) if isinstance(found, Credential) else found

    def __contains__(self, name: object) -> bool:
        return name in self.given  # nothing is read to tell

    def __iter__(self) -> Iterator[str]:
        return iter(self.given)

    def __len__(self) -> int:
        return len(self.given)


def referring(auth: Mapping[str, str | SecretValue]) -> list[Credential]:
    """Those of the credentials that another store keeps."""
    given = auth.given.values() if isinstance(auth, Auth) else ()
    return [one for one in given if isinstance(one, Credential) and one.reference]


def merged(auth: Mapping[str, str | SecretValue], more: Mapping[str, str | SecretValue]) -> Auth:
    """The same, and what is given besides; nothing is read."""
    return Auth({**(auth.given if isinstance(auth, Auth) else auth), **more})


def read_all(auth: Mapping[str, str | SecretValue], fetch: Fetch) -> dict[str, str | SecretValue]:
    """Every credential, read now.

    Raises:
        InvalidRequestError: one is missing or unreadable.
        SecretStoreError: as the store that keeps it says.
    """
    return dict(Auth(auth.given, fetch) if isinstance(auth, Auth) else auth)
