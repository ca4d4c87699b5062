"""The seam of a provider's own replication: what configures it, watches it, and takes a copy over."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .errors import UnsupportedOperationError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from .names import Key


class CopyState(enum.Enum):
    """What the provider says of one place's copy of a secret."""

    IN_SYNC = "in-sync"
    COPYING = "copying"
    FAILED = "failed"
    MISSING = "missing"
    ALIEN = "alien"


@dataclass(frozen=True, slots=True)
class Copy:
    """One place's copy of a secret.

    Attributes:
        place: the region or location.
        state: as the provider says; ALIEN is a secret of that name that is no copy.
        key: the key encryption key there, or an empty string for the provider's own.
        version: the current version's id there, where it was asked for.
        reason: in our own words, why it failed.
    """

    place: str
    state: CopyState
    key: str = ""
    version: str = ""
    reason: str = ""


class NativeReplication(ABC):
    """A provider's own replication of the secrets of one store. Every method may block.

    Attributes:
        fixed: where a secret is kept is decided when it is made, and can never be changed.
    """

    fixed: ClassVar[bool] = False

    @property
    @abstractmethod
    def place(self) -> str:
        """The region or location of the store itself; empty where it has no single one."""

    @abstractmethod
    def resource(self, key: Key) -> str:
        """The provider's full name of a secret, which its copies bear too."""

    def is_another(self, wanted: str, told: str) -> bool:
        """Whether a copy certainly is under another key than is wanted; an empty one leaves it open."""
        return bool(wanted) and wanted != told

    @abstractmethod
    def copies(self, key: Key, *, verify: bool = False) -> Mapping[str, Copy]:
        """The copies of a secret by place; ``verify`` asks each place itself for its current version."""

    @abstractmethod
    def survey(self, places: Collection[str]) -> Mapping[str, Mapping[Key, Copy]]:
        """All copies in these places, by place and secret, from lists alone, which may lag.

        A copy's version is empty where the lists do not tell it. ALIEN ones of the store's prefix are in it.
        """

    @abstractmethod
    def ensure(self, key: Key, places: Mapping[str, str]) -> None:
        """Have a secret copied to these places, each under its key encryption key; a repeat is one.

        Raises:
            SecretConflictError: a secret of that name, which is no copy, stands there.
            UnsupportedOperationError: places of an existing secret cannot be changed.
        """

    @abstractmethod
    def detach(self, key: Key, place: str) -> None:
        """Make that place's copy a secret of its own, for a takeover; a repeat is one."""

    def fence(self, key: Key) -> None:
        """Have the provider itself refuse every write of a secret at its source; a repeat is one.

        Raises:
            UnsupportedOperationError: this provider's policies cannot say so.
        """
        raise UnsupportedOperationError(
            "this provider cannot refuse the writes of one secret", hint="take the writers' permissions away"
        )

    def lift(self, key: Key) -> None:
        """Take the refusal that `fence` made away, and nothing else; a repeat is one.

        Raises:
            UnsupportedOperationError: as for `fence`.
        """
        raise UnsupportedOperationError("this provider cannot refuse the writes of one secret")
