"""Which backend a URL's scheme names; its package is imported on first use.

The built-in schemes stand in a table of strings, so that finding one costs nothing and still works
where a packer stripped the installed metadata. Others are found by the entry-point group
``strongroom.backends``; they may not shadow a built-in scheme.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from .backend import Backend, Settings
from .errors import BackendNotInstalledError, InvalidRequestError
from .keys import ProviderKey
from .layers.edge import edge, translated
from .names import StoreURL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .audit.anchors import Export
    from .keys import KeyWrapper, Signer
    from .layers.edge import Edge
    from .notices import Receiver

ENTRY_POINTS = "strongroom.backends"

# scheme: (home of the class, the extra that installs its SDK)
_BUILT_IN = {
    "aws-sm": ("strongroom_aws.secrets_manager:SecretsManager", "aws"),
    "aws-ssm": ("strongroom_aws.parameter_store:ParameterStore", "aws"),
    "azure-kv": ("strongroom_azure.key_vault:KeyVault", "azure"),
    "env": ("strongroom_local.env:EnvBackend", ""),
    "file": ("strongroom_local.files:FileBackend", ""),
    "gcp-sm": ("strongroom_gcp.secret_manager:SecretManager", "gcp"),
    "local": ("strongroom_local.backend:LocalBackend", ""),
    "memory": ("strongroom.memory:MemoryBackend", ""),
    "pkcs11": ("strongroom_pkcs11.objects:TokenStore", "pkcs11"),
    "vault": ("strongroom_vault.kv:VaultKV", "vault"),
    "vault-leased": ("strongroom_vault.leased:LeasedCredentials", "vault"),
    "vault-pki": ("strongroom_vault.pki:LeasedCertificates", "vault"),
}
_KEYS = {
    "aws-kms": ("strongroom_aws.kms:KMSKey", "aws"),
    "azure-key": ("strongroom_azure.keys:VaultKey", "azure"),
    "gcp-kms": ("strongroom_gcp.kms:CloudKMSKey", "gcp"),
    "local-key": ("strongroom_local.keyset:open_key", ""),
    "pkcs11": ("strongroom_pkcs11.keys:TokenKey", "pkcs11"),
    "vault-transit": ("strongroom_vault.transit_key:TransitKey", "vault"),
}
_SIGNERS = {
    "aws-kms": ("strongroom_aws.kms_signer:KMSSigner", "aws"),
    "azure-key": ("strongroom_azure.signer:VaultSigner", "azure"),
    "gcp-kms": ("strongroom_gcp.kms_signer:CloudKMSSigner", "gcp"),
    "pkcs11": ("strongroom_pkcs11.signer:TokenSigner", "pkcs11"),
    "vault-transit": ("strongroom_vault.transit_signer:TransitSigner", "vault"),
}
_EXPORTS = {
    "s3": ("strongroom_aws.s3_export:Bucket", "aws"),
}
_QUEUES = {
    "azure-queue": ("strongroom_azure.queue:StorageQueue", "azure-queue"),
    "pubsub": ("strongroom_gcp.subscription:Subscription", "pubsub"),
    "sqs": ("strongroom_aws.queue:SQSQueue", "aws"),
}
_CREATORS = {
    "local-key": ("strongroom_local.keyset:create_key", ""),
    "pkcs11": ("strongroom_pkcs11.create:create_key", "pkcs11"),
}


def home(scheme: str) -> tuple[str, str]:
    """The package that a scheme of stores or keys stands in, and the extra that installs its SDK.

    Both are empty for one that is not built in: a third party's package says itself what it needs.
    """
    place, extra = {**_KEYS, **_BUILT_IN}.get(scheme, ("", ""))
    return place.partition(".")[0], extra


def open_backend(url: str | StoreURL, settings: Settings | None = None) -> Edge:
    """Open the backend a URL names, with its errors translated.

    Raises:
        InvalidRequestError: the URL or its scheme is wrong; the hint has the nearest scheme.
        BackendNotInstalledError: the scheme's SDK is missing; the hint installs it.
        SecretStoreError: as the backend says.
    """
    parsed = StoreURL.parse(url) if isinstance(url, str) else url
    found, settings = backend_class(parsed.scheme), settings or Settings()
    _check_keys(parsed.scheme, "auth", settings.auth, found.auth_keys)
    _check_keys(parsed.scheme, "options", settings.options, found.option_keys)
    try:
        return edge(found.from_url(parsed, settings))
    except Exception as exc:  # noqa: BLE001  (whatever an SDK raises)
        error = translated(exc, "open", found.error_for)
    error.backend = error.backend or parsed.scheme
    raise error


def open_key(url: str | StoreURL, settings: Settings | None = None) -> KeyWrapper:
    """Open the key encryption key a URL names, such as ``local-key:///etc/strongroom/keyset.json``.

    Raises:
        InvalidRequestError: the URL or its scheme is wrong, or the key's file is missing or too open.
        IntegrityError: the keyset is damaged.
        BackendNotInstalledError: the scheme's SDK is missing; the hint installs it.
        SecretStoreError: as the provider says.
    """
    from .layers.key_edge import KeyEdge

    key: KeyWrapper = _open_key(url, settings, _KEYS, "key")
    return KeyEdge(key) if _may_raise_foreign(key) else key


def open_signer(url: str | StoreURL, settings: Settings | None = None) -> Signer:
    """Open the signing key a URL names, such as ``aws-kms://eu-west-1/alias/audit``; raises as `open_key`."""
    from .layers.key_edge import SignerEdge

    signer: Signer = _open_key(url, settings, _SIGNERS, "signing key")
    return SignerEdge(signer)


