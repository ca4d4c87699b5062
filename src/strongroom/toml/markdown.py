"""The keys of strongroom.toml as the tables of ``docs/configuration.md``.

``python -m strongroom.toml.markdown`` prints them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping

from .audit import ANCHOR, AUDIT, CALENDAR, CHECKPOINT, DETECT, JOURNAL, SINK
from .containers import Entries, Table
from .kinds import Kind
from .replicas import REPLICA
from .revocations import REVOCATIONS
from .rotation import LEDGER, ROTATION, SCHEDULE
from .tables import BREAKER, CACHE, COORDINATOR, DOCUMENT, ENCRYPT, KEY, KEYRING, NOTICE, PROFILE, STORE
from .takes import KEYS, QUEUES, STORES, Takes

_TABLES: Mapping[str, Table] = {
    "The file": DOCUMENT,
    "`[store.ALIAS]`": STORE,
    "`cache` of a store": CACHE,
    "`encrypt` of a store": ENCRYPT,
    "`breaker` of a failover": BREAKER,
    "one of `notices` of a store": NOTICE,
    "`[key.ALIAS]`": KEY,
    "`[keyring.ALIAS]`": KEYRING,
    "`[coordinator]`": COORDINATOR,
    "`[audit]`": AUDIT,
    "`journal` of the audit": JOURNAL,
    "`checkpoint` of the audit": CHECKPOINT,
    "one of `anchors` of the audit's checkpoints": ANCHOR,
    "`detect` of the audit": DETECT,
    "`calendar` of `detect`": CALENDAR,
    "one of `sinks` of the audit": SINK,
    "`[replica.ALIAS]`": REPLICA,
    "`[rotation.LABEL]`": ROTATION,
    "`schedule` of a rotation": SCHEDULE,
    "`[ledger]`": LEDGER,
    "`[revocations]`": REVOCATIONS,
    "`[profile.NAME]`": PROFILE,
}


def markdown() -> str:
    """A heading and a table for each table of the file, then what each scheme takes."""
    parts = [f"### {title}\n\n{_table(table.keys)}" for title, table in _TABLES.items()]
    parts += [f"### `auth` at {schemes}\n\n{_table(auth)}" for schemes, auth in _auth()]
    parts += [f"### `options` of {place}\n\n{_table(options)}" for place, options in _options()]
    return "\n".join(parts)


def _table(keys: Mapping[str, Kind]) -> str:
    rows = [_row(name, kind) for name, kind in _with_inner(keys)]
    return "\n".join(["| key | meaning | default | value |", "| --- | --- | --- | --- |", *rows]) + "\n"


def _with_inner(keys: Mapping[str, Kind]) -> Iterator[tuple[str, Kind]]:
    """A table whose keys whoever writes it chooses is told in place: ``names.PATTERN.fresh``."""
    for name, kind in keys.items():
        yield name, kind
        if isinstance(kind, Entries) and isinstance(kind.each, Table) and name == "names":
            yield from ((f"{name}.PATTERN.{inner}", one) for inner, one in kind.each.keys.items())


def _row(name: str, kind: Kind) -> str:
    default = "" if kind.default in (None, "", ()) else f"`{str(kind.default).lower()}`"
    value = ", ".join(filter(None, (kind.word, kind.limits)))
    return f"| `{name}` | {kind.meaning} | {default} | {value} |"


def _auth() -> Iterator[tuple[str, Mapping[str, Kind]]]:
    """The schemes that log in alike stand together."""
    alike: dict[int, tuple[list[str], Mapping[str, Kind]]] = {}
    for _, scheme, takes in _schemes():
        if takes.auth:
            alike.setdefault(id(takes.auth), ([], takes.auth))[0].append(f"`{scheme}`")
    yield from ((", ".join(dict.fromkeys(schemes)), auth) for schemes, auth in alike.values())


def _options() -> Iterator[tuple[str, Mapping[str, Kind]]]:
    yield from (
        (f"a {what} at `{scheme}`", takes.options) for what, scheme, takes in _schemes() if takes.options
    )


def _schemes() -> Iterator[tuple[str, str, Takes]]:
    yield from (("store", scheme, takes) for scheme, takes in STORES.items())
    yield from (("key", scheme, takes) for scheme, takes in KEYS.items())
    yield from (("queue", scheme, takes) for scheme, takes in QUEUES.items())


if __name__ == "__main__":
    sys.stdout.write(markdown())
