"""The schemas of providers that no registry gives us here, read from the code that cdktf generated of them.

Each resource is one file of a package, and its source map holds the TypeScript: for every attribute whether
it is required, optional or computed, and for every nested block how often it may stand. What the packages
lack (ephemeral resources) is in `standin.py`.

``python -m terraform.tests.schemas`` fetches the packages of ``schemas.txt`` (`make install` does).
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import os
import pickle
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path

from strongroom_terraform.schema import Attribute, Nested, Schema, Type

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PACKAGES = ROOT / ".schemas"
_MENTIONED = re.compile(r"\b(?:google|azurerm|vault|aws|postgresql)_[a-z0-9_]+\b")

_FIELD = re.compile(
    r"^  // (\w+) - computed: (\w+), optional: (\w+), required: (\w+)\n"
    r"(.*?)^  public get \w+\(\) \{\n(.*?)^  \}",
    re.MULTILINE | re.DOTALL,
)
_WRITTEN = re.compile(
    r"^ +(\w+): \{\n +value: (.*),\n +isBlock: (\w+),\n +type: \"(\w+)\",\n +storageClassType: \"(\w+)\",",
    re.MULTILINE,
)
_CLASS = re.compile(r"^export class (\w+) extends .*?(?=^export |\Z)", re.MULTILINE | re.DOTALL)
_FUNCTION = re.compile(r"^export function (\w+)ToHclTerraform\(.*?(?=^export |\Z)", re.MULTILINE | re.DOTALL)
_MAP = re.compile(rb"sourceMappingURL=data:application/json;base64,([A-Za-z0-9+/=]+)")
_SIMPLE = {"string": "string", "number": "number", "boolean": "bool", "any": "dynamic"}
_READ = {
    "getStringAttribute": Type("string"),
    "getNumberAttribute": Type("number"),
    "getBooleanAttribute": Type("bool"),
    "getListAttribute": Type("list", Type("string")),
    "getNumberListAttribute": Type("list", Type("number")),
    "getStringMapAttribute": Type("map", Type("string")),
    "cdktf.StringMap": Type("map", Type("string")),
    "cdktf.BooleanMap": Type("map", Type("bool")),
    "cdktf.NumberMap": Type("map", Type("number")),
}


@dataclass(frozen=True, slots=True)
class Package:
    """One line of ``schemas.txt``.

    Attributes:
        name: the provider's, which its resources' names begin with.
        source: its address in a configuration, without the registry.
        version: the provider's.
        package: npm's name and version.
        checksum: SHA-512 of the tarball, in base64.
    """

    name: str
    source: str
    version: str
    package: str
    checksum: str

    @property
    def tarball(self) -> Path:
        """Where `fetch` puts it."""
        flat = self.package.removeprefix("@").replace("/", "-").replace("@", "-")
        return PACKAGES / f"{flat}.tgz"

    @property
    def address(self) -> str:
        """With the registry."""
        return f"registry.terraform.io/{self.source}"


@functools.cache
def packages() -> dict[str, Package]:
    """By the provider's name."""
    lines = (HERE / "schemas.txt").read_text().splitlines()
    found = (Package(*line.split()) for line in lines if line and not line.startswith("#"))
    return {package.name: package for package in found}


def fetch() -> None:
    """Bring what is missing.

    Raises:
        SystemExit: a tarball is not the one that was pinned.
    """
    PACKAGES.mkdir(exist_ok=True)
    for package in packages().values():
        if not package.tarball.exists() or _digest(package.tarball) != package.checksum:
            argv = ["npm", "pack", "--silent", f"--pack-destination={PACKAGES}", package.package]
            subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, cwd=tempfile.gettempdir())
        if _digest(package.tarball) != package.checksum:
            package.tarball.unlink()
            sys.exit(f"{package.package} is not the package that terraform/tests/schemas.txt pins")


def _digest(path: Path) -> str:
    return base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode()


def known(package: Package, names: frozenset[str]) -> Path:
    """A file with the schemas of the provider block (under ``provider``), and of each resource (``google_x``)
    or data source (``data.google_x``) of these names that the provider has; kept for the next run.

    Raises:
        RuntimeError: the package is not there; what brings it.
    """
    if not package.tarball.exists():
        raise RuntimeError(f"{package.package} is not in .schemas: make install")
    asked = [
        Path(__file__).read_text(),
        package.checksum,
        *sorted(n for n in names if n.startswith(package.name)),
    ]
    path = PACKAGES / f"{package.name}-{hashlib.sha256(' '.join(asked).encode()).hexdigest()[:16]}.pickle"
    if not path.exists():
        parsed = {name: parse(text) for name, text in _sources(package, names).items()}
        mine = path.with_suffix(f".{os.getpid()}")
        mine.write_bytes(pickle.dumps(parsed))
        mine.replace(path)
    return path


def mentioned() -> frozenset[str]:
    """The resources and data sources that anything under ``terraform/`` names."""
    texts = (
        path.read_text() for suffix in ("tf", "hcl", "py") for path in ROOT.glob(f"terraform/**/*.{suffix}")
    )
    return frozenset(name for text in texts for name in _MENTIONED.findall(text))


