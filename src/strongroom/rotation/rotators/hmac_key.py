"""HMAC keys that sign requests and webhooks: both versions are good while the old one is in grace.

The store is the target: senders sign with the current version, and receivers accept the previous one too, as
`strongroom.webhooks.Receiver` and `RequestReceiver` do, until its grace ends and the store gives it no more.
"""

from __future__ import annotations

import base64
import secrets
from typing import TYPE_CHECKING, Any, Final, Literal

from strongroom.errors import InvalidRequestError
from strongroom.rotation.fields import fields
from strongroom.rotation.rotator import Rotator
from strongroom.value import SecretValue

if TYPE_CHECKING:
    from strongroom.rotation.rotator import Rotation

Form = Literal["whsec", "hex", "base64", "client"]
FORMS: Final = ("whsec", "hex", "base64", "client")
_LENGTHS: Final = range(24, 65)
"""Bytes, as Standard Webhooks 1.0.0 has it; RFC 2104 advises no less than the 32 of SHA-256's output."""


class HmacKeyRotator(Rotator):
    """Renews a symmetric signing key.

    Args:
        length: of the key, 24 to 64 bytes.
        form: how it is written: ``whsec`` as Standard Webhooks does (``whsec_`` and base64), ``hex``,
            ``base64``, or ``client``: the current value's JSON with another ``secret`` in hexadecimal, such
            as the ``{"key": …, "secret": …}`` of `strongroom.webhooks.sign_request`.

    Raises:
        InvalidRequestError: the length or the form.
    """

    slots = "two"
    probes = False

    def __init__(self, *, length: int = 32, form: Form = "whsec"):
        if length not in _LENGTHS:
            raise InvalidRequestError("an HMAC key has 24 to 64 bytes", hint="length = 32")
        if form not in FORMS:
            raise InvalidRequestError(f"no form of an HMAC key: {form!r}", hint=f"one of {', '.join(FORMS)}")
        self._length, self._form = length, form

    def create_secret(self, r: Rotation) -> str | dict[str, Any]:
        """A key from the operating system's random source; a client's other fields stay."""
        key = secrets.token_bytes(self._length)
        if self._form == "client":
            return {**_client(r.current), "secret": key.hex()}
        return _written(key, self._form)

    def test_secret(self, r: Rotation, value: SecretValue) -> None:
        """Return if it is a key of this form and length; whoever verifies with it reads it from the store.

        Raises:
            InvalidRequestError: it is not.
        """
        text = _client(value).get("secret") if self._form == "client" else value.reveal_text()
        good = len(_key(text, self._form)) == self._length
        text = None
        if not good:
            raise InvalidRequestError(f"not an HMAC key of {self._length} bytes written as {self._form}")


def _written(key: bytes, form: Form) -> str:
    if form == "hex":
        return key.hex()
    return f"{'whsec_' if form == 'whsec' else ''}{base64.b64encode(key).decode()}"


def _key(text: object, form: Form) -> bytes:
    """The key, or nothing: an error would carry it in its context."""
    if not isinstance(text, str):
        return b""
    try:
        if form in ("hex", "client"):
            return bytes.fromhex(text)
        wanted = "whsec_" if form == "whsec" else ""
        return base64.b64decode(text.removeprefix(wanted), validate=True) if text.startswith(wanted) else b""
    except ValueError:
        return b""


def _client(value: SecretValue | None) -> dict[str, Any]:
    found = fields(value) if value is not None else {}
    if found:
        return dict(found)
    raise InvalidRequestError("the value is no JSON object", hint='form = "client" renews its secret')
