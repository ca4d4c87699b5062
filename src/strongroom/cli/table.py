"""The tables of what stores and keys can do: ``backend list`` and the README show them.

``python -m strongroom.cli.table`` prints the stores as Markdown, ``… table keys`` the keys.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import click

from strongroom.backend import Capability
from strongroom.errors import BackendNotInstalledError, SecretStoreError
from strongroom.keys import Wrapping

KEY_COLUMNS = ("wraps by", "context", "symmetric", "at most", "to have it", "signs")
_LACKING = "·"
_NOTES = (
    "¹ With a `[coordinator]` in strongroom.toml, which guards Strongroom's own writers.",
    "² By an intent in the secret's annotations, which guards Strongroom's own writers.",
)


class Row(NamedTuple):
    """A scheme, what its class declares, and why it cannot be used, if it cannot.

    An instance may have less: KV version 1 has no versions, whatever its class can.

    Attributes:
        scheme: of the URL.
        capabilities: what the class can do.
        problem: why it cannot be used here; empty if nothing stands against it.
        needs_coordinator: those of the capabilities that only a coordinator gives.
    """

    scheme: str
    capabilities: Capability
    problem: str = ""
    needs_coordinator: Capability = Capability(0)


class KeyRow(NamedTuple):
    """A scheme of keys, how its keys wrap and what they sign.

    Attributes:
        scheme: of the URL.
        wrappings: the default first.
        algorithms: of signatures.
        problem: why it cannot be used here; empty if nothing stands against it.
    """

    scheme: str
    wrappings: tuple[Wrapping, ...] = ()
    algorithms: tuple[str, ...] = ()
    problem: str = ""


def rows() -> list[Row]:
    """One row for each scheme that can be named here, those of other packages too."""
    from strongroom.registry import schemes

    return [row(scheme) for scheme in schemes()]


def row(scheme: str) -> Row:
    """The row of one scheme."""
    from strongroom.registry import backend_class

    try:
        found = backend_class(scheme)
    except SecretStoreError as error:
        return Row(scheme, Capability(0), _problem(error))
    return Row(scheme, found.capabilities, needs_coordinator=found.needs_coordinator)


def key_rows() -> list[KeyRow]:
    """One row for each scheme that a key's URL can have."""
    from strongroom.registry import key_schemes

    return [key_row(scheme) for scheme in sorted(key_schemes())]


def key_row(scheme: str) -> KeyRow:
    """The row of one scheme of keys."""
    from strongroom.keys import Signer
    from strongroom.registry import key_class, signer_class

    try:
        signer = signer_class(scheme)
        signs = signer.ALGORITHMS if signer else ()
        inorder = tuple(name for name in Signer.ALGORITHMS if name in signs)
        return KeyRow(scheme, key_class(scheme).wrappings(), inorder)
    except SecretStoreError as error:
        return KeyRow(scheme, problem=_problem(error))


def _problem(error: SecretStoreError) -> str:
    if isinstance(error, BackendNotInstalledError):
        return error.hint or error.message
    return str(error)


def markdown() -> str:
    """The table of stores for the README: a line for each scheme of our own, and what its marks mean."""
    from importlib.metadata import entry_points

    from strongroom.registry import ENTRY_POINTS

    foreign = {entry.name for entry in entry_points(group=ENTRY_POINTS)}
    heads = ["get", *((flag.name or "").replace("_", " ").lower() for flag in Capability), "pending values"]
    lines = [_line(["", *heads]), _line(["---", *[":-:"] * len(heads)])]
    lines += [_line([f"`{row.scheme}`", *_marks(row)]) for row in rows() if row.scheme not in foreign]
    return "\n".join([*lines, "", "\\\n".join(_NOTES)]) + "\n"


def _marks(row: Row) -> Iterable[str]:
    from strongroom.stages import supports_pending

    yield "✓"
    for flag in Capability:
        note = "¹" if flag in row.needs_coordinator else "²" if flag is Capability.CAS_GUARDED else ""
        yield f"✓{note}" if flag in row.capabilities else _LACKING
    alone = supports_pending(row.capabilities & ~row.needs_coordinator)
    yield "✓" if alone else "✓¹" if supports_pending(row.capabilities) else _LACKING


def keys_markdown() -> str:
    """The table of keys for the README: a line for each way to wrap."""
    lines = [_line(["", *KEY_COLUMNS]), _line(["---", "---", "---", ":-:", "--:", "---", "---"])]
    for scheme, *facts, option, signs in key_cells():
        lines.append(_line([f"`{scheme}`", *facts, option and f"`{option}`", signs]))
    return "\n".join(lines) + "\n"


def key_cells() -> Iterable[Sequence[str]]:
    """The table of keys as text, one line for each way to wrap; a scheme's signatures stand on its first."""
    for scheme, wrappings, algorithms, problem in key_rows():
        if problem:
            yield scheme, problem, "", "", "", "", ""
        for at, (algorithm, context, symmetric, largest, option) in enumerate(wrappings):
            size = f"{largest:,} bytes" if largest else ""
            signs = "" if at else ", ".join(algorithms) or _LACKING
            yield scheme, algorithm, context, "yes" if symmetric else "no", size, option, signs


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    click.echo(keys_markdown() if sys.argv[1:] == ["keys"] else markdown(), nl=False)
