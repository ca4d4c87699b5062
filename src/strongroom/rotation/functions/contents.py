"""Which files a function needs: this library's, the rotator's, and what both stand on."""

from __future__ import annotations

import ast
import importlib.util
import re
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

from strongroom.errors import BackendNotInstalledError, InvalidRequestError
from strongroom.names import StoreURL
from strongroom.registry import home
from strongroom.rotation.rotators.names import ROTATORS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from strongroom.config import Config

Files = dict[str, bytes]
"""What goes into a package, by its path there."""

_LEFT_OUT: Final = frozenset({"__pycache__", "cli", "testing"})
_NAMED: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")
_EXTRAS: Final = {
    "boto3": "aws",
    "botocore": "aws",
    "cronsim": "rotation",
    "hvac": "vault",
    "keyring": "keyring",
    "pkcs11": "pkcs11",
    "psycopg": "psycopg",
    "pymysql": "mysql",
}
"""What a rotator imports, and the extra of this library that installs it."""
BUILT_IN: Final[Mapping[str, tuple[str, ...]]] = {
    "aws-iam": ("strongroom_aws", "aws"),
    "kms-key": ("strongroom_aws", "aws"),
    "mysql": ("", "mysql"),
    "pkcs11-key": ("strongroom_pkcs11", "pkcs11"),
    "postgresql": ("", "psycopg"),
    "postgresql-two-users": ("", "psycopg"),
    "vault-approle": ("strongroom_vault", "vault"),
    "vault-database": ("strongroom_vault", "vault", "psycopg"),
    "vault-pki": ("strongroom_vault", "vault"),
    "vault-transit-key": ("strongroom_vault", "vault"),
}
"""Built-in rotators that need a backend's package, or extras."""


def library(packages: Iterable[str]) -> Files:
    """This library without its command line and test helpers, and the backends named.

    Raises:
        BackendNotInstalledError: one of them is not installed.
    """
    return {path: data for name in ("strongroom", *packages) for path, data in _package(name)}


def _package(name: str) -> Iterator[tuple[str, bytes]]:
    spec = importlib.util.find_spec(name)
    places = list(spec.submodule_search_locations or ()) if spec else []
    if not places:
        raise BackendNotInstalledError(f"the package {name} is not installed", hint="pip install strongroom")
    for place in map(Path, places):
        for file in sorted(place.rglob("*")):
            parts = file.relative_to(place).parts
            left_out = parts[0] in _LEFT_OUT if name == "strongroom" else False
            if file.is_file() and not left_out and "__pycache__" not in parts:
                yield "/".join((name, *parts)), file.read_bytes()


def rotators(named: Iterable[str]) -> Files:
    """The packages of those that are not built in; raises as `rotator`."""
    return {path: data for name in named if name not in ROTATORS for path, data in rotator(name).items()}


def rotator(named: str) -> Files:
    """The top-level package or module that a rotator stands in, whole.

    Nothing of it is run: what it needs may be installed where the function runs and not here.

    Args:
        named: ``package.module:Class``; of the folder the command is run in, or installed.

    Raises:
        InvalidRequestError: there is no such module, or it has no such class.
    """
    if not _NAMED.fullmatch(named):
        raise InvalidRequestError(f"not a rotator: {named[:80]!r}", hint="write package.module:Class")
    module, _, name = named.partition(":")
    top, *below = module.split(".")
    files = _rotators_files(top)
    here = [files[path] for path in _homes(top, below) if path in files]
    if not here:
        raise InvalidRequestError(f"there is no module {module}", hint="run this in the folder that has it")
    if name not in _bound(ast.parse(here[0])):
        raise InvalidRequestError(f"{module} has no class {name}")
    return files


def _rotators_files(top: str) -> Files:
    beside = Path.cwd() / f"{top}.py"
    folder = Path.cwd() / top
    if beside.is_file():
        return {beside.name: beside.read_bytes()}
    if folder.is_dir():
        return {f"{top}/{path}": data for path, data in _tree(folder)}
    spec = importlib.util.find_spec(top)
    if spec and spec.submodule_search_locations:
        return dict(_package(top))
    if spec and spec.origin and spec.origin.endswith(".py"):
        return {f"{top}.py": Path(spec.origin).read_bytes()}
    return {}


def _tree(folder: Path) -> Iterator[tuple[str, bytes]]:
    for file in sorted(folder.rglob("*")):
        parts = file.relative_to(folder).parts
        if file.is_file() and "__pycache__" not in parts and not any(part[0] == "." for part in parts):
            yield "/".join(parts), file.read_bytes()


def _homes(top: str, below: list[str]) -> tuple[str, str]:
    path = "/".join([top, *below])
    return f"{path}.py", f"{path}/__init__.py"


def _bound(tree: ast.Module) -> set[str]:
    names = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    return names | {alias.asname or alias.name for node in imports for alias in node.names}


def needs(files: Files, config: Config | None) -> tuple[set[str], set[str]]:
    """Backend packages, and extras, that rotators of one's own and a configuration need.

    Args:
        files: the rotators' modules, by what they import anywhere in them.
        config: by its URLs, its built-in rotators, and its tables.
    """
    tops = _imported(files)
    backends = {top for top in tops if top.startswith("strongroom_")}
    extras = {_EXTRAS[top] for top in tops if top in _EXTRAS}
    if config is None:
        return backends, extras
    urls = [*(entry.url for entry in config.stores.values()), *(entry.url for entry in config.keys.values())]
    found: list[tuple[str, ...]] = [home(StoreURL.parse(url).scheme) for url in urls if url]
    found += [BUILT_IN.get(entry.rotator, ("", "")) for entry in config.rotations.values()]
    extras |= {extra for _, *several in found for extra in several} | _tables(config)
    backends |= {package for package, *_ in found if package != "strongroom"}
    return backends - {""}, extras - {""}


def _imported(files: Files) -> set[str]:
    trees = [ast.parse(data) for path, data in files.items() if path.endswith(".py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
    return {name.partition(".")[0] for name in names}


def _tables(config: Config) -> set[str]:
    scheduled = any(entry.schedule for entry in config.rotations.values())
    in_postgresql = config.ledger is not None and config.ledger.url.startswith("postgresql:")
    wanted = {"rotation": scheduled, "psycopg": in_postgresql, "audit": config.audit is not None}
    return {extra for extra, needed in wanted.items() if needed}


def requirements(extras: Iterable[str]) -> list[str]:
    """What pip is asked for: what this library needs itself, and what its extras add.

    Raises:
        BackendNotInstalledError: the library's own metadata is missing.
    """
    try:
        declared = metadata.requires("strongroom") or []
    except metadata.PackageNotFoundError:
        declared = []
    if not declared:
        raise BackendNotInstalledError("the metadata of strongroom is missing", hint="pip install strongroom")
    wanted = set(extras)
    return sorted({text for text, extra in map(_split, declared) if not extra or extra in wanted})


def _split(requirement: str) -> tuple[str, str]:
    text, _, marker = requirement.partition(";")
    extra = re.search(r"extra == ['\"]([\w-]+)['\"]", marker)
    return text.strip(), extra[1] if extra else ""
