"""What the commands share that run until they are stopped."""

from __future__ import annotations

import signal
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, Final

import click

from strongroom.errors import InvalidRequestError

from .failure import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    from strongroom.rotation.health import Serving

    from .options import Options

LISTEN: Final = click.option(
    "--listen",
    metavar="HOST:PORT",
    help="Answer /healthz and /metrics there; anybody who reaches it may ask.",
)


@contextmanager
def listening(options: Options, listen: str | None, worker: Serving) -> Iterator[None]:
    """Answer for a worker at HOST:PORT, if any is given, while the block runs.

    Raises:
        InvalidRequestError: it is none, or cannot be listened at.
    """
    address = address_of(listen)
    if address is None:
        yield
        return
    from strongroom.rotation.health import health_server

    with health_server(worker, *address) as port:
        say(options, f"listening at http://{address[0]}:{port}/healthz and /metrics")
        yield


def address_of(listen: str | None) -> tuple[str, int] | None:
    """Host and port; None for nothing.

    Raises:
        InvalidRequestError: it is anything else.
    """
    if not listen:
        return None
    host, _, port = listen.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise InvalidRequestError("--listen is HOST:PORT", hint="write 127.0.0.1:9464")
    return host.strip("[]"), int(port)


@contextmanager
def stopped_by_signals(stop: Callable[[], Any]) -> Iterator[None]:
    """SIGTERM and SIGINT call `stop` while the block runs."""

    def called(_number: int, _frame: FrameType | None) -> None:
        stop()

    before = {number: signal.signal(number, called) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def say(options: Options, line: str) -> None:
    """A line for people, on stderr."""
    if not options.quiet:
        with suppress(OSError):  # whoever read it has gone; the work goes on
            click.echo(one_line(line), err=True)
