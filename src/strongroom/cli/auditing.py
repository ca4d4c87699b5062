"""The group ``audit``: what can be done with an audit journal."""

from __future__ import annotations

from typing import Final

import click

from .lazy import Entry, LazyGroup

SECTIONS: Final = {
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


@click.group(cls=LazyGroup, sections=SECTIONS, short_help="prove, read and watch the audit journal")
def audit() -> None:
    """The audit journal: prove that nobody changed it, read it, be told of what should not happen."""
