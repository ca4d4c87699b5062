"""The go-plugin side: one client, mutual TLS on a socket that only this user can reach, an orderly end.

The protocol is go-plugin's (its ``docs/guide-plugin-write-non-go.md`` and ``server.go``): Terraform starts
the provider with a cookie and its certificate in the environment, and reads one line of its output.
"""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from grpclib.const import Cardinality, Handler
from grpclib.encoding.proto import ProtoCodec
from grpclib.server import Server

from .identity import context
from .messages import SERVING, message, new
from .service import METHODS, Service

COOKIE: Final = (
    "TF_PLUGIN_MAGIC_COOKIE",
    "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2",
)
"""What Terraform says to its plugins; no secret, only a courtesy to a person who starts one by hand."""
PROTOCOL: Final = 6
_CORE: Final = 1
_SOCKET_LIMIT: Final = 104
"""Bytes of a Unix socket's path: 108 on Linux and 104 on BSD and macOS, with the closing zero."""
_THREADS: Final = 64
_PARENT_EVERY: Final = 1.0
_Call = Callable[[Any], Awaitable[None]]


class NotPluginError(Exception):
    """It was not started as Terraform starts a provider; the message says how to."""


def certificate(environment: Mapping[str, str]) -> str:
    """Terraform's certificate, after checking that it is Terraform that asks.

    Raises:
        NotPluginError: a person started the program, Terraform is too old, or it was told not to use TLS.
    """
    if environment.get(COOKIE[0]) != COOKIE[1]:
        raise NotPluginError(
            "this is a provider: Terraform starts it; see terraform-provider-strongroom --help"
        )
    if str(PROTOCOL) not in environment.get("PLUGIN_PROTOCOL_VERSIONS", "").split(","):
        raise NotPluginError("this provider speaks plugin protocol 6: it needs Terraform 1.11 or later")
    if not environment.get("PLUGIN_CLIENT_CERT"):
        raise NotPluginError("this provider speaks mutual TLS only: unset TF_DISABLE_PLUGIN_TLS")
    return environment["PLUGIN_CLIENT_CERT"]


class Plugin:
    """A service on a socket.

    Args:
        service: what answers.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._threads = ThreadPoolExecutor(_THREADS, "terraform")
        self._done = asyncio.Event()

    async def serve(self, folder: str, client: str | None, ready: Callable[[str, str], None]) -> None:
        """Serve until Terraform says that it is done, or is gone.

        Args:
            folder: where the socket stands; only this user may enter it.
            client: the certificate that the one client has; None to serve in clear (reattach).
            ready: called with the socket's path and our certificate.
        """
        tls, ours = context(client, folder) if client else (None, "")
        address = os.path.join(folder, "plugin")
        server = Server([self], codec=ProtoCodec())
        await server.start(path=address, ssl=tls)
        self._watch()
        ready(address, ours)
        await self._done.wait()
        server.close()
        await asyncio.get_running_loop().run_in_executor(None, self._threads.shutdown)
        self._service.close()

    def _watch(self) -> None:
        """SIGINT reaches the whole process group; Terraform alone decides what comes of it."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, lambda: None)
        loop.add_signal_handler(signal.SIGTERM, self._done.set)
        parent = os.getppid()

        def look() -> None:
            if os.getppid() != parent:  # Terraform was killed: nobody will tell us to end
                self._done.set()
            loop.call_later(_PARENT_EVERY, look)

        look()

    def __mapping__(self) -> dict[str, Handler]:
        """What grpclib asks for."""
        unary, stream = Cardinality.UNARY_UNARY, Cardinality.UNARY_STREAM
        served = {
            f"/tfplugin6.Provider/{name}": Handler(self._rpc(answer), unary, message(takes), message(gives))
            for name, (takes, gives, answer) in METHODS.items()
        }
        nothing, said = message("Empty"), message("StdioData")
        conn = message("ConnInfo")
        health = message("HealthRequest"), message("HealthResponse")
        return served | {
            "/plugin.GRPCController/Shutdown": Handler(self._shutdown, unary, nothing, nothing),
            "/plugin.GRPCStdio/StreamStdio": Handler(self._silent, stream, nothing, said),
            "/plugin.GRPCBroker/StartStream": Handler(self._silent, Cardinality.STREAM_STREAM, conn, conn),
            "/grpc.health.v1.Health/Check": Handler(_health, unary, *health),
        }

    def _rpc(self, answer: Callable[[Service, Any], Any]) -> _Call:
        async def call(stream: Any) -> None:
            request = await stream.recv_message()
            loop = asyncio.get_running_loop()
            await stream.send_message(
                await loop.run_in_executor(self._threads, answer, self._service, request)
            )

        return call

    async def _shutdown(self, stream: Any) -> None:
        await stream.recv_message()
        await stream.send_message(new("Empty"))
        self._done.set()

    async def _silent(self, stream: Any) -> None:
        """Streams that go-plugin opens at once; we never say anything on them, and to end one is an error."""
        await stream.send_initial_metadata()
        await self._done.wait()


async def _health(stream: Any) -> None:
    await stream.recv_message()
    await stream.send_message(new("HealthResponse", status=SERVING))


def private_folder(environment: Mapping[str, str]) -> tempfile.TemporaryDirectory[str]:
    """A folder of mode 0700 for the socket, where its path is short enough."""
    asked = environment.get("PLUGIN_UNIX_SOCKET_DIR") or tempfile.gettempdir()
    short = len(os.fsencode(os.path.join(asked, "strongroom-12345678", "plugin"))) < _SOCKET_LIMIT
    return tempfile.TemporaryDirectory(prefix="strongroom-", dir=asked if short else "/tmp")  # noqa: S108


def handshake(address: str, certificate: str) -> str:
    """The line that Terraform waits for."""
    return f"{_CORE}|{PROTOCOL}|unix|{address}|grpc|{certificate}"
