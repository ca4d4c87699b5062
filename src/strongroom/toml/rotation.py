"""The keys of the tables ``[rotation.LABEL]`` and ``[ledger]``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from .containers import Table
from .credentials import Credential
from .kinds import Duration, Flag, Kind, Schema, Text, Texts, Whole
from .reach import URL
from .spot import Spot
from .tables import POSTGRESQL

_NAME: Final = r"[^*]+?(?:/\*\*)?"
_ROTATOR: Final = r"[a-z0-9-]+|[A-Za-z_][\w.]*:[A-Za-z_]\w*"
LEDGERS: Final = "sqlite:///path of a file, postgresql://HOST/DATABASE, or strongroom://ALIAS"


class Names(Texts):
    """Names of secrets, and prefixes of names."""

    def read(self, spot: Spot, value: Any) -> tuple[str, ...]:
        found = super().read(spot, value)
        for name in found:
            if not re.fullmatch(_NAME, name):
                spot.fail('holds names, or prefixes such as "exchange/**"')
        return found


class RotatorOptions(Kind):
    """What the rotator's class decides, which is not loaded to read a file."""

    word = "table"

    def read(self, spot: Spot, value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            spot.fail("must be a table")
        return {name: _option(spot / name, inner) for name, inner in value.items()}

    def absent(self) -> dict[str, Any]:
        return {}

    def schema(self) -> Schema:
        return {"type": "object"}


def _option(spot: Spot, value: Any) -> Any:
    if isinstance(value, str):
        return Credential.parse(spot, value) or value
    if not isinstance(value, bool | int | float | list | dict):
        spot.fail("is a string, a number, true or false, a list or a table")
    if any(Credential.parse(spot, text) for text in _texts(value)):
        spot.fail(
            "has a reference inside, which nothing would read", "a reference is an option's whole value"
        )
    return value


def _texts(value: Any) -> Iterator[str]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for one in inner:
        yield from [one] if isinstance(one, str) else _texts(one)


SCHEDULE: Final = Table(
    "when it is due; without it a person or a program starts it",
    {
        "every": Text("`rate(30 days)`, or `cron(...)` with AWS's six fields"),
        "timezone": Text("the zone that `cron` is meant in, an IANA name", "UTC"),
        "window": Duration("how long after that instant it may begin; each secret has its own moment in it"),
        "max_age": Duration("how old a value may be at most, whatever the schedule says"),
    },
    needs={"every, a rate or a cron": (("every",),)},
)
ROTATION: Final = Table(
    "secrets that are renewed alike",
    {
        "names": Names("the secrets, or prefixes such as `exchange/**`", "secret"),
        "store": Text("the store that has them; else the default"),
        "rotator": Text(
            "how the target is reached: one of ours by its name, or `package.module:Class`",
            form=_ROTATOR,
            problem='is a name such as "postgresql", or package.module:Class',
        ),
        "schedule": SCHEDULE,
        "grace": Duration("how long the value before goes on working", "2h", nothing=True, most="365d"),
        "attempts": Whole("how often a step is tried until a person is asked", 1, 1000, 12),
        "deadline": Duration("how long a person may take to bring a value", "7d", most="365d"),
        "puts_count": Flag("a value that was put by hand counts as a rotation, as on AWS"),
        "options": RotatorOptions("what the rotator takes: see rotators.md"),
    },
    needs={"names": (("names",),), "a rotator": (("rotator",),)},
)
LEDGER: Final = Table(
    "",
    {
        "url": URL(
            "where it is",
            "ledger",
            lambda: ("sqlite", "postgresql", "strongroom"),
            LEDGERS,
            f"write {LEDGERS}",
        ),
        **POSTGRESQL,
        "keep": Duration("how long what is over is remembered", "400d"),
    },
    needs={"a url": (("url",),)},
)
