"""Providers that stand in for those that no registry gives us here: real schemas, and an apply that echoes.

They are served by our own provider's service. They catch an argument that is misspelt, missing or of a wrong
type and an ephemeral value where it may not stand, and let `terraform test` and examples run; they check no
value and reach no cloud.

Two of them act, so that examples are run and not only shown: ``external`` starts its program as the real one
does, and ``postgresql_role`` makes a role in a real PostgreSQL.
"""

from __future__ import annotations

import json
import pickle
import platform
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar, Final, LiteralString, TypeVar, cast

from strongroom.value import SecretValue
from strongroom_terraform.blocks import (
    Block,
    Change,
    DataSource,
    Ephemeral,
    Opened,
    Provider,
    Resource,
    State,
)
from strongroom_terraform.main import serve
from strongroom_terraform.problems import problem
from strongroom_terraform.schema import (
    BOOL,
    NUMBER,
    STRING,
    STRING_MAP,
    STRINGS,
    UNKNOWN,
    Attribute,
    Schema,
    Type,
    Value,
    Values,
)
from strongroom_terraform.stores import Stores
from strongroom_terraform.values import conceal
from terraform.tests.schemas import ROOT, known, mentioned, packages

_SCRIPT = """#!/bin/sh
PYTHONPATH={root} exec {python} -m terraform.tests.standin {name} {types}
"""


def _said(type_: Type, **who: bool) -> Attribute:
    return Attribute(type_, "", **who)


_OPTIONAL = {
    name: _said(STRING, optional=True) for name in ("region", "namespace", "project", "mount", "name")
}
_VALUE = {"sensitive": True, "computed": True}

EPHEMERALS: Final[dict[str, dict[str, Attribute]]] = {
    "aws_secretsmanager_secret_version": {
        "secret_id": _said(STRING, required=True),
        "version_id": _said(STRING, optional=True, computed=True),
        "version_stage": _said(STRING, optional=True, computed=True),
        "region": _OPTIONAL["region"],
        "arn": _said(STRING, computed=True),
        "created_date": _said(STRING, computed=True),
        "secret_binary": _said(STRING, **_VALUE),
        "secret_string": _said(STRING, **_VALUE),
        "version_stages": _said(STRINGS, computed=True),
    },
    "aws_secretsmanager_random_password": {
        "password_length": _said(NUMBER, optional=True),
        "exclude_characters": _said(STRING, optional=True),
        "exclude_punctuation": _said(BOOL, optional=True),
        "require_each_included_type": _said(BOOL, optional=True),
        "region": _OPTIONAL["region"],
        "random_password": _said(STRING, **_VALUE),
    },
    "azurerm_key_vault_secret": {
        "name": _said(STRING, required=True),
        "key_vault_id": _said(STRING, required=True),
        "version": _said(STRING, optional=True, computed=True),
        "expiration_date": _said(STRING, computed=True),
        "not_before_date": _said(STRING, computed=True),
        "value": _said(STRING, **_VALUE),
    },
    "google_secret_manager_secret_version": {
        "secret": _said(STRING, required=True),
        "version": _said(STRING, optional=True, computed=True),
        "project": _OPTIONAL["project"],
        "is_secret_data_base64": _said(BOOL, optional=True),
        "name": _said(STRING, computed=True),
        "secret_data": _said(STRING, **_VALUE),
    },
    "vault_kv_secret_v2": {
        "mount": _said(STRING, required=True),
        "mount_id": _said(STRING, optional=True),
        "name": _said(STRING, required=True),
        "version": _said(NUMBER, optional=True, computed=True),
        "namespace": _OPTIONAL["namespace"],
        "data": _said(STRING_MAP, **_VALUE),
        "data_json": _said(STRING, **_VALUE),
    },
}
"""Ephemeral resources that the npm packages lack, from the providers' documentation."""


_CONNECTION: Final = {
    "host": "host", "port": "port", "username": "user", "password": "password", "database": "dbname",
}  # fmt: skip
_B = TypeVar("_B", bound=Block)


def made_up(schema: Schema, values: Values, subject: str) -> Values:
    """The same with every computed attribute that nobody said."""
    told: Values = {name: None if value is UNKNOWN else value for name, value in values.items()}
    for name, attribute in schema.attributes.items():
        if attribute.computed and told.get(name) is None:
            told[name] = _invented(attribute.type, f"{subject}-{name}")
    return told


def _invented(type_: Type, text: str) -> Value:
    empty: dict[str, Value] = {"string": text, "number": 1, "bool": False, "list": [], "set": [], "map": {}}
    return empty.get(type_.kind)


class Echo(Resource):
    """Whatever is planned comes true."""

    def create(self, change: Change) -> State:
        """What was planned, with computed attributes made up."""
        return State(made_up(self.schema, change.planned, self.name), change.private)

    def read(self, values: Values, private: bytes) -> State:
        """As it was."""
        return State(values, private)

    update = create

    def delete(self, values: Values, private: bytes) -> None:
        """Nothing is there."""

    def bring(self, identity: str) -> State:
        """An object with that id."""
        return State(dict.fromkeys(self.schema.type.fields or {}, None) | {"id": identity})


