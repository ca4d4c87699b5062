"""Terraform for tests: the ones on this machine, and a folder to run them in."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from terraform.tests.standin import mirror
from terraform.tests.tools import (
    SOURCE,
    TERRAFORMS,
    Program,
    Terraform,
    any_terraform,
    aws_mirror,
    provider_folder,
)
from terraform.tests.workspace import Workspace

# As tests/conftest.py has them: these tests may be run by themselves.
pytest_plugins = ["tests.guard", "tests.servers.fixtures"]


def each(programs: tuple[Program, ...]) -> list[object]:
    """Each as a parameter; one that is missing is a skip that says so."""
    return [
        pytest.param(p, id=p.name, marks=[pytest.mark.skip(reason=p.missing)] if p.missing else [])
        for p in programs
    ]


@pytest.fixture(scope="session")
def strongroom_provider() -> Iterator[dict[str, Path]]:
    """Our provider for `dev_overrides`, run by this Python."""
    with tempfile.TemporaryDirectory(prefix="tf") as folder:
        yield {SOURCE: provider_folder(Path(folder))}


@pytest.fixture(params=each(TERRAFORMS), scope="session")
def terraform(request: pytest.FixtureRequest, strongroom_provider: dict[str, Path]) -> Terraform:
    """Each Terraform of this machine in turn, with our provider."""
    return Terraform(request.param, strongroom_provider)


@pytest.fixture(scope="session")
def one_terraform(strongroom_provider: dict[str, Path]) -> Terraform:
    """One Terraform with our provider, for what need not run on all."""
    return Terraform(any_terraform(), strongroom_provider)


@pytest.fixture(scope="session")
def aws_provider() -> Path:
    """A mirror with the real AWS provider, for `Terraform(…, mirrors=[aws_provider])`."""
    mirror = aws_mirror()
    if mirror is None:
        pytest.skip("Terraform's AWS provider is in no mirror of this machine (see TF_PLUGIN_MIRROR)")
    return mirror


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose path leaves room for a unix socket's name."""
    folder = Path(tempfile.mkdtemp(prefix="tf"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def workspace(short_folder: Path, terraform: Terraform) -> Iterator[Workspace]:
    """A folder to run each Terraform in, with our provider; at the end nothing in it holds the canary."""
    workspace = Workspace(short_folder, terraform)
    yield workspace
    workspace.assert_no_canary()


@pytest.fixture
def one_workspace(short_folder: Path, one_terraform: Terraform) -> Iterator[Workspace]:
    """As `workspace`, on one Terraform only."""
    workspace = Workspace(short_folder, one_terraform)
    yield workspace
    workspace.assert_no_canary()


@pytest.fixture(scope="session")
def standins() -> Iterator[Path]:
    """A mirror with every stand-in but AWS's (a newer version than the real one: Terraform would take it)."""
    with tempfile.TemporaryDirectory(prefix="tf") as folder:
        yield mirror(Path(folder), ["google", "azurerm", "vault", "postgresql", "external"])


@pytest.fixture(scope="session")
def aws_standin() -> Iterator[Path]:
    """A mirror with AWS's stand-in alone."""
    with tempfile.TemporaryDirectory(prefix="tf") as folder:
        yield mirror(Path(folder), ["aws"])
