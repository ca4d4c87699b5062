"""A keyset in the operating system's keyring (Secret Service, macOS Keychain, Windows Credential Locker)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, final

from strongroom.errors import (
    BackendNotInstalledError,
    InvalidRequestError,
    SecretConflictError,
    SecretStoreError,
    UnavailableError,
)

from .keyset import Keyset

if TYPE_CHECKING:
    from strongroom.localkey import LocalKey, WrapCounter

_SERVICE: Final = "strongroom"


@final
class OsKeyring:
    """The keyset that the OS keyring holds as the password of ``strongroom`` / `entry`.

    The ``keyring`` package is imported here and only here, when a database names it. The keyring has no place
    for a wrap counter that is safe between processes, so the caller gives one. It must count every wrap of
    the entry: a row of the database serves if no other database uses the entry, else a `FileWrapCounter`.
    """

    def __init__(self, entry: str):
        self.entry = entry
        self._where = f"the OS keyring, entry {_SERVICE}/{entry}"

    def create(self, counter: WrapCounter) -> LocalKey:
        """Make a new keyset; an existing entry is never overwritten.

        Raises:
            SecretConflictError: the entry exists.
            BackendNotInstalledError: the ``keyring`` package is missing.
            UnavailableError: there is no keyring, it is locked, or it did not keep what it was given.
        """
        if self._call("get_password", _SERVICE, self.entry) is not None:
            raise SecretConflictError(f"{self._where} exists already", hint="it was not changed")
        keyset = Keyset.generate()
        self._store(keyset)
        if not self._keeps(keyset):
            raise UnavailableError(f"{self._where} did not keep the keyset", hint="use a keyset file")
        return keyset.local_key(counter)

    def load(self, counter: WrapCounter | None) -> LocalKey:
        """The entry's KEK.

        Raises:
            InvalidRequestError: there is no such entry.
            IntegrityError: it is corrupt.
            BackendNotInstalledError, UnavailableError: as in `create`.
        """
        return Keyset.from_json(self._read(), self._where).local_key(counter)

    def _read(self) -> str:
        text: str | None = self._call("get_password", _SERVICE, self.entry)
        if text is None:
            raise InvalidRequestError(
                f"there is no keyset in {self._where}", hint="log in as the user who made it, or restore it"
            )
        return text

    def _store(self, keyset: Keyset) -> None:
        self._call("set_password", _SERVICE, self.entry, keyset.to_json())

    def _keeps(self, keyset: Keyset) -> bool:
        return bool(self._call("get_password", _SERVICE, self.entry) == keyset.to_json())

    def _call(self, method: str, *arguments: str) -> Any:
        failure: SecretStoreError
        try:
            import keyring

            return getattr(keyring, method)(*arguments)
        except ImportError:
            failure = BackendNotInstalledError(
                "the keyring package is not installed", hint="pip install 'strongroom[keyring]'"
            )
        except Exception as error:  # noqa: BLE001  (each OS keyring brings its own, D-Bus errors among them)
            failure = UnavailableError(
                f"{self._where} cannot be used: {type(error).__name__}",
                hint="unlock it, or choose a keyset file or a passphrase when creating a database",
            )
        arguments = ()  # this frame travels with the error
        raise failure
