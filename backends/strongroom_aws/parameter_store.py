"""Secrets in AWS Systems Manager's Parameter Store: ``aws-ssm://REGION/PREFIX``.

Every secret is a SecureString. The newest version is the current one, for every reader, and a delete is
final, so there is no bin. A version's value cannot be destroyed alone: what a rotation held stays readable in
its companion's history until the secret is purged. Parameter Store compares nothing: ``ABSENT`` is its own
(Overwrite), every other conditional write and pending value needs a coordinator (CAS_GUARDED).

PutParameter cannot ask that there be a parameter: a put of a process that was suspended past its lease, or a
foreign one, makes a secret anew that was purged meanwhile.

Its history is authorised apart from its values. Reading the current value takes ssm:GetParameter alone;
versions, descriptions and every write take ssm:GetParameterHistory too, listings ssm:DescribeParameters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Self, TypeVar

from strongroom import retry
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
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.guarded import Guard
from strongroom.names import Key, Name, StoreURL
from strongroom.value import SecretValue

from . import _parameter_text
from ._client import Client
from ._errors import code_of, translate
from ._identity import CallerIdentity
from ._parameter_batch import read_batch
from ._parameter_history import made_at
from ._parameter_listing import Listing
from ._parameter_names import Names
from ._parameters import Parameters, Tier
from ._ssm import EXISTS, SERVICE
from ._tags import check_tags

T = TypeVar("T")
_KB = 1024
# The API model, PutParameter: Tier. Bytes: AWS does not say what it counts; UTF-8 is the larger measure.
_TIERS = {"standard": Tier("Standard", 4 * _KB), "advanced": Tier("Advanced", 8 * _KB),
          "intelligent": Tier("Intelligent-Tiering", 8 * _KB)}  # fmt: skip
_FRAME = 1024
"""Bytes kept free for a companion's frame: ``strongroom.stages.FRAME_BYTES``, out of a backend's reach."""
_OPTIONS = ("account", "key_id", "tier")
_KEY_ID = re.compile(r"[a-zA-Z0-9:/_-]{1,256}")  # the API model, PutParameter: KeyId
_ACCOUNT = re.compile(r"[0-9]{12}")
_STAGES = (Stage.CURRENT, Stage.PREVIOUS)


class ParameterStore(Backend):
    """Parameters of one region of one account, under a prefix.

    Credentials are as for ``aws-sm``. Options: ``tier``, which is ``standard`` (4 KB, the default),
    ``advanced`` or ``intelligent`` (8 KB); ``key_id``, a KMS key for what is written, by default the one that
    the parameter has; ``account``, twelve digits, which a coordinator shared by several accounts needs to
    tell their secrets apart.

    A ``get`` of the current value is one request. Replication's record stands in the version's description,
    which costs one more for each version: with a coordinator, without which nothing is replicated here, a
    ``get`` tells it; without one only ``describe``, a listing and a ``get`` by version do.
    """

    scheme = "aws-ssm"
    loggers = ("boto3", "botocore", "urllib3")
    newest_is_current = True
    lists_records = True
    # PutParameter, per account and region, as AWS's support tells it; its quotas do not say (terraform-aws-
    # github-runner, issue 2944). Ten where higher throughput is bought.
    write_budget = WriteBudget(3, 1.0)
    needs_coordinator = Capability.CAS_GUARDED
    eventual = True  # "it takes the record time to be created and propagated" (aws-sdk-js, issue 4349)
    capabilities = (
        Capability.LIST
        | Capability.VERSIONS
        | Capability.DESCRIBE
        | Capability.BATCH_GET
        | Capability.PUT
        | Capability.CREATE_ONLY
        | Capability.CAS_GUARDED
        | Capability.PURGE
        | Capability.TAGS
    )

    def __init__(self, url: StoreURL, settings: Settings):
        url.allow("endpoint")
        self._settings = settings
        account, self._tier = _account(settings.options), _tier(settings.options)
        self._client = Client(SERVICE, url, settings)
        self._identity = CallerIdentity(url, settings)
        self._names = Names(url.host, url.path.strip("/"), settings.names, account)
        self.origin = f"aws-ssm://{url.host}" + (f"/{self._names.prefix}" if self._names.prefix else "")
        self._parameters = Parameters(self._client, self._names, settings, self._tier, self.origin)
        self._listing = Listing(self._client, self._names, self._parameters)
        self._guard = Guard(self._parameters, settings, self.locate, creates=True)
        if not self._guard.active:
            self.capabilities &= ~Capability.CAS_GUARDED

    @classmethod
    def from_url(cls, url: StoreURL, settings: Settings) -> Self:
        """Open ``aws-ssm://REGION[/PREFIX][?endpoint=http://127.0.0.1:PORT]``, without I/O."""
        return cls(url, settings)

    @staticmethod
    def error_for(exc: Exception, operation: str) -> SecretStoreError | None:
        """Translate what boto raises."""
        return translate(exc, operation, SERVICE)

    def get(self, key: Key, version: str | Stage) -> Secret:
        if version is Stage.CURRENT:
            return self._current(key)
        if version is Stage.PREVIOUS:
            return replace(self._parameters.get(key, self._previous(key)), stage=version)
        if isinstance(version, Stage):
            raise SecretNotFoundError("a pending value is read by its rotation id")
        return self._parameters.get(key, version)

    def _current(self, key: Key) -> Secret:
        def read(settled: str | None) -> Secret:
            if settled is not None:
                return self._parameters.get(key, settled)
            return self._parameters.current(key, recorded=self._guard.active)

        return replace(self._guard.current(key, read), stage=Stage.CURRENT)

    def _previous(self, key: Key) -> str:
        line = self._parameters.line(key)
        if len(line) < len(_STAGES):
            raise SecretNotFoundError("there is no previous version" if line else "no such secret")
        return line[1].version

    def put(
        self, key: Key, value: SecretValue, if_version: str | Absent | None, record: str | None = None
    ) -> SecretVersion:
        self._names.of(key)  # a name that does not fit is refused before the lease is taken

        def attempt() -> SecretVersion | SecretStoreError:
            outcome = _outcome(lambda: self._guard.put(key, value, if_version, record))
            if if_version is None and isinstance(outcome, SecretConflictError) and code_of(outcome) == EXISTS:
                return UnavailableError("another writer made the secret meanwhile", hint="try again")
            return outcome

        return retry.attempts(self._settings, attempt, again=False)

    def purge(self, key: Key) -> None:
        self._names.of(key)
        retry.attempts(self._settings, lambda: _outcome(lambda: self._purge(key)), again=False)

    def _purge(self, key: Key) -> None:
        with self._guard.holding(key, forget=True):
            self._parameters.remove(key)

    def list_info(self, prefix: str, detail: bool = False) -> Iterator[SecretInfo]:
        return self._listing.names(prefix, detail=detail)

    def versions(self, key: Key) -> Sequence[SecretVersion]:
        line = self._parameters.line(key)
        if not line:
            raise SecretNotFoundError("no such secret")
        stages = [frozenset({stage}) for stage in _STAGES] + [frozenset[Stage]()] * len(line)
        return [_version(head.version, borne) for head, borne in zip(line, stages, strict=False)]

    def versions_after(self, key: Key, base: str) -> Sequence[SecretVersion]:
        return [_version(head.version) for head in self._guard.after(key, base)]

    def describe(self, key: Key) -> SecretInfo:
        return self._listing.described(key)

    def set_tags(self, key: Key, tags: Mapping[str, str | None]) -> None:
        self._listing.set_tags(key, tags)

    def get_many(self, keys: Sequence[Key]) -> Mapping[Key, Secret | SecretStoreError]:
        found = read_batch(self._client, [self._names.of(key) for key in dict.fromkeys(keys)])
        return {key: self._batched(key, found) for key in keys}

    def _batched(
        self, key: Key, found: Mapping[str, dict[str, Any] | SecretStoreError]
    ) -> Secret | SecretStoreError:
        outcome = found.get(self._names.of(key))
        if isinstance(outcome, SecretStoreError):
            return outcome
        try:
            if outcome is not None:
                return self._parameters.secret(key, outcome, Stage.CURRENT)
            return self._current(key)
        except SecretStoreError as error:
            return error.with_traceback(None)

    def locate(self, key: Key) -> str:
        """The ARN, without an account unless the option names it: to learn it takes a call."""
        return self._names.arn(key)

    def check(self, key: Key, value: SecretValue, tags: Mapping[str, str]) -> None:
        check_tags(tags)

    def limit(self, key: Key) -> int | None:
        return self._tier.size - (_FRAME if isinstance(key, Name) else 0)

    def size(self, value: SecretValue) -> int:
        return _parameter_text.size(value)

    def principal(self) -> str | None:
        return self._identity.arn()

    def after_fork(self) -> None:
        self._client.after_fork()
        self._identity.after_fork()
        self._guard.after_fork()

    def close(self) -> None:
        self._client.close()
        self._identity.close()


