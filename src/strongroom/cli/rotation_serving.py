"""``rotation serve``: a worker in the foreground, as a supervisor or an orchestrator wants it."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import click

from .options import Options, common, pass_options
from .revoking import keep_list
from .rotations import opened_engine
from .serving import LISTEN, address_of, listening, say, stopped_by_signals

if TYPE_CHECKING:
    from strongroom.replication.following import Following


@click.command(short_help="do what is due until it is stopped: a worker")
@click.option(
    "--threads",
    type=click.IntRange(1, 64),
    default=4,
    show_default=True,
    metavar="N",
    help="How many rotations may go on at once.",
)
@click.option(
    "--every",
    type=click.IntRange(1, 3600),
    default=10,
    show_default=True,
    metavar="SECONDS",
    help="How long between two looks when nothing is due.",
)
@click.option(
    "--replicas", is_flag=True, help="Follow the sources of [replica] too, as replica sync --watch."
)
@LISTEN
@common
@pass_options
def serve(options: Options, threads: int, every: int, listen: str | None, *, replicas: bool) -> None:
    """Do what is due until SIGTERM or SIGINT, in as many workers on as many machines as you like.

    On the signal nothing more is begun, the rotations that threads are at go as far as they can, and the exit
    code is 0. A worker that is killed leaves nothing that another does not go on with. What strongroom.toml
    says is read once. Each step is a line on stdout, with --json one of JSON.
    """
    from strongroom.rotation.metrics import StepCounter
    from strongroom.rotation.worker import Worker

    from .rotation_progress import StepLog

    address_of(listen)
    steps = StepCounter()
    with ExitStack() as held:
        following = _following(options, held) if replicas else None
        heard = (following.hook(),) if following else ()
        opened = held.enter_context(opened_engine(options, (steps, StepLog(options), *heard)))
        worker = Worker(
            opened.engine,
            opened.ledger,
            threads=threads,
            every=every,
            chores=(opened.forget, lambda: keep_list(options)),
            duties=(following,) if following else (),
            steps=steps,
            say=partial(say, options),
        )
        held.enter_context(listening(options, listen, worker))
        held.enter_context(stopped_by_signals(worker.stop))
        say(options, f"working for {len(opened.policies)} secrets in {threads} threads")
        worker.run()
    say(options, "stopped; nothing is under way here")


def _following(options: Options, held: ExitStack) -> Following:
    from strongroom.replication.following import EVERY

    from .replica_watching import opened_following

    every_one = replace(options, store=None)  # of a worker --store says nothing
    return held.enter_context(opened_following(every_one, EVERY))
