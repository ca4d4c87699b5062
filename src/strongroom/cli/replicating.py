"""The group ``replica``: copies of a store's secrets in other stores, which go on when it is lost."""

from __future__ import annotations

from typing import Final

import click

from .lazy import Entry, LazyGroup

SUMMARY: Final = "keep copies in other regions and clouds; take over"
SECTIONS: Final = {
    "See": {
        "plan": Entry("replica_planning", "plan", "print what a sync would write, and why"),
        "status": Entry("replica_showing", "status", "print lag, drift and what waits for a person"),
    },
    "Run": {
        "sync": Entry("replica_running", "sync", "bring replicas up to their source, once or for ever"),
        "adopt": Entry("replica_adopting", "adopt", "let the source's value win over a replica's (asks)"),
    },
    "Fail over": {
        "takeover": Entry("replica_takeover", "takeover", "make a replica the source (asks)"),
        "divergence": Entry("replica_divergence", "divergence", "print what a returning source had"),
    },
}


@click.group(cls=LazyGroup, sections=SECTIONS, short_help=SUMMARY)
def replica() -> None:
    """Replication: what [replica.ALIAS] says, proved by reading it back."""
