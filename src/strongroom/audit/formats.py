"""A journal's record in the formats that a SIEM takes: OCSF, ECS, CEF, or as it is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from strongroom.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .actor import Actor

FORMATS: Final = ("json", "ocsf", "ecs", "cef")


def render(
    record: Mapping[str, Any],
    form: str = "json",
    *,
    actor: Actor | None = None,
    host: str = "",
    line: bytes = b"",
) -> dict[str, Any] | str:
    """The record in a format: a document, or in CEF a line without its end.

    Args:
        record: as the journal holds it.
        form: one of `FORMATS`.
        actor: who it was, if the sealed text was opened and may be told; otherwise only the subject's uid is.
        host: where the writer of its chain runs, which the first record of a chain tells.
        line: the line that the record was parsed from, if at hand: it is then not made and checked again.

    Raises:
        InvalidRequestError, IntegrityError: no such format, or not a record.
    """
    from .rendering import facts_of

    if form not in FORMATS:
        raise InvalidRequestError(f"there is no format {form[:20]!r}", hint=f"one of {', '.join(FORMATS)}")
    facts = facts_of(record, actor, host, line)
    if form == "ocsf":
        from .ocsf import ocsf

        return ocsf(facts)
    if form == "ecs":
        from .ecs import ecs

        return ecs(facts)
    if form == "cef":
        from .cef import cef

        return cef(facts)
    return _opened(record, actor)


def render_line(
    record: Mapping[str, Any], form: str = "json", *, actor: Actor | None = None, host: str = ""
) -> bytes:
    """The record as one line without its end: UTF-8 of printable characters alone, of JSON even ASCII alone.

    A record in ``json`` whose actor is not opened is the journal's own line, from which it can be proved.

    Raises:
        InvalidRequestError, IntegrityError: no such format, or not a record.
    """
    if form == "json" and actor is None:
        from .record import encode

        return encode(record)
    document = render(record, form, actor=actor, host=host)
    if isinstance(document, str):
        return document.encode()
    return json.dumps(document, separators=(",", ":")).replace("\x7f", "\\u007f").encode("ascii")


def _opened(record: Mapping[str, Any], actor: Actor | None) -> dict[str, Any]:
    if actor is None:
        return dict(record)
    told = {key: getattr(actor, key) for key in ("principal", "name", "address", "on_behalf_of")}
    opened = {key: value for key, value in told.items() if value}
    return {**record, "actor": {**record.get("actor", {}), "opened": opened}}
