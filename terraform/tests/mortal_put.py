"""Our provider, killed in the middle of a write where a file says so; that file is the first argument."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from strongroom.store import SecretStore
from strongroom_terraform.main import main

_put = SecretStore.put


def run(die: Path) -> None:
    """The provider; while `die` exists it is removed, and the process killed once a value is written."""

    def put(store: SecretStore, *args: Any, **options: Any) -> Any:
        written = _put(store, *args, **options)
        if die.exists():
            die.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return written

    SecretStore.put = put  # type: ignore[method-assign, assignment]
    main()


if __name__ == "__main__":
    run(Path(sys.argv.pop(1)))
