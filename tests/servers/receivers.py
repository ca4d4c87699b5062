"""Receivers of records on loopback: an honest syslog server over TLS, and servers that behave badly."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from tests.session import note

Behaviour = Callable[[socket.socket, "Receiver"], None]


@dataclass
class Receiver:
    """A listening server: where it is, and what it has read, a piece for each connection."""

    port: int
    streams: list[bytes] = field(default_factory=list)
    leaving: threading.Event = field(default_factory=threading.Event)

    @property
    def messages(self) -> list[bytes]:
        """The syslog messages of all whole streams, by their octet counts."""
        return [message for stream in self.streams for message in counted(stream)]


def counted(stream: bytes) -> list[bytes]:
    """The messages of a stream; it is an error if the counts do not meet its end exactly."""
    messages = []
    while stream:
        count, _, rest = stream.partition(b" ")
        messages.append(rest[: int(count)])
        assert len(messages[-1]) == int(count)
        stream = rest[int(count) :]
    return messages


@contextmanager
def receiving(behave: Behaviour, context: ssl.SSLContext | None = None, port: int = 0) -> Iterator[Receiver]:
    """A TCP server, with TLS if there is a context, that treats each connection as `behave` does."""
    note("servers", name="audit receivers (syslog over TLS, and hostile ones)")
    listener = socket.create_server(("127.0.0.1", port))
    receiver = Receiver(listener.getsockname()[1])
    threads: list[threading.Thread] = []

    def serve(plain: socket.socket) -> None:
        with suppress(OSError), plain:
            if context is None:
                behave(plain, receiver)
                return
            with context.wrap_socket(plain, server_side=True) as wrapped:
                behave(wrapped, receiver)

    def accept() -> None:
        with suppress(OSError):
            while True:
                plain, _ = listener.accept()
                plain.settimeout(10)
                threads.append(threading.Thread(target=serve, args=(plain,), daemon=True))
                threads[-1].start()

    acceptor = threading.Thread(target=accept, daemon=True)
    acceptor.start()
    try:
        yield receiver
    finally:
        receiver.leaving.set()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in (acceptor, *threads):
            thread.join(5)


def honest(connection: socket.socket, receiver: Receiver) -> None:
    """Reads to the end, keeps it, and ends its own stream as RFC 5425 says."""
    stream = b"".join(iter(lambda: connection.recv(65536), b""))
    receiver.streams.append(stream)
    if isinstance(connection, ssl.SSLSocket):
        connection.unwrap()


def ending_without_notice(connection: socket.socket, receiver: Receiver) -> None:
    """Reads to the end and closes, without TLS's own end, as rsyslog under GnuTLS does."""
    receiver.streams.append(b"".join(iter(lambda: connection.recv(65536), b"")))


def deaf(connection: socket.socket, receiver: Receiver) -> None:
    """Accepts, and never reads nor answers."""
    receiver.leaving.wait(10)


def dying(connection: socket.socket, receiver: Receiver) -> None:
    """Reads a little and dies with the rest unread: the kernel resets the connection."""
    connection.recv(1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def dripping(connection: socket.socket, receiver: Receiver) -> None:
    """Answers without end, a byte at a time: every read gets something soon."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    while not receiver.leaving.wait(0.02):
        connection.sendall(b"x")


def answering(data: bytes) -> Behaviour:
    """Reads something, answers with these bytes and closes."""

    def behave(connection: socket.socket, receiver: Receiver) -> None:
        connection.recv(65536)
        connection.sendall(data)

    return behave