def _outcome(call: Callable[[], T]) -> T | SecretStoreError:
    """What AWS answered, its errors returned, so that it may be asked again; a coordinator's are raised."""
    try:
        return call()
    except (SecretConflictError, UnavailableError) as exc:
        error = exc.with_traceback(None)
    if code_of(error) is None and error.retry_after is None:
        raise error
    return error


def _version(id_: str, stages: frozenset[Stage] = frozenset()) -> SecretVersion:
    return SecretVersion(id_, made_at(id_), stages)


def _account(options: Mapping[str, Any]) -> str:
    unknown = sorted(options.keys() - set(_OPTIONS))
    if unknown:
        raise InvalidRequestError(f"unknown option {unknown[0]!r}", hint=f"known: {', '.join(_OPTIONS)}")
    account = options.get("account", "")
    if account and not (isinstance(account, str) and _ACCOUNT.fullmatch(account)):
        raise InvalidRequestError("account is an AWS account's twelve digits, in quotes")
    return str(account)


def _tier(options: Mapping[str, Any]) -> Tier:
    tier = _TIERS.get(options.get("tier", "standard"))
    if tier is None:
        raise InvalidRequestError(f"unknown tier; it is one of {', '.join(_TIERS)}")
    key_id = options.get("key_id")
    if key_id is not None and not (isinstance(key_id, str) and _KEY_ID.fullmatch(key_id)):
        raise InvalidRequestError("key_id is a KMS key's id, alias/NAME or ARN")
    return replace(tier, key_id=key_id)
