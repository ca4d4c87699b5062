"""A strict AWS Secrets Manager for tests, in memory, served to the real SDK.

    with StrictServer() as server:
        store = strongroom.open(f"aws-sm://eu-west-1?endpoint={server.url}")

``python -m strongroom.testing.aws`` starts one for a person and prints its endpoint.
"""

from __future__ import annotations

import contextlib
import sys
import threading

from .aws_account import Behaviour
from .aws_faults import Fault, Faults
from .aws_secrets_manager import StrictSecretsManager
from .aws_server import StrictServer
from .aws_state import AwsError, Lag

__all__ = [
    "AwsError",
    "Behaviour",
    "Fault",
    "Faults",
    "Lag",
    "StrictSecretsManager",
    "StrictServer",
    "main",
]


def main() -> int:
    """Serve until interrupted."""
    with contextlib.suppress(KeyboardInterrupt), StrictServer() as server:
        sys.stdout.write(f"AWS Secrets Manager, strict and in memory: {server.url}\n")
        sys.stdout.write(f"strongroom list --store 'aws-sm://eu-west-1?endpoint={server.url}'\n")
        sys.stdout.flush()
        threading.Event().wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
