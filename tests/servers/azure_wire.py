"""Azure Key Vault's wire format: what a request must carry, and the errors the service documents.

[auth] learn.microsoft.com/azure/key-vault/general/authentication-requests-and-responses
[objects] learn.microsoft.com/azure/key-vault/general/about-keys-secrets-certificates
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self
from urllib.parse import parse_qsl, urlsplit

from tests.servers.https import Request, Response

# "Clients must use the api-version query string parameter [...] as there is no default." [auth]
# The versions are what the public SDK can send: ApiVersion in azure.keyvault.secrets and azure.keyvault.keys.
API_VERSIONS: Final = frozenset(
    {"2016-10-01", "7.0", "7.1", "7.2", "7.3", "7.4", "7.5", "7.6", "2025-07-01", "2026-04-01"}
)
# "a 1-127 character string, containing only 0-9, a-z, A-Z, and -"; case does not tell two apart. [objects]
NAME: Final = re.compile(r"[0-9A-Za-z-]{1,127}\Z")
# "system-generated, 32 character string identifier" [objects]
VERSION: Final = re.compile(r"[0-9a-f]{32}\Z")

JsonMap = dict[str, Any]


class RefusedError(Exception):
    """An error answer: {"error": {"code", "message", "innererror": {"code"}}}, the SDK's KeyVaultError."""

    def __init__(self, status: int, code: str, message: str, inner: str | None = None, **headers: str):
        super().__init__(message)
        error: JsonMap = {"code": code, "message": message}
        if inner:
            error["innererror"] = {"code": inner}
        self.response = answer({"error": error}, status, headers)


def answer(body: JsonMap | None, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON answer with the headers every answer has, its request id among them; None is an empty body."""
    common = {"Content-Type": "application/json; charset=utf-8", "x-ms-request-id": str(uuid.uuid4())}
    text = b"" if body is None else json.dumps(body).encode()
    return Response(status, text, common | {"x-ms-keyvault-region": "westeurope"} | dict(headers or {}))


def bad_parameter(message: str) -> RefusedError:
    """400, as the service answers what it cannot read or what breaks a limit."""
    return RefusedError(400, "BadParameter", message)


@dataclass(frozen=True)
class Call:
    """One request, parsed: what the operations of the double are given."""

    method: str
    parts: tuple[str, ...]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    base: str
    raw: bytes = field(repr=False)

    @classmethod
    def of(cls, request: Request) -> Self:
        """Identifiers and next links begin with the host that the client called, from its Host header."""
        url = urlsplit(request.path)
        headers = {name.lower(): value for name, value in request.headers.items()}
        parts = tuple(part for part in url.path.split("/") if part)
        base = f"https://{headers.get('host', '')}"
        return cls(request.method, parts, dict(parse_qsl(url.query)), headers, base, request.body)

    @property
    def body(self) -> JsonMap:
        """The JSON object of the body."""
        # "the request body content type must be application/json" [auth]
        if not self.headers.get("content-type", "").startswith("application/json"):
            raise bad_parameter("The request body must be application/json")
        try:
            body = json.loads(self.raw)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise bad_parameter("The request body is not a JSON object")
        return body

    def check_version(self) -> None:
        """The api-version must be there, and known."""
        version = self.query.get("api-version", "")
        if version not in API_VERSIONS:
            raise bad_parameter(
                f"The specified version ({version}) is not recognized. "
                "Consider using the latest supported version (2025-07-01)."
            )


def checked_name(name: str) -> str:
    """`name`, if an object can be called so."""
    if not NAME.match(name):
        raise bad_parameter(f"The request URI contains an invalid name: {name}")
    return name
