"""Google Secret Manager behind ``gcp-sm://PROJECT/PREFIX``.

Current is ``latest``, for every reader. How a version is written only over the one that was expected,
although AddSecretVersion takes no condition, is in `_intent`. Pending values wait in a companion.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Self

from strongroom.backend import (
    Absent,
    Backend,
    Capability,
    Secret,
    SecretInfo,
    SecretVersion,
    Settings,
    Stage,
    WriteBudget,
)
from strongroom.errors import (
    InvalidRequestError,
    PermissionDeniedError,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.names import (
    Companion,
    Key,
    Name,
    StoreURL,
    flat_key,
    flat_name,
    key_name,
)
from strongroom.value import SecretValue

from . import _layout
from ._book import Book, checked_record
from ._calls import SecretCalls, life_of, number_in, seen_in
from ._channel import Address
from ._client import LATEST, Client, moment
from ._creation import creation
from ._digests import KEY, Digests
from ._errors import ROLES, translate
from ._ids import condition_of, number_and_life, version_id
from ._intent import put
from ._judge import after, current, judge, settle
from ._known import Facts, Known
from ._locations import Locations
from ._place import parent_of, prefix_of
from ._port import Seen, Write
from ._tags import check_tags, tagged

_FRAME_BYTES: Final = 1024
"""Room for the facts around a pending value in its companion."""
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,255}")  # CreateSecretRequest.secret_id
_ROUNDS: Final = 8


class SecretManager(Backend):
    """Secrets of one project, or of one location of it (``?location=europe-west6``), under a prefix.

    A version's id is its number and when the secret was created, since numbers start again after a purge. An
    identity that may access versions but not read their secret (``secretAccessor`` alone) gets the number
    alone, which is no ``if_version``. The first read of a version costs two requests, each later read one.

    Tags are annotations, which hold any text; labels and everything else stay as they are. Credentials come
    from the SDK's own chain or from ``settings.auth``: ``credentials`` (a JSON key) or ``token``, and
    ``quota_project``. Options for new secrets: ``locations`` (a list, or a table of KMS keys by location) or
    automatic replication, and ``kms_key``.
    """

    scheme = "gcp-sm"
    loggers = ("google", "grpc", "requests", "urllib3")
    newest_is_current = True
    eventual = True
    lists_records = True
    # Of 600 write requests a minute and project (https://cloud.google.com/secret-manager/quotas) a put takes
    # three: this leaves four in ten to whoever else writes.
    write_budget = WriteBudget(2, 1.0)
    capabilities = (
        Capability.LIST
        | Capability.VERSIONS
        | Capability.DESCRIBE
        | Capability.PUT
        | Capability.CREATE_ONLY
        | Capability.CAS_GUARDED
        | Capability.PURGE
        | Capability.TAGS
    )

    def __init__(self, url: StoreURL, settings: Settings):
        url.allow("location", "endpoint")
        self._settings = settings
        self._prefix = prefix_of(url, settings)
        location = url.option("location")
        self._parent = parent_of(url.host, location)
        host = f"secretmanager.{location}.rep.googleapis.com" if location else "secretmanager.googleapis.com"
        address = Address.of(url, settings, host)
        made_with = creation(settings.options, location)
        self._regional = location is not None
        self._client = Client(address, settings, made_with, regional=self._regional)
        self._digests = Digests(self._client, self._resource(KEY))
        self._known = Known(self._client)
        self.origin = f"gcp-sm://{url.host}" + (f"/{self._prefix}" if self._prefix else "")
        self.origin += f"?location={location}" if location else ""

    @classmethod
    def from_url(cls, url: StoreURL, settings: Settings) -> Self:
        """Open ``gcp-sm://PROJECT[/PREFIX][?location=…][&endpoint=http://127.0.0.1:PORT]``, without I/O."""
        return cls(url, settings)

    @staticmethod
    def error_for(exc: Exception, operation: str) -> SecretStoreError | None:
        """Translate what Google's SDKs raise."""
        return translate(exc, operation)

    def get(self, key: Key, version: str | Stage) -> Secret:
        name = self._resource(key)
        if version is Stage.CURRENT:
            number, payload = self._current(key, name)
            return self._secret(key, number, payload, self._known.facts(name, number, payload), version)
        if version is Stage.PREVIOUS:
            number, payload = self._client.access(name, self._previous(name))
            return self._secret(key, number, payload, self._known.facts(name, number, payload), version)
        if isinstance(version, Stage):
            raise SecretNotFoundError("a pending value is read by its rotation id")
        return self._by_id(key, name, version)

    def _current(self, key: Key, name: str) -> tuple[int, SecretValue]:
        """What ``latest`` says; of a companion what is recorded, or the late frame of a rotation that is done
        would stop all that follow."""
        if isinstance(key, Companion):
            with contextlib.suppress(PermissionDeniedError):  # who may only read values settles nothing
                return self._settled(name)
        return self._known.latest(name)

    def _settled(self, name: str) -> tuple[int, SecretValue]:
        """What counts; if it was retired since, the one that counts instead."""
        calls, number = self._calls(name), 0
        while number != (newer := current(calls)):
            number = newer
            with contextlib.suppress(SecretNotFoundError):
                return self._client.access(name, number)
        return self._client.access(name, number)

    def _by_id(self, key: Key, name: str, version: str) -> Secret:
        wanted = number_and_life(version)
        if wanted is None:
            raise SecretNotFoundError("no such version")
        number, payload = self._client.access(name, wanted[0])
        facts = self._known.facts(name, number, payload)
        if facts.life != wanted[1]:  # the same number and value, perhaps, of another life
            self._known.doubt(name)
            facts = self._known.facts(name, number, payload)
        if not facts.life and wanted[1]:
            raise PermissionDeniedError(
                "this identity cannot tell in which life of the name a version is",
                hint=f"grant {ROLES['GetSecret']}",
            )
        if facts.life != wanted[1]:
            raise SecretNotFoundError("no such version")
        return self._secret(key, number, payload, facts, None)

    def put(
        self, key: Key, value: SecretValue, if_version: str | Absent | None, record: str | None = None
    ) -> SecretVersion:
        name, (payload, mark) = self._resource(key), _layout.encode(value)
        condition, life = condition_of(if_version)
        calls = self._calls(name)
        write = Write(payload, mark, calls.new_id(), condition, life, checked_record(record))
        try:
            written = put(calls, write)
        except SecretConflictError as exc:
            self._known.doubt(name)
            error = exc
        else:
            facts = Facts(written.seen.life, mark, record)
            self._known.wrote(name, written.number, payload, facts)
            created = calls.added.get(written.number)
            return SecretVersion(version_id(written.number, facts.life), created, frozenset({Stage.CURRENT}))
        raise error

    def purge(self, key: Key) -> None:
        name = self._resource(key)
        first = self._client.secret(name)
        if first is None:
            raise SecretNotFoundError("no such secret")
        self._known.forget(name)
        found = first
        for _ in range(_ROUNDS):
            if self._deleted(name, found.etag):
                return
            found = self._client.secret(name)
            if found is None or life_of(found) != life_of(first):
                return
        raise SecretConflictError("another writer is at work", retryable=True)

    def _deleted(self, name: str, etag: str) -> bool:
        """Delete it if nobody changed it; after a lost answer a look tells."""
        try:
            return self._client.delete(name, etag)
        except UnavailableError as exc:
            error = exc
        if error.performed is None and self._client.secret(name) is None:
            return True
        raise error

    def retire(self, key: Key, version: str) -> None:
        """Destroy the version's payload for ever, unless it is the newest or counts as current."""
        name, wanted = self._resource(key), number_and_life(version)
        settled = settle(self._calls(name))
        if settled is None or wanted is None or wanted[1] != settled[0].life:
            return
        if wanted[0] == settled[1].current or wanted[0] >= settled[1].newest:
            raise SecretConflictError("the version is current")
        self._client.destroy(name, wanted[0])

    def list_info(self, prefix: str, detail: bool = False) -> Iterator[SecretInfo]:
        for key, secret in self._listed(prefix):
            book = Book.of(secret.annotations)
            if book.intent and not book.chain.ranges:  # created, and not written yet
                continue
            yield _listed(key, secret, book) if detail else SecretInfo(key)

    def _listed(self, prefix: str = "") -> Iterator[tuple[Key, Any]]:
        part = self._flat(Name(prefix)) if prefix or self._prefix else ""
        for secret in self._client.secrets(self._parent, part):
            key = flat_key(secret.name.rpartition("/")[2], self._prefix, "_", self._settings.names)
            if isinstance(key, Name | Companion) and key_name(key).text.startswith(prefix):
                yield key, secret

    def native_replication(self) -> Locations | None:
        """Where global secrets are kept; a regional one is in its location alone."""
        if self._regional:
            return None
        return Locations(self._client, self._resource, self._listed)

    def versions(self, key: Key) -> Sequence[SecretVersion]:
        name = self._resource(key)
        seen = self._seen(name)
        listed = {number_in(version.name): version for version in self._client.versions(name)}
        floor = self._known.floor(name)
        if floor > max(listed, default=0):  # the list lags behind what was written here
            listed[floor] = self._client.version(name, floor)
        if not listed:
            raise SecretNotFoundError("the secret has no version")
        counts = self._counting(name, seen, max(listed))
        counted = [number for number in sorted(listed, reverse=True) if counts(number)]
        holders = dict(zip(counted, (Stage.CURRENT, Stage.PREVIOUS), strict=False))
        return [
            _version(listed[number], seen.life, holders.get(number))
            for number in counted
            if _is_enabled(listed[number])
        ]

    def versions_after(self, key: Key, base: str) -> Sequence[SecretVersion]:
        wanted = number_and_life(base)
        if wanted is None:
            raise SecretNotFoundError("the base version is not known")
        numbers = after(self._calls(self._resource(key)), *wanted)
        return [SecretVersion(version_id(number, wanted[1])) for number in numbers]

    def describe(self, key: Key) -> SecretInfo:
        name = self._resource(key)
        secret = self._client.secret(name)
        info = None if secret is None else self._info(key, secret)
        if info is None or info.newest is None:
            raise SecretNotFoundError("no such secret")
        return info

    def set_tags(self, key: Key, tags: Mapping[str, str | None]) -> None:
        check_tags(tags)
        calls = self._calls(self._resource(key))
        for _ in range(_ROUNDS):
            seen = calls.look()
            if seen is None:
                raise SecretNotFoundError("no such secret")
            wanted = tagged(dict(seen.others), tags)
            if wanted == dict(seen.others) or self._annotated(calls, seen, wanted):
                return
        raise SecretConflictError("another writer is at work", retryable=True)

    def _annotated(self, calls: SecretCalls, seen: Seen, tags: dict[str, str]) -> bool:
        """Whether it is done; if the answer was lost, the next look tells."""
        try:
            return calls.annotate(seen, seen.book.over(tags)) is not None
        except UnavailableError as exc:
            error = exc
        if error.performed is None:
            return False
        raise error

    def locate(self, key: Key) -> str:
        """The full resource name (https://google.aip.dev/122)."""
        return f"//secretmanager.googleapis.com/{self._resource(key)}"

    def check(self, key: Key, value: SecretValue, tags: Mapping[str, str]) -> None:
        check_tags(tags)
        tagged({}, tags)

    def limit(self, key: Key) -> int | None:
        return _layout.LIMIT - _FRAME_BYTES if isinstance(key, Name) else _layout.LIMIT

    def after_fork(self) -> None:
        self._client.after_fork()
        self._digests.after_fork()

    def close(self) -> None:
        self._client.close()

    def _flat(self, key: Key) -> str:
        return flat_name(key, self._prefix, "_", self._settings.names)

    def _resource(self, key: Key) -> str:
        name = self._flat(key)
        if not _NAME.fullmatch(name):
            raise InvalidRequestError(
                "the name does not fit Secret Manager", hint="use letters, digits, - and _, at most 255"
            )
        return f"{self._parent}/secrets/{name}"

    def _calls(self, name: str) -> SecretCalls:
        return SecretCalls(self._client, self._digests, self._settings, name)

    def _seen(self, name: str) -> Seen:
        seen = self._calls(name).look()
        if seen is None:
            raise SecretNotFoundError("no such secret")
        return seen

    def _previous(self, name: str) -> int:
        seen = self._seen(name)
        newest = max(self._calls(name).newest(), self._known.floor(name))
        counts = self._counting(name, seen, newest)
        older = (number for number in range(newest, 0, -1) if counts(number))
        next(older, None)
        previous = next(older, None)
        if previous is None:
            raise SecretNotFoundError("there is no previous version")
        return previous

    def _counting(self, name: str, seen: Seen, newest: int) -> Callable[[int], bool]:
        """Tells which numbers count. Who may not read the digest key cannot tell a late loser."""
        last, chain = seen.book.chain.last, seen.book.chain
        if newest > last and (seen.book.late or seen.book.intent):
            with contextlib.suppress(PermissionDeniedError):
                chain = judge(self._calls(name), seen).book.chain
                last = newest
        return lambda number: number in chain or number > last

    def _secret(
        self, key: Key, number: int, payload: SecretValue, facts: Facts, stage: Stage | None
    ) -> Secret:
        value, now = _layout.decode(payload, facts.mark), self._settings.clock.now()
        id_ = version_id(number, facts.life)
        return Secret(str(key), value, id_, stage, self.origin, None, now, record=facts.record)

    def _info(self, key: Key, secret: Any) -> SecretInfo:
        seen, name = seen_in(secret), self._resource(key)
        newest = self._newest(name, seen.life)
        record = seen.book.records.get(int(newest.id.partition(".")[0])) if newest else None
        return SecretInfo(key, dict(seen.others), newest, moment(secret.create_time), record)

    def _newest(self, name: str, life: str) -> SecretVersion | None:
        try:
            found = self._client.version(name, LATEST)
            floor = self._known.floor(name)
            if number_in(found.name) < floor:
                found = self._client.version(name, floor)
        except SecretNotFoundError:
            return None
        return _version(found, life, Stage.CURRENT if _is_enabled(found) else None)


def _listed(key: Key, secret: Any, book: Book) -> SecretInfo:
    """ListSecrets says nothing of versions: another program's, written after ours, does not show here."""
    tags, record = dict(seen_in(secret).others), book.records.get(book.chain.last)
    return SecretInfo(key, tags, created_at=moment(secret.create_time), record=record)


def _version(version: Any, life: str, stage: Stage | None) -> SecretVersion:
    stages = frozenset({stage}) if stage else frozenset[Stage]()
    return SecretVersion(version_id(number_in(version.name), life), moment(version.create_time), stages)


def _is_enabled(version: Any) -> bool:
    return bool(version.state == version.ENABLED)
