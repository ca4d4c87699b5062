"""Both directions with AWS's own SDKs, in Python and in JavaScript: what one writes the other reads.

By day every two values of all axes meet; at night the whole product runs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from strongroom.envelope.cipher import decrypt, encrypt
from tests.integration.covering import Axes, Case, everything, pairwise
from tests.integration.interop_support import (
    JavaScriptSDK,
    Kek,
    Keks,
    Ours,
    Peer,
    PythonSDK,
    Raw,
    make_keks,
)
from tests.scale import NIGHTLY
from tests.servers.moto import Moto
from tests.servers.node import Node
from tests.session import note

CONTEXTS: dict[str, dict[str, str]] = {
    "no context": {},
    "ascii": {"tenant": "acme", "name": "db/password"},
    "unicode": {"über": "Straße", "\U0001f511": "key", "\uff21": ""},  # UTF-16 sorts the last two otherwise
}
MIB = 1 << 20
_WHO: Axes = {"peer": ["python", "javascript"], "signed": [False, True], "context": list(CONTEXTS)}
_UNDER: Axes = {"kind": ["raw", "kms", "mixed"], "count": [1, 2, 3, 4, 5]}
WRITTEN: Axes = {**_WHO, **_UNDER, "size": [0, 1, 1_000, MIB - 1, MIB, MIB + 1, 5 * MIB]}
READ: Axes = {
    **_WHO,
    **_UNDER,
    "size": [0, 1, 256, 1_280, 10_000, MIB, 5 * MIB],
    "frame": [1, 7, 128, 640, 4_096, MIB, 4 * MIB],
}


def _allowed(case: Case) -> bool:
    """At most 10,000 frames; the Python SDK writes multiples of 128 bytes alone, see `_refusals`."""
    frame: int = case.get("frame", MIB)
    return bool(case["size"] <= 10_000 * frame and (case["peer"] != "python" or frame % 128 == 0))


def _cases(axes: Axes) -> list[Any]:
    """By day one test a case, at night one for all that differ in size, frame and count of KEKs alone."""
    if not NIGHTLY:
        cases = list(pairwise(axes, _allowed))
        return [pytest.param([case], id=f"{n}-{case['peer']}") for n, case in enumerate(cases)]
    groups: dict[tuple[Any, ...], list[Case]] = {}
    for case in everything(axes, _allowed):
        groups.setdefault(tuple(case[axis] for axis in (*_WHO, "kind")), []).append(case)
    return [pytest.param(group, id="-".join(map(str, key))) for key, group in groups.items()]


def _count(name: str, axes: Axes) -> None:
    """The run ends by printing how many cases there were, and how many there are at night."""
    run, nightly = ([*cases(axes, _allowed)] for cases in (pairwise, everything))
    note("counts", name=name, nightly=str(len(nightly)), run=str(len(nightly if NIGHTLY else run)))


@pytest.fixture(scope="module")
def keks(kms: Moto) -> Keks:
    return make_keks(kms)


@pytest.fixture(scope="module")
def ours() -> Iterator[Ours]:
    keys = Ours()
    yield keys
    keys.close()


@pytest.fixture(scope="module")
def peers(node_sdk: Node) -> dict[str, Peer]:
    return {"python": PythonSDK(), "javascript": JavaScriptSDK(node_sdk)}


def _without_public_key(said: Mapping[str, str], case: Case) -> dict[str, str]:
    context = dict(said)
    assert (context.pop("aws-crypto-public-key", None) is not None) == case["signed"], case
    return context


class Both:
    """One program of each side, under KEKs that they share."""

    def __init__(self, keks: Keks, ours: Ours, peers: dict[str, Peer]):
        self.keks, self.ours, self.peers = keks, ours, peers

    def they_read(self, case: Case) -> None:
        keks, context, value = self._with(case)
        message = encrypt(value, keys=self.ours.keys(keks), context=context, signed=case["signed"])
        for kek in {keks[0], keks[-1]}:
            read, said = self.peers[case["peer"]].decrypt(message, [kek])
            assert read == value, case
            assert _without_public_key(said, case) == context

    def we_read(self, case: Case) -> None:
        keks, context, value = self._with(case)
        peer = self.peers[case["peer"]]
        message = peer.encrypt(value, keks, context, case["frame"], signed=case["signed"])
        for kek in {keks[0], keks[-1]}:
            read = decrypt(message, keys=[self.ours.key(kek)], context=context)
            assert (read.value == value, read.passed_over) == (True, ()), case
            assert _without_public_key(read.context, case) == context

    def _with(self, case: Case) -> tuple[tuple[Kek, ...], dict[str, str], bytes]:
        keks = self.keks.of(case["kind"], case["count"])
        return keks, CONTEXTS[case["context"]], os.urandom(case["size"])


@pytest.fixture(scope="module")
def both(keks: Keks, ours: Ours, peers: dict[str, Peer]) -> Both:
    _count("interoperation: messages that AWS reads", WRITTEN)
    _count("interoperation: messages that we read", READ)
    return Both(keks, ours, peers)


@pytest.mark.parametrize("cases", _cases(WRITTEN))
def test_aws_reads_what_we_write(both: Both, cases: list[Case]) -> None:
    """0 B to 5 MiB, in one frame and in several, with and without context and signature; the first or
    the last KEK of up to five, raw or of KMS, is enough for a reader, and it sees our context."""
    for case in cases:
        both.they_read(case)


@pytest.mark.parametrize("cases", _cases(READ))
def test_we_read_what_aws_writes(both: Both, cases: list[Case]) -> None:
    """The same in frames of 1 B to 4 MiB, up to 10,000 of them, the last one full or not."""
    for case in cases:
        both.we_read(case)


@pytest.mark.parametrize("peer", ["python", "javascript"])
@pytest.mark.parametrize("far", [False, True], ids=["written at home", "written by the replica"])
def test_a_key_of_several_regions_opens_in_each_of_them(both: Both, peer: str, far: bool) -> None:
    """A message names the replica that wrapped its data key; AWS and we open it by any other."""
    home, replica = both.keks.kms[2], both.keks.replica
    writer, reader = (replica, home) if far else (home, replica)
    context = CONTEXTS["ascii"]
    message = encrypt(b"ours", keys=[both.ours.key(writer)], context=context)
    assert both.peers[peer].decrypt(message, [reader])[0] == b"ours"
    message = both.peers[peer].encrypt(b"theirs", [writer], context, 4_096, signed=False)
    assert decrypt(message, keys=[both.ours.key(reader)], context=context).value == b"theirs"


@pytest.mark.parametrize("peer", ["python", "javascript"])
def test_a_name_space_of_ones_own(both: Both, peer: str) -> None:
    """Names in Unicode, one of them the beginning of the other: each SDK takes the key that was meant."""
    keks = [Raw("schlüssel", os.urandom(32)), Raw("schlüssel-2", os.urandom(32))]
    for opens in keks:
        message = encrypt(b"ours", keys=both.ours.keys(keks), context={})
        assert both.peers[peer].decrypt(message, [opens])[0] == b"ours"
        message = both.peers[peer].encrypt(b"theirs", keks, {}, 4_096, signed=False)
        assert decrypt(message, keys=[both.ours.key(opens)], context={}).value == b"theirs"
