"""The examples as they are written, but for addresses, in the folder of a workspace."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from strongroom.config import Config
from terraform.tests.workspace import Workspace

EXAMPLES = Path(__file__).parents[1] / "examples"


def copied(workspace: Workspace, example: str, addresses: Mapping[str, str]) -> Config:
    """An example, its strongroom.toml with real addresses in the place of those that it publishes.

    Returns:
        what the provider will read.
    """
    for path in sorted((EXAMPLES / example).glob("*.tf")):
        workspace.write(path.read_text(), path.name)
    text = (EXAMPLES / example / "strongroom.toml").read_text()
    for published, real in addresses.items():
        assert text.count(published) == 1, published
        text = text.replace(published, real)
    return Config.load(workspace.write(text, "strongroom.toml"))
