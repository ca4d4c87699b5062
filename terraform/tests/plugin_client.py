"""Terraform's side of the plugin protocol, for tests that need no Terraform: start, handshake, call."""

from __future__ import annotations

import asyncio
import base64
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP521R1, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from grpclib.client import Channel, UnaryUnaryMethod
from grpclib.config import Configuration
from grpclib.encoding.proto import ProtoCodec
from grpclib.exceptions import GRPCError

from strongroom_terraform.messages import message, new
from strongroom_terraform.plugin import COOKIE
from strongroom_terraform.service import METHODS

ROOT = Path(__file__).parents[2]
SECONDS = 30


@dataclass(frozen=True, slots=True)
class Identity:
    """A key and certificate as go-plugin makes them: P-521, itself its authority, for localhost."""

    certificate: str
    key: str

    @staticmethod
    def new() -> Identity:
        """Another one each time."""
        key, now = generate_private_key(SECP521R1()), datetime.now(UTC)
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
        made = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(seconds=30))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .sign(key, SHA512())
        )
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return Identity(made.public_bytes(Encoding.PEM).decode(), pem.decode())


@dataclass(frozen=True, slots=True)
class Started:
    """A provider that said where it listens.

    Attributes:
        fields: of its handshake line.
    """

    process: subprocess.Popen[str]
    fields: list[str]

    @property
    def address(self) -> str:
        """Its socket."""
        return self.fields[3]


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """What Terraform starts a provider with."""
    return {
        **os.environ,
        COOKIE[0]: COOKIE[1],
        "PLUGIN_PROTOCOL_VERSIONS": "5,6",
        "PYTHONPATH": str(ROOT),
        **extra,
    }


@contextmanager
def started(settings: Mapping[str, str], *argv: str) -> Iterator[Started]:
    """The toy, or another program, as Terraform starts it; killed at the end if it is still there."""
    command = argv or (sys.executable, "-m", "terraform.tests.toy")
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environment(settings), stdout=pipe, stderr=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            yield Started(process, process.stdout.readline().strip().split("|"))
        finally:
            process.kill()


def tls(identity: Identity | None, server: str, folder: Path) -> ssl.SSLContext:
    """A client's side: trusts exactly the certificate that stood in the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    der = base64.b64decode(server + "=" * (-len(server) % 4))
    context.load_verify_locations(cadata=der)
    context.set_alpn_protocols(["h2"])
    if identity:
        pem = folder / "client.pem"
        pem.write_text(identity.certificate + identity.key)
        context.load_cert_chain(pem)
    return context


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(3) + b"\4" + bytes(5)
"""What a client of HTTP/2 begins with, and empty settings."""


def lets_in(address: str, context: ssl.SSLContext | None, preface: bytes = PREFACE) -> bool:
    """Whether a client gets HTTP/2's first frame; in TLS 1.3 a refusal comes after the handshake."""
    try:
        with socket.socket(socket.AF_UNIX) as plain:
            plain.settimeout(SECONDS)
            plain.connect(address)
            with context.wrap_socket(plain, server_hostname="localhost") if context else plain as connection:
                connection.sendall(preface)
                return connection.recv(9) != b""
    except OSError:
        return False


def call(address: str, context: ssl.SSLContext | None, *asked: tuple[str, Any]) -> list[Any]:
    """The answers to some requests, one after the other on one connection."""
    return asyncio.run(_calls(address, context, asked))


async def _calls(address: str, context: ssl.SSLContext | None, asked: Any) -> list[Any]:
    named = Configuration(ssl_target_name_override="localhost")
    async with Channel(path=address, ssl=context, config=named, codec=ProtoCodec()) as channel:
        try:
            return [await _method(channel, name)(request, timeout=SECONDS) for name, request in asked]
        finally:
            await _hung_up(channel)


async def _hung_up(channel: Channel) -> None:
    """The channel's own end leaves a TLS transport to a loop that `asyncio.run` has closed by then."""
    if channel._protocol:
        channel._protocol.connection._transport.abort()
    for _ in range(5):
        await asyncio.sleep(0)


class _Raw(ProtoCodec):
    """Messages that are bytes already."""

    def encode(self, message: Any, message_type: Any) -> bytes:
        return bytes(message)


def unparsed(address: str, context: ssl.SSLContext, sent: bytes) -> str:
    """What the provider says to a request of these bytes."""

    async def ask() -> str:
        named = Configuration(ssl_target_name_override="localhost")
        async with Channel(path=address, ssl=context, config=named, codec=_Raw()) as channel:
            try:
                await _method(channel, "ReadResource")(sent, timeout=SECONDS)
            except GRPCError as error:
                return error.message or ""
            finally:
                await _hung_up(channel)
        return ""

    return asyncio.run(ask())


def _method(channel: Channel, name: str) -> UnaryUnaryMethod[Any, Any]:
    if name == "Shutdown":
        empty = message("Empty")
        return UnaryUnaryMethod(channel, "/plugin.GRPCController/Shutdown", empty, empty)
    if name == "Check":
        health = message("HealthRequest"), message("HealthResponse")
        return UnaryUnaryMethod(channel, "/grpc.health.v1.Health/Check", *health)
    takes, gives, _answer = METHODS[name]
    return UnaryUnaryMethod(channel, f"/tfplugin6.Provider/{name}", message(takes), message(gives))


EMPTY = new("Empty")
