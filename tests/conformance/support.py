"""What every conformance run in this repository shares: the canary as marker, and the scaled counts."""

from __future__ import annotations

from strongroom.testing.conformance import BackendConformance
from strongroom.testing.conformance_base import Harness
from tests.canary import CANARY
from tests.scale import scaled


class Ours(Harness):
    """This repository's canary in every value, and its way to scale counts."""

    marker = CANARY

    def count(self, nightly: int) -> int:
        return scaled(nightly)


class Suite(Ours, BackendConformance):
    """The public suite, as this repository runs it."""
