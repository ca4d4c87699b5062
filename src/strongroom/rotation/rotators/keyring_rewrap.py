"""Key encryption keys of a keyring: a new version wraps, and the keyring is encrypted anew under its roots.

After a root was rotated at its KMS or HSM, the same write brings the keyring under the root's newest version.
Nothing that was encrypted under the keyring is touched; to bring it under the new version, and to end what an
old one opens, use ``strongroom reencrypt``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from strongroom.errors import IntegrityError, PermissionDeniedError
from strongroom.rotation.fields import fields
from strongroom.rotation.rotator import Rotator

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.envelope.keyring import Keyring
    from strongroom.rotation.rotator import Rotation
    from strongroom.value import SecretValue

KeyringSource = Callable[[], "Keyring"]
"""Opens a keyring with its configured roots; in strongroom.toml the alias of a ``[keyring]``."""

_CONTEXT = {"purpose": "strongroom rotation"}


class KeyringRotator(Rotator):
    """Adds a version to a keyring, and encrypts it anew under its roots.

    The secret says which version wraps: JSON of identifiers, none of them secret.

    Args:
        keyring: opens the keyring; asked in each hook, and closed after it.
        add_version: whether a new version is made. If not, the keyring is only encrypted anew under its
            roots, which is enough after a root was rotated or exchanged.
        drop_roots: remove roots that are not configured any more, instead of refusing.
    """

    slots = "version"
    probes = False

    def __init__(self, *, keyring: KeyringSource, add_version: bool = True, drop_roots: bool = False):
        self._open, self._add, self._drop = keyring, add_version, drop_roots

    def create_secret(self, r: Rotation) -> dict[str, Any]:
        """Add a version and encrypt the keyring anew under its roots.

        A version that is newer than the current value's was added by an attempt that crashed, or by a
        person: it is taken. All roots must answer; one that does not is named by the error.
        """
        before = _facts(r.current)
        with self._opened() as keyring:
            rewritten = before.get("id") == keyring.key_id and before.get("generation") != keyring.generation
            r.check()
            if self._drop and not rewritten:
                keyring.rewrap(drop_roots=True)
            if self._add and (not rewritten or before.get("version") == _primary(keyring)):
                keyring.rotate()  # which writes it under all its roots
            elif not rewritten:
                keyring.rewrap()
            return _described(keyring)

    def test_secret(self, r: Rotation, value: SecretValue) -> None:
        """Return if the version wraps and unwraps, and each root opens the keyring alone.

        Raises:
            PermissionDeniedError: the keyring has no such version.
            IntegrityError: what it wraps does not open again.
            SecretStoreError: a root does not open it.
        """
        wanted = _facts(value)
        with self._opened() as keyring:
            known = {version.name for version in keyring.versions}
            if keyring.key_id != wanted.get("id") or wanted.get("version") not in known:
                raise PermissionDeniedError("the keyring has no such version", name=r.name)
            for problem in keyring.try_roots():
                if problem is not None:
                    raise problem
            made = keyring.generate_data_key(_CONTEXT)
            if keyring.unwrap(made.wrapped, _CONTEXT) != made.plaintext:
                raise IntegrityError("the keyring unwraps something else than it wrapped")

    @contextmanager
    def _opened(self) -> Iterator[Keyring]:
        keyring = self._open()
        try:
            yield keyring
        finally:
            keyring.close()


def _primary(keyring: Keyring) -> str:
    return next(version.name for version in keyring.versions if version.primary)


def _described(keyring: Keyring) -> dict[str, Any]:
    return {
        "keyring": keyring.name,
        "id": keyring.key_id,
        "version": _primary(keyring),
        "generation": keyring.generation,
        "roots": [root.key_id for root in keyring.roots],
    }


def _facts(value: SecretValue | None) -> Mapping[str, Any]:
    return fields(value) if value is not None else {}
