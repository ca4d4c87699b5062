"""Network namespaces as regions: each has one link to this machine, which is cut and healed for real.

A namespace lives as long as the process that holds it, and its link with it: nothing is left behind, even
after SIGKILL. Where they are not allowed, tests put a relay in the link's place, and say so.
"""

from __future__ import annotations

import errno
import functools
import itertools
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from tests.session import note

# RFC 2544 gives 198.18.0.0/15 to tests between two networks: no machine has routes there.
_NETWORK: Final = (198 << 24) + (18 << 16)
_LINKS: Final = 1 << 15  # of four addresses each
_DISCARD: Final = 9
_SECONDS: Final = 30
_links = itertools.count(os.getpid() * 8)


@dataclass(frozen=True)
class Region:
    """Where a server runs, and the link to it.

    Attributes:
        address: of the server's own network.
        inside: what a command begins with that is to run there.
        cut: take the link away; what is on its way is lost, and nobody is told.
        heal: give it back; returns when packets come through.
    """

    address: str
    inside: Sequence[str]
    cut: Callable[[], None]
    heal: Callable[[], None]


@functools.cache
def refused() -> str:
    """Why this machine gives no namespaces; empty if it does."""
    try:
        with region():
            return ""
    except (OSError, subprocess.CalledProcessError) as error:
        return f"network namespaces of one's own: this machine gives none ({type(error).__name__})"


@contextmanager
def region() -> Iterator[Region]:
    """A network namespace, its only link a pair of virtual interfaces."""
    number = next(_links) % _LINKS
    here, there = (_dotted(_NETWORK + 4 * number + end) for end in (1, 2))
    name = f"sr{number}"
    with _namespace() as pid:
        inside = ["nsenter", f"--net=/proc/{pid}/ns/net"]
        _ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
        _ip("addr", "add", f"{here}/30", "dev", name)
        _ip("link", "set", name, "up")
        _ip("addr", "add", f"{there}/30", "dev", "eth0", within=inside)
        for device in ("lo", "eth0"):
            _ip("link", "set", device, "up", within=inside)
        link = functools.partial(_ip, "link", "set", "eth0", within=inside)

        def heal() -> None:
            link("up")
            _ip("neigh", "flush", "dev", name)  # that nobody answered is remembered for some seconds
            _await(there)

        yield Region(there, inside, lambda: link("down"), heal)


@contextmanager
def _namespace() -> Iterator[int]:
    """The process that holds one. It ends with its input, at the latest when this process dies."""
    process = subprocess.Popen(
        ["unshare", "--net", "sh", "-c", "echo; exec cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with process:
        assert process.stdout
        if not process.stdout.readline():
            raise OSError("no namespace")
        note("servers", name="network namespaces")
        yield process.pid


def _await(address: str) -> None:
    """Return once packets come through: a port that nobody listens on refuses."""
    deadline = time.monotonic() + _SECONDS
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            probe.settimeout(0.2)
            if probe.connect_ex((address, _DISCARD)) == errno.ECONNREFUSED:
                return
    raise OSError(f"the link to {address} does not come up")


def _ip(*arguments: str, within: Sequence[str] = ()) -> None:
    subprocess.run([*within, "ip", *arguments], check=True, capture_output=True)


def _dotted(number: int) -> str:
    return socket.inet_ntoa(number.to_bytes(4, "big"))
