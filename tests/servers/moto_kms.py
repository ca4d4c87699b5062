"""moto's KMS as AWS says that KMS is; `tests/unit/test_moto_lies.py` pins what moto does without this.

Keys out of use refuse, a ciphertext opens under the key it was made with alone and says so as AWS does,
multi-Region keys open each other's ciphertexts, RSA keys encrypt with RSA, and digests are signed as such.
An identity whose access key begins with REFUSED may do nothing. Sources: the API model of KMS.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from strongroom.keys import encode_context
from tests.servers import moto_quick
from tests.servers.moto import Moto
from tests.servers.process import free_port, listens, running

REFUSED = "REFUSEDKEYID"
_KEY_ID_LENGTH = 40  # "mrk-" and a UUID, as moto makes the ids of multi-Region keys
_USES = {
    "encrypt": "ENCRYPT_DECRYPT",
    "decrypt": "ENCRYPT_DECRYPT",
    "generate_data_key": "ENCRYPT_DECRYPT",
    "sign": "SIGN_VERIFY",
    "generate_mac": "GENERATE_VERIFY_MAC",
    "get_public_key": None,
    "describe_key": None,
}


@contextmanager
def server() -> Iterator[Moto]:
    """A mended moto server in its own process."""
    port = free_port()
    argv = [sys.executable, "-m", "tests.servers.moto_kms", "-H", "127.0.0.1", "-p", str(port)]
    with running("moto (AWS KMS, mended)", argv, lambda: listens(port)):
        yield Moto(f"http://127.0.0.1:{port}")


def _refuse(code: str, message: str = "") -> None:
    from moto.core.exceptions import JsonRESTError

    error = JsonRESTError(code, message)
    error.code = 400
    raise error


def _checked(action: str, usage: str | None, original: Callable[[Any], str]) -> Callable[[Any], str]:
    """The action, for who may do it, on a key that can."""

    def call(self: Any) -> str:
        if f"Credential={REFUSED}" in self.headers.get("Authorization", ""):
            _refuse("AccessDeniedException", f"User is not authorized to perform: kms:{action} on this key")
        key = _key(self)
        if action != "describe_key":
            _check_state(key)
        if action == "generate_data_key" and key.key_spec != "SYMMETRIC_DEFAULT":
            _refuse("InvalidKeyUsageException")
        if usage not in (None, key.key_usage or "ENCRYPT_DECRYPT"):
            _refuse("InvalidKeyUsageException")
        return original(self)

    return call


def _key(self: Any) -> Any:
    key_id = self._get_param("KeyId")
    self._validate_key_id(key_id)
    return self.kms_backend.keys[self.kms_backend.any_id_to_key_id(key_id)]


def _check_state(key: Any) -> None:
    if key.key_state == "Disabled":
        _refuse("DisabledException", f"{key.arn} is disabled.")
    if key.key_state != "Enabled":
        _refuse("KMSInvalidStateException", f"{key.arn} is pending deletion.")


def _with_arn(original: Callable[[Any], str]) -> Callable[[Any], str]:
    """The answer with the key's ARN, which moto gives of some actions only."""
    return lambda self: json.dumps({**json.loads(original(self)), "KeyId": _key(self).arn})


def _padding() -> Any:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    return padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)


def _encrypt(original: Callable[[Any], str]) -> Callable[[Any], str]:
    def call(self: Any) -> str:
        key, algorithm = _key(self), _algorithm(self)
        if algorithm == "SYMMETRIC_DEFAULT":
            return original(self)
        sealed = key.private_key.private_key.public_key().encrypt(self._get_param("Plaintext"), _padding())
        blob = base64.b64encode(sealed).decode()
        return json.dumps({"CiphertextBlob": blob, "KeyId": key.arn, "EncryptionAlgorithm": algorithm})

    return call


def _decrypt(original: Callable[[Any], str]) -> Callable[[Any], str]:
    def call(self: Any) -> str:
        key, algorithm = _key(self), _algorithm(self)
        blob = self._get_param("CiphertextBlob")
        if algorithm == "SYMMETRIC_DEFAULT":
            named = blob[:_KEY_ID_LENGTH].rstrip(b"\0")
            if named != key.id.encode():
                others = (other.encode() for other in self.kms_backend.keys)
                _refuse("IncorrectKeyException" if named in others else "InvalidCiphertextException")
            return original(self)
        return json.dumps({"Plaintext": _opened(key, blob), "KeyId": key.arn})

    return call


def _opened(key: Any, blob: bytes) -> str:
    try:
        return base64.b64encode(key.private_key.private_key.decrypt(blob, _padding())).decode()
    except ValueError:
        _refuse("InvalidCiphertextException")
        raise


def _algorithm(self: Any) -> str:
    """The one that is asked for, which must be one of the key's; RSA takes no context."""
    key, algorithm = _key(self), self._get_param("EncryptionAlgorithm") or "SYMMETRIC_DEFAULT"
    if algorithm not in key.encryption_algorithms:
        _refuse("InvalidKeyUsageException")
    if algorithm != "SYMMETRIC_DEFAULT" and self._get_param("EncryptionContext"):
        _refuse("ValidationException")
    return str(algorithm)


def _sign(self: Any) -> str:
    key, message, algorithm = _key(self), self._get_param("Message"), self._get_param("SigningAlgorithm")
    if algorithm not in key.signing_algorithms:
        _refuse("InvalidKeyUsageException")
    if not 1 <= len(message) <= 4096:
        _refuse("ValidationException")
    signature = key.private_key.private_key.sign(
        message, *_arguments(algorithm, self._get_param("MessageType"))
    )
    blob = base64.b64encode(signature).decode()
    return json.dumps({"KeyId": key.arn, "Signature": blob, "SigningAlgorithm": algorithm})


def _arguments(algorithm: str, message_type: str | None) -> tuple[Any, ...]:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding, utils

    family, _, bits = algorithm.rpartition("_SHA_")
    plain: Any = getattr(hashes, f"SHA{bits}")()
    digest = utils.Prehashed(plain) if message_type == "DIGEST" else plain
    if family == "ECDSA":
        return (ec.ECDSA(digest),)
    if family == "RSASSA_PSS":  # RFC 8017 as KMS does it: a salt as long as the hash
        return padding.PSS(padding.MGF1(plain), plain.digest_size), digest
    return padding.PKCS1v15(), digest


def _context(encryption_context: dict[str, str]) -> bytes:
    return encode_context(encryption_context)  # moto runs the pairs together


def mend() -> None:
    """Patch moto in this process."""
    from moto.kms import utils
    from moto.kms.responses import KmsResponse

    response: Any = KmsResponse
    whole: Any = utils
    whole.KEY_ID_LEN, whole.HEADER_LEN, whole.CIPHERTEXT_HEADER_FORMAT = _KEY_ID_LENGTH, 68, ">40s12s16s"
    parse = whole._deserialize_ciphertext_blob

    def unpadded(ciphertext_blob: bytes) -> Any:
        parsed = parse(ciphertext_blob)
        return parsed._replace(key_id=parsed.key_id.rstrip("\0"))

    whole._deserialize_ciphertext_blob = unpadded
    whole._serialize_encryption_context = _context
    response.encrypt, response.decrypt = _encrypt(response.encrypt), _decrypt(response.decrypt)
    response.sign = _sign
    for action in ("generate_mac", "get_public_key"):
        setattr(response, action, _with_arn(getattr(response, action)))
    for action, usage in _USES.items():
        setattr(response, action, _checked(action, usage, getattr(response, action)))


if __name__ == "__main__":
    mend()
    moto_quick.main()
