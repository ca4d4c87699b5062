"""SoftHSM 2 from Debian: tokens in a private folder, for this process and what it forks.

The module reads SOFTHSM2_CONF when it is initialised, so a process has one folder for all its tests; each
test takes labels of its own (`SoftHSM.unique`).
"""

from __future__ import annotations

import itertools
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pkcs11

from strongroom.backend import Settings
from strongroom.value import SecretValue
from tests.canary import CANARY
from tests.servers.process import wait_for_interrupt
from tests.session import note

MODULE = "/usr/lib/softhsm/libsofthsm2.so"
LABELS = ("strongroom", "other", "counted", "refusing", "store")
"""All tokens a test run needs: SoftHSM shows new ones only when it is initialised again. `counted` is for
tests that count sessions, `refusing` for those that give a wrong PIN, `store` for stores of secrets."""

PIN = f"pin-{CANARY}"
_CONFIGURATION = """\
directories.tokendir = {folder}/tokens
objectstore.backend = file
log.level = ERROR
"""
_numbers = itertools.count(1)


@dataclass
class TestToken:
    """A token, and what opens it."""

    module: str
    label: str
    pin: str = field(repr=False)

    __test__ = False  # to pytest, not a class of tests

    def url(self, name: str = "", **attributes: str) -> str:
        """The URL of an object on the token."""
        parts = {"token": self.label, **({"object": name} if name else {}), **attributes}
        return "pkcs11:" + ";".join(f"{key}={quote(value, safe='')}" for key, value in parts.items())

    def settings(self, **changes: Any) -> Settings:
        """What strongroom.toml would give; `options` are added to the module's."""
        options = {"module": self.module, **changes.pop("options", {})}
        return Settings(**{"auth": {"pin": SecretValue(self.pin)}, "options": options, **changes})

    def unique(self, stem: str = "key") -> str:
        """A label that no other test of this process uses."""
        return f"{stem}-{os.getpid()}-{next(_numbers)}"

    @contextmanager
    def native(self) -> Iterator[Any]:
        """A session of plain python-pkcs11, as another program would use it. One thread only."""
        token = pkcs11.lib(self.module).get_token(token_label=self.label)
        try:
            session = token.open(rw=True, user_pin=self.pin)
        except pkcs11.UserAlreadyLoggedIn:  # by Strongroom, in this process
            session = token.open(rw=True)
        try:
            yield session
        finally:
            session.close()


@contextmanager
def tokens(*labels: str) -> Iterator[list[TestToken]]:
    """Fresh tokens with the PIN `PIN`, in a folder that this process alone uses."""
    note("servers", name="SoftHSM 2")
    before = os.environ.get("SOFTHSM2_CONF")
    with tempfile.TemporaryDirectory(prefix="softhsm-") as folder:
        Path(folder, "tokens").mkdir()
        configuration = Path(folder, "softhsm2.conf")
        configuration.write_text(_CONFIGURATION.format(folder=folder))
        os.environ["SOFTHSM2_CONF"] = str(configuration)
        try:
            yield [create(label) for label in labels]
        finally:
            os.environ.pop("SOFTHSM2_CONF")
            if before is not None:
                os.environ["SOFTHSM2_CONF"] = before


def create(label: str) -> TestToken:
    """One more token in the folder."""
    argv = ["softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", PIN, "--pin", PIN]
    subprocess.run(argv, check=True, capture_output=True)
    return TestToken(MODULE, label, PIN)


if __name__ == "__main__":
    with tokens(LABELS[0]) as (made,):
        lines = [f"export SOFTHSM2_CONF={os.environ['SOFTHSM2_CONF']} PIN={made.pin}", ""]
        table = f'[key.hsm]\nurl = "{made.url("kek")}"\nmodule = "{made.module}"\npin = "env://PIN"'
        wait_for_interrupt([*lines, "In strongroom.toml:", table])
