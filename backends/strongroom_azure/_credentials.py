"""Who asks: what azure-identity is given, and to whom its tokens may go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from strongroom.errors import InvalidRequestError
from strongroom.value import SecretValue

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken, TokenCredential

    from strongroom.backend import Settings

    from ._vault import Vault

_KNOWN = ("tenant_id", "client_id", "client_secret", "certificate", "certificate_password")
_FAR = 1 << 40  # seconds since the epoch; the dummy token is worth nothing for ever
_HINT = (
    "tenant_id and client_id with client_secret or certificate (a PEM or PFX file),"
    " or client_id alone for a managed identity"
)


class Nobody:
    """The credential for loopback, where real ones must not go: whatever listens there may send them on."""

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        """A token that opens nothing."""
        from azure.core.credentials import AccessToken

        return AccessToken("loopback", _FAR)

    def close(self) -> None:
        """Nothing is held."""


def check_auth(settings: Settings, vault: Vault) -> None:
    """Refuse what could send a credential to the wrong place, before anything is sent.

    Raises:
        InvalidRequestError: an unknown or incomplete setting; a credential for a loopback endpoint, since a
            token for Key Vault opens every vault of its owner; ambient credentials for a foreign host.
    """
    auth = settings.auth
    unknown = sorted(auth.keys() - set(_KNOWN))
    if unknown:
        raise InvalidRequestError(
            f"unknown Azure credential setting {unknown[0]!r}", hint=f"known: {', '.join(_KNOWN)}"
        )
    if auth and vault.loopback:
        raise InvalidRequestError("no credential goes to a loopback endpoint", hint="leave auth out")
    if not auth and not vault.loopback and vault.login is None:
        raise InvalidRequestError(
            "ambient Azure credentials go only to Azure's own hosts", hint="give this store an auth table"
        )
    if auth and not _is_complete(set(auth)):
        raise InvalidRequestError("incomplete Azure credentials", hint=_HINT)


def credential(settings: Settings, vault: Vault) -> TokenCredential:
    """What the SDK asks for tokens. azure-identity is imported here: it is large, and loopback needs none.

    The login service is the one of the vault's cloud, whatever ``AZURE_AUTHORITY_HOST`` says: whoever sets
    that would be sent the client's secret.

    Raises:
        InvalidRequestError: the certificate cannot be read, or an id cannot be one.
    """
    if vault.loopback:
        return Nobody()
    try:
        return _identity(settings, vault)
    except (ValueError, OSError) as exc:  # its frames hold the secret
        problem = type(exc).__name__
    raise InvalidRequestError(
        f"azure-identity cannot use these credentials ({problem})",
        hint="check the ids, and that the certificate is a readable PEM or PFX file with its key",
    )


def _identity(settings: Settings, vault: Vault) -> TokenCredential:
    from azure import identity

    auth = {name: _shown(value) for name, value in settings.auth.items()}
    how: dict[str, Any] = {"connection_timeout": settings.timeout, "read_timeout": settings.timeout}
    if settings.ca:
        how["connection_verify"] = settings.ca
    if set(auth) == {"client_id"}:
        return identity.ManagedIdentityCredential(client_id=auth["client_id"], **how)
    how["authority"] = vault.login or "login.microsoftonline.com"
    if not auth:
        return identity.DefaultAzureCredential(**how)
    who = auth["tenant_id"], auth["client_id"]
    if "client_secret" in auth:
        return identity.ClientSecretCredential(*who, auth["client_secret"], retry_total=0, **how)
    how |= _certificate(settings.auth["certificate"]) | {"password": auth.get("certificate_password")}
    return identity.CertificateCredential(*who, retry_total=0, **how)


def _certificate(given: str | SecretValue) -> dict[str, Any]:
    """A path as it stands in strongroom.toml; the PEM itself where it came by ``env://`` or ``file://``."""
    if isinstance(given, SecretValue):
        return {"certificate_data": given.reveal()}
    return {"certificate_path": given}


def _is_complete(names: set[str]) -> bool:
    client = {"tenant_id", "client_id"}
    return names in (
        {"client_id"},
        client | {"client_secret"},
        client | {"certificate"},
        client | {"certificate", "certificate_password"},
    )


def _shown(setting: str | SecretValue) -> str:
    return setting.reveal_text() if isinstance(setting, SecretValue) else setting
