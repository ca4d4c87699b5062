"""Key pairs made in this process, and the requests by which an authority certifies them.

Only the request is sent: what an authority never had, it cannot give away. A certificate whose answer is lost
belongs to a private key that no longer exists, so that a request may be sent again.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Final, Literal, TypeAlias, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from strongroom.errors import InvalidRequestError
from strongroom.value import SecretValue

KeyType = Literal["ec-p256", "ec-p384", "rsa-2048", "rsa-3072", "rsa-4096"]
PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
_CURVES: Final = {"ec-p256": ec.SECP256R1, "ec-p384": ec.SECP384R1}
_BITS: Final = {"rsa-2048": 2048, "rsa-3072": 3072, "rsa-4096": 4096}


def check_type(key_type: str) -> KeyType:
    """The type, if there is such a one.

    Raises:
        InvalidRequestError: there is not; the hint has all.
    """
    if key_type not in (*_CURVES, *_BITS):
        known = ", ".join((*_CURVES, *_BITS))
        raise InvalidRequestError(f"no type of key: {key_type!r}", hint=f"one of {known}")
    return cast("KeyType", key_type)


def new_key(key_type: KeyType) -> PrivateKey:
    """A fresh private key."""
    if key_type in _CURVES:
        return ec.generate_private_key(_CURVES[key_type]())
    return rsa.generate_private_key(65537, _BITS[key_type])


def written(key: PrivateKey) -> SecretValue:
    """The key as PEM of PKCS#8, without a password."""
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return SecretValue(key.private_bytes(serialization.Encoding.PEM, form, plain).decode())


def request(
    common_name: str, alt_names: Sequence[str], ip_sans: Sequence[str], uri_sans: Sequence[str] = ()
) -> x509.CertificateSigningRequestBuilder:
    """A request for a certificate of these names.

    Args:
        common_name: the subject.
        alt_names: DNS names and mail addresses.
        ip_sans: IP addresses.
        uri_sans: URIs, such as a SPIFFE id.

    Raises:
        InvalidRequestError: one of them cannot be.
    """
    names: list[x509.GeneralName] = []
    try:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        names += [x509.RFC822Name(name) if "@" in name else x509.DNSName(name) for name in alt_names]
        names += [x509.IPAddress(ip_address(address)) for address in ip_sans]
        names += [x509.UniformResourceIdentifier(uri) for uri in uri_sans]
    except ValueError:
        raise InvalidRequestError("a name or address of the certificate cannot be one") from None
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    return builder.add_extension(x509.SubjectAlternativeName(names), critical=False) if names else builder


def signed(builder: x509.CertificateSigningRequestBuilder, key: PrivateKey) -> str:
    """The request as PEM, signed by the key to be certified."""
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def serial_of(certificate: x509.Certificate) -> str:
    """The serial number as Vault writes it: bytes in hexadecimal, between them colons."""
    digits = f"{certificate.serial_number:x}"
    padded = digits.zfill(len(digits) + len(digits) % 2)
    return ":".join(padded[at : at + 2] for at in range(0, len(padded), 2))
