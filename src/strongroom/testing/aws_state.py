"""What the strict Secrets Manager double remembers: secrets, versions, labels, and who sees old ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Generic, Literal, TypeVar

CURRENT, PREVIOUS, PENDING = "AWSCURRENT", "AWSPREVIOUS", "AWSPENDING"
MANAGED_KEY = "alias/aws/secretsmanager"

T = TypeVar("T")


class AwsError(Exception):
    """An error answer of the service.

    Attributes:
        code: the ``__type`` of the answer, such as ``"ResourceNotFoundException"``.
        status: the HTTP status; 400 for every fault of the caller, a missing secret too.
    """

    def __init__(self, code: str, message: str, status: int = 400):
        super().__init__(message)
        self.code = code
        self.status = status


@dataclass(frozen=True)
class Lag:
    """How long a change stays unseen: until ``seconds`` have passed and ``reads`` reads were answered."""

    seconds: float = 0.0
    reads: int = 0


AT_ONCE = Lag()


class History(Generic[T]):
    """Older states of one thing, each seen by readers until its lag has run out."""

    def __init__(self) -> None:
        self._older: list[tuple[float, int, T]] = []
        self.last: T | None = None

    def supersede(self, old: T, lag: Lag, now: float) -> None:
        """Note that ``old`` was just replaced."""
        self.last = old
        if lag.seconds or lag.reads:
            self._older.append((now + lag.seconds, lag.reads, old))

    def settle(self) -> None:
        """Let the truth arrive at once."""
        self._older.clear()

    def seen(self, now: float) -> T | None:
        """What a reader gets in place of the truth, or None if the truth has arrived; counts as one read."""
        running = [(until, reads, old) for until, reads, old in self._older if now < until or reads > 0]
        self._older = [(until, reads - 1, old) for until, reads, old in running]
        return running[0][2] if running else None


@dataclass(frozen=True)
class Version:
    """An immutable version; ``data`` is None while it only has a label (rotation reserves ids that way)."""

    id: str
    created: float
    data: str | bytes | None = field(repr=False)
    kms_key: str


@dataclass(frozen=True)
class Deletion:
    """A scheduled deletion; ``forced`` keeps the name for a while and cannot be undone."""

    date: float
    forced: History[bool] | None = None


@dataclass
class Secret:
    """A primary secret. Labels map to versions, so that a label can only ever be on one."""

    name: str
    arn: str
    region: str
    created: float
    changed: float
    description: str = ""
    kms_key: str = MANAGED_KEY
    tags: dict[str, str] = field(default_factory=dict)
    versions: dict[str, Version] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    deletion: Deletion | None = None
    replicas: dict[str, Replica] = field(default_factory=dict)
    history: History[Secret] = field(default_factory=History, repr=False)
    unborn: bool = False
    policy: str = ""

    def snapshot(self) -> Secret:
        """A copy that later changes do not reach."""
        return replace(
            self,
            tags=dict(self.tags),
            versions=dict(self.versions),
            labels=dict(self.labels),
            replicas=dict(self.replicas),
        )

    @contextmanager
    def changing(self, lag: Lag, now: float) -> Iterator[None]:
        """Apply a change whose effect readers see after ``lag``; a failing change leaves no trace."""
        before = self.snapshot()
        try:
            yield
        except AwsError:
            vars(self).update(vars(before))
            raise
        self.changed = now
        self.history.supersede(before, lag, now)

    def labels_of(self, version_id: str) -> list[str]:
        """The labels on a version, sorted."""
        return sorted(label for label, holder in self.labels.items() if holder == version_id)

    def attach(self, label: str, version_id: str) -> None:
        """Put a label on a version, taking it from any other; AWSCURRENT drags AWSPREVIOUS along.

        Source: the API model, UpdateSecretVersionStage: "Whenever you move AWSCURRENT, Secrets Manager
        automatically moves the label AWSPREVIOUS to the version that AWSCURRENT was removed from."
        """
        holder = self.labels.get(label)
        self.labels[label] = version_id
        if label == CURRENT and holder not in (None, version_id):
            self.labels[PREVIOUS] = str(holder)

    def remove_outdated(self, now: float, keep: int, young: float) -> None:
        """Drop deprecated versions beyond the ``keep`` newest that are older than ``young`` seconds."""
        held = set(self.labels.values())
        newest_first = list(reversed(self.versions.values()))
        for version in newest_first[keep:]:
            if version.id not in held and now - version.created > young:
                del self.versions[version.id]


Status = Literal["InProgress", "InSync", "Failed"]


@dataclass
class Replica:
    """A read-only copy of a primary in another region, which lags behind it."""

    primary: Secret
    region: str
    kms_key: str
    copy: Secret | None = None
    status: Status = "InProgress"
    message: str = ""
    due: float = 0.0
    reads: int = 0

    def begin(self, lag: Lag, now: float) -> None:
        """Start to copy the primary's present state."""
        if self.status != "Failed":
            self.status, self.due, self.reads = "InProgress", now + lag.seconds, lag.reads

    def settle(self, now: float) -> None:
        """Finish copying if the lag has run out; counts as one read."""
        if self.status != "InProgress":
            return
        if now < self.due or self.reads > 0:
            self.reads -= 1
            return
        self.copy = replace(self.primary.snapshot(), arn=self.arn, kms_key=self.kms_key, replicas={})
        self.status = "InSync"

    @property
    def arn(self) -> str:
        """The primary's ARN with this region in it (the API model, StopReplicationToReplica)."""
        return self.primary.arn.replace(f":{self.primary.region}:", f":{self.region}:")

    def described(self) -> dict[str, str]:
        """The entry of ``ReplicationStatus``."""
        entry = {"Region": self.region, "KmsKeyId": self.kms_key, "Status": self.status}
        return entry | ({"StatusMessage": self.message} if self.message else {})
