"""Rotates the access keys of an IAM user, of which AWS takes two at once."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from strongroom.backend import Clock, Settings
from strongroom.errors import (
    IntegrityError,
    PermissionDeniedError,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.names import StoreURL
from strongroom.quiet import hushed
from strongroom.rotation.fields import field, identifier, renewed
from strongroom.rotation.rotator import Credential, TwoSlot
from strongroom.rotation.slots import make_room
from strongroom.value import SecretValue

from ._client import Answer, Client
from ._errors import code_of
from ._identity import STS
from ._service import Refusal, Service

if TYPE_CHECKING:
    from strongroom.rotation.rotator import Rotation, Source

_SLOTS: Final = 2
"""Access keys that a user may have (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html)."""
_LOGGERS: Final = ("boto3", "botocore", "urllib3")
_MARK: Final = "strongroom/"
_SPAN: Final = timedelta(minutes=5)
"""How far a key's CreateDate may be from the mark of the attempt that made it: hook limit and clock skew."""
_OVER: Final = timedelta(days=1)
_REFUSALS: Final = frozenset(["InvalidClientTokenId", "InvalidAccessKeyId", "SignatureDoesNotMatch"])


def _explained(refusal: Refusal) -> SecretStoreError | None:
    if refusal.meaning == "missing":
        return SecretNotFoundError("no such user or access key", hint="check `user`")
    return None


def _sealed(answer: Answer) -> Answer:
    made = answer.get("AccessKey")
    if isinstance(made, dict) and "SecretAccessKey" in made:
        made["SecretAccessKey"] = SecretValue(made["SecretAccessKey"])
    return answer


_IAM: Final = Service(
    name="iam",
    title="IAM",
    example="a region such as us-east-1",
    answers={
        "CreateAccessKey": "AccessKey",
        "GetAccessKeyLastUsed": "AccessKeyLastUsed",
        "ListAccessKeys": "AccessKeyMetadata",
        "ListUserTags": "Tags",
    },
    value_field=lambda _value: {},
    seal=_sealed,
    codes={
        "ConcurrentModification": "throttled",
        "EntityTemporarilyUnmodifiable": "throttled",
        "InvalidInput": "request",
        "LimitExceeded": "quota",
        "NoSuchEntity": "missing",
        "ServiceFailure": "failing",
    },
    explain=_explained,
)


