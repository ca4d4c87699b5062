"""The example of a third-party backend: built, installed apart, and found by its entry point."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "strongroom_consul"


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the installed package and its metadata, and nothing else."""
    folder = tmp_path_factory.mktemp("consul")
    source = shutil.copytree(EXAMPLE, folder / "source", ignore=shutil.ignore_patterns("__pycache__", ".*"))
    wheels = folder / "wheels"
    _python("-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels), cwd=source)
    target = folder / "site"
    offline = ("--no-index", "--no-deps", "--no-compile", "--quiet", "--target", str(target))
    _python("-m", "pip", "install", *offline, *map(str, wheels.glob("*.whl")), cwd=folder)
    return target


def test_the_example_passes_the_suite(installed: Path) -> None:
    """`registry.open_backend("consul://…")` finds the package, and every case passes."""
    options = ("-q", "-c", os.devnull, "-p", "no:cacheprovider", "--rootdir", str(EXAMPLE))
    output = _python("-m", "pytest", *options, str(EXAMPLE / "tests"), cwd=installed, path=installed)
    assert " passed" in output
    assert "failed" not in output
    assert "consul" in _python(
        "-c", "from strongroom import registry; print(registry.schemes())", cwd=installed, path=installed
    )


def test_without_the_package_nobody_knows_the_scheme(tmp_path: Path) -> None:
    """The scheme comes from the installed package, not from this repository."""
    schemes = _python("-c", "from strongroom import registry; print(registry.schemes())", cwd=tmp_path)
    assert "memory" in schemes
    assert "consul" not in schemes


def test_the_example_is_short() -> None:
    """A whole backend takes fewer than 150 lines."""
    assert len((EXAMPLE / "strongroom_consul.py").read_text().splitlines()) < 150


def _python(*arguments: str, cwd: Path, path: Path | None = None) -> str:
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    if path:
        env["PYTHONPATH"] = str(path)
    run = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=env, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, f"{arguments[:3]}:\n{run.stdout[-3000:]}{run.stderr[-3000:]}"
    return run.stdout
