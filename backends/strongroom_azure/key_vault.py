"""Azure Key Vault behind ``azure-kv://VAULT/PREFIX``.

The newest version is the current one, for every reader. Key Vault has no compare-and-set: under a configured
coordinator ``strongroom.guarded`` gives one among Strongroom's own writers; without one there are neither
conditional writes nor pending values. Each version of ours carries its predecessor in a tag, since Key
Vault lists versions in no order and dates them to the second.

Writing needs the right to read too: a new version inherits nothing, so that tags, content type, expiry and
not-before are copied to it.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Self, TypeVar

from strongroom.backend import (
    Absent,
    Backend,
    Capability,
    Secret,
    SecretInfo,
    SecretVersion,
    Stage,
    WriteBudget,
)
from strongroom.errors import (
    InvalidRequestError,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.guarded import Guard, chain
from strongroom.names import Key, Name, Reserved, check_prefix, flat_key, flat_name, key_name
from strongroom.retry import attempts

from . import _values
from ._bin import Bin
from ._client import LOGGERS, Client, outcome
from ._entry import OURS, Entry, checked_tags
from ._errors import translate
from ._vault import Vault
from ._versions import Versions

if TYPE_CHECKING:
    from strongroom.backend import Settings
    from strongroom.names import StoreURL
    from strongroom.value import SecretValue

T = TypeVar("T")
_NAME = re.compile(r"[0-9A-Za-z-]{1,127}")
_VERSION = re.compile(r"[0-9a-f]{32}")
_GUARDED = Capability.CAS_GUARDED | Capability.CREATE_ONLY
_TAG_ROUNDS = 3


class KeyVault(Backend):
    """Secrets of one vault, under a prefix. Names know no case.

    Credentials come from the SDK's own chain, or from ``settings.auth``: ``tenant_id`` and ``client_id`` with
    ``client_secret`` or ``certificate`` (a file, with an optional ``certificate_password``), or ``client_id``
    alone for a managed identity. ``delete`` can be undone for as long as the vault keeps what is deleted.
    """

    scheme = "azure-kv"
    loggers = LOGGERS
    newest_is_current = True
    lists_records = True
    # "Secrets CREATE secret: 300 transactions in 10 seconds, per vault per region", keys' and certificates'
    # imports included (https://learn.microsoft.com/azure/key-vault/general/service-limits).
    write_budget = WriteBudget(300, 10.0)
    needs_coordinator = _GUARDED
    capabilities = (
        Capability.LIST
        | Capability.VERSIONS
        | Capability.DESCRIBE
        | Capability.PUT
        | Capability.DELETE
        | Capability.PURGE
        | Capability.TAGS
        | _GUARDED
    )

    def __init__(self, url: StoreURL, settings: Settings):
        url.allow("endpoint")
        self._settings = settings
        self._prefix = check_prefix(url.path.strip("/"), settings.names)
        if self._prefix and settings.names == "native":
            raise InvalidRequestError("Key Vault's own names have no folders", hint="leave the prefix out")
        self._vault = Vault.of(url, settings)
        self._client = Client(self._vault, settings)
        self._versions = Versions(self._client, self._name)
        self._guard = Guard(self._versions, settings, self.locate)
        self._bin = Bin(self._client, self._guard, settings, self._name)
        self.origin = f"azure-kv://{self._vault.name}" + (f"/{self._prefix}" if self._prefix else "")
        if not self._guard.active:
            self.capabilities = type(self).capabilities & ~_GUARDED

    @classmethod
    def from_url(cls, url: StoreURL, settings: Settings) -> Self:
        """Open ``azure-kv://VAULT[/PREFIX][?endpoint=https://127.0.0.1:PORT]``, without I/O."""
        return cls(url, settings)

    @staticmethod
    def error_for(exc: Exception, operation: str) -> SecretStoreError | None:
        """Translate what the Azure SDKs raise."""
        return translate(exc, operation)

    def get(self, key: Key, version: str | Stage) -> Secret:
        if version is Stage.CURRENT:
            found = self._guard.current(key, lambda settled: self._read(key, settled))
            return self._secret(key, found, version)
        if version is Stage.PREVIOUS:
            return self._secret(key, self._read(key, self._previous(key)), version)
        if isinstance(version, Stage) or not _VERSION.fullmatch(version):
            raise SecretNotFoundError("no such version")
        return self._secret(key, self._read(key, version), None)

    def _read(self, key: Key, version: str | None = None) -> Entry:
        name = self._name(key)
        return self._client.read("get", lambda sdk: Entry.sealed(sdk.get_secret(name, version)))

    def _previous(self, key: Key) -> str:
        newest = self._read(key)
        before = newest.head.before
        if newest.head.stamp is None or newest.head.again:  # only the list tells what stood there before
            line = chain([entry.head for entry in self._versions.entries(key)])
            before = line[1].version if len(line) > 1 else None
        if before is None:
            raise SecretNotFoundError("there is no previous version")
        return before

    def put(
        self, key: Key, value: SecretValue, if_version: str | Absent | None, record: str | None = None
    ) -> SecretVersion:
        try:
            return self._repeated(lambda: self._guard.put(key, value, if_version, record))
        except SecretConflictError as exc:
            error = exc
        if isinstance(if_version, str) and error.hint is None and self._bin.holds(key):
            error = SecretConflictError("the name is in the bin", hint="restore or purge it first")
        raise error

    def purge(self, key: Key) -> None:
        self._bin.purge(key)

    def delete(self, key: Key) -> None:
        self._bin.delete(key)

    def restore(self, key: Key) -> None:
        self._bin.restore(key)

    def retire(self, key: Key, version: str) -> None:
        """Disable exactly this version; deleting takes all of a secret's versions, and reserves its name."""
        name = self._name(key)
        if not _VERSION.fullmatch(version):
            return
        with contextlib.suppress(SecretNotFoundError):
            self._repeated(lambda: self._disable(name, version), again=True)  # twice is once

    def _disable(self, name: str, version: str) -> None:
        self._client.once(
            "set", lambda sdk: Entry.of(sdk.update_secret_properties(name, version, enabled=False))
        )

    def list_info(self, prefix: str, detail: bool = False) -> Iterator[SecretInfo]:
        listing = self._client.pages(
            "list", lambda sdk: sdk.list_properties_of_secrets(), lambda found: Entry.of(found, named=True)
        )
        for page in listing:
            for entry in page:
                key = self._key(entry.name)
                if key is not None and key_name(key).text.startswith(prefix):
                    yield _detailed(key, entry) if detail else SecretInfo(key)

    def _key(self, name: str) -> Key | None:
        portable = self._settings.names == "portable"
        found = flat_key(name.lower() if portable else name, self._prefix, "-", self._settings.names)
        return None if isinstance(found, Reserved) else found

    def versions(self, key: Key) -> Sequence[SecretVersion]:
        entries = {entry.version: entry for entry in self._versions.entries(key)}
        if not entries:
            raise SecretNotFoundError("no such secret or version")
        line = [entries[head.version] for head in chain([entry.head for entry in entries.values()])]
        staged = zip(line, [(Stage.CURRENT,), (Stage.PREVIOUS,), *[()] * len(line)], strict=False)
        return [entry.public(*stages) for entry, stages in staged if entry.enabled]

    def versions_after(self, key: Key, base: str) -> Sequence[SecretVersion]:
        return [SecretVersion(head.version) for head in self._guard.after(key, base)]

    def describe(self, key: Key) -> SecretInfo:
        newest = self._read(key)
        return SecretInfo(key, newest.user_tags, newest.public(Stage.CURRENT), record=newest.record)

    def set_tags(self, key: Key, tags: Mapping[str, str | None]) -> None:
        """Tags belong to versions: they are set on the newest, and handed on to each that follows."""
        for _ in range(_TAG_ROUNDS):
            if self._repeated(lambda: self._tagged(key, tags)):
                return
        raise UnavailableError("the secret is written again and again", performed=None, hint="try again")

    def _tagged(self, key: Key, tags: Mapping[str, str | None]) -> bool:
        """Whether the version that was tagged is still the newest."""
        with self._guard.holding(key):
            newest = self._read(key)
            wanted = checked_tags(tags, newest.user_tags)
            ours = {name: text for name, text in newest.tags.items() if name in OURS}
            self._replace_tags(key, newest.version, ours | wanted)
            return self._read(key).version == newest.version

    def _replace_tags(self, key: Key, version: str, tags: Mapping[str, str]) -> None:
        name = self._name(key)
        try:
            self._client.once(
                "set", lambda sdk: Entry.of(sdk.update_secret_properties(name, version, tags=dict(tags)))
            )
        except UnavailableError as exc:
            lost = exc
        else:
            return
        seen = False
        with contextlib.suppress(SecretStoreError):  # who cannot look still does not know
            seen = lost.performed is None and self._read(key, version).tags == tags
        if not seen:
            raise lost

    def locate(self, key: Key) -> str:
        """The secret's identifier without a version, in lower case, since names know none."""
        return f"{self._vault.endpoint}/secrets/{self._name(key).lower()}"

    def check(self, key: Key, value: SecretValue, tags: Mapping[str, str]) -> None:
        checked_tags(tags, {})

    def limit(self, key: Key) -> int | None:
        return _values.LARGEST_ROTATABLE if isinstance(key, Name) else _values.LARGEST

    def size(self, value: SecretValue) -> int:
        return _values.size(value)

    def after_fork(self) -> None:
        self._client.after_fork()
        self._versions.after_fork()
        self._guard.after_fork()

    def close(self) -> None:
        self._client.close()

    def _name(self, key: Key) -> str:
        name = flat_name(key, self._prefix, "-", self._settings.names)
        if not _NAME.fullmatch(name):
            raise InvalidRequestError(
                "the name does not fit Key Vault", hint="use letters, digits and -, at most 127"
            )
        return name

    def _secret(self, key: Key, found: Entry, stage: Stage | None) -> Secret:
        assert found.value is not None
        return Secret(
            str(key),
            found.value,
            found.version,
            stage,
            self.origin,
            found.created,
            self._settings.clock.now(),
            record=found.record,
        )

    def _repeated(self, call: Callable[[], T], *, again: bool = False) -> T:
        """Do all of it again where nothing was performed, such as when Key Vault throttles."""
        return attempts(self._settings, lambda: outcome(call), again=again)


def _detailed(key: Key, listed: Entry) -> SecretInfo:
    """A list's item bears the newest version's tags, and not its id."""
    return SecretInfo(key, listed.user_tags, record=listed.record)
