"""A key in a PKCS#11 token that signs."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self, final

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass

from strongroom.errors import InvalidRequestError
from strongroom.keys import Signer, der_signature, low_s

from ._errors import error_for
from .access import Find, KeyAccess
from .uri import TokenURI

if TYPE_CHECKING:
    from strongroom.backend import Settings
    from strongroom.names import StoreURL


class _Curve(NamedTuple):
    algorithm: str
    params: tuple[bytes, ...]  # CKA_EC_PARAMS, in DER
    spki: bytes  # what stands before the point in a SubjectPublicKeyInfo (RFC 5480, RFC 8410)
    point: int  # bytes


_CURVES: Final = (
    _Curve(
        "ES256",
        (bytes.fromhex("06082a8648ce3d030107"),),
        bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200"),
        65,
    ),
    _Curve(
        "ES384",
        (bytes.fromhex("06052b81040022"),),
        bytes.fromhex("3076301006072a8648ce3d020106052b81040022036200"),
        97,
    ),
    _Curve(
        "ES256K",
        (bytes.fromhex("06052b8104000a"),),
        bytes.fromhex("3056301006072a8648ce3d020106052b8104000a034200"),
        65,
    ),
    _Curve(
        "Ed25519",  # by its OID, or by the name that PKCS #11 3.0 gives it
        (bytes.fromhex("06032b6570"), b"\x13\x0cedwards25519"),
        bytes.fromhex("302a300506032b6570032100"),
        32,
    ),
)
_SECRETS: Final = (KeyType.GENERIC_SECRET, KeyType.SHA256_HMAC)
_ALGORITHMS: Final = ("HS256", *(curve.algorithm for curve in _CURVES))


@final
class TokenSigner(Signer):
    """A signing key that never leaves its token: ``pkcs11:token=prod;object=audit``.

    Its algorithm is that of the key: ES256, ES384 or ES256K by curve, Ed25519, or HS256 for a generic secret.
    The option ``algorithm`` states it without asking the token, and a key of another kind is then refused.

    Raises:
        InvalidRequestError: the URL names no key, the algorithm is unknown, or no module is configured.
    """

    ALGORITHMS = _ALGORITHMS
    provider_id = "strongroom-pkcs11"

    def __init__(self, uri: TokenURI, settings: Settings):
        stated = settings.options.get("algorithm")
        if stated is not None and stated not in _ALGORITHMS:
            raise InvalidRequestError(
                "unknown algorithm for a signer", hint=f"one of: {', '.join(_ALGORITHMS)}"
            )
        self.key_id = uri.key_id
        self._stated: str | None = stated
        self._found: str | None = None
        self._public: bytes | None = None
        self._access = KeyAccess(uri, settings)

    @classmethod
    def from_url(cls, url: StoreURL, settings: Settings) -> Self:
        """Open the signing key a URL names; no I/O."""
        return cls(TokenURI.parse(url), settings)

    error_for = staticmethod(error_for)

    @property
    def algorithm(self) -> str:  # type: ignore[override]  # the token tells, when first asked
        return self._stated or self._found or self._access.use("open", self._algorithm_of)

    def sign(self, message: bytes) -> bytes:
        if self.algorithm not in ("Ed25519", "HS256"):
            return super().sign(message)
        mechanism = Mechanism.EDDSA if self.algorithm == "Ed25519" else Mechanism.SHA256_HMAC
        return self._access.use("sign", lambda find: self._signed(find, message, mechanism))

    def sign_digest(self, digest: bytes) -> bytes:
        self.check_digest(digest)
        raw = self._access.use("sign", lambda find: self._signed(find, digest, Mechanism.ECDSA))
        signature = der_signature(raw)
        return low_s(signature) if self.algorithm == "ES256K" else signature

    def public_key(self) -> bytes | None:
        if self._public is None and self.algorithm != "HS256":
            self._public = self._access.use("public_key", self._read_public)
        return self._public

    def close(self) -> None:
        """Leave the token; the last user of it in this process logs out."""
        self._access.close()

    def _signed(self, find: Find, data: bytes, mechanism: Mechanism) -> bytes:
        self._algorithm_of(find)
        key = self._key(find)
        if not hasattr(key, "sign"):
            raise InvalidRequestError("the token does not let this key sign", hint="strongroom key create")
        return bytes(key.sign(data, mechanism=mechanism))

    def _key(self, find: Find) -> Any:
        if self._found != "HS256":
            with suppress(pkcs11.NoSuchKey):
                return find(ObjectClass.PRIVATE_KEY, KeyType.EC, KeyType.EC_EDWARDS)
        return find(ObjectClass.SECRET_KEY, *_SECRETS)

    def _algorithm_of(self, find: Find) -> str:
        if self._found is None:
            self._found = _algorithm(self._key(find))
        if self._stated not in (None, self._found):
            raise InvalidRequestError(f"the key on the token is for {self._found}, not {self._stated}")
        return self._found

    def _read_public(self, find: Find) -> bytes:
        curve = next(curve for curve in _CURVES if curve.algorithm == self._algorithm_of(find))
        key = find(ObjectClass.PUBLIC_KEY, KeyType.EC, KeyType.EC_EDWARDS)
        point = bytes(key[Attribute.EC_POINT])
        if len(point) == curve.point + 2 and point[0] == 0x04:  # in an OCTET STRING, since PKCS #11 2.30
            point = point[2:]
        if len(point) != curve.point:
            raise InvalidRequestError("the token stores the public key in a form that is not known")
        return curve.spki + point


def _algorithm(key: Any) -> str:
    if key[Attribute.KEY_TYPE] in _SECRETS:
        return "HS256"
    params = bytes(key[Attribute.EC_PARAMS])
    for curve in _CURVES:
        if params in curve.params:
            return curve.algorithm
    raise InvalidRequestError(
        "the key is on a curve that is not supported", hint=f"supported: {', '.join(_ALGORITHMS)}"
    )
