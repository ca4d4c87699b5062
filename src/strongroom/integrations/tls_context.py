"""TLS under a certificate that is a secret: a new version takes effect without a restart.

::

    context = server_context(store, "web/api.example.net")
    server.socket = context.wrap_socket(server.socket, server_side=True)

The secret is JSON of PEM texts: ``certificate``, ``private_key``, and ``ca_chain`` or ``chain`` for what the
peer needs between the certificate and its root. ``vault-pki://`` stores give it so, and the rotator
``vault-pki`` writes it so.
"""

from __future__ import annotations

import logging
import os
import secrets
import ssl
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from strongroom.errors import InvalidRequestError, SecretStoreError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from strongroom.store import SecretStore
    from strongroom.value import SecretValue

_log = logging.getLogger(__name__)
_FORM = "write JSON with certificate, private_key and ca_chain, each PEM text"


def _new_server() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def server_context(
    store: SecretStore, name: str, new: Callable[[], ssl.SSLContext] = _new_server
) -> ssl.SSLContext:
    """TLS 1.2 or later for a server, under the certificate that the secret holds at each handshake.

    A new version is found as ``on_change`` finds it, by a thread of the store's: a handshake never waits for
    the provider, be it in a thread or in an event loop. Connections that stand keep what they began with. A
    version that is no certificate changes nothing, and is logged by type. It follows until the store closes;
    in a forked child from its first handshake on, which still shows what the parent had.

    Args:
        store: has the secret.
        name: its name.
        new: makes a server's context with rules of your own, such as which clients it lets in, but without a
            certificate. Each version gets one: OpenSSL takes most rules from where the certificate is. Its
            callback for names (SNI) is taken.

    Raises:
        InvalidRequestError: the secret is no certificate with its private key.
        UnavailableError: its temporary file cannot be written.
        SecretStoreError: as ``get`` and ``on_change``.
    """
    current = _Current(store, name, new)
    context = new()
    context.sni_callback = current.choose
    return context


def client_context(store: SecretStore, name: str, ca: str | None = None) -> ssl.SSLContext:
    """TLS 1.2 or later for a client that shows the certificate which the secret holds now.

    A context that is in use cannot be changed safely: make another where ``on_change`` tells of a version.

    Args:
        store: has the secret.
        name: its name.
        ca: PEM file of the authorities that the server may be under, instead of the system's.

    Raises:
        InvalidRequestError: the secret is no certificate with its private key.
        UnavailableError: its temporary file cannot be written.
        SecretStoreError: as ``get``.
    """
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load(context, store.get(name).value)
    return context


@final
class _Current:
    """The context of the version that is current, made when it becomes so."""

    def __init__(self, store: SecretStore, name: str, new: Callable[[], ssl.SSLContext]):
        self._store, self._name, self._new = store, name, new
        self._process = os.getpid()
        self._leave = store.on_change(name, self._changed)  # first: a change while we read would be lost
        try:
            self._take()
        except BaseException:
            self._leave()
            raise

    def choose(self, connection: Any, server_name: str | None, context: ssl.SSLContext) -> None:
        """What OpenSSL calls in each handshake before it takes a certificate; also without a name."""
        before, self._process = self._process, os.getpid()
        if before != self._process:
            try:
                threading.Thread(target=self._follow, name="strongroom-tls", daemon=True).start()
            except RuntimeError:  # no more threads: the next handshake tries again
                self._process = before
        connection.context = self._context

    def _follow(self) -> None:
        """In a forked child, whose store has no thread of its own until somebody asks it for something."""
        try:
            leave, self._leave = self._leave, self._store.on_change(self._name, self._changed)
            leave()
            self._take()
        except (
            SecretStoreError
        ) as error:  # what the parent had is shown on; the thread tells of a next version
            _log.warning("%s cannot be read in a forked process: %s", self._name, type(error).__name__)

    def _changed(self, name: str, version: str) -> None:
        self._take()

    def _take(self) -> None:
        """Until what was taken is current: another thread may have been faster with a newer one."""
        while True:
            secret, fresh = self._store.get(self._name), self._new()
            _load(fresh, secret.value)
            self._context = fresh  # whole, or not at all: handshakes run meanwhile
            if self._store.get(self._name).version == secret.version:
                return


def _load(context: ssl.SSLContext, value: SecretValue) -> None:
    """Python's ``ssl`` reads keys from files alone: in this one, for milliseconds, it is encrypted."""
    password = secrets.token_urlsafe(32)
    content = _content(value, password)
    if content is not None and _loaded(context, content, password):
        return
    raise InvalidRequestError("the secret is no certificate with its private key", hint=_FORM)


def _loaded(context: ssl.SSLContext, content: bytes, password: str) -> bool:
    try:
        with tempfile.TemporaryDirectory(prefix="tls-") as folder:  # open to this user alone
            path = Path(folder, "identity.pem")
            path.write_bytes(content)
            return _taken(context, path, password)
    except OSError as error:
        problem = os.strerror(error.errno) if error.errno else "none can be made"
    raise UnavailableError(
        f"no temporary file for the certificate: {problem}", hint="free the folder that TMPDIR names"
    )


def _taken(context: ssl.SSLContext, path: Path, password: str) -> bool:
    try:
        context.load_cert_chain(path, password=password)
    except (OSError, ValueError):  # ssl.SSLError is an OSError
        return False
    return True


def _content(value: SecretValue, password: str) -> bytes | None:
    """The chain, and the key under the password; None where it is none, for an error would carry the key."""
    from cryptography.hazmat.primitives import serialization

    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    hidden = serialization.BestAvailableEncryption(password.encode())
    try:
        told = value.reveal_json()
        key = serialization.load_pem_private_key(told["private_key"].encode(), None)
        chain = told.get("ca_chain") or told.get("chain") or ""
        parts = (told["certificate"], chain, key.private_bytes(*form, hidden).decode())
        return "\n".join(parts).encode()
    except (AttributeError, InvalidRequestError, KeyError, TypeError, ValueError):
        return None
