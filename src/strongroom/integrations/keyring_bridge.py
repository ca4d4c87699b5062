"""The ``keyring`` package over a store (``pip install 'strongroom[keyring]'``): twine, pip, poetry read it.

::

    PYTHON_KEYRING_BACKEND=strongroom.integrations.keyring_bridge.StrongroomKeyring
    KEYRING_PROPERTY_STORE=prod

It serves where it is named so, or given to ``keyring.set_keyring``: it has no entry point, so that nobody's
passwords move because Strongroom was installed.
"""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from strongroom.backend import Capability
from strongroom.errors import (
    BackendNotInstalledError,
    InvalidRequestError,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
)
from strongroom.names import Name
from strongroom.value import take

try:
    from keyring.backend import KeyringBackend
    from keyring.credentials import SimpleCredential
    from keyring.errors import KeyringError, PasswordDeleteError, PasswordSetError
except ImportError:
    installed = False
else:
    installed = True
if not installed:
    raise BackendNotInstalledError("keyring is not installed", hint="pip install 'strongroom[keyring]'")

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from keyring.credentials import Credential

    from strongroom.store import SecretStore

ROOT: Final = "keyring"
_OWN: Final = "strongroom"
"""The service under which local stores keep their own keys in the OS keyring."""
_PLAIN: Final = re.compile(r"(?<=[a-z0-9])[-.](?=[a-z0-9])")
"""A dash or a dot that may stand in a portable name as it is: with a letter before and after it."""
_SHORT: Final = {"/": "s", ":": "c", "_": "u", "@": "a", "-": "d", ".": "o", " ": "w", "q": "q", "+": "p"}
_LONG: Final = {code: char for char, code in _SHORT.items()}
_ESCAPE: Final = re.compile(r"q(?:([scuadowqp])|x([0-9a-f]{1,6})z)")


def spelled(text: str) -> str:
    """A text as a segment of a portable name; no two texts have the same, and ``read`` gives it back.

    Small letters, digits, and dashes and dots between them stand for themselves. ``q`` begins everything
    else: ``qs`` is ``/``, ``qc`` ``:``, ``qu`` ``_``, ``qa`` ``@``, ``qd`` ``-``, ``qo`` ``.``, ``qw`` a
    space, ``qp`` ``+``, ``qq`` itself, and ``qx41z`` the character of that code. An empty text is ``qz``.
    """
    plain = {found.start() for found in _PLAIN.finditer(text)}
    return "".join(char if at in plain else _spell(char) for at, char in enumerate(text)) or "qz"


def _spell(char: str) -> str:
    if char in _SHORT:
        return f"q{_SHORT[char]}"
    return char if re.fullmatch("[a-z0-9]", char) else f"qx{ord(char):x}z"


def read(segment: str) -> str | None:
    """The text that ``spelled`` made a segment of, or None if it made none."""
    text = "" if segment == "qz" else _ESCAPE.sub(_unspell, segment)
    return text if spelled(text) == segment else None


def _unspell(found: re.Match[str]) -> str:
    if found[1]:
        return _LONG[found[1]]
    code = int(found[2], 16)
    return chr(code) if code <= 0x10FFFF else ""


class StrongroomKeyring(KeyringBackend):
    """A keyring backend over a store.

    A service and a user are the secret that ``names`` gives, or ``keyring/SERVICE/USER``, spelled as
    ``spelled`` says, or ``keyring/sha256-DIGEST`` of both if that is too long for a name. A missing secret is
    None, as keyring wants it; a store that denies or does not answer raises: it is never "no password".

    Args:
        store: has the passwords; without it, the one of the configuration that ``KEYRING_PROPERTY_STORE``
            names, or its default, opened when it is first needed.
        names: secrets that have a name of their own, by service and user.
    """

    priority = -1  # never chosen unless named: others would move in silence
    store: str | None = None

    def __init__(
        self, store: SecretStore | None = None, *, names: Mapping[tuple[str, str], str] | None = None
    ):
        self._names = dict(names or {})
        self._opened, self._lock = store, threading.RLock()
        super().__init__()  # type: ignore[no-untyped-call]

    def get_password(self, service: str, username: str) -> str | None:
        """The password, or None if there is no such secret.

        Raises:
            KeyringError: the store does not tell, or the names are too long for a secret's.
        """
        with _told(KeyringError):
            try:
                return self._store().get(self._name(service, username)).value.reveal_text()
            except SecretNotFoundError:
                return None

    def set_password(self, service: str, username: str, password: str) -> None:
        """Write the password as a new version; a deleted one is brought back first.

        Raises:
            PasswordSetError: the store did not take it.
        """
        taken, password = take(password), ""  # this frame would stand in the traceback of whatever fails
        with _told(PasswordSetError):
            if isinstance(taken, InvalidRequestError):
                raise taken
            store, name = self._store(), self._name(service, username)
            try:
                store.put(name, taken)
            except SecretConflictError:  # without `if_version` there is one reason: it is in the bin
                store.restore(name)
                store.put(name, taken)

    def delete_password(self, service: str, username: str) -> None:
        """Put the secret in the bin, or destroy it where the store has none.

        Raises:
            PasswordDeleteError: there is no such secret, or the store did not delete it.
        """
        with _told(PasswordDeleteError):
            store, name = self._store(), self._name(service, username)
            remove = store.delete if Capability.DELETE in store.capabilities else store.purge
            store.get(name)
            remove(name)

    def get_credential(self, service: str, username: str | None) -> Credential | None:
        """User and password; without a user, those of the only one that the service has, else None.

        Raises:
            KeyringError: as ``get_password``, or the service is too long for its users to be listed.
        """
        if username is None:
            users = self._users(service)
            if len(users) != 1:  # which of several is meant is not guessed
                return None
            username = users[0]
        password = self.get_password(service, username)
        return None if password is None else SimpleCredential(username, password)

    def _users(self, service: str) -> list[str]:
        with _told(KeyringError):
            root = f"{ROOT}/{spelled(service)}/"
            if not _fits(f"{root}x"):
                raise InvalidRequestError(
                    f"{service[:200]!r} is too long to list its users", hint="name the user"
                )
            listed = (read(name.removeprefix(root)) for name in self._store().list_names(root))
            found = {user for user in listed if user is not None}
        return sorted(found | {user for known, user in self._names if known == service})

    def _name(self, service: str, username: str) -> str:
        if service == _OWN:  # the store would have to be open before it can be opened
            raise InvalidRequestError(
                "a store's own key is not kept in a store", hint="make the local store with ?create=keyset"
            )
        if name := self._names.get((service, username)):
            return name
        name = f"{ROOT}/{spelled(service)}/{spelled(username)}"
        both = f"{len(service)}:{service}{username}".encode("utf-8", "surrogatepass")
        return name if _fits(name) else f"{ROOT}/sha256-{sha256(both).hexdigest()[:40]}"

    def _store(self) -> SecretStore:
        from strongroom.config import open as open_store

        with self._lock:
            if self._opened is None:
                self._opened = open_store(self.store)
            return self._opened


def _fits(name: str) -> bool:
    try:
        return bool(Name.parse(name))
    except InvalidRequestError:
        return False


@contextmanager
def _told(kind: type[KeyringError]) -> Iterator[None]:
    """A store's error as keyring's, which tools catch; it holds no value, so it may be the cause."""
    try:
        yield
    except SecretStoreError as raised:
        error = raised
    else:
        return
    raise kind(f"{type(error).__name__}: {error}") from error
