"""What `make install` brings for AWS's Encryption SDK for JavaScript, and what is said where it did not."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.servers import node


def test_the_lock_file_holds_a_digest_of_every_package_and_names_no_registry() -> None:
    """Whatever registry npm is set up for gives the same packages, or npm refuses them."""
    packages = json.loads((node.FOLDER / "package-lock.json").read_text())["packages"]
    installed = [package for place, package in packages.items() if place]
    assert len(installed) > 50
    assert all(re.fullmatch(r"sha512-[\w+/]{86}==", package["integrity"]) for package in installed)
    assert not any("resolved" in package for package in installed)
    assert not any("hasInstallScript" in package for package in installed)


def test_node_missing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With what installs it: a test that needs it fails, and is never skipped."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="apt-get install nodejs npm"), node.node():
        pass


def test_the_package_missing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As above."""
    monkeypatch.setattr(node, "FOLDER", tmp_path)
    with pytest.raises(RuntimeError, match=r"client-node is not in .*: make install"), node.node():
        pass
