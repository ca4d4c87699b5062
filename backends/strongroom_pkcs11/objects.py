"""Secrets as data objects of a PKCS#11 token: ``pkcs11:token=prod;object=PREFIX``.

A secret's newest version is a private CKO_DATA object whose label is the secret's path and whose value is
the value itself, so that every program that reads a token reads it: ``pkcs11-tool --read-object --type data
--label prod/db/password``. Older versions are called ``prod/db/password;NUMBER.ID``, and what waits for its
rotation ``_strongroom/pending/…``. Another program's object under a secret's label counts as its newest
version until Strongroom writes over it.

Tokens compare nothing, and labels are not unique on them: conditional writes, pending values and creating
only what is absent need a coordinator (CAS_GUARDED). What is destroyed is gone: there is no bin.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from strongroom import retry
from strongroom.backend import Absent, Backend, Capability, Secret, SecretInfo, SecretVersion, Stage
from strongroom.errors import InvalidRequestError, SecretNotFoundError, SecretStoreError
from strongroom.guarded import Guard, Stamp
from strongroom.names import Key, Name, Reserved, key_name
from strongroom.value import SecretValue

from . import _entries
from ._entries import Entry
from ._errors import error_for
from ._places import Places
from ._versions import Versions, public
from .uri import TokenURI

if TYPE_CHECKING:
    from strongroom.backend import Settings
    from strongroom.names import StoreURL

T = TypeVar("T")
LARGEST: Final = 1 << 20
"""Bytes of a value. The standard names no limit; each token has its own, told by its refusal alone. SoftHSM
takes this much."""
VERSIONS: Final = 10
"""How many versions of a secret are kept, by default."""

_FRAME: Final = 1024
"""Bytes that a companion's frame may add: ``strongroom.stages.FRAME_BYTES``, out of a backend's reach."""
_FEWEST, _MOST = 2, 1000  # with fewer than two there is nothing to roll back to
_TAGS: Final = "tags"
_GUARDED: Final = Capability.CAS_GUARDED | Capability.CREATE_ONLY
_STAGES: Final = (Stage.CURRENT, Stage.PREVIOUS)
_OPTIONS: Final = ("module", "versions")


class TokenStore(Backend):
    """Secrets on one token, below a prefix.

    Options: ``module``, the PKCS#11 library; ``versions``, how many versions of a secret are kept, 2 to 1000.
    ``settings.auth`` takes ``pin``. Every search looks at every object of the token: SoftHSM needs about 0.1
    ms for each.

    Two processes that set tags of one secret at once without a coordinator may lose one's change.
    """

    scheme = "pkcs11"
    lists_records = True
    newest_is_current = True
    needs_coordinator = _GUARDED
    capabilities = (
        Capability.LIST
        | Capability.VERSIONS
        | Capability.DESCRIBE
        | Capability.PUT
        | Capability.PURGE
        | Capability.TAGS
        | _GUARDED
    )

    def __init__(self, url: StoreURL, settings: Settings):
        uri = TokenURI.parse(url)
        if uri.id is not None or uri.type not in (None, "data"):
            raise InvalidRequestError(
                "a store's URL names data objects", hint="leave id= and type= out; object= is the prefix"
            )
        self._settings, self._uri = settings, uri
        self._kept = _kept(settings.options)
        self._places = Places(uri.object or "", settings.names)
        self.origin = uri.key_id
        self._versions = Versions(uri, settings, self._places.of, self._keep, self.origin)
        self._guard = Guard(self._versions, settings, self.locate)
        if not self._guard.active:
            self.capabilities = type(self).capabilities & ~_GUARDED

    @classmethod
    def from_url(cls, url: StoreURL, settings: Settings) -> Self:
        """Open ``pkcs11:token=LABEL[;object=PREFIX]``, without I/O."""
        return cls(url, settings)

    error_for = staticmethod(error_for)

    def get(self, key: Key, version: str | Stage) -> Secret:
        if version is Stage.CURRENT:
            return replace(self._guard.current(key, partial(self._read, key)), stage=version)
        if version is Stage.PREVIOUS:
            return replace(self._versions.get(key, self._previous(key)), stage=version)
        if isinstance(version, Stage):
            raise SecretNotFoundError("a pending value is read by its rotation id")
        return self._versions.get(key, version)

    def _read(self, key: Key, settled: str | None) -> Secret:
        return self._versions.get(key, settled) if settled else self._versions.newest(key)

    def _previous(self, key: Key) -> str:
        line = self._guard.line(key)
        if len(line) < len(_STAGES):
            raise SecretNotFoundError("there is no previous version" if line else "no such secret")
        return line[1].version

    def put(
        self, key: Key, value: SecretValue, if_version: str | Absent | None, record: str | None = None
    ) -> SecretVersion:
        self._places.of(key)  # a name that does not fit is refused before the lease is taken
        return self._repeated(lambda: self._guard.put(key, value, if_version, record))

    def purge(self, key: Key) -> None:
        def purged() -> None:
            with self._guard.holding(key, forget=True):
                self._versions.purge(key, *_beside(key))

        self._repeated(purged)

    def retire(self, key: Key, version: str) -> None:
        self._versions.retire(key, version)

    def list_info(self, prefix: str, detail: bool = False) -> Iterator[SecretInfo]:
        yield from self._versions.read(lambda session: list(self._listed(session, prefix, detail)))

    def _listed(self, session: Any, prefix: str, detail: bool) -> Iterator[SecretInfo]:
        found = _entries.scan(session)
        for path, entries in sorted(found.items()):
            key = self._places.key(path)
            if key is None or isinstance(key, Reserved) or not key_name(key).text.startswith(prefix):
                continue
            if not any(entry.bears_name for entry in entries):
                entries = _entries.history(session, path)  # noqa: PLW2901  (a search is no snapshot)
            if entries:
                yield self._info(key, entries, found) if detail else SecretInfo(key)

    def _info(self, key: Key, entries: list[Entry], found: Mapping[str, list[Entry]]) -> SecretInfo:
        newest = _entries.ordered(entries)[0]
        beside = [entry for at in _beside(key) for entry in found.get(self._places.of(at), [])]
        record = newest.mark.record if newest.mark else None
        return SecretInfo(key, _tags(beside), public(newest, Stage.CURRENT), record=record)

    def versions(self, key: Key) -> Sequence[SecretVersion]:
        line, known = self._guard.line(key), self._versions.known(key)
        if not line:
            raise SecretNotFoundError("no such secret")
        stages = [frozenset({stage}) for stage in _STAGES] + [frozenset[Stage]()] * len(line)
        staged = zip(line, stages, strict=False)
        return [replace(known[head.version], stages=borne) for head, borne in staged if head.version in known]

    def versions_after(self, key: Key, base: str) -> Sequence[SecretVersion]:
        return [SecretVersion(head.version) for head in self._guard.after(key, base)]

    def describe(self, key: Key) -> SecretInfo:
        def described(session: Any) -> SecretInfo:
            newest = _entries.current(session, self._places.of(key))
            if newest is None:
                raise SecretNotFoundError("no such secret")
            beside = [self._places.of(at) for at in _beside(key)]
            return self._info(key, [newest], {path: _entries.history(session, path) for path in beside})

        return self._versions.read(described)

    def set_tags(self, key: Key, tags: Mapping[str, str | None]) -> None:
        """Tags belong to the secret: they are an object of their own, of which only the newest is kept."""

        def tagged() -> None:
            with self._guard.holding(key):
                changed = {**self.describe(key).tags, **tags}
                wanted = {name: text for name, text in changed.items() if text is not None}
                for beside in _beside(key):
                    before = self._versions.head(beside)
                    stamp = Stamp.new(before.version if before else None)
                    self._versions.write(beside, SecretValue(json.dumps(wanted)), None, stamp)

        self._repeated(tagged)

    def locate(self, key: Key) -> str:
        """The object's own URI. Name the token alike in all processes that share a coordinator: by its label,
        or else by its serial number."""
        return replace(self._uri, object=self._places.of(key)).key_id

    def limit(self, key: Key) -> int | None:
        return LARGEST if isinstance(key, Name) else LARGEST + _FRAME

    def after_fork(self) -> None:
        self._guard.after_fork()  # sessions see to themselves, see `module`

    def close(self) -> None:
        self._versions.close()

    def _keep(self, key: Key) -> int:
        return 1 if isinstance(key, Reserved) and key.kind == _TAGS else self._kept

    def _repeated(self, call: Callable[[], T]) -> T:
        """Do all of it again where nothing was performed, such as when the token is busy."""
        return retry.attempts(self._settings, lambda: _outcome(call), again=False)


def _outcome(call: Callable[[], T]) -> T | SecretStoreError:
    try:
        return call()
    except SecretStoreError as error:
        return error.with_traceback(None)


def _beside(key: Key) -> list[Key]:
    """Where a secret's tags are."""
    return [Reserved(_TAGS, key)] if isinstance(key, Name) else []


def _tags(beside: list[Entry]) -> dict[str, str]:
    newest = next((entry for entry in _entries.ordered(beside) if entry.mark), None)
    return dict(newest.value.reveal_json()) if newest else {}


def _kept(options: Mapping[str, Any]) -> int:
    unknown = sorted(options.keys() - set(_OPTIONS))
    if unknown:
        raise InvalidRequestError(f"unknown option {unknown[0]!r}", hint=f"known: {', '.join(_OPTIONS)}")
    versions = options.get("versions", VERSIONS)
    if type(versions) is not int or not _FEWEST <= versions <= _MOST:
        raise InvalidRequestError(f"versions is a number from {_FEWEST} to {_MOST}")
    return versions
