"""Who is at each end: a key and certificate made for one start, and exactly one client let in."""

from __future__ import annotations

import base64
import os
import secrets
import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from .problems import problem

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate

_LIFE = timedelta(days=2)
"""Longer than an apply; go-plugin gives its own certificate 30 years."""


def context(client: str, folder: str) -> tuple[ssl.SSLContext, str]:
    """TLS 1.3 that lets in only who has the key of `client`, and our own certificate as go-plugin wants it.

    Args:
        client: Terraform's certificate in PEM.
        folder: where nobody else reads; the key is there for a moment, and encrypted, since Python's ssl
            takes it from a file only.

    Raises:
        ProblemError: the certificate cannot be read.
    """
    wrong = None
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.minimum_version = ssl.TLSVersion.TLSv1_3
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.set_alpn_protocols(["h2"])
    try:
        tls.load_verify_locations(cadata=client)
    except (ssl.SSLError, ValueError):
        wrong = problem("the certificate that Terraform gave the provider cannot be read")
    if wrong:
        raise wrong
    return tls, _own(tls, folder)


def _own(tls: ssl.SSLContext, folder: str) -> str:
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
    )

    key, password = generate_private_key(SECP256R1()), secrets.token_bytes(32).hex().encode()
    ours = _certificate(key)
    sealed = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password))
    at = os.path.join(folder, "identity")
    with open(at, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(ours.public_bytes(Encoding.PEM) + sealed)
    try:
        tls.load_cert_chain(at, password=password)
    finally:
        os.unlink(at)
    return base64.b64encode(ours.public_bytes(Encoding.DER)).decode().rstrip("=")


def _certificate(key: EllipticCurvePrivateKey) -> Certificate:
    """Signed by itself, for localhost: Terraform trusts it because it stands in the line that it read."""
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256

    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + _LIFE)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, SHA256())
    )
