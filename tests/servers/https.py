"""Certificates, and small HTTPS servers that record every request, some of them hostile."""

from __future__ import annotations

import datetime as dt
import ipaddress
import ssl
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.session import note

_DAY = dt.timedelta(days=1)


@dataclass(frozen=True)
class Certificate:
    """A certificate and its private key as PEM files, as servers and SDKs want them."""

    certificate: Path
    key: Path


class Authority:
    """A certificate authority made for this run; `ca_file` is what a client is told to trust."""

    def __init__(self, name: str = "Strongroom tests") -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="ca-")
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _common_name(name)
        builder = _builder(self._name, self._name, self._key.public_key()).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        usage = x509.KeyUsage(
            key_cert_sign=True, crl_sign=True, digital_signature=False, content_commitment=False,
            key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
            decipher_only=False,
        )  # fmt: skip
        signed = builder.add_extension(usage, critical=True).sign(self._key, hashes.SHA256())
        self.ca_file = Path(self._folder.name, "ca.pem")
        self.ca_file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        self._identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())

    def issue(self, name: str = "localhost", *more: str) -> Certificate:
        """A certificate for these names or addresses, 127.0.0.1 and ::1, good for servers and for clients."""
        key = ec.generate_private_key(ec.SECP256R1())
        named = [_general_name(each) for each in (name, *more, "127.0.0.1", "::1")]
        purposes = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        certificate = (
            _builder(_common_name(name), self._name, key.public_key())
            .add_extension(x509.SubjectAlternativeName(named), critical=False)
            .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
            .add_extension(self._identifier, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        folder = Path(tempfile.mkdtemp(dir=self._folder.name))
        (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (folder / "key.pem").write_bytes(_pem(key))
        return Certificate(folder / "cert.pem", folder / "key.pem")

    def server_context(self, *names: str) -> ssl.SSLContext:
        """TLS for a server that stands under this authority, under these names or localhost."""
        issued = self.issue(*names) if names else self.issue()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(issued.certificate, issued.key)
        return context

    def close(self) -> None:
        """Remove the files; a context made before keeps working."""
        self._folder.cleanup()


def _common_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general_name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + 30 * _DAY)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, form, plain)


@dataclass(frozen=True)
class Request:
    """What a client sent, whole."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes

    def text(self) -> str:
        """Everything in one text, to search for a token."""
        lines = [f"{self.method} {self.path}", *(f"{name}: {value}" for name, value in self.headers.items())]
        return "\n".join(lines) + "\n\n" + self.body.decode("latin-1")


@dataclass(frozen=True)
class Response:
    """What the server answers."""

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})


NO_ANSWER: Final = Response(0, b"", {})
"""The connection ends where the answer would begin."""


@dataclass(frozen=True)
class Server:
    """A running server: where it is, whom to trust for it, what it was sent so far."""

    url: str
    ca_file: Path | None
    requests: list[Request]

    def assert_never_saw(self, *secrets: str) -> None:
        """No request of any client held any of these."""
        seen = "\n".join(request.text() for request in self.requests)
        assert not any(secret in seen for secret in secrets), f"a secret reached {self.url}"


class _Listener(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that refuses us mid-handshake is what these servers are for."""


def _handler(respond: Callable[[Request], Response], requests: list[Request]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 10
        wbufsize = -1  # head and body in one segment: two cost 44 ms, Nagle against the delayed ACK

        def handle_one_request(self) -> None:
            with suppress(ConnectionError, TimeoutError):
                super().handle_one_request()

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            request = Request(self.command, self.path, dict(self.headers.items()), body)
            requests.append(request)
            response = respond(request)
            if response is NO_ANSWER:
                self.close_connection = True
                return
            self.send_response(response.status)
            for name, value in {**response.headers, "Content-Length": str(len(response.body))}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(response.body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
            pass

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_LIST = answer  # noqa: N815

    return Handler


@contextmanager
def serving(
    respond: Callable[[Request], Response],
    authority: Authority | None = None,
    context: ssl.SSLContext | None = None,
    port: int = 0,
) -> Iterator[Server]:
    """A server on a loopback port (0: a free one) that records requests; TLS with authority or context."""
    requests: list[Request] = []
    server = _Listener(("127.0.0.1", port), _handler(respond, requests))
    context = context or (authority.server_context() if authority else None)
    if context:
        # The handshake belongs to the connection's own thread, or one silent client would stop the rest.
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    url = f"{'https' if context else 'http'}://127.0.0.1:{server.server_port}"
    try:
        yield Server(url, authority.ca_file if authority else None, requests)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def redirecting(authority: Authority, target: str) -> Iterator[Server]:
    """Answers everything with 307 to `target`, same path and method: a client that follows leaks all."""

    def respond(request: Request) -> Response:
        return Response(307, b"", {"Location": target + request.path})

    note("servers", name="HTTPS double that redirects")
    with serving(respond, authority) as server:
        yield server


@contextmanager
def at_most_tls_1_1(authority: Authority) -> Iterator[Server]:
    """Trusted, but speaks nothing newer than TLS 1.1."""
    note("servers", name="HTTPS double with TLS 1.1")
    context = authority.server_context()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("DEFAULT:@SECLEVEL=0")  # OpenSSL 3 has no TLS 1.1 above this level
    with serving(lambda _: Response(), authority, context) as server:
        yield server


@contextmanager
def under_foreign_ca(authority: Authority) -> Iterator[Server]:
    """A valid certificate for the right host, from an authority that the client was not told to trust.

    `ca_file` is `authority`'s: what an honest client trusts.
    """
    note("servers", name="HTTPS double under a foreign CA")
    foreign = Authority("somebody else")
    try:
        with serving(lambda _: Response(), authority, foreign.server_context()) as server:
            yield server
    finally:
        foreign.close()
