"""``terraform-provider-strongroom``: what Terraform starts, and how to put it where Terraform looks."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .blocks import Provider

_HELP: Final = """\
terraform-provider-strongroom               be the plugin that Terraform starts
terraform-provider-strongroom install DIR   lay out DIR as a filesystem mirror; print the CLI configuration
terraform-provider-strongroom debug         serve one user by hand; print TF_REATTACH_PROVIDERS
terraform-provider-strongroom docs          print what each block takes and tells, in Markdown
terraform-provider-strongroom --version
"""


def main() -> None:
    """The console script."""
    sys.exit(_run(sys.argv[1:]))


def _run(arguments: Sequence[str]) -> int:
    match list(arguments):
        case []:
            return _ours(serve)
        case ["debug"]:
            return _ours(debug)
        case ["docs"]:
            return _ours(_docs)
        case ["install", folder]:
            return _install(Path(folder))
        case ["--version"]:
            from importlib.metadata import version

            sys.stdout.write(version("strongroom") + "\n")
            return 0
    sys.stdout.write(_HELP)
    return 0 if arguments in (["--help"], ["-h"], ["help"]) else 2


def _install(folder: Path) -> int:
    from .install import install

    try:
        sys.stdout.write(install(folder))
        return 0
    except OSError as error:
        sys.stderr.write(f"{folder} cannot be written: {error.strerror}\n")
    return 2


def _docs(provider: Provider) -> int:
    from .pages import page

    sys.stdout.write(page(provider))
    return 0


def _ours(how: Callable[[Provider], int]) -> int:
    try:
        from . import plugin  # noqa: F401  # what it needs comes with the extra
        from .provider import provider
    except ImportError as error:
        sys.stderr.write(f"{error.name} is not installed: pip install 'strongroom[terraform]'\n")
        return 2
    return how(provider())


def serve(provider: Provider) -> int:
    """Be the plugin that Terraform started, until it is done with it.

    Returns:
        An exit code: 1 when it was not Terraform that started it, with a line on standard error.
    """
    from .plugin import NotPluginError, certificate, handshake
    from .problems import ProblemError

    try:
        client = certificate(os.environ)
        _serve(provider, client, lambda address, ours: _say(handshake(address, ours)))
        return 0
    except (NotPluginError, ProblemError) as error:
        sys.stderr.write(f"{error}\n")
    return 1


def debug(provider: Provider) -> int:
    """Serve in clear on a socket that only this user reaches, until SIGTERM; for a debugger.

    Returns:
        0
    """
    from .install import SOURCE

    def ready(address: str, _ours: str) -> None:
        at = {"Network": "unix", "String": address}
        reattach = {"Protocol": "grpc", "ProtocolVersion": 6, "Pid": os.getpid(), "Test": True, "Addr": at}
        _say(f"TF_REATTACH_PROVIDERS='{json.dumps({SOURCE: reattach})}'")

    _serve(provider, None, ready)
    return 0


def _serve(provider: Provider, client: str | None, ready: Callable[[str, str], None]) -> None:
    from .plugin import Plugin, private_folder
    from .service import Service

    async def served(folder: str) -> None:
        await Plugin(Service(provider)).serve(folder, client, ready)

    with private_folder(os.environ) as folder:
        asyncio.run(served(folder))


def _say(line: str) -> None:
    """The one line of standard output; by the time that it is read, nothing but our own log leaves us."""
    from .logs import confine

    output = os.dup(1)
    confine()
    os.write(output, f"{line}\n".encode())
    os.close(output)


if __name__ == "__main__":
    main()
