"""Keyrings: versioned local KEKs that are themselves one small message under root KEKs.

Encrypting under a keyring costs no call to a KMS once it is open, any one of its roots opens it, and changing
roots (`rewrap`) writes that one message anew, however much was encrypted under the keyring.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple, final

from strongroom.keys import KeyWrapper

from .keyring_places import FilePlace, KeyringPlace, StorePlace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.backend import Clock
    from strongroom.keys import WrappedKey

__all__ = ["FilePlace", "Keyring", "KeyringPlace", "KeyringVersion", "Rewrapped", "Root", "StorePlace"]

PROVIDER_ID: Final = "strongroom-keyring"


class KeyringVersion(NamedTuple):
    """One version of a keyring.

    Attributes:
        name: random; messages name it after the keyring's id.
        created: when, UTC, ISO 8601.
        primary: whether it wraps; every version unwraps.
    """

    name: str
    created: str
    primary: bool


class Root(NamedTuple):
    """A KEK that opens a keyring, as the keyring's message names it.

    Attributes:
        provider_id: the name space of `key_id`.
        key_id: what the provider calls the key.
        configured: whether it is among the roots the keyring was opened with.
    """

    provider_id: str
    key_id: str
    configured: bool


class Rewrapped(NamedTuple):
    """What `Keyring.rewrap` changed: key ids of the roots added and removed."""

    added: tuple[str, ...]
    removed: tuple[str, ...]


@final
class Keyring(KeyWrapper):
    """A KEK of several versions: wraps under the newest, unwraps under any. Made by `create` or `open`.

    It owns its place and its roots: `close` closes them, `after_fork` tells them.
    """

    provider_id = PROVIDER_ID
    remote = False

    @classmethod
    def create(
        cls,
        place: KeyringPlace,
        roots: Sequence[KeyWrapper],
        *,
        name: str,
        forgeable: bool = False,
        clock: Clock | None = None,
    ) -> Keyring:
        """Make a keyring with one version, and open it; an existing one is never replaced."""
        raise NotImplementedError

    @classmethod
    def open(
        cls,
        place: KeyringPlace,
        roots: Sequence[KeyWrapper],
        *,
        name: str,
        forgeable: bool = False,
        clock: Clock | None = None,
    ) -> Keyring:
        """Open the keyring of a place with whichever of `roots` answers first."""
        raise NotImplementedError

    def rotate(self) -> str:
        """Add a version, which wraps from now on; return its name."""
        raise NotImplementedError

    def rewrap(self, *, drop_roots: bool = False) -> Rewrapped:
        """Encrypt the keyring anew under the roots it was opened with; its versions stay as they are."""
        raise NotImplementedError

    @property
    def versions(self) -> tuple[KeyringVersion, ...]:
        """Every version, the oldest first."""
        raise NotImplementedError

    @property
    def roots(self) -> tuple[Root, ...]:
        """The roots that the keyring's message names."""
        raise NotImplementedError

    def is_primary(self, wrapped: WrappedKey) -> bool:
        """Whether `wrapped` was wrapped under the version that wraps now, as far as is known here."""
        raise NotImplementedError

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> WrappedKey:
        raise NotImplementedError

    def unwrap(self, wrapped: WrappedKey, context: Mapping[str, str]) -> bytes:
        raise NotImplementedError
