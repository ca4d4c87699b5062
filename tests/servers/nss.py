"""NSS softokn from Debian, as a second PKCS#11 module: what passes on both is nobody's habit.

A shim, compiled here, initialises it with the place of its database (see shim.c).
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.canary import CANARY, plaintext
from tests.servers.softhsm import TestToken
from tests.session import note

LABEL = "NSS Certificate DB"
PIN = f"pin-{CANARY}"


@contextmanager
def token() -> Iterator[TestToken]:
    """A token whose database is new and has a password."""
    note("servers", name="NSS softokn")
    with tempfile.TemporaryDirectory(prefix="nss-") as folder:
        password = plaintext(folder, "certutil reads the password from a file") / "password"
        password.write_text(PIN + "\n")
        database = f"sql:{folder}"
        subprocess.run(["certutil", "-N", "-d", database, "-f", password], check=True, capture_output=True)
        yield TestToken(str(_shim(Path(folder), database)), LABEL, PIN)


def _shim(folder: Path, database: str) -> Path:
    library = folder / "shim.so"
    reserved = f"configdir='{database}' certPrefix='' keyPrefix='' secmod='secmod.db' flags="
    subprocess.run(
        ["gcc", "-shared", "-fPIC", f'-DREAL="{_softokn()}"', f'-DRESERVED="{reserved}"',
         "-o", library, Path(__file__).with_name("shim.c"), "-ldl"],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return library


def _softokn() -> Path:
    return next(Path("/usr/lib").glob("*/libsoftokn3.so"))
