"""Passwords under a stated policy, from the operating system's random source."""

from __future__ import annotations

import math
import secrets
import string
from dataclasses import dataclass
from itertools import combinations
from typing import Final

from .errors import InvalidRequestError

CLASSES: Final = {
    "lower": string.ascii_lowercase,
    "upper": string.ascii_uppercase,
    "digits": string.digits,
    "symbols": "!#%*+,-.:=?@_~",
}
"""The character classes. No symbol here means something to a POSIX shell inside double quotes, to a ``.env``
parser, or to SQL; ``@``, ``:``, ``#``, ``%`` and ``?`` still have to be percent-encoded inside a URL."""

MIN_BITS: Final = 64.0
"""The least entropy a policy may have: below it an offline guess at a leaked hash is within reach."""

MAX_LENGTH: Final = 1024
"""Characters; no target system takes longer passwords."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What a password must look like.

    Attributes:
        length: characters, 1 to `MAX_LENGTH`.
        classes: names from `CLASSES`; the password holds at least one character of each.
        exclude: characters never to be used, such as ``"0O1lI"`` where people copy by hand.

    Raises:
        InvalidRequestError: a class is unknown or has nothing left, the length cannot hold one of each, or
            the passwords would have less than `MIN_BITS` bits of entropy.
    """

    length: int = 32
    classes: tuple[str, ...] = ("lower", "upper", "digits")
    exclude: str = ""

    def __post_init__(self) -> None:
        problem = self._problem()
        if problem:
            raise InvalidRequestError(f"this password policy cannot work: {problem}")
        if self.entropy_bits < MIN_BITS:
            raise InvalidRequestError(
                f"the policy allows {self.entropy_bits:.0f} bits of entropy, less than {MIN_BITS:.0f}",
                hint="make the password longer or allow more classes",
            )

    @property
    def alphabets(self) -> tuple[str, ...]:
        """The characters of each class, without those excluded."""
        return tuple("".join(c for c in CLASSES[name] if c not in self.exclude) for name in self.classes)

    @property
    def entropy_bits(self) -> float:
        """log2 of how many passwords the policy allows; `generate` gives each of them equal chance.

        Counted by inclusion and exclusion: all words over the alphabet, less those that lack a class.
        """
        sizes = [len(alphabet) for alphabet in self.alphabets]
        total = sum(
            (-1) ** lacking
            * sum((sum(sizes) - sum(left)) ** self.length for left in combinations(sizes, lacking))
            for lacking in range(len(sizes) + 1)
        )
        return math.log2(total) if total > 0 else 0.0

    def allows(self, password: str) -> bool:
        """Whether `password` is one this policy could have made."""
        alphabets = self.alphabets
        return (
            len(password) == self.length
            and set(password) <= set("".join(alphabets))
            and all(set(password) & set(alphabet) for alphabet in alphabets)
        )

    def __str__(self) -> str:
        return f"{self.length} characters of {', '.join(self.classes)}: {self.entropy_bits:.0f} bits"

    def _problem(self) -> str:
        unknown = [name for name in self.classes if name not in CLASSES]
        if unknown or not self.classes:
            return f"classes are some of {', '.join(CLASSES)}"
        if len(set(self.classes)) < len(self.classes):
            return "a class is named twice"
        if not all(self.alphabets):
            return "a class has no characters left"
        if not len(self.classes) <= self.length <= MAX_LENGTH:
            return f"the length must be {len(self.classes)} to {MAX_LENGTH}"
        return ""


def generate(policy: Policy | None = None) -> str:
    """A new password, every one that the policy allows being equally likely (`secrets.choice`).

    A word that lacks a class is thrown away whole: to place the missing character would make some passwords
    likelier than others. `MIN_BITS` keeps such words rare, so that this ends quickly.
    """
    policy = policy or Policy()
    alphabet = "".join(policy.alphabets)
    while True:
        word = "".join(secrets.choice(alphabet) for _ in range(policy.length))
        if policy.allows(word):
            return word
