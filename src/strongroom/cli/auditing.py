"""The group ``audit``: what can be done with an audit journal.

The table names every command; one whose module is not there is left out, so that each can come by itself.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

import click

from .lazy import Entry, LazyGroup

_ALL: Final = {
    "Prove": {
        "verify": Entry("audit_proof", "verify", "check a whole journal, offline, with public keys alone"),
        "prove": Entry("audit_proof", "prove", "write the proof of one record, for a third party"),
        "check-proof": Entry("audit_proof", "check_proof", "check such a proof; needs no journal"),
        "checkpoint": Entry("audit_proof", "checkpoint", "sign what the journal holds now"),
    },
    "Read": {
        "show": Entry("audit_reading", "show", "print records"),
        "export": Entry("audit_reading", "export", "write records as OCSF, ECS, CEF or JSON"),
        "report": Entry("audit_reporting", "report", "make one page to look at"),
    },
    "Act": {
        "watch": Entry("audit_watching", "watch", "raise alerts by rules"),
        "shred": Entry("audit_shredding", "shred", "forget who a person was, for ever (asks)"),
    },
}


def _there(entry: Entry) -> bool:
    return find_spec(f"{__package__}.{entry.module}") is not None


SECTIONS: Final = {
    title: found
    for title, section in _ALL.items()
    if (found := {name: entry for name, entry in section.items() if _there(entry)})
}


@click.group(cls=LazyGroup, sections=SECTIONS, short_help="prove, read and watch the audit journal")
def audit() -> None:
    """The audit journal: prove that nobody changed it, read it, be told of what should not happen."""
