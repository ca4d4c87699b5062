"""Rotates TLS certificates of a Vault PKI engine, with private keys that it never sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization

from strongroom.errors import IntegrityError, InvalidRequestError, PermissionDeniedError
from strongroom.rotation.fields import field, identifier, renewed
from strongroom.rotation.rotator import Credential, TwoSlot

from .key_pairs import check_type, new_key, request, serial_of, signed, written
from .rotating import Operator, segment
from .transport import json_body

if TYPE_CHECKING:
    from strongroom.rotation.rotator import Rotation, Source
    from strongroom.value import SecretValue

    from .key_pairs import KeyType

_EARLY: Final = timedelta(minutes=5)
"""How much longer a certificate must live to be accepted: no peer's clock may already call it expired."""


class CertificateRotator(TwoSlot):
    """Renews a TLS certificate from a PKI engine, with a private key that Vault never sees.

    The secret is JSON of PEM texts: ``certificate``, ``private_key`` (PKCS#8), ``chain`` up to the root. The
    key pair is made here and only a request is sent, so that what a crashed attempt leaves at the authority
    is a certificate whose private key no longer exists: nobody can use it, and nothing is to be reclaimed.

    The policy of the rotator's own identity: "update" on ``MOUNT/sign/ROLE`` and ``MOUNT/revoke``, "read" on
    ``MOUNT/cert/*``. The role must store what it issues (``no_store = false``), or it could not be revoked.

    Args:
        address: of the server, ``https://HOST:PORT``.
        role: of the engine, which says what names are allowed.
        common_name: the certificate's subject, and a DNS name of it.
        mount: of the engine.
        alt_names: further DNS names or mail addresses.
        ip_sans: IP addresses.
        ttl: how long it lives, longer than schedule and grace together; by default as the role says.
        key_type: ``ec-p256``, ``ec-p384``, ``rsa-2048``, ``rsa-3072`` or ``rsa-4096``.
        credential, auth, namespace, ca, timeout: see `strongroom_vault.rotating.Operator`.

    Raises:
        InvalidRequestError: an option cannot be.
    """

    def __init__(  # noqa: PLR0913  (options by keyword)
        self,
        *,
        address: str,
        role: str,
        common_name: str,
        mount: str = "pki",
        alt_names: Sequence[str] = (),
        ip_sans: Sequence[str] = (),
        ttl: timedelta | None = None,
        key_type: KeyType = "ec-p256",
        credential: Source | None = None,
        auth: Mapping[str, str] | None = None,
        namespace: str = "",
        ca: str | None = None,
        timeout: float = 4.0,
    ):
        self._operator = Operator(
            address, mount, credential=credential, auth=auth, namespace=namespace, ca=ca, timeout=timeout
        )
        self._sign, self._key_type = f"sign/{segment(role, 'role')}", check_type(key_type)
        # The role says whether the names are taken from the request to sign or from these fields
        # (`use_csr_common_name`, `use_csr_sans`): they stand in both.
        self._request = request(common_name, alt_names, ip_sans)
        self._asked: dict[str, Any] = {"common_name": common_name, "format": "pem"}
        self._asked |= {"alt_names": ",".join(alt_names), "ip_sans": ",".join(ip_sans)}
        self._asked |= {"ttl": int(ttl.total_seconds())} if ttl else {}

    def issue(self, r: Rotation) -> SecretValue:
        key = new_key(self._key_type)
        csr = signed(self._request, key)
        with self._operator.client(r) as vault:
            made = self._operator.write(vault, self._sign, json_body({**self._asked, "csr": csr})).data
        chain = made.get("ca_chain") or [made["issuing_ca"]]
        return renewed(
            r.current, certificate=made["certificate"], chain="\n".join(chain), private_key=written(key)
        )

    def listed(self, r: Rotation) -> Sequence[Credential]:
        """None: what this rotation is not known to have cannot be used by anybody."""
        return ()

    def withdraw(self, r: Rotation, credential: str) -> None:
        serial = json_body({"serial_number": credential})
        with self._operator.client(r) as vault:
            if credential and self._operator.read(
                vault, f"cert/{credential}"
            ):  # one that expired is forgotten in time
                r.check()
                self._operator.write(vault, "revoke", serial)

    def credential(self, value: SecretValue) -> str:
        return serial_of(_certificate(value)) if identifier(value, "certificate") else ""

    def test_secret(self, r: Rotation, value: SecretValue) -> None:
        """Return if key, certificate and chain belong together, and the authority calls it good."""
        if not self.credential(value):  # what stood there before the first rotation
            raise PermissionDeniedError("the value holds no certificate")
        certificate = _certificate(value)
        if certificate.not_valid_after_utc - _EARLY <= self._operator.clock.now():
            raise PermissionDeniedError("the certificate has expired, or is about to")
        known = self._operator.judge(r, f"cert/{serial_of(certificate)}")
        if known is None:
            raise IntegrityError(
                "the authority does not know the certificate", hint="has the role `no_store`?"
            )
        if known.data.get("revocation_time"):
            raise PermissionDeniedError("the certificate is revoked")
        problem = _mismatch(value, certificate)
        if problem:
            raise IntegrityError(problem)


def _certificate(value: SecretValue) -> x509.Certificate:
    """Never raises with the value in its frames: the certificate is public, the key stays sealed."""
    try:
        return x509.load_pem_x509_certificate(field(value, "certificate").encode())
    except ValueError:
        pass
    raise InvalidRequestError("the secret's certificate is not PEM")


def _mismatch(value: SecretValue, certificate: x509.Certificate) -> str | None:
    """What does not belong together; nothing of the key is in the frame of an error."""
    try:
        key = serialization.load_pem_private_key(field(value, "private_key").encode(), None)
        issuer = x509.load_pem_x509_certificates(field(value, "chain").encode())[0]
        certificate.verify_directly_issued_by(issuer)
    except InvalidSignature:
        return "the chain did not issue the certificate"
    except (TypeError, ValueError):
        return "the private key or the chain cannot be read, or the chain is another authority's"
    return (
        None if key.public_key() == certificate.public_key() else "the private key is another certificate's"
    )
