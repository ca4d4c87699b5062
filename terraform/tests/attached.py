"""Stand-ins that are started once and serve every run of Terraform: it starts a provider anew for each step.

``python -m terraform.tests.attached NAME`` serves the stand-in of that name and says where. Nobody else can
reach it: its socket is in a folder of this user's alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from strongroom_terraform import main
from strongroom_terraform.blocks import Provider
from terraform.tests import standin
from terraform.tests.schemas import known, mentioned, packages


@contextmanager
def attached(module: str, *args: str, env: Mapping[str, str] | None = None) -> Iterator[str]:
    """A process of this module, which calls `serve`; what it says is a value of TF_REATTACH_PROVIDERS."""
    argv = ["setpriv", "--pdeathsig", "KILL", sys.executable, "-m", module, *args]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, env={**os.environ, **(env or {})}) as process:
        assert process.stdout
        try:
            yield process.stdout.readline().decode()
        finally:
            process.terminate()


def serve(name: str, provider: Provider) -> None:
    """Be the stand-in for a package of ``schemas.txt`` until SIGTERM."""

    def ready(address: str, _certificate: str) -> None:
        at = {"Network": "unix", "String": address}
        where: dict[str, Any] = {"Protocol": "grpc", "ProtocolVersion": 6, "Pid": os.getpid(), "Test": True}
        print(json.dumps({packages()[name].address: where | {"Addr": at}}), flush=True)

    main._serve(provider, None, ready)


if __name__ == "__main__":
    serve(sys.argv[1], standin.provider(sys.argv[1], known(packages()[sys.argv[1]], mentioned())))
