"""`python -m tests.bench.envelope_memory encrypt|decrypt FOLDER LENGTH`: prints memory before, and its peak.

Bytes of resident memory after everything was imported, and a file of one byte done, and at most
during a file of LENGTH. `encrypt` leaves the message in FOLDER, where `decrypt` opens it.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import strongroom
from strongroom.localkey import LocalKey
from tests.bench.envelope_peers import CONTEXT


class _Counter:
    """Counts nothing: this process wraps twice."""

    def reserve(self, count: int) -> int:
        return 0


KEY = LocalKey(bytes(32), name="bench", counter=_Counter())


def main(verb: str, folder: Path, length: int) -> None:
    """Do a small file, then the long one."""
    small, source, message = folder / "small", folder / "source", folder / "message"
    if verb == "encrypt":
        _sparse(small, 1)
        _sparse(source, length)
        _encrypt(small, small.with_suffix(".message"))
        before = _reset()
        _encrypt(source, message)
    else:
        _decrypt(small.with_suffix(".message"))
        before = _reset()
        assert _decrypt(message) == length
    print(before, _status("VmHWM"))


def _sparse(path: Path, length: int) -> None:
    with path.open("wb") as file:
        file.truncate(length)


def _encrypt(source: Path, target: Path) -> None:
    strongroom.encrypt_file(source, target, keys=[KEY], context=CONTEXT)


def _decrypt(source: Path) -> int:
    """To nowhere: plaintext of 4 GiB beside its message would need twice the RAM disk."""
    with source.open("rb", buffering=0) as read, open("/dev/null", "wb", buffering=0) as nowhere:
        return strongroom.decrypt_stream(read, nowhere, keys=[KEY], context=CONTEXT).length


def _reset() -> int:
    """Memory now, from which the peak is counted anew: `proc(5)`, clear_refs. `ru_maxrss` would not do: Linux
    hands it on from the parent."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _status(field: str) -> int:
    [kilobytes] = re.findall(rf"^{field}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(kilobytes) * 1024


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