def open_export(url: str, settings: Settings | None = None) -> Export:
    """Open the anchor that a URL names, for an audit journal's checkpoints.

    ``file:///path/file.jsonl``, ``file:///folder/``, ``s3://BUCKET/PREFIX/?region=REGION``,
    ``https://HOST/PATH`` and ``witness+https://HOST/PREFIX?key=KEY``.

    Args:
        settings: of HTTPS and witnesses, `ca`, `timeout`, the option `private`, and in `auth` a `token`.

    Raises: as `open_key`.
    """
    from .audit.anchors import ObjectExport
    from .audit.opening import open_export

    settings = settings or Settings()
    if url.partition("://")[0] in _EXPORTS:
        return ObjectExport(_open_key(url, settings, _EXPORTS, "anchor"))
    return open_export(url, settings)


def open_receiver(url: str, settings: Settings | None = None) -> Receiver:
    """Open the queue of change notices that a URL names, such as ``sqs://REGION/ACCOUNT/QUEUE``, without I/O.

    Raises: as `open_key`.
    """
    receiver: Receiver = _open_key(url, settings, _QUEUES, "queue")
    return receiver


def queue_schemes() -> tuple[str, ...]:
    """Every scheme that a queue's URL can have."""
    return tuple(_QUEUES)


def create_key(url: str | StoreURL, settings: Settings | None, kind: str) -> str:
    """Make the key that a URL names, in a token or a keyset file; return its URL.

    Raises:
        InvalidRequestError: as `open_key`, or the provider makes no keys of this kind, or none through us.
        SecretConflictError: there is a key of that name.
        SecretStoreError: as the provider says.
    """
    made: str = _open_key(url, settings, _CREATORS, "creatable key", kind)
    return made


def _open_key(
    url: str | StoreURL,
    settings: Settings | None,
    table: Mapping[str, tuple[str, str]],
    what: str,
    *more: str,
) -> Any:
    parsed = StoreURL.parse(url) if isinstance(url, str) else url
    if parsed.scheme not in table:
        raise InvalidRequestError(
            f"unknown {what} scheme {parsed.scheme!r}", hint=f"known: {', '.join(sorted(table))}"
        )
    home, extra = table[parsed.scheme]
    found = _load(home, extra)
    try:
        return getattr(found, "from_url", found)(parsed, settings or Settings(), *more)
    except Exception as exc:  # noqa: BLE001  (whatever an SDK raises)
        error = translated(
            exc, "create" if more else "open", getattr(found, "error_for", ProviderKey.error_for)
        )
    error.backend = error.backend or parsed.scheme
    raise error


def _may_raise_foreign(key: KeyWrapper) -> bool:
    return type(key).error_for is not ProviderKey.error_for


