"""A provider small enough to be seen through: what it was asked, it keeps in a folder.

Started as ``python -m terraform.tests.toy``. STRONGROOM_TOY names the folder; a file `die` there kills the
provider in the middle of the next apply, after the effect.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from strongroom.errors import SecretNotFoundError
from strongroom.value import SecretValue
from strongroom_terraform.blocks import (
    Change,
    DataSource,
    Ephemeral,
    Function,
    FunctionProblemError,
    Opened,
    Parameter,
    PartlyDoneError,
    Provider,
    Renewed,
    Resource,
    State,
)
from strongroom_terraform.main import serve
from strongroom_terraform.problems import Diagnostic, problem
from strongroom_terraform.schema import (
    BOOL,
    NUMBER,
    STRING,
    STRING_MAP,
    STRINGS,
    Attribute,
    Schema,
    Value,
    Values,
)
from strongroom_terraform.stores import Stores
from tests.canary import CANARY


def folder() -> Path:
    """Where the toy keeps its things."""
    return Path(os.environ["STRONGROOM_TOY"])


def note(line: str) -> None:
    """What happened, in order."""
    with (folder() / "calls").open("a") as file:
        file.write(line + "\n")


class Thing(Resource):
    """A value in a file."""

    name = "toy_thing"
    schema = Schema(
        "A thing.",
        {
            "name": Attribute(STRING, "Its name.", required=True, replace=True),
            "value_wo": Attribute(STRING, "Its value.", optional=True, write_only=True),
            "value_wo_version": Attribute(NUMBER, "Raised to write the value.", optional=True),
            "size": Attribute(NUMBER, "A number.", optional=True),
            "loud": Attribute(BOOL, "A flag.", optional=True),
            "tags": Attribute(STRING_MAP, "Tags.", optional=True),
            "notes": Attribute(STRINGS, "Notes.", optional=True),
            "colour": Attribute(STRING, "Its colour; blue unless said.", optional=True, computed=True),
            "id": Attribute(STRING, "Its id.", computed=True),
            "written": Attribute(NUMBER, "How often it was written.", computed=True),
        },
    )

    def validate(self, config: Values) -> Sequence[Diagnostic]:
        if config["name"] == "bad":
            return [Diagnostic("a thing is not named bad", path=("name",))]
        tags = config["tags"]
        return (
            [Diagnostic("no such tag", path=("tags", "bad"))]
            if isinstance(tags, dict) and "bad" in tags
            else []
        )

    def create(self, change: Change) -> State:
        return self._write(change, 1)

    def update(self, change: Change) -> State:
        assert change.prior is not None
        written = change.prior["written"]
        assert isinstance(written, int)
        return self._write(change, written + 1)

    def _write(self, change: Change, written: int) -> State:
        name, value = change.config["name"], change.config["value_wo"]
        note(f"write {name} {type(value).__name__}")
        if name == "leaky":
            raise RuntimeError(CANARY)
        if name == "noisy":
            self._noise()
        if isinstance(value, SecretValue):
            (folder() / f"{name}").write_bytes(value.reveal())
        if (folder() / "die").exists():
            (folder() / "die").unlink()
            os._exit(9)
        values = {**change.planned, "id": f"toy/{name}", "written": written}
        values["colour"] = change.config["colour"] or "blue"
        values["value_wo"] = value  # a mistake: the service must mend it
        if name == "half":
            raise PartlyDoneError(State(values), Diagnostic("only half of it is done", path=("tags",)))
        return State(values, str(written).encode())

    def _noise(self) -> None:
        print(CANARY)
        print(CANARY, file=sys.stderr)
        warnings.warn(CANARY, stacklevel=1)
        logging.getLogger("botocore").error(CANARY)
        try:
            raise RuntimeError(CANARY)
        except RuntimeError:
            logging.getLogger("strongroom.toy").exception("the toy is noisy")

    def read(self, values: Values, private: bytes) -> State | None:
        name = str(values["id"]).removeprefix("toy/")
        note(f"read {name}")
        if not (folder() / name).exists():
            return None
        return State({**values, "name": name, "colour": values["colour"] or "blue"}, private)

    def delete(self, values: Values, private: bytes) -> None:
        note(f"delete {values['name']}")
        (folder() / str(values["name"])).unlink(missing_ok=True)

    def bring(self, identity: str) -> State:
        if not (folder() / identity).exists():
            raise SecretNotFoundError(f"there is no thing {identity!r}", hint="look again")
        return State({"id": f"toy/{identity}", "written": 0})


class Look(DataSource):
    """What is known of a thing."""

    name = "toy_look"
    schema = Schema(
        "A look.",
        {
            "name": Attribute(STRING, "Of what.", required=True),
            "there": Attribute(BOOL, "Is it?", computed=True),
        },
    )

    def read(self, config: Values) -> Values:
        return {**config, "there": (folder() / str(config["name"])).exists()}


class Token(Ephemeral):
    """A value for a while."""

    name = "toy_token"
    schema = Schema(
        "A token.",
        {
            "after": Attribute(STRING, "Wait until this is known.", optional=True),
            "seconds": Attribute(NUMBER, "Renewed after so many.", optional=True),
            "value": Attribute(STRING, "The value.", computed=True, sensitive=True),
        },
    )

    def open(self, config: Values) -> Opened:
        note(f"open {config['after']}")
        seconds = config["seconds"]
        renew_at = datetime.now(UTC) + timedelta(seconds=seconds) if isinstance(seconds, int) else None
        return Opened({"value": SecretValue(CANARY)}, renew_at, b"private")

    def renew(self, private: bytes) -> Renewed:
        note(f"renew {private.decode()}")
        return Renewed(private=b"renewed", warnings=(Diagnostic("it is old", warning=True),))

    def close(self, private: bytes) -> None:
        note(f"close {private.decode()}")


class Half(Function):
    """Half of a number, and as many more as there are."""

    name = "half"
    summary = "Half of the sum."
    parameters = (Parameter("number", NUMBER, "The first."),)
    variadic = Parameter("more", NUMBER, "More.")
    returns = NUMBER

    def call(self, *arguments: Value) -> Value:
        total = Decimal(0)
        for at, each in enumerate(arguments):
            assert isinstance(each, int | Decimal)
            if each < 0:
                raise FunctionProblemError("no number below zero", at)
            total += each
        return total / 2


def _configure(config: Values) -> Stores:
    if config["colour"] == "red":
        raise problem("no red provider", "colour")
    return Stores(None)


def provider() -> Provider:
    """The toy."""
    return Provider(
        schema=Schema("A toy.", {"colour": Attribute(STRING, "A colour.", optional=True)}),
        configure=_configure,
        resources=[Thing],
        data_sources=[Look],
        ephemerals=[Token],
        functions=[Half],
    )


if __name__ == "__main__":
    sys.exit(serve(provider()))
