"""Azure Key Vault and Managed HSM keys that sign, behind ``azure-key://VAULT/KEY``."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from strongroom.errors import IntegrityError, InvalidRequestError, SecretStoreError
from strongroom.keys import Signer, der_signature, low_s

from ._client import LOGGERS
from ._errors import translate
from ._keys import Key

if TYPE_CHECKING:
    from strongroom.backend import Settings
    from strongroom.names import StoreURL

# https://learn.microsoft.com/azure/key-vault/keys/about-keys-details#ec-algorithms
_CURVES: Final = {"P-256": "ES256", "P-384": "ES384", "P-256K": "ES256K"}
_RSA: Final = ("PS256", "RS256")
_ALGORITHMS: Final = (*_CURVES.values(), *_RSA)


class _Public(NamedTuple):
    version: str
    algorithm: str
    der: bytes


class VaultSigner(Signer):
    """One version of a key: the one the URL names, or the newest at first use, and that one from then on.

    A signature and the public key are so always of one version; open the key again after a rotation. An EC
    key's curve says its algorithm. An RSA key signs PS256, or RS256 with the option ``algorithm = "RS256"``.

    Credentials are as for ``azure-kv``; they need keys/get and keys/sign.
    """

    ALGORITHMS = _ALGORITHMS
    provider_id = "strongroom-azure-key"
    loggers = LOGGERS

    def __init__(self, url: StoreURL, settings: Settings):
        self._declared = settings.options.get("algorithm")
        if self._declared not in {None, *_ALGORITHMS}:
            raise InvalidRequestError("no algorithm of this kind of key", hint=" or ".join(_ALGORITHMS))
        self._key = Key(url, settings)
        self._public: _Public | None = None
        self.after_fork, self.close = self._key.after_fork, self._key.close  # type: ignore[method-assign]

    @classmethod
    def from_url(cls, url: StoreURL, settings: Settings) -> Self:
        """Open ``azure-key://VAULT/KEY[/VERSION][?endpoint=https://127.0.0.1:PORT]``, without I/O."""
        return cls(url, settings)

    @staticmethod
    def error_for(exc: Exception, operation: str) -> SecretStoreError | None:
        """Translate what Azure's SDK raises."""
        return translate(exc, "get")

    @property
    def key_id(self) -> str:  # type: ignore[override]  # the newest version is known once the vault answered
        """``HOST/keys/NAME/VERSION``, without the version until it is known."""
        version = self._public.version if self._public else self._key.version
        return f"{self._key.id}/{version}" if version else self._key.id

    @property
    def algorithm(self) -> str:  # type: ignore[override]
        """As declared; else as the key's type says, which asks the vault once."""
        return str(self._declared) if self._declared else self._known().algorithm

    def sign_digest(self, digest: bytes) -> bytes:
        self.check_digest(digest)
        public = self._known()
        signature = self._key.use("sign", public.algorithm, digest, public.version).value
        if public.algorithm in _RSA:
            return signature
        if len(signature) != 2 * len(digest):
            raise IntegrityError("Key Vault's signature is not r || s of the key's curve")
        der = der_signature(signature)
        return low_s(der) if public.algorithm == "ES256K" else der

    def public_key(self) -> bytes:
        return self._known().der

    def _known(self) -> _Public:
        if self._public is None:
            version, jwk = self._key.describe(self._key.version)
            self._public = _Public(version, _algorithm(jwk, self._declared), _der(jwk))
        return self._public


def _algorithm(jwk: Mapping[str, Any], declared: str | None) -> str:
    kind = str(jwk.get("kty")).removesuffix("-HSM")
    fitting = {"RSA": _RSA, "EC": (_CURVES.get(str(jwk.get("crv")), ""),)}.get(kind, ("",))
    chosen = declared or fitting[0]
    if not chosen or chosen not in fitting:
        hint = f"it signs {' or '.join(filter(None, fitting)) or 'nothing that is known here'}"
        raise InvalidRequestError("the key is not made for this algorithm", hint=hint)
    return chosen


def _der(jwk: Mapping[str, Any]) -> bytes:
    """The JSON Web Key (RFC 7518 section 6) as SubjectPublicKeyInfo."""
    from cryptography.hazmat.primitives import serialization

    form = serialization.PublicFormat.SubjectPublicKeyInfo
    try:
        return bytes(_public_key(jwk).public_bytes(serialization.Encoding.DER, form))
    except (KeyError, ValueError, TypeError):
        pass
    raise IntegrityError("Key Vault's answer holds no valid public key")


def _public_key(jwk: Mapping[str, Any]) -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    if str(jwk["kty"]).startswith("RSA"):
        return rsa.RSAPublicNumbers(_number(jwk["e"]), _number(jwk["n"])).public_key()
    curves: Mapping[str, type[ec.EllipticCurve]]
    curves = {"P-256": ec.SECP256R1, "P-384": ec.SECP384R1, "P-256K": ec.SECP256K1}
    point = ec.EllipticCurvePublicNumbers(_number(jwk["x"]), _number(jwk["y"]), curves[jwk["crv"]]())
    return point.public_key()


def _number(text: str) -> int:
    return int.from_bytes(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)), "big")
