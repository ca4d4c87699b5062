"""PKCS#11 URIs (RFC 7512), path attributes only: they name a token and an object on it, and nothing else.

The query attributes of the RFC (``module-path``, ``module-name``, ``pin-value``, ``pin-source``) are
refused: whoever could set a URL could otherwise have a library of his own loaded, or read a PIN from it.
Module and PIN stand in strongroom.toml. Slots are refused too: SoftHSM and many HSMs number them anew.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote_to_bytes

from strongroom.errors import InvalidRequestError
from strongroom.names import StoreURL

if TYPE_CHECKING:
    from typing import Self

TYPES: Final = ("private", "public", "cert", "secret-key", "data")
"""What ``type=`` may say, RFC 7512 section 2.3."""

_TEXTS: Final = ("token", "manufacturer", "serial", "model", "object", "type")
_BY_CONFIGURATION: Final = ("module-path", "module-name", "pin-value", "pin-source")
# RFC 7512's pk11-pchar; "/" too, which it asks to be encoded but which no reader can take for anything else.
_VALUE = re.compile(r"(?:[A-Za-z0-9._~:\[\]@!$'()*+,=&/-]|%[0-9A-Fa-f]{2})*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LABEL_BYTES: Final = 32  # CK_TOKEN_INFO.label


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenURI:
    """Which token, and which object on it.

    Attributes:
        token: the token's label.
        manufacturer, serial, model: narrow the choice further, where labels repeat.
        object: the object's label (CKA_LABEL), or a store's prefix.
        id: the object's CKA_ID.
        type: one of `TYPES`.
    """

    token: str | None = None
    manufacturer: str | None = None
    serial: str | None = None
    model: str | None = None
    object: str | None = None
    id: bytes | None = None
    type: str | None = None

    @classmethod
    def parse(cls, url: StoreURL) -> Self:
        """Read ``pkcs11:token=prod;object=kek``.

        Raises:
            InvalidRequestError: not of RFC 7512, an attribute twice, or one that strongroom.toml must give;
                or neither token nor serial is named. The message never quotes a value.
        """
        if url.host or url.query:
            _refuse([name for name, _ in url.query])
            raise InvalidRequestError(
                "a PKCS#11 URL has no host", hint="write pkcs11:token=LABEL;object=LABEL"
            )
        found = _attributes(url.path)
        texts = {name: _text(name, value) for name, value in found.items() if name != "id"}
        uri = cls(id=unquote_to_bytes(found["id"]) if "id" in found else None, **texts)
        if uri.token is None and uri.serial is None:
            raise InvalidRequestError(
                "a PKCS#11 URL names its token", hint="add token=LABEL or serial=NUMBER"
            )
        if uri.type is not None and uri.type not in TYPES:
            raise InvalidRequestError("unknown type in a PKCS#11 URL", hint=f"types: {', '.join(TYPES)}")
        return uri

    @property
    def key_id(self) -> str:
        """The key's lasting name: token, object and id, however the URL narrows the choice of token.

        So that adding ``serial=`` or ``type=`` later does not orphan what was wrapped before.
        """
        token = {"token": self.token} if self.token is not None else {"serial": self.serial}
        return _written({**token, "object": self.object, "id": self.id})

    def picks(self, token: Any) -> bool:
        """Whether this URI means that `pkcs11.Token`."""
        asked = (
            (self.token, token.label),
            (self.manufacturer, token.manufacturer_id),
            (self.serial, token.serial.decode(errors="replace")),
            (self.model, token.model),
        )
        return all(want is None or want.rstrip() == has.rstrip() for want, has in asked)

    def __str__(self) -> str:
        return _written({name: getattr(self, name) for name in (*_TEXTS[:5], "id", "type")})


def _attributes(path: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in path.split(";") if path else ():
        name, equals, value = part.partition("=")
        _refuse([name])
        if not equals or not _VALUE.fullmatch(value) or not value:
            raise InvalidRequestError(
                "a PKCS#11 URL is name=value parts joined by ';'", hint="other characters are written %XX"
            )
        if name in found:
            raise InvalidRequestError(f"the PKCS#11 URL gives {name!r} twice")
        found[name] = value
    return found


def _refuse(names: list[str]) -> None:
    for name in names:
        if name in _BY_CONFIGURATION:
            raise InvalidRequestError(
                f"a URL never gives {name}", hint="set module and pin of this store or key in strongroom.toml"
            )
        if name.startswith("slot-"):
            raise InvalidRequestError(
                "slots are renumbered when tokens come and go", hint="name token= or serial= instead"
            )
        if name not in _TEXTS and name != "id":
            raise InvalidRequestError(
                "unknown attribute in a PKCS#11 URL", hint=f"attributes: {', '.join((*_TEXTS, 'id'))}"
            )


def _text(name: str, value: str) -> str:
    raw = unquote_to_bytes(value)
    text = raw.decode(errors="replace")
    if text.encode() != raw or _CONTROL.search(text):
        raise InvalidRequestError(f"the {name} in a PKCS#11 URL is not UTF-8 text")
    if name == "token" and len(raw) > _LABEL_BYTES:
        raise InvalidRequestError(f"a token's label is at most {_LABEL_BYTES} bytes long")
    return text


def _written(values: dict[str, str | bytes | None]) -> str:
    parts = [f"{name}={_quoted(value)}" for name, value in values.items() if value is not None]
    return "pkcs11:" + ";".join(parts)


def _quoted(value: str | bytes) -> str:
    if isinstance(value, str):
        return quote(value, safe=":@+,")
    return "".join(f"%{byte:02X}" for byte in value)  # often no text; RFC 7512 section 2.3 advises it
