"""A rotator whose process is killed in the middle of a hook, where a file says so."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from strongroom.rotation.rotator import Rotation
from strongroom.value import SecretValue
from tests.unit.rotation_cli_support import FileUser


class MortalUser(FileUser):
    """One user of a target in a file.

    Args:
        path: the target.
        die: while this file exists, it is removed, and the process killed, once the target has changed.
    """

    def __init__(self, *, path: str, die: str):
        super().__init__(path=path)
        self.die = die

    def change(self, r: Rotation, session: Any, pending: SecretValue) -> None:
        """The effect, and then death: nothing has told anybody of it."""
        super().change(r, session, pending)
        if Path(self.die).exists():
            Path(self.die).unlink()
            os.kill(os.getpid(), signal.SIGKILL)
