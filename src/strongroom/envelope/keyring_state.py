"""What a process knows of a keyring it has opened: its versions, ready to wrap and unwrap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, Self, final

from strongroom.errors import InvalidRequestError
from strongroom.localkey import MAX_WRAPS, LocalKey, WrapCounter

from .keyring_keeping import key_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .keyring_document import VersionKey
    from .keyring_keeping import Opened
    from .keyring_places import KeyringPlace

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


@dataclass(frozen=True, slots=True, repr=False)
class State:
    """One message of a keyring, opened. Replaced whole, so that threads need no lock to read it."""

    generation: int
    message: bytes
    primary: LocalKey
    keys: Mapping[bytes, LocalKey]
    versions: tuple[KeyringVersion, ...]
    passed_over: tuple[str, ...]

    @classmethod
    def of(cls, opened: Opened, before: State | None, place: KeyringPlace, keyring: str) -> Self:
        """What was read or written. A key that was known before stays: it has reserved numbers to wrap."""
        document, known = opened.document, before.keys if before else {}
        named = {key_name(document, version): version for version in document.keys}
        keys = {
            name.encode(): known.get(name.encode()) or _local_key(name, version, place, keyring)
            for name, version in named.items()
        }
        primary, versions = document.primary, document.keys
        return cls(
            document.generation,
            opened.message,
            keys[f"{document.id}/{primary}".encode()],
            keys,
            tuple(KeyringVersion(key.name, key.created, key.name == primary) for key in versions),
            opened.passed_over,
        )


def _local_key(name: str, version: VersionKey, place: KeyringPlace, keyring: str) -> LocalKey:
    counter = _Counter(place.counter(name), keyring)
    return LocalKey(version.key, name=name, namespace=PROVIDER_ID, counter=counter)


@final
class _Counter:
    """The wrap counter of a version, which says what to do when the version is spent."""

    def __init__(self, inner: WrapCounter, keyring: str):
        self._inner, self._keyring = inner, keyring

    def reserve(self, count: int) -> int:
        start = self._inner.reserve(count)
        if start + count > MAX_WRAPS:
            raise InvalidRequestError(
                f"the primary of keyring {self._keyring} has wrapped its {MAX_WRAPS} data keys",
                hint=f"strongroom key rotate {self._keyring}; it still opens what it wrapped",
            )
        return start