class EchoData(DataSource):
    """Makes everything up."""

    def read(self, config: Values) -> Values:
        """What was asked, with computed attributes made up."""
        return made_up(self.schema, config, self.name)


class EchoEphemeral(Ephemeral):
    """Makes everything up."""

    def open(self, config: Values) -> Opened:
        """What was asked, with computed attributes made up."""
        told = made_up(self.schema, config, self.name)
        return Opened(told | {name: conceal(told[name]) for name in self.schema.secret})


class Role(Echo):
    """``postgresql_role`` in a real server: its name, and its password."""

    def create(self, change: Change) -> State:
        """CREATE ROLE."""
        self._run("CREATE ROLE {} LOGIN", change.planned["name"])
        return self.update(change)

    def update(self, change: Change) -> State:
        """ALTER ROLE, with the password that the configuration says now."""
        self._run("ALTER ROLE {} PASSWORD {}", change.planned["name"], change.config["password_wo"])
        return super().create(change)

    def delete(self, values: Values, private: bytes) -> None:
        """DROP ROLE."""
        self._run("DROP ROLE {}", values["name"])

    def _run(self, statement: LiteralString, role: Value, password: Value = None) -> None:
        import psycopg
        from psycopg.conninfo import make_conninfo
        from psycopg.sql import SQL, Identifier, Literal

        assert isinstance(self.stores, Configured)
        told = {ours: self.stores.said[name] for name, ours in _CONNECTION.items()}
        text = password.reveal_text() if isinstance(password, SecretValue) else None
        with psycopg.connect(make_conninfo(**{name: str(said) for name, said in told.items()})) as connection:
            connection.execute(SQL(statement).format(Identifier(str(role)), Literal(text)))


class External(DataSource):
    """hashicorp/external's only data source, which runs a program."""

    name: ClassVar[str] = "external"
    schema: ClassVar[Schema] = Schema(
        "",
        {
            "program": _said(STRINGS, required=True),
            "query": _said(STRING_MAP, optional=True),
            "working_dir": _said(STRING, optional=True),
            "result": _said(STRING_MAP, computed=True),
            "id": _said(STRING, computed=True),
        },
    )

    def read(self, config: Values) -> Values:
        """The program's answer: JSON in, a flat object of texts out."""
        program, folder = config["program"], config["working_dir"]
        assert isinstance(program, list)
        ran = subprocess.run(
            [str(word) for word in program],
            input=json.dumps(config["query"] or {}), capture_output=True, text=True, check=False,
            cwd=folder if isinstance(folder, str) else None,
        )  # fmt: skip
        if ran.returncode:
            raise problem("External Program Execution Failed", "program", detail=ran.stderr.strip())
        return {**config, "result": json.loads(ran.stdout), "id": "-"}


class Configured(Stores):
    """What a provider block said, for stand-ins that act."""

    def __init__(self, config: Values) -> None:
        super().__init__(None)
        self.said = config


ACTING: dict[str, type[Echo]] = {"postgresql_role": Role}


def provider(name: str, types: Path | None) -> Provider:
    """The stand-in of this name; `types` is what `known` wrote."""
    if name == "external":
        return Provider(Schema(""), Configured, data_sources=[External])
    assert types
    return _parsed(name, pickle.loads(types.read_bytes()))


def _parsed(name: str, schemas: dict[str, Schema]) -> Provider:
    block = schemas.pop("provider")
    data = {key.removeprefix("data."): schemas.pop(key) for key in list(schemas) if key.startswith("data.")}
    opened = {key: Schema("", said) for key, said in EPHEMERALS.items() if key.startswith(f"{name}_")}
    return Provider(
        block, Configured,
        resources=[_named(ACTING.get(key, Echo), key, schema) for key, schema in schemas.items()],
        data_sources=[_named(EchoData, key, schema) for key, schema in data.items()],
        ephemerals=[_named(EchoEphemeral, key, schema) for key, schema in opened.items()],
    )  # fmt: skip


def _named(base: type[_B], name: str, schema: Schema) -> type[_B]:
    return cast("type[_B]", type(name, (base,), {"name": name, "schema": schema}))


def mirror(folder: Path, names: Iterable[str]) -> Path:
    """Lay out a filesystem mirror with the stand-ins of these names: of ``schemas.txt``, or external."""
    for name in names:
        if name == "external":
            _place(folder, name, "registry.terraform.io/hashicorp/external", "2.3.5", "")
            continue
        package = packages()[name]
        types = known(package, mentioned())
        _place(folder, name, package.address, package.version, str(types))
    return folder


def _place(folder: Path, name: str, address: str, version: str, types: str) -> None:
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    place = folder / address / version / f"{platform.system().lower()}_{machine}"
    place.mkdir(parents=True)
    script = place / f"terraform-provider-{name}_v{version}"
    script.write_text(_SCRIPT.format(root=ROOT, python=sys.executable, name=name, types=types))
    script.chmod(0o755)


if __name__ == "__main__":
    sys.exit(serve(provider(sys.argv[1], Path(sys.argv[2]) if len(sys.argv) > 2 else None)))
