"""Random values without a target, such as session keys and peppers: the store's readers alone know them."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from strongroom.errors import InvalidRequestError
from strongroom.passwords import Policy, generate
from strongroom.rotation.rotator import Rotator

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.rotation.rotator import Rotation
    from strongroom.value import SecretValue

_LARGEST: Final = 4096
"""Bytes. No key is longer; a store with a lower limit refuses it by its own error."""


class RandomRotator(Rotator):
    """Renews a value that has no target: readers take the current one, and the previous one while in grace.

    Args:
        length: characters of a password.
        classes: of its characters, as `strongroom.passwords.Policy` has them.
        exclude: characters that it must not hold.
        size: instead of a password, so many random bytes, 16 to 4,096.

    Raises:
        InvalidRequestError: the policy cannot work, or the size.
    """

    slots = "two"
    probes = False

    def __init__(
        self,
        *,
        length: int = 32,
        classes: Sequence[str] = ("lower", "upper", "digits"),
        exclude: str = "",
        size: int | None = None,
    ):
        if size is not None and not 16 <= size <= _LARGEST:
            raise InvalidRequestError(f"a random value has 16 to {_LARGEST} bytes", hint="size = 32")
        self._policy, self._size = Policy(length, tuple(classes), exclude), size

    def create_secret(self, r: Rotation) -> str | bytes:
        """From the operating system's random source."""
        return secrets.token_bytes(self._size) if self._size else generate(self._policy)

    def test_secret(self, r: Rotation, value: SecretValue) -> None:
        """Return if it is of the size or the policy; one of before a change of either is not.

        Raises:
            InvalidRequestError: it is not.
        """
        made = value.reveal()
        good = len(made) == self._size if self._size else self._policy.allows(made.decode("latin-1"))
        made = b""
        if not good:
            raise InvalidRequestError("the value is not of the stated size or policy")
