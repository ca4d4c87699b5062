"""One TLS connection to a receiver: verified, bounded in time, and never to a private address by accident."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
import time
from typing import TYPE_CHECKING, Final, NamedTuple, Self

from strongroom.errors import InvalidRequestError, SecretStoreError, UnavailableError

if TYPE_CHECKING:
    from pathlib import Path

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


class Reach(NamedTuple):
    """How a receiver is reached, and whom to trust there.

    Attributes:
        ca: a PEM file of the only authorities to trust; None: those of the system.
        identity: PEM files of our own certificate and its key, for receivers that ask who sends.
        timeout: seconds for one exchange as a whole, the look-up of the name not counted.
        private: whether the host may have an address that is not public; literal loopback always may.
    """

    ca: Path | str | None = None
    identity: tuple[Path | str, Path | str] | None = None
    timeout: float = 10.0
    private: bool = False


class Deadline:
    """The end of one exchange as a whole: a receiver that drips a byte a second is as dead as a silent one.

    Args:
        seconds: from now.
    """

    def __init__(self, seconds: float):
        self._until = time.monotonic() + seconds

    def arm(self, connection: socket.socket) -> None:
        """Give the next call on `connection` only the time that is left.

        Raises:
            TimeoutError: none is left.
        """
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(left)


class Connection:
    """A connected socket under a deadline. Close it, or use it as a context manager."""

    def __init__(self, connection: socket.socket, deadline: Deadline):
        self._socket = connection
        self.deadline = deadline

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, data: bytes) -> None:
        """Send all of it; a receiver that stops reading meets the deadline, not the kernel's patience."""
        rest = memoryview(data)
        while rest:
            self.deadline.arm(self._socket)
            rest = rest[self._socket.send(rest) :]

    def readinto(self, buffer: memoryview) -> int:
        """What has arrived, at least one byte; 0 at the end."""
        self.deadline.arm(self._socket)
        return self._socket.recv_into(buffer)

    def finish(self) -> None:
        """Say that no more will come, and return when the other side ends its stream too, having read all.

        An end without TLS's close_notify is taken as well: GnuTLS servers such as rsyslog's send none. A peer
        that dies with bytes unread resets the connection.

        Raises:
            OSError: it was reset, or not ended in time.
        """
        assert isinstance(self._socket, ssl.SSLSocket)
        self.deadline.arm(self._socket)
        with contextlib.suppress(ssl.SSLEOFError):
            self._socket = self._socket.unwrap()

    def close(self) -> None:
        """Close the socket at once."""
        self._socket.close()


def tls_context(reach: Reach) -> ssl.SSLContext:
    """TLS 1.2+ that verifies chain and host name; nothing turns it off.

    Raises:
        InvalidRequestError: a file is missing or is no PEM of that kind.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    problem = _load(context, reach)
    if problem:
        raise InvalidRequestError(problem, hint="name readable PEM files")
    return context


def _load(context: ssl.SSLContext, reach: Reach) -> str | None:
    try:
        if reach.ca is None:
            context.load_default_certs()
        else:
            context.load_verify_locations(cafile=reach.ca)
    except (OSError, ssl.SSLError):
        return "the file of certificate authorities cannot be used"
    try:
        if reach.identity is not None:
            # An encrypted key would make OpenSSL ask the terminal, from a thread nobody watches.
            context.load_cert_chain(*reach.identity, password="")
    except (OSError, ssl.SSLError):
        return "the client certificate or its key cannot be used"
    return None


def connect(host: str, port: int, reach: Reach, *, plain: bool = False) -> Connection:
    """Connect to an address that was looked at first, so that a second look-up cannot name another.

    Args:
        host: a name, or a literal address.
        port: the TCP port.
        reach: trust, time and the addresses that are allowed.
        plain: without TLS, which callers allow on literal loopback alone.

    Raises:
        InvalidRequestError: the name stands for an address that is not public, or a PEM file cannot be used.
        UnavailableError: not reached in time, or no trusted TLS.
    """
    tls = None if plain else tls_context(reach)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        found = []
    if not found:
        raise UnavailableError("the receiver's name cannot be resolved", hint="check host and network")
    _vet(host, [str(entry[4][0]) for entry in found], reach.private)
    deadline = Deadline(reach.timeout)
    error: SecretStoreError = UnavailableError("the receiver cannot be reached", hint="check host and port")
    for family, kind, protocol, _, address in found:
        outcome = _open(socket.socket(family, kind, protocol), address, host, tls, deadline)
        if isinstance(outcome, Connection):
            return outcome
        error = outcome or error
    raise error


def _open(
    plain: socket.socket,
    address: object,
    host: str,
    tls: ssl.SSLContext | None,
    deadline: Deadline,
) -> Connection | SecretStoreError | None:
    """A connection, or why there is none; what is not connected is closed."""
    wrapped: socket.socket = plain
    try:
        deadline.arm(plain)
        plain.connect(address)  # type: ignore[arg-type]
        if tls is not None:
            deadline.arm(plain)
            wrapped = tls.wrap_socket(plain, server_hostname=host)
        return Connection(wrapped, deadline)
    except ssl.SSLCertVerificationError:
        error: SecretStoreError | None = UnavailableError(
            "the receiver's certificate does not verify",
            hint="set `ca` to the file of its certificate authority, and check the host name",
        )
    except OSError:
        error = None
    wrapped.close()
    return error


def _vet(host: str, addresses: list[str], private: bool) -> None:
    if private or is_loopback_address(host):
        return
    if not all(is_public(address) for address in addresses):
        raise InvalidRequestError(
            "the receiver's name stands for an address that is not public",
            hint="write private = true if it is meant to be in your own network",
        )


def is_loopback_address(host: str) -> bool:
    """Whether `host` is a literal of 127.0.0.0/8 or ::1; a name is not, since it may resolve anywhere."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback


def is_public(text: str) -> bool:
    """Whether an address is reachable for everybody: not private, link-local, shared, multicast or reserved.

    IPv4 addresses inside IPv6 ones (mapped, 6to4, Teredo, NAT64) are judged by themselves, since a
    gateway may carry them into the network behind it.
    """
    address = ipaddress.ip_address(text.partition("%")[0])
    return all(each.is_global and not each.is_multicast for each in (address, *_inside(address)))


def _inside(address: Address) -> list[Address]:
    if isinstance(address, ipaddress.IPv4Address):
        return []
    inner = [address.ipv4_mapped, address.sixtofour, *(address.teredo or ())]
    if address in _NAT64:
        inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return [each for each in inner if each is not None]
