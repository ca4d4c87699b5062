"""The group ``rotation``: secrets that are renewed, at their target and in their store."""

from __future__ import annotations

from typing import Final

import click

from .lazy import Entry, LazyGroup

SUMMARY: Final = "renew secrets at their targets, by schedule or now"
SECTIONS: Final = {
    "See": {
        "plan": Entry("rotation_planning", "plan", "print when each secret will be rotated"),
        "status": Entry("rotation_showing", "status", "print how far each rotation has come"),
    },
    "Run": {
        "start": Entry("rotation_running", "start", "rotate one secret now"),
        "tick": Entry("rotation_running", "tick", "do all that is due, once: for cron and timers"),
        "serve": Entry("rotation_serving", "serve", "do what is due until it is stopped: a worker"),
        "package": Entry("rotation_packaging", "package", "make the zip of a cloud function"),
    },
    "Unstick": {
        "resume": Entry("rotation_running", "resume", "let a rotation that has stopped go on"),
        "abort": Entry("rotation_running", "abort", "end a rotation; the current value stays (asks)"),
        "take-in": Entry("rotation_running", "take_in", "go on with a pending value that somebody else left"),
        "clean": Entry("rotation_running", "clean", "remove a pending value that nobody needs (asks)"),
    },
}


@click.group(cls=LazyGroup, sections=SECTIONS, short_help=SUMMARY)
def rotation() -> None:
    """Rotation: what [rotation.LABEL] says, done so that a crash at any point is resumed."""