def backend_class(scheme: str) -> type[Backend]:
    """The class behind a scheme, built-in ones first.

    Raises:
        InvalidRequestError: nobody provides the scheme, or what is registered is not a backend.
        BackendNotInstalledError: its SDK is not installed.
    """
    if scheme in _BUILT_IN:
        home, extra = _BUILT_IN[scheme]
        return _checked(_load(home, extra), scheme)
    return _registered(scheme)


@cache  # what was found, never a failure: the metadata of all that is installed is hundreds of files to read
def _registered(scheme: str) -> type[Backend]:
    for entry in _entry_points():
        if entry.name == scheme:
            return _checked(_load_entry(entry), scheme)
    raise InvalidRequestError(f"unknown scheme {scheme!r}", hint=_nearest(scheme))


def schemes() -> tuple[str, ...]:
    """Every scheme that can be named: the built-in ones and those that other packages registered."""
    return tuple(sorted({*_BUILT_IN, *(entry.name for entry in _entry_points())}))


def is_scheme(scheme: str) -> bool:
    """Whether a store's URL can have this scheme; installed packages are searched only if need be."""
    return scheme in _BUILT_IN or scheme in schemes()


def key_schemes() -> tuple[str, ...]:
    """Every scheme that a key's URL can have."""
    return tuple(_KEYS)


def key_class(scheme: str) -> type[KeyWrapper]:
    """The class of a scheme's keys. Raises as `open_key`."""
    from .localkey import LocalKey

    found = _load(*_KEYS[scheme])
    return found if isinstance(found, type) else LocalKey  # whose key is read by a function


def signer_class(scheme: str) -> type[Signer] | None:
    """The class of a scheme's signers, or None where it has none. Raises as `open_signer`."""
    return _load(*_SIGNERS[scheme]) if scheme in _SIGNERS else None


def _load(home: str, extra: str) -> Any:
    module, _, name = home.partition(":")
    missing = None
    try:
        return getattr(import_module(module), name)
    except ModuleNotFoundError as exc:
        missing = exc.name
    hint = f"install it with: pip install 'strongroom[{extra}]'" if extra else "reinstall strongroom"
    raise BackendNotInstalledError(f"the module {missing!r} is not installed", hint=hint)


def _load_entry(entry: Any) -> Any:
    missing = None
    try:
        return entry.load()
    except ImportError as exc:
        missing = exc.name
    except AttributeError:
        missing = entry.value
    raise BackendNotInstalledError(
        f"{entry.value} cannot be imported: {missing!r} is missing", hint="reinstall the package"
    )


def _checked(found: Any, scheme: str) -> type[Backend]:
    """A scheme's class must open by URL and translate its errors; both are known at start."""
    lacks = [
        name
        for name in ("from_url", "error_for")
        if getattr(getattr(found, name, None), "__func__", getattr(found, name, None))
        in (None, Backend.from_url.__func__, Backend.error_for)  # type: ignore[attr-defined]
    ]
    if not isinstance(found, type) or not issubclass(found, Backend) or lacks:
        what = f"it lacks {' and '.join(lacks)}" if lacks else "it is not a Backend"
        raise InvalidRequestError(f"what is registered as {scheme!r} is no backend: {what}")
    return found


def _entry_points() -> list[Any]:
    from importlib.metadata import entry_points

    # A package that could take over "aws-sm" would receive every value written to it.
    return [entry for entry in entry_points(group=ENTRY_POINTS) if entry.name not in _BUILT_IN]


def _check_keys(scheme: str, group: str, given: Mapping[str, Any], known: tuple[str, ...] | None) -> None:
    unknown = sorted(given.keys() - set(known)) if known is not None else []
    if known is not None and unknown:
        problem = f"{scheme} stores take no {unknown[0]!r} in {group}"
        raise InvalidRequestError(problem, hint=_near(unknown[0], known, "known keys"))


def _nearest(scheme: str) -> str:
    return _near(scheme, schemes(), "known schemes")


def _near(word: str, known: tuple[str, ...], what: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(word, known, n=1, cutoff=0.4)
    return f"did you mean {near[0]!r}?" if near else f"{what}: {', '.join(known) or 'none'}"
