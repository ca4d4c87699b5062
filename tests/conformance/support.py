"""What every conformance run in this repository shares: the canary as marker, and the scaled counts."""

from __future__ import annotations

import itertools
import time

from strongroom.backend import Backend, Clock
from strongroom.layers.encrypted import Encrypted
from strongroom.localkey import LocalKey
from strongroom.testing.conformance import BackendConformance
from strongroom.testing.conformance_base import Harness
from strongroom.testing.conformance_keys import KeyWrapperConformance, SignerConformance
from tests.canary import CANARY
from tests.scale import NIGHTLY, scaled


class Hasty(Clock):
    """The system's clock, but nobody sleeps long between two tries: a backend's pace has tests of its own."""

    def sleep(self, seconds: float) -> None:
        time.sleep(min(seconds, 0.01))


class Ours(Harness):
    """This repository's canary in every value, and its way to scale counts."""

    marker = CANARY
    thrown_away = False
    """Whether the place ends with the run: what a case leaves there is removed by night alone."""
    share = 10
    """By day one of so many races: fewer over servers, whose calls take time."""

    def _clean_up(self, backend: Backend) -> None:
        if NIGHTLY or not self.thrown_away:
            super()._clean_up(backend)

    def count(self, nightly: int) -> int:
        """By day a second way races a tenth as often as the first."""
        count = scaled(nightly, share=self.share)
        return count if NIGHTLY or not getattr(self, "second_way", False) else max(1, count // 10)


class Suite(Ours, BackendConformance):
    """The public suite, as this repository runs it."""


class WrapperSuite(KeyWrapperConformance):
    """The public suite of KEKs, as this repository runs it."""

    marker = CANARY

    def count(self, nightly: int) -> int:
        return scaled(nightly, share=20)


class SignerSuite(SignerConformance):
    """The public suite of signing keys, as this repository runs it."""

    def count(self, nightly: int) -> int:
        return scaled(nightly, share=20)


class Counter:
    """Counts the wraps of a key that dies with the test."""

    def __init__(self) -> None:
        self._numbers = itertools.count(0)

    def reserve(self, count: int) -> int:
        return next(self._numbers) * count


KEY_BYTES = bytes(range(32))


def encrypted(inner: Backend) -> Encrypted:
    """``inner`` under a key of this process."""
    return Encrypted(inner, [LocalKey(KEY_BYTES, name="test", counter=Counter())], "conformance")
