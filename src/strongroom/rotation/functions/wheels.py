"""Wheels for the machine that a function runs on, which is not this one: fetched by pip, none is built."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from strongroom.errors import BackendNotInstalledError, InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .contents import Files

PYTHONS: Final = ("3.11", "3.12", "3.13", "3.14")
MACHINES: Final = {"x86-64": "x86_64", "arm64": "aarch64"}
_LOCAL: Final = frozenset({"RECORD", "INSTALLER", "REQUESTED", "direct_url.json"})
"""What pip writes of this machine's own paths and order: left out, so that two packages are equal."""


def fetch(requirements: Sequence[str], python: str, machine: str, lock: Path | None = None) -> Files:
    """The files of what is required, as they lie on a function's path.

    pip is configured as always: its index, its proxies and its constraints come from its own files and
    variables.

    Args:
        requirements: as pip takes them.
        python: one of `PYTHONS`.
        machine: one of `MACHINES`.
        lock: a file of requirements with hashes to fetch instead, and nothing else.

    Raises:
        BackendNotInstalledError: there is no pip.
        InvalidRequestError: there is no wheel of something for this Python and machine.
    """
    if not (requirements or lock):
        return {}
    if importlib.util.find_spec("pip") is None:
        raise BackendNotInstalledError("pip is not installed", hint="python -m ensurepip")
    with tempfile.TemporaryDirectory() as folder:
        wanted = ["--require-hashes", "--no-deps", "-r", str(lock)] if lock else list(requirements)
        argv = [
            sys.executable,
            "-m",
            "pip",
            "install",
            *_options(python, machine),
            "--target",
            folder,
            *wanted,
        ]
        done = subprocess.run(argv, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode:
            raise _refusal(done.stderr, python, machine)
        return dict(_files(Path(folder)))


def _options(python: str, machine: str) -> list[str]:
    quiet = ["--quiet", "--disable-pip-version-check", "--no-input", "--no-compile", "--only-binary=:all:"]
    quiet += ["--no-warn-conflicts"]  # with what is installed here, which the function never sees
    target = ["--python-version", python, "--implementation", "cp"]
    platforms = [item for tag in _platforms(python, machine) for item in ("--platform", tag)]
    return [*quiet, *target, *platforms]


def _platforms(python: str, machine: str) -> list[str]:
    """Python 3.11 runs on Amazon Linux 2 (glibc 2.26), later ones on Amazon Linux 2023 (glibc 2.34).

    https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtimes.html
    """
    newest, kind = 26 if python == "3.11" else 34, MACHINES[machine]
    return [*(f"manylinux_2_{minor}_{kind}" for minor in range(newest, 16, -1)), f"manylinux2014_{kind}"]


def _refusal(stderr: str, python: str, machine: str) -> InvalidRequestError:
    """Of pip's words only the requirement is repeated: an index's URL may hold a password."""
    found = re.search(r"No matching distribution found for ([A-Za-z0-9._-]+)", stderr)
    what = found[1] if found else "what is required"
    problem = f"pip has no wheel of {what} for Python {python} on {machine}"
    return InvalidRequestError(problem, hint="see pip download; a package without wheels cannot be used")


def _files(folder: Path) -> list[tuple[str, bytes]]:
    found = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    paths = [(file.relative_to(folder), file) for file in found]
    return [(path.as_posix(), file.read_bytes()) for path, file in paths if not _is_local(path)]


def _is_local(path: Path) -> bool:
    of_wheel = path.parts[0].endswith(".dist-info") and path.name in _LOCAL
    return of_wheel or path.parts[0] == "bin" or "__pycache__" in path.parts
