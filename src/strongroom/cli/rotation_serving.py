"""``rotation serve``: a worker in the foreground, as a supervisor or an orchestrator wants it."""

from __future__ import annotations

import signal
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

import click

from strongroom.errors import InvalidRequestError

from .failure import one_line
from .options import Options, common, pass_options
from .revoking import keep_list
from .rotations import opened_engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from strongroom.rotation.worker import Worker


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
    "--listen",
    metavar="HOST:PORT",
    help="Answer /healthz and /metrics there; anybody who reaches it may ask.",
)
@common
@pass_options
def serve(options: Options, threads: int, every: int, listen: str | None) -> None:
    """Do what is due until SIGTERM or SIGINT, in as many workers on as many machines as you like.

    On the signal nothing more is begun, the rotations that threads are at go as far as they can, and the exit
    code is 0. A worker that is killed leaves nothing that another does not go on with. What strongroom.toml
    says is read once. Each step is a line on stdout, with --json one of JSON.
    """
    from strongroom.rotation.metrics import StepCounter
    from strongroom.rotation.worker import Worker

    from .rotation_progress import StepLog

    address, steps = _address(listen), StepCounter()
    with ExitStack() as held:
        opened = held.enter_context(opened_engine(options, (steps, StepLog(options))))
        worker = Worker(
            opened.engine,
            opened.ledger,
            threads=threads,
            every=every,
            chores=(opened.forget, lambda: keep_list(options)),
            steps=steps,
            say=lambda line: _say(options, line),
        )
        if address:
            from strongroom.rotation.health import health_server

            port = held.enter_context(health_server(worker, *address))
            _say(options, f"listening at http://{address[0]}:{port}/healthz and /metrics")
        held.enter_context(_stopped_by_signals(worker))
        _say(options, f"working for {len(opened.policies)} secrets in {threads} threads")
        worker.run()
    _say(options, "stopped; nothing is under way here")


def _address(listen: str | None) -> tuple[str, int] | None:
    if not listen:
        return None
    host, _, port = listen.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise InvalidRequestError("--listen is HOST:PORT", hint="write 127.0.0.1:9464")
    return host.strip("[]"), int(port)


@contextmanager
def _stopped_by_signals(worker: Worker) -> Iterator[None]:
    def stop(_number: int, _frame: FrameType | None) -> None:
        worker.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _say(options: Options, line: str) -> None:
    if not options.quiet:
        with suppress(OSError):  # whoever read it has gone; the work goes on
            click.echo(one_line(line), err=True)
