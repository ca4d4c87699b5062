"""Journals for tests of the verifier, made by code that shares nothing with the writer but the record."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from strongroom.audit.record import GENESIS, encode, leaf_hash

ORIGIN = "example.com/audit"


class LogKey:
    """An Ed25519 key that signs notes."""

    def __init__(self, name: str = ORIGIN, kind: int = 1):
        self.name, self._kind = name, kind
        self._private = Ed25519PrivateKey.generate()
        raw = self._private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self._material = bytes([kind]) + raw
        self._id = sha256(name.encode() + b"\n" + self._material).digest()[:4]

    @property
    def text(self) -> str:
        """The public half, as a verifier takes it."""
        return f"{self.name}+{self._id.hex()}+{base64.b64encode(self._material).decode()}"

    def line(self, text: str, time: int = 0) -> str:
        """The signature line, or a witness's, of a note's text."""
        head = f"cosignature/v1\ntime {time}\n" if self._kind == 4 else ""
        stamp = time.to_bytes(8, "big") if self._kind == 4 else b""
        signature = self._id + stamp + self._private.sign((head + text).encode())
        return f"— {self.name} {base64.b64encode(signature).decode()}\n"


def root_of(leaves: Sequence[bytes]) -> bytes:
    """The root by the recursive definition of RFC 6962 section 2.1."""
    if not leaves:
        return sha256(b"").digest()
    return _root(tuple(leaves))


@lru_cache(maxsize=100_000)
def _root(leaves: tuple[bytes, ...]) -> bytes:
    if len(leaves) == 1:
        return leaves[0]
    half = 1 << (len(leaves) - 1).bit_length() - 1
    return sha256(b"\x01" + _root(leaves[:half]) + _root(leaves[half:])).digest()


def body(leaves: Sequence[bytes], origin: str = ORIGIN) -> str:
    """The text of the checkpoint over these leaves."""
    return f"{origin}\n{len(leaves)}\n{base64.b64encode(root_of(leaves)).decode()}\n"


@dataclass
class MadeChain:
    """A chain in the making: its lines by segment, without their line ends."""

    name: str
    segments: list[list[bytes]] = field(default_factory=lambda: [[]])
    seq: int = 0
    prev: str = GENESIS

    def add(self, **fields: Any) -> bytes:
        """Add a record; its line."""
        moment = f"2026-11-23T10:{self.seq // 3600 % 60:02d}:{self.seq // 60 % 60:02d}.{self.seq:09d}Z"
        head = {
            "v": 1,
            "chain": self.name,
            "seq": self.seq,
            "prev": self.prev,
            "time": moment,
            "mono": self.seq,
        }
        line = encode({**head, **fields})
        self.segments[-1].append(line)
        self.seq, self.prev = self.seq + 1, leaf_hash(line).hex()
        return line

    def rotate(self) -> bytes:
        """End the segment; the record that names the next."""
        line = self.add(kind="segment", next=f"{len(self.segments) + 1:08d}.jsonl")
        self.segments.append([])
        return line


class MadeJournal:
    """A journal in the making, and what was kept of it elsewhere."""

    def __init__(self, key: LogKey, origin: str = ORIGIN):
        self.key, self.origin = key, origin
        self.chains: dict[str, MadeChain] = {}
        self.ids: list[str] = []
        self.leaves: list[bytes] = []
        self.order: list[dict[str, Any]] = []
        self.notes: list[str] = []
        self._waiting: list[tuple[str, int, bytes]] = []

    def chain(self, digit: str) -> MadeChain:
        """The chain whose name is that digit 32 times; begun if it is new."""
        name = digit * 32
        if name not in self.chains:
            self.chains[name] = MadeChain(name)
            self.add(digit, kind="chain", library="strongroom 1", host="h", pid=7)
        return self.chains[name]

    def add(self, digit: str, **fields: Any) -> str:
        """Add a record to a chain; its id."""
        chain = self.chains.get(digit * 32) or self.chain(digit)
        seq = chain.seq
        return self._note(chain, seq, chain.add(**fields))

    def read(self, digit: str, **more: Any) -> str:
        """Add a record of a read."""
        seq = self.chain(digit).seq
        what = {"kind": "event", "phase": "intent", "op": "get", "name": f"db/{seq}", "cid": f"{seq:032x}"}
        return self.add(digit, **what, **more)

    def rotate(self, digit: str) -> None:
        """End the chain's segment."""
        chain = self.chain(digit)
        self._note(chain, chain.seq, chain.rotate())

    def _note(self, chain: MadeChain, seq: int, line: bytes) -> str:
        self._waiting.append((chain.name, seq, leaf_hash(line)))
        return f"{chain.name}:{seq}"

    def checkpoint(self) -> str:
        """Take what was added into the tree, chain by chain, and sign that; the note."""
        for chain in sorted({name for name, _, _ in self._waiting}):
            new = [(seq, leaf) for name, seq, leaf in self._waiting if name == chain]
            self.order.append({"chain": chain, "first": new[0][0], "count": len(new)})
            self.ids += [f"{chain}:{seq}" for seq, _ in new]
            self.leaves += [leaf for _, leaf in new]
        self._waiting = []
        text = body(self.leaves, self.origin)
        self.notes.append(f"{text}\n{self.key.line(text)}")
        return self.notes[-1]

    def write(self, path: Path) -> Path:
        """Write it to a folder."""
        for chain in self.chains.values():
            folder = path / "chains" / chain.name
            folder.mkdir(parents=True)
            (folder / "lock").touch()
            for number, segment in enumerate(chain.segments, 1):
                (folder / f"{number:08d}.jsonl").write_bytes(b"".join(line + b"\n" for line in segment))
        (path / "journal.json").write_text(json.dumps({"v": 1, "origin": self.origin}) + "\n")
        write_lines(path / "order.jsonl", self.order)
        times = [{"time": "2026-11-23T11:00:00.000000000Z", "note": note} for note in self.notes]
        write_lines(path / "checkpoints.jsonl", times)
        return path


def write_lines(path: Path, documents: Sequence[Any]) -> None:
    """Write JSON lines."""
    path.write_text("".join(json.dumps(each, ensure_ascii=False) + "\n" for each in documents))


def copy(path: Path, to: Path) -> Path:
    """A copy to tamper with, in place of what is there."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(path, to)
    return to
