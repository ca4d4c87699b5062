"""What a place must do in which a keyring is kept."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple, Protocol

from strongroom.localkey import WrapCounter


class Held(NamedTuple):
    """What a place holds.

    Attributes:
        message: the keyring, encrypted.
        version: what tells this message from every other one that was ever there.
    """

    message: bytes
    version: str = ""


class KeyCounter(WrapCounter, Protocol):
    """Counts the wraps of one version of a keyring."""

    def taken(self) -> int:
        """How many numbers were given out.

        Raises:
            IntegrityError: the counter is gone or damaged.
        """
        ...


class KeyringPlace(ABC):
    """Where one keyring is kept, with the wrap counters of its versions.

    Whoever writes here can keep the keyring from being used, put an older one back, and set a counter back so
    that a version wraps more than it should; he learns no key. Grant it to as few as may rotate it.

    Attributes:
        where: the place's name for people.
        settles: seconds for which a read may still answer with what was there before the last write.
    """

    where: str
    settles: float = 0.0

    @abstractmethod
    def read(self) -> Held:
        """What is there.

        Raises:
            SecretNotFoundError: nothing is.
        """

    @abstractmethod
    def write(self, message: bytes, over: Held | None) -> None:
        """Put `message` in the place of `over`, or where nothing is; whole and durable, or not at all.

        Raises:
            SecretConflictError: something else is there.
            UnavailableError: with ``performed=None`` if it may have happened.
        """

    @abstractmethod
    def create_counter(self, key_name: str) -> None:
        """Make the wrap counter of a new key, durable before this returns."""

    @abstractmethod
    def counter(self, key_name: str) -> KeyCounter:
        """The wrap counter of a key; a missing one is an error when it is used, never a new one."""

    def after_fork(self) -> None:
        """In a forked child: drop sessions and sockets without closing them, the parent still uses them."""

    def close(self) -> None:
        """Release what is held. Safe to repeat."""