def _sources(package: Package, names: frozenset[str]) -> dict[str, str]:
    """The TypeScript of each."""
    wanted = {}
    for name in names:
        kebab = name.replace("_", "-")
        wanted[f"package/lib/{kebab.removeprefix(package.name + '-')}/index.js"] = name
        wanted[f"package/lib/data-{kebab}/index.js"] = f"data.{name}"
    wanted["package/lib/provider/index.js"] = "provider"
    with tarfile.open(package.tarball, "r|gz") as tar:
        return {wanted[name]: _typescript(data) for name, data in _members(tar, wanted)}


def _members(tar: tarfile.TarFile, wanted: Container[str]) -> Iterator[tuple[str, bytes]]:
    for member in tar:
        if member.name in wanted and (file := tar.extractfile(member)):
            yield member.name, file.read()


def _typescript(javascript: bytes) -> str:
    found = _MAP.search(javascript)
    assert found, "generated code without its source map"
    contents: list[str] = json.loads(base64.b64decode(found[1]))["sourcesContent"]
    return "\n".join(contents)


def parse(typescript: str) -> Schema:
    """The schema of one resource, data source or provider block."""
    return _Source(typescript).schema()


class _Source:
    """One file, cut into its classes and functions."""

    def __init__(self, text: str) -> None:
        self._classes = {found[1]: found[0] for found in _CLASS.finditer(text)}
        self._functions = {_upper(found[1]): found[0] for found in _FUNCTION.finditer(text)}

    def schema(self) -> Schema:
        """Of the file's last class, which is what the others are parts of."""
        main = list(self._classes.values())[-1]
        return self._block(main, main.partition("synthesizeHclAttributes")[2])

    def _struct(self, name: str) -> Schema:
        return self._block(self._classes.get(f"{name}OutputReference", ""), self._functions.get(name, ""))

    def _block(self, class_text: str, function_text: str) -> Schema:
        """What the class says of who sets an attribute, and the function of its type."""
        fields = {found[1]: found for found in _FIELD.finditer(class_text)}
        written = {found[1]: found for found in _WRITTEN.finditer(function_text)}
        attributes: dict[str, Attribute] = {}
        blocks: dict[str, Nested] = {}
        for name in {**fields, **written}:
            field, how = fields.get(name), written.get(name)
            if how and how[3] == "true" and "ToHclTerraform" in how[2]:
                blocks[name] = self._nested(field, how)
            else:
                attributes[name] = _attribute(name, field, self._type(field, how))
        return Schema("", attributes, blocks=blocks)

    def _nested(self, field: re.Match[str] | None, how: re.Match[str]) -> Nested:
        name = _upper(_function(how[2]))
        if how[4] == "struct":
            return Nested(self._struct(name), "single")
        once = field is not None and f"new {name}OutputReference(" in field[5]
        required = field is not None and field[4] == "true"
        return Nested(self._struct(name), how[4], int(required), int(once))

    def _type(self, field: re.Match[str] | None, how: re.Match[str] | None) -> Type:
        if how and how[3] == "false":
            return _written_type(how[4], how[5])
        if how:
            return Type(how[4], self._struct(_upper(_function(how[2]))).type)
        assert field
        return self._read_type(field[5] + field[6])

    def _read_type(self, text: str) -> Type:
        """Of what is computed only."""
        for word, type_ in _READ.items():
            if word + "(" in text:
                return Type("set", type_.element) if "Fn.tolist(" in text else type_
        if found := re.search(r"new (\w+?)(List|OutputReference)\(this, \"\w+\"(?:, (\w+))?", text):
            kind = "set" if found[3] == "true" else "list"
            return Type(kind, self._struct(found[1]).type)
        return Type("dynamic")


def _attribute(name: str, field: re.Match[str] | None, type_: Type) -> Attribute:
    """Without its class (blocks of a provider) it is optional: nothing says which are required."""
    if field is None:
        return Attribute(type_, "", optional=True)
    computed, optional, required = (field[group] == "true" for group in (2, 3, 4))
    # The name is all that tells: the generator knew nothing of write-only attributes.
    write_only = name.endswith("_wo") and (optional or required)  # not has_secret_string_wo
    return Attribute(
        type_, "", required, optional or not (required or computed), computed and not write_only,
        write_only=write_only,
    )  # fmt: skip


def _written_type(kind: str, storage: str) -> Type:
    """`stringListMap` is a map of lists of strings; `type` tells a set from a list."""
    if storage in _SIMPLE:
        return Type(_SIMPLE[storage])
    found = re.fullmatch(r"(\w+)(List|Map|Set)", storage)
    if found is None:
        return Type("dynamic")
    outer = kind if kind in {"list", "map", "set"} else found[2].lower()
    return Type(outer, _written_type("", found[1]))


def _function(value: str) -> str:
    found = re.search(r"(\w+)ToHclTerraform", value)
    assert found, value
    return found[1]


def _upper(name: str) -> str:
    return name[:1].upper() + name[1:]


if __name__ == "__main__":
    fetch()
    for each in packages().values():
        known(each, mentioned())  # here and not in the tests, where every process would do it anew