class AccessKeyRotator(TwoSlot):
    """Renews the access key of an IAM user, who has room for two.

    The secret is JSON, ``{"access_key_id": …, "secret_access_key": …}``; what else stands in it is kept. The
    rotator's own identity needs, on that user, ``iam:ListAccessKeys``, ``iam:CreateAccessKey``,
    ``iam:DeleteAccessKey``, ``iam:ListUserTags``, ``iam:TagUser``, ``iam:UntagUser`` and
    ``iam:GetAccessKeyLastUsed``.

    An access key takes no tags. What a crashed attempt left is known by a tag of the user, written before
    the attempt: when it was, and which keys were there. A key that came within five minutes of it, and that
    neither the current nor the previous value has, is its own.

    Args:
        user: the IAM user's name. A current key of another user is refused.
        region: which tells the partition, and where AWS STS is asked.
        admin: the rotator's own credentials, JSON ``{"access_key_id": …, "secret_access_key": …}``, with
            ``session_token`` if they are temporary; without, the SDK's own chain.
        profile: of the SDK's configuration, such as one that assumes a role.
        endpoint: other than AWS's own; plain HTTP on loopback alone.
        ca: path of a PEM file with the authorities to trust instead of the system's.
        timeout: seconds for one request.
    """

    def __init__(
        self,
        *,
        user: str,
        region: str = "us-east-1",
        admin: Source | None = None,
        profile: str | None = None,
        endpoint: str | None = None,
        ca: str | None = None,
        timeout: float = 4.0,
    ):
        self._user, self._admin, self._profile = user, admin, profile
        self._url = StoreURL.parse(f"aws-iam://{region}")
        self._settings = Settings(endpoint=endpoint, ca=ca, timeout=timeout, attempts=1)

    def issue(self, r: Rotation) -> SecretValue:
        with self._manager(r) as iam:
            before = make_room(self, r, [key.id for key in self._own(iam, r)], _SLOTS)
            r.check()
            iam.unmark_others(r)
            iam.mark(r, before)
            r.check()
            made = iam.call("CreateAccessKey")["AccessKey"]
        return renewed(
            r.current, access_key_id=made["AccessKeyId"], secret_access_key=made["SecretAccessKey"]
        )

    def listed(self, r: Rotation) -> Sequence[Credential]:
        with self._manager(r) as iam:
            # Marks are read after the keys: a key made by a worker that has overtaken us then has its mark.
            keys, marks = iam.keys(), iam.marks()
        return [_attributed(r, key, marks) for key in keys]

    def withdraw(self, r: Rotation, credential: str) -> None:
        if credential:
            with self._manager(r) as iam:
                iam.delete(credential)

    def credential(self, value: SecretValue) -> str:
        return identifier(value, "access_key_id") or ""

    def test_secret(self, r: Rotation, value: SecretValue) -> None:
        if not self.credential(value):  # what stood there before the first rotation
            raise PermissionDeniedError("the value holds no access key")
        answer = self._asked_who(r, value)
        if isinstance(answer, SecretStoreError):
            raise self._judged(r, value, answer)
        _, is_user, path = str(answer["Arn"]).partition(":user/")
        if not is_user or path.split("/")[-1] != self._user:
            raise SecretConflictError("the access key is another principal's")

    def _asked_who(self, r: Rotation, value: SecretValue) -> Answer | SecretStoreError:
        client = Client(STS, self._url, self._limited(r, credentials_of(value)))
        with hushed(_LOGGERS), closing(client):
            return client.once("GetCallerIdentity")

    def _judged(self, r: Rotation, value: SecretValue, error: SecretStoreError) -> SecretStoreError:
        """A refusal counts only if the key is gone: a new one is refused for seconds, a wrong clock too."""
        if not isinstance(error, PermissionDeniedError):
            return error
        if code_of(error) in _REFUSALS and not self._is_active(r, value):
            return error
        return UnavailableError("AWS does not take the access key, which is active")

    def _is_active(self, r: Rotation, value: SecretValue) -> bool:
        wanted = field(value, "access_key_id")
        with self._manager(r) as iam:
            outcome = iam.listed()
        # A refusal of the rotator's own identity must not pass for a refusal of the value.
        if isinstance(outcome, PermissionDeniedError):
            raise UnavailableError("the rotator may not list access keys", hint=outcome.hint)
        if isinstance(outcome, SecretStoreError):
            raise outcome
        return any(key.id == wanted and key.active for key in outcome)

    def _own(self, iam: _Manager, r: Rotation) -> Sequence[_Key]:
        """The user's keys. A confused rotator would promote the key of another principal than current's."""
        found, current = iam.keys(), identifier(r.current, "access_key_id")
        if current is not None and current not in [key.id for key in found]:
            owner = iam.owner(current)
            if owner not in (None, self._user):
                raise IntegrityError("the current access key is another user's", hint="check `user`")
        return found

    @contextmanager
    def _manager(self, r: Rotation) -> Iterator[_Manager]:
        """IAM, as the rotator's own identity; at DEBUG botocore would log the new key."""
        auth: dict[str, str | SecretValue] = credentials_of(self._admin()) if self._admin else {}
        if self._profile:
            auth["profile"] = self._profile
        client = Client(_IAM, self._url, self._limited(r, auth))
        with hushed(_LOGGERS), closing(client):
            yield _Manager(client, self._user, self._settings.clock)

    def _limited(self, r: Rotation, auth: Mapping[str, str | SecretValue]) -> Settings:
        longest = max(0.5, r.remaining() / 8)  # of up to four requests, each connected and answered
        return replace(self._settings, auth=auth, timeout=min(self._settings.timeout, longest))


class _Key(NamedTuple):
    id: str
    created: datetime
    active: bool


