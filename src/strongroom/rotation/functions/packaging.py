"""The zip of a rotation function: the same bytes whenever the same goes into it."""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from strongroom.errors import InvalidRequestError

from . import contents, entrypoints, wheels

if TYPE_CHECKING:
    from pathlib import Path

    from strongroom.config import Config

    from .contents import Files
    from .entrypoints import Platform

MIB: Final = 1 << 20
LIMITS: Final[dict[Platform, tuple[int, int]]] = {
    "aws-lambda": (50 * MIB, 250 * MIB),
    "google": (100 * MIB, 500 * MIB),
}
"""Bytes as a zip and unpacked, where a platform has a limit that a function can come near.

https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html (a direct upload),
https://cloud.google.com/functions/quotas (a source upload).
"""
_FRAMEWORKS: Final[dict[Platform, list[str]]] = {
    "aws-lambda": [],
    "google": ["functions-framework>=3.8"],
    "azure": ["azure-functions>=1.20"],
}
_EARLIEST: Final = (1980, 1, 1, 0, 0, 0)  # that a zip can say
_MODE: Final = 0o100644 << 16
_UNIX: Final = 3


@dataclass(frozen=True)
class Request:
    """What a function is to be made of.

    Attributes:
        platform: whose function.
        rotator: ``package.module:Class`` for the secrets that no configuration names; AWS's function alone
            can do so, since its events are the schedule.
        config: a strongroom.toml.
        python: of the runtime: one of `wheels.PYTHONS`.
        machine: one of `wheels.MACHINES`.
        more: further requirements, as pip takes them.
        lock: a file of requirements with hashes, to fetch those and nothing else.
        with_sdk: pack boto3 too, though AWS's runtime has one.
    """

    platform: Platform
    rotator: str | None = None
    config: Path | None = None
    python: str = "3.13"
    machine: str = "x86-64"
    more: tuple[str, ...] = ()
    lock: Path | None = None
    with_sdk: bool = False


@dataclass(frozen=True)
class Package:
    """A finished zip.

    Attributes:
        data: the zip.
        files: the size of each file by its path.
        handler: what the platform is told to call.
    """

    data: bytes
    files: dict[str, int]
    handler: str

    @property
    def unpacked(self) -> int:
        """Bytes of all files."""
        return sum(self.files.values())

    @property
    def sha256(self) -> str:
        """Of the zip, in hexadecimal."""
        return hashlib.sha256(self.data).hexdigest()


def package(request: Request) -> Package:
    """Make the zip.

    Raises:
        InvalidRequestError: there is no such rotator, the configuration is wrong or missing, a package has
            no wheel, or the zip is over the platform's limit.
        BackendNotInstalledError: a backend or pip is missing.
    """
    _check(request)
    config = _loaded(request.config)
    files = contents.rotators(_rotators(request, config))
    backends, extras = contents.needs(files, config)
    if request.rotator:
        backends, extras = backends | {"strongroom_aws"}, extras | {"aws"}
    required = _required(request, extras)
    if request.platform == "aws-lambda":
        files |= wheels.fetch(required, request.python, request.machine, request.lock)
    files |= contents.library(sorted(backends)) | _config_file(request)
    files |= entrypoints.entry(
        request.platform,
        request.rotator,
        configured=config is not None,
        requirements=required,
        replicated=bool(config and config.replicas),
    )
    made = Package(
        _zipped(files),
        {path: len(files[path]) for path in sorted(files)},
        entrypoints.HANDLERS[request.platform],
    )
    _check_size(made, request.platform)
    return made


def _check(request: Request) -> None:
    if request.config is None and request.platform != "aws-lambda":
        problem = "events of Google and Azure are hints: a schedule decides"
        raise InvalidRequestError(problem, hint="give --config, with [rotation.LABEL] and its schedule")
    if request.rotator and request.platform != "aws-lambda":
        raise InvalidRequestError("--rotator is for aws-lambda", hint="name it in [rotation.LABEL]")
    if not (request.config or request.rotator):
        raise InvalidRequestError("nothing to rotate with was named", hint="give --rotator or --config")


def _loaded(path: Path | None) -> Config | None:
    if path is None:
        return None
    from strongroom.config import Config

    config = Config.load(path)
    if not config.rotations:
        raise InvalidRequestError(f"{path} has no rotation", hint="write [rotation.LABEL]")
    if config.ledger is None or config.ledger.url.startswith("sqlite:"):
        problem = f"{path}: a function has no disk that outlives it"
        raise InvalidRequestError(
            problem, hint='write [ledger] with url = "strongroom://ALIAS" or "postgresql://…"'
        )
    return config


def _rotators(request: Request, config: Config | None) -> list[str]:
    named = [entry.rotator for entry in config.rotations.values()] if config else []
    return sorted({*named, *([request.rotator] if request.rotator else [])})


def _required(request: Request, extras: set[str]) -> list[str]:
    provided = {"aws"} if request.platform == "aws-lambda" and not request.with_sdk else set[str]()
    return [*contents.requirements(extras - provided), *_FRAMEWORKS[request.platform], *request.more]


def _config_file(request: Request) -> Files:
    return {"strongroom.toml": request.config.read_bytes()} if request.config else {}


def _zipped(files: Files) -> bytes:
    """In one order, with one date and one mode: what differs from machine to machine is left out."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(files):
            info = zipfile.ZipInfo(path, _EARLIEST)
            info.external_attr, info.create_system = _MODE, _UNIX
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, files[path])
    return out.getvalue()


def _check_size(made: Package, platform: Platform) -> None:
    if platform not in LIMITS:
        return
    sizes = {"": len(made.data), "unpacked ": made.unpacked}
    for (what, size), limit in zip(sizes.items(), LIMITS[platform], strict=True):
        if size > limit:
            problem = f"the {what}zip has {size / MIB:.1f} MiB, over the limit of {limit // MIB} MiB"
            raise InvalidRequestError(problem, hint=f"the largest part is {_largest(made)}")


def _largest(made: Package) -> str:
    parts: dict[str, int] = {}
    for path, size in made.files.items():
        top = path.partition("/")[0]
        parts[top] = parts.get(top, 0) + size
    name = max(parts, key=lambda top: parts[top])
    return f"{name} with {parts[name] / MIB:.1f} MiB"
