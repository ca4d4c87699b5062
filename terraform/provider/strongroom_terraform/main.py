"""``terraform-provider-strongroom``: what Terraform starts, and how to put it where Terraform looks."""

from __future__ import annotations

import asyncio
import os
import sys

from .blocks import Provider
from .plugin import NotPluginError, Plugin, certificate, handshake, private_folder
from .service import Service


def main() -> None:
    """Serve Terraform."""
    from .provider import provider

    sys.exit(serve(provider()))


def serve(provider: Provider) -> int:
    """Be the plugin that Terraform started, until it is done with it; an exit code."""
    try:
        client = certificate(os.environ)
    except NotPluginError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    with private_folder(os.environ) as folder:
        asyncio.run(_served(provider, folder, client))
    return 0


async def _served(provider: Provider, folder: str, client: str) -> None:
    await Plugin(Service(provider)).serve(folder, client, _say)


def _say(address: str, ours: str) -> None:
    sys.stdout.write(handshake(address, ours) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
