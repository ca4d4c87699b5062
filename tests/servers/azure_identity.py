"""Entra ID as far as the Azure double needs it: the challenge, and the OAuth 2.0 token endpoint.

[msal] learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from tests.servers.azure_wire import Call, JsonMap, RefusedError, answer

TENANT = "16b3c013-0000-4000-8000-7eda0820b6d3"


@dataclass
class Identity:
    """Who may come in, and where the challenge sends those without a token.

    Attributes:
        authority: what the challenge names as the token service.
        resource: what it names as the audience; clients check that the vault's host stands under it.
        clients: client id -> client secret, for the token endpoint.
        issued: the tokens it gave out.
        only_issued: refuse every other token (off: any Bearer token comes in, as dummy credentials need).
    """

    authority: str = f"https://login.microsoftonline.com/{TENANT}"
    resource: str = "https://vault.azure.net"
    clients: dict[str, str] = field(default_factory=dict, repr=False)
    issued: set[str] = field(default_factory=set, repr=False)
    only_issued: bool = False

    def check(self, call: Call) -> None:
        """401 with the challenge, unless the request carries a token that is accepted.

        Header and body as github.com/hashicorp/terraform-provider-azurerm/issues/19749 quotes them.
        """
        scheme, _, token = call.headers.get("authorization", "").partition(" ")
        if scheme == "Bearer" and token and (not self.only_issued or token in self.issued):
            return
        missing = "AKV10000: Request is missing a Bearer or PoP token."
        where = f'Bearer authorization="{self.authority}", resource="{self.resource}"'
        reason = "AKV10032: Invalid issuer." if token else missing
        raise RefusedError(401, "Unauthorized", reason, **{"WWW-Authenticate": where})

    def answer(self, call: Call) -> JsonMap | None:
        """The token service's answer; None if the path is not its own."""
        match call.parts:
            case (tenant, "v2.0", ".well-known", "openid-configuration"):
                return self._discovery(f"{call.base}/{tenant}")
            case (_, "oauth2", "v2.0", "token") if call.method == "POST":
                return self._token(dict(parse_qsl(call.raw.decode())))
        return None

    def _discovery(self, base: str) -> JsonMap:
        return {
            "issuer": f"{base}/v2.0",
            "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
            "token_endpoint": f"{base}/oauth2/v2.0/token",
            "jwks_uri": f"{base}/discovery/v2.0/keys",
        }

    def _token(self, form: JsonMap) -> JsonMap:
        client, secret = form.get("client_id"), form.get("client_secret")
        if not client or self.clients.get(client) != secret:
            raise _RefusedClientError
        token = f"issued.{uuid.uuid4().hex}"
        self.issued.add(token)
        return {"token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599, "access_token": token}


class _RefusedClientError(RefusedError):
    """OAuth's own error form (RFC 6749 section 5.2), with the code of a wrong secret. [msal]"""

    def __init__(self) -> None:
        message = "AADSTS7000215: Invalid client secret provided."
        super().__init__(401, "invalid_client", message)
        body = {"error": "invalid_client", "error_description": message, "error_codes": [7000215]}
        self.response = answer(body, 401)
