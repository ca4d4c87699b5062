"""A TCP relay between a client and a server, to cut the connection at a moment of the test's choosing."""

from __future__ import annotations

import selectors
import socket
import struct
import threading
from typing import Self

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of 0 seconds: close sends RST, as a dead host or a firewall does


class Relay:
    """Forwards bytes both ways between its own loopback port and `target_port`; one thread for all.

    Attributes:
        port: where clients connect.
        connections: how many were ever made.
    """

    def __init__(self, target_port: int):
        self._target = ("127.0.0.1", target_port)
        self._peers: dict[socket.socket, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._commands, self._wake = socket.socketpair()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self._severed = False
        self._waiting: list[socket.socket] = []
        self._cut_done = threading.Event()
        self._selector.register(self._commands, selectors.EVENT_READ)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="relay", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._wake.send(b"q")
        self._thread.join()
        self.mend()
        for each in (self._listener, self._commands, self._wake):
            each.close()
        self._selector.close()

    def sever(self) -> None:
        """Reset every connection, and leave each new one without an answer, until `mend`."""
        self._severed = True
        self.cut()

    def mend(self) -> None:
        """Forward again; who has waited must connect anew."""
        self._severed = False
        while self._waiting:
            self._waiting.pop().close()

    def cut(self) -> None:
        """Reset every connection; returns when it is done. New ones are accepted."""
        self._cut_done.clear()
        self._wake.send(b"c")
        self._cut_done.wait(10)

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                ready = key.fileobj
                assert isinstance(ready, socket.socket)
                if ready is self._commands:
                    command = ready.recv(1)
                    self._reset_all()
                    if command == b"q":
                        return
                    break  # the other events are of closed sockets
                self._accept() if ready is self._listener else self._forward(ready)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        if self._severed:
            self._waiting.append(client)
            return
        server = socket.create_connection(self._target)
        self.connections += 1
        self._peers |= {client: server, server: client}
        for each in (client, server):
            self._selector.register(each, selectors.EVENT_READ)

    def _forward(self, source: socket.socket) -> None:
        if source not in self._peers:
            return  # closed while its event waited
        try:
            data = source.recv(1 << 16)
            if data:
                self._peers[source].sendall(data)
                return
        except OSError:
            pass  # an end that broke off ends the pair, as an end that closed does
        self._close(source)

    def _close(self, one: socket.socket) -> None:
        for each in (one, self._peers.pop(one)):
            self._peers.pop(each, None)
            self._selector.unregister(each)
            each.close()

    def _reset_all(self) -> None:
        for each in list(self._peers):
            if each in self._peers:
                for end in (each, self._peers[each]):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                self._close(each)
        self._cut_done.set()
