"""What the URL's scheme adds to a store or a key: the keys of its ``auth``, and of its ``options``.

Backends read these by name; a test compares the tables with what they read. A scheme of another package is
not here: its ``auth`` holds references, but for what is plain everywhere, and its class judges them.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from .kinds import Choice, Days, Duration, Kind, OneOrMore, Plain, Secret, Text, Texts, Whole

Kinds = dict[str, Kind]


class Takes(NamedTuple):
    """What one scheme takes."""

    auth: Kinds
    options: Kinds


_AWS: Final[Kinds] = {
    "profile": Plain("a profile of `~/.aws`"),
    "access_key_id": Plain("of an access key, with `secret_access_key`"),
    "secret_access_key": Secret("of the access key"),
    "session_token": Secret("of a temporary access key"),
}
_VAULT: Final[Kinds] = {
    "method": Plain("how to log in", limits="`token`, `approle`, `kubernetes`, `jwt`, `cert` or `userpass`"),
    "token": Secret("of the method `token`"),
    "mount": Plain("where the method is mounted, if not under its own name"),
    "role": Plain("of the methods `kubernetes`, `jwt` and `cert`"),
    "role_id": Plain("of the method `approle`"),
    "secret_id": Secret("of the method `approle`"),
    "jwt": Secret("of the methods `jwt` and `kubernetes`"),
    "jwt_file": Plain("the file that holds the token, read anew at each login"),
    "cert": Plain("the path of a TLS client certificate"),
    "key": Plain("the path of that certificate's private key"),
    "username": Plain("of the method `userpass`"),
    "password": Secret("of the method `userpass`"),
}
_GOOGLE: Final[Kinds] = {
    "credentials": Secret("a service account's key, as JSON"),
    "token": Secret("an access token"),
    "quota_project": Plain("the project that is billed"),
}
_AZURE: Final[Kinds] = {
    "tenant_id": Plain("of the client, with its secret or certificate"),
    "client_id": Plain("of the client; alone, of a managed identity"),
    "client_secret": Secret("of the client"),
    "certificate": Plain("of the client: the path of a PEM or PFX file, or a reference to its content"),
    "certificate_password": Secret("of a certificate that has one"),
}
_TOKEN: Final[Kinds] = {"pin": Secret("the user's PIN")}
_MODULE: Final = Text("the absolute path of the PKCS#11 library")
_KEY_TYPES: Final = ("ec-p256", "ec-p384", "rsa-2048", "rsa-3072", "rsa-4096")
_AT_CLOSE: Final = Choice(
    "what becomes of leases and of our login when the store is closed", ("revoke", "leave"), "revoke"
)
_NAMESPACE: Final = Text("Vault's name space, where the URL does not say it")


def _algorithm(how: str) -> Text:
    return Text(f"how the key wraps or signs, {how}")


STORES: Final[dict[str, Takes]] = {
    "aws-sm": Takes(
        _AWS, {"recovery_window_days": Whole("how long a deleted secret can be restored", 7, 30, 30)}
    ),
    "aws-ssm": Takes(
        _AWS,
        {
            "account": Text(
                "the account, where several share a coordinator",
                form="[0-9]{12}",
                problem="account is an AWS account's twelve digits, in quotes",
                limits="twelve digits",
            ),
            "key_id": Text("the KMS key of new parameters: its id, alias or ARN"),
            "tier": Choice("of new parameters", ("standard", "advanced", "intelligent"), "standard"),
        },
    ),
    "azure-kv": Takes(_AZURE, {}),
    "env": Takes({}, {}),
    "file": Takes({}, {}),
    "gcp-sm": Takes(
        _GOOGLE,
        {
            "kms_key": Text("the Cloud KMS key of new secrets"),
            "locations": OneOrMore("where new secrets are", "a list, or a table of KMS keys by location"),
        },
    ),
    "local": Takes(
        {"passphrase": Secret("of a database whose key is under one")},
        {
            "keyset": Text("the keyset file, where it is not where the database says"),
            "recovery_days": Days("how long a deleted secret can be restored", 36_500, 30),
        },
    ),
    "memory": Takes({}, {}),
    "pkcs11": Takes(_TOKEN, {"module": _MODULE, "versions": Whole("how many are kept", 2, 1000, 10)}),
    "vault": Takes(
        _VAULT,
        {"kv": Choice("version of the KV engine", (1, 2, "1", "2"), 2), "namespace": _NAMESPACE},
    ),
    "vault-leased": Takes(
        _VAULT,
        {
            "at_close": _AT_CLOSE,
            "grace": Duration(
                "how long a lease that was replaced is left to its sessions", "10m", nothing=True
            ),
            "namespace": _NAMESPACE,
        },
    ),
    "vault-pki": Takes(
        _VAULT,
        {
            "alt_names": Texts("further DNS names and mail addresses of each certificate", "name"),
            "at_close": _AT_CLOSE,
            "grace": Duration(
                "when a certificate that was replaced is revoked; by default never", nothing=True
            ),
            "ip_sans": Texts("its IP addresses", "address"),
            "key_type": Choice("of its private key", _KEY_TYPES, "ec-p256"),
            "namespace": _NAMESPACE,
            "ttl": Duration("how long it lives, where it is not as the role says"),
            "uri_sans": Texts("its URIs, such as a SPIFFE id", "URI"),
        },
    ),
}
KEYS: Final[dict[str, Takes]] = {
    "aws-kms": Takes(
        _AWS,
        {
            "algorithm": _algorithm("where it is not `SYMMETRIC_DEFAULT`"),
            "grant_tokens": OneOrMore("of grants that are too new to be known everywhere", "at most ten"),
        },
    ),
    "azure-key": Takes(_AZURE, {"algorithm": _algorithm("where it does not wrap by RSA-OAEP-256")}),
    "gcp-kms": Takes(_GOOGLE, {"algorithm": _algorithm("declared for a signing key")}),
    "local-key": Takes({}, {}),
    "pkcs11": Takes(
        _TOKEN,
        {
            "module": _MODULE,
            "mechanism": Text("how the key wraps"),
            "algorithm": _algorithm("declared for a signing key"),
        },
    ),
    "vault-transit": Takes(
        _VAULT, {"namespace": _NAMESPACE, "algorithm": _algorithm("where its type allows several")}
    ),
}
QUEUES: Final[dict[str, Takes]] = {
    "azure-queue": Takes(_AZURE, {}),
    "pubsub": Takes(_GOOGLE, {}),
    "sqs": Takes(_AWS, {}),
}
PLAIN: Final = frozenset(
    name
    for takes in (*STORES.values(), *KEYS.values())
    for name, kind in takes.auth.items()
    if isinstance(kind, Plain)
)
"""What of any ``auth`` may stand in the file."""
