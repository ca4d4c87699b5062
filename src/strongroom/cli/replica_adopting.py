"""``replica adopt``: a person decides that the source's value wins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from strongroom.errors import InvalidRequestError

from .options import Options, changing, pass_options
from .replica_planning import print_plans
from .replica_running import exit_code, print_reports
from .replicas import opened_replicas
from .rotation_running import confirmed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.replication.replicating import Replicating


@click.command(short_help="let the source's value win over a replica's (asks)")
@click.argument("names", metavar="NAME...", nargs=-1, required=True)
@changing
@pass_options
def adopt(options: Options, names: tuple[str, ...]) -> int:
    """Write the source's values of NAME... over what the replica holds of them, and keep them up from now on.

    For names that somebody else made there before, and for those of which two values claim one place. What
    the replica holds is lost: read it first. --store says which replica where there are several.
    """
    with opened_replicas(options) as found:
        alias, replicator = _one(found)
        if options.dry_run:
            print_plans(options, {alias: replicator.plan(names)})
            return 0
        question = f"Write {replicator.source.alias}'s values over {alias}'s {', '.join(names)}?"
        confirmed(options, question, "replica adopt")
        report = replicator.adopt(names)
    print_reports(options, {alias: report})
    return exit_code([report])


def _one(found: Mapping[str, Replicating]) -> tuple[str, Replicating]:
    if len(found) > 1:
        raise InvalidRequestError(
            "there are several replicas", hint=f"say by --store which: {', '.join(sorted(found))}"
        )
    return next(iter(found.items()))
