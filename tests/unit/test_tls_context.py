"""A server's certificate follows its secret, handshake by handshake; no key stands on a disk in clear."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

import strongroom
from strongroom.errors import InvalidRequestError, SecretNotFoundError, UnavailableError
from strongroom.integrations.tls_context import client_context, server_context
from strongroom.store import SecretStore
from tests.servers import https

NAME = "web/api"


@pytest.fixture
def store() -> Iterator[SecretStore]:
    with strongroom.open("memory://") as store:
        yield store


def issued(authority: https.Authority, name: str = "localhost") -> dict[str, str]:
    """What a store of certificates gives, for this name and localhost."""
    made = authority.issue(name, "localhost")
    return {
        "certificate": made.certificate.read_text(),
        "private_key": made.key.read_text(),
        "ca_chain": authority.ca_file.read_text(),
    }


def trusting(authority: https.Authority) -> ssl.SSLContext:
    """A plain client's."""
    return ssl.create_default_context(cafile=str(authority.ca_file))


def certificate_shown(
    server: ssl.SSLContext, client: ssl.SSLContext, host: str = "127.0.0.1"
) -> x509.Certificate:
    """What the server shows to the client. An address has no name to say (SNI)."""
    ours, theirs = socket.socketpair()
    answering = threading.Thread(target=_answer, args=(server, theirs))
    answering.start()
    try:
        with client.wrap_socket(ours, server_hostname=host) as tls:
            found: Any = tls.getpeercert(binary_form=True)
            tls.recv(1)  # a refused client learns of it here
    finally:
        ours.close()
        answering.join()
    return x509.load_der_x509_certificate(found)


def shown(server: ssl.SSLContext, client: ssl.SSLContext, host: str = "127.0.0.1") -> str:
    """Its common name."""
    found = certificate_shown(server, client, host)
    return str(found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)


def _answer(context: ssl.SSLContext, plain: socket.socket) -> None:
    try:
        with context.wrap_socket(plain, server_side=True) as tls:
            tls.sendall(b"k")
    except OSError:
        plain.close()


def eventually(server: ssl.SSLContext, client: ssl.SSLContext, name: str, host: str = "127.0.0.1") -> None:
    """The server shows this certificate, once its thread has been told of it."""
    while shown(server, client, host) != name:
        pass


class TestAServer:
    @pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
    def test_a_new_version_is_shown_at_a_next_handshake(
        self, store: SecretStore, authority: https.Authority, host: str
    ) -> None:
        """Whether or not the client says which name it wants."""
        store.put(NAME, issued(authority, "localhost"))
        server, client = server_context(store, NAME), trusting(authority)
        assert shown(server, client, host) == "localhost"
        store.put(NAME, issued(authority, "new.example.net"))
        eventually(server, client, "new.example.net", host)

    def test_rules_of_ones_own_stay_in_force(self, store: SecretStore, authority: https.Authority) -> None:
        """Clients need a certificate here, before a new version and after it."""

        def strict() -> ssl.SSLContext:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_verify_locations(authority.ca_file)
            context.verify_mode = ssl.CERT_REQUIRED
            return context

        store.put(NAME, issued(authority))
        server = server_context(store, NAME, strict)
        for name in ("first.example.net", "second.example.net"):
            store.put(NAME, issued(authority, name))
            eventually(server, client_context(store, NAME, str(authority.ca_file)), name)
            with pytest.raises(OSError, match="certificate required"):
                shown(server, trusting(authority))

    def test_what_is_no_certificate_changes_nothing(
        self, store: SecretStore, authority: https.Authority, caplog: pytest.LogCaptureFixture
    ) -> None:
        store.put(NAME, issued(authority))
        server, client = server_context(store, NAME), trusting(authority)
        store.put(NAME, "nothing")
        while not caplog.text:
            pass
        assert "InvalidRequestError" in caplog.text
        assert shown(server, client) == "localhost"
        store.put(NAME, issued(authority, "new.example.net"))
        eventually(server, client, "new.example.net")

    def test_an_event_loop_serves_it_too(self, store: SecretStore, authority: https.Authority) -> None:
        store.put(NAME, issued(authority))
        context = server_context(store, NAME)

        async def exchange() -> bytes:
            server = await asyncio.start_server(_greet, "127.0.0.1", 0, ssl=context)
            async with server:
                port = server.sockets[0].getsockname()[1]
                reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting(authority))
                heard = await reader.read()
                writer.close()
                await writer.wait_closed()
            return heard

        assert asyncio.run(exchange()) == b"hello"


async def _greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"hello")
    await writer.drain()
    writer.close()
    await writer.wait_closed()


class TestTheKey:
    def test_no_file_ever_holds_it_in_clear(
        self, store: SecretStore, authority: https.Authority, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """OpenSSL is given a file that only this process can open, and it is gone afterwards."""
        seen: list[tuple[Path, bytes, int]] = []
        load = ssl.SSLContext.load_cert_chain

        def noting(context: ssl.SSLContext, path: Path, **more: Any) -> None:
            seen.append((path, path.read_bytes(), path.parent.stat().st_mode & 0o777))
            load(context, path, **more)

        store.put(NAME, issued(authority))
        monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", noting)
        server_context(store, NAME)
        client_context(store, NAME)
        assert len(seen) == 2
        for path, content, mode in seen:
            assert b"BEGIN ENCRYPTED PRIVATE KEY" in content
            assert b"BEGIN PRIVATE KEY" not in content
            assert mode == 0o700
            assert not path.parent.exists()

    def test_the_rotators_form_is_taken_too(self, store: SecretStore, authority: https.Authority) -> None:
        """It says `chain` for `ca_chain`."""
        value = issued(authority)
        value["chain"] = value.pop("ca_chain")
        store.put(NAME, value)
        assert shown(server_context(store, NAME), trusting(authority)) == "localhost"

    @pytest.mark.parametrize("lacks", ["certificate", "private_key", "match", "object"])
    def test_a_value_of_another_form_is_refused_with_the_form(
        self, store: SecretStore, authority: https.Authority, lacks: str
    ) -> None:
        value: Any = issued(authority)
        if lacks == "match":
            value["private_key"] = issued(authority)["private_key"]
        elif lacks == "object":
            value = "[]"
        else:
            value[lacks] = 7
        store.put(NAME, value)
        for call in (server_context, client_context):
            with pytest.raises(InvalidRequestError, match="certificate") as caught:
                call(store, NAME)
            assert caught.value.hint
            assert "PRIVATE KEY" not in repr(caught.value)

    def test_a_missing_secret_is_not_found(self, store: SecretStore) -> None:
        with pytest.raises(SecretNotFoundError):
            server_context(store, NAME)


def test_a_full_disk_is_no_wrong_certificate(
    store: SecretStore, authority: https.Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told for what it is, so that nobody replaces a certificate that was right."""
    store.put(NAME, issued(authority))

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UnavailableError, match="No space left on device"):
        client_context(store, NAME)
