"""Rotators by the names that strongroom.toml calls them."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from strongroom.errors import BackendNotInstalledError, InvalidRequestError

if TYPE_CHECKING:
    from strongroom.rotation.rotator import Rotator

ROTATORS: Final = {
    "aws-iam": "strongroom_aws.access_keys:AccessKeyRotator",
    "hmac-key": "hmac_key:HmacKeyRotator",
    "http-api-key": "http_api_key:HTTPKeyRotator",
    "human": "human:HumanRotator",
    "keyring": "keyring_rewrap:KeyringRotator",
    "kms-key": "strongroom_aws.key_versions:KMSKeyRotator",
    "mysql": "mysql:MySQLRotator",
    "pkcs11-key": "strongroom_pkcs11.key_versions:TokenKeyRotator",
    "postgresql": "postgresql:PostgreSQLRotator",
    "postgresql-two-users": "postgresql:PostgreSQLTwoUsersRotator",
    "random": "random_value:RandomRotator",
    "vault-approle": "strongroom_vault.secret_ids:SecretIdRotator",
    "vault-database": "strongroom_vault.database_root:DatabaseRootRotator",
    "vault-pki": "strongroom_vault.certificates:CertificateRotator",
    "vault-transit-key": "strongroom_vault.key_versions:TransitKeyRotator",
}
"""Module and class by short name; a module without a dot is of this package."""


def rotator_class(name: str) -> type[Rotator]:
    """The class that a short name or ``package.module:Class`` names.

    Raises:
        InvalidRequestError: there is none of that name, or it is no rotator.
        BackendNotInstalledError: its module needs a package that is missing.
    """
    from strongroom.rotation.rotator import Rotator

    module, _, attribute = _place(name).partition(":")
    found: Any = getattr(_imported(module, name), attribute, None)
    if not isinstance(found, type) or not issubclass(found, Rotator):
        raise InvalidRequestError(f"{name} is no rotator", hint="name a class derived from Rotator")
    return found


def _place(name: str) -> str:
    if ":" in name:
        return name
    if name not in ROTATORS:
        nearest = get_close_matches(name, ROTATORS, 1, 0.5)
        hint = f"did you mean {nearest[0]!r}?" if nearest else f"known: {', '.join(ROTATORS)}"
        raise InvalidRequestError(f"no rotator is called {name!r}", hint=hint)
    place = ROTATORS[name]
    return place if "." in place else f"{__package__}.{place}"


def _imported(module: str, name: str) -> object:
    missing = ""
    try:
        return import_module(module)
    except ModuleNotFoundError as exc:
        missing = exc.name or module
    if module == missing or module.startswith(f"{missing}."):
        raise InvalidRequestError(f"{name}: there is no module {missing}", hint="install its package")
    raise BackendNotInstalledError(f"{name} needs {missing}", hint=f"pip install {missing}")