@dataclass(frozen=True)
class _Mark:
    """A tag of the user: an attempt to make a key, when it was, and the keys that were there."""

    rotation: str
    epoch: int
    at: datetime
    before: tuple[str, ...]

    @classmethod
    def parse(cls, tag: Mapping[str, str]) -> Self | None:
        _, _, name = tag["Key"].partition(_MARK)
        rotation, _, epoch = name.partition("/")
        at, *before = tag["Value"].split("/")
        if not (tag["Key"].startswith(_MARK) and epoch.isdecimal() and at.isdecimal()):
            return None
        return cls(rotation, int(epoch), datetime.fromtimestamp(int(at), UTC), tuple(before))

    @property
    def tag(self) -> dict[str, str]:
        value = "/".join([str(int(self.at.timestamp())), *self.before])
        return {"Key": f"{_MARK}{self.rotation}/{self.epoch}", "Value": value}

    def made(self, key: _Key) -> bool:
        return key.id not in self.before and abs(key.created - self.at) <= _SPAN


class _Manager:
    """The access keys of one user."""

    def __init__(self, client: Client, user: str, clock: Clock):
        self._client, self._user, self._clock = client, user, clock

    def call(self, action: str, **params: Any) -> Answer:
        return self._client.write(action, UserName=self._user, **params)

    def keys(self) -> Sequence[_Key]:
        found = self.listed()
        if isinstance(found, SecretStoreError):
            raise found
        return found

    def listed(self) -> Sequence[_Key] | SecretStoreError:
        answer = self._client.once("ListAccessKeys", UserName=self._user)
        if isinstance(answer, SecretStoreError):
            return answer
        return [
            _Key(key["AccessKeyId"], key["CreateDate"], key["Status"] == "Active")
            for key in answer["AccessKeyMetadata"]
        ]

    def owner(self, key: str) -> str | None:
        """Whose key it is; None if nobody's, any more."""
        answer = self._client.once("GetAccessKeyLastUsed", AccessKeyId=key)
        if isinstance(answer, SecretNotFoundError):
            return None
        if isinstance(answer, SecretStoreError):
            raise answer
        return str(answer.get("UserName", ""))

    def delete(self, key: str) -> None:
        """It is a success if there is no such key."""
        answer = self._client.once("DeleteAccessKey", UserName=self._user, AccessKeyId=key)
        if isinstance(answer, SecretStoreError) and not isinstance(answer, SecretNotFoundError):
            raise answer

    def marks(self) -> Sequence[_Mark]:
        tags = self._client.read("ListUserTags", UserName=self._user)["Tags"]
        return [mark for tag in tags if (mark := _Mark.parse(tag))]

    def mark(self, r: Rotation, before: Collection[str]) -> None:
        mark = _Mark(r.id, r.epoch, self._clock.now(), tuple(sorted(before)))
        self.call("TagUser", Tags=[mark.tag])

    def unmark_others(self, r: Rotation) -> None:
        """Those of rotations that are long over: a user has room for 50 tags.

        Not younger ones, or a worker that was paused since an older rotation would remove what tells whose
        this one's keys are.
        """
        others = [mark for mark in self.marks() if mark.rotation != r.id]
        over = [mark.tag["Key"] for mark in others if self._clock.now() - mark.at > _OVER]
        if over:
            self.call("UntagUser", TagKeys=over)


def _attributed(r: Rotation, key: _Key, marks: Sequence[_Mark]) -> Credential:
    """Whose attempt made it: of several that may have, the highest epoch, so that nobody takes it for his.

    By the time of the marks a paused worker's would win, as the model of this protocol shows.
    """
    may = [mark for mark in marks if mark.made(key)]
    if not may:
        return Credential(key.id)
    best = max(may, key=lambda mark: (mark.rotation == r.id, mark.epoch))
    return Credential(key.id, best.rotation, best.epoch)


def credentials_of(value: SecretValue) -> dict[str, str | SecretValue]:
    """What the SDK is given: the secrets of it in SecretValues."""
    found: dict[str, str | SecretValue] = {"access_key_id": field(value, "access_key_id")}
    found["secret_access_key"] = SecretValue(field(value, "secret_access_key"))
    if identifier(value, "session_token"):
        found["session_token"] = SecretValue(field(value, "session_token"))
    return found
