"""What a migration finds of one secret in its source, and what of that the target cannot hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from strongroom.backend import Absent, Capability
from strongroom.errors import IntegrityError, InvalidRequestError, SecretNotFoundError

from .history import in_order

if TYPE_CHECKING:
    from strongroom.backend import Secret, SecretInfo, SecretVersion
    from strongroom.value import SecretValue

Check = Callable[[str, "SecretValue", Mapping[str, str]], None]
Kind = Literal["secret", "version", "history", "tags", "pending"]


class Place(Protocol):
    """What a migration needs of either store; a ``SecretStore`` is one."""

    @property
    def capabilities(self) -> Capability:
        """What it can do."""

    def get(self, name: str, *, version: str | None = None) -> Secret:
        """The current version, or one by its id."""

    def refresh(self, name: str, *, rejected: str) -> Secret:
        """The current version, past any cache."""

    def versions(self, name: str) -> list[SecretVersion]:
        """Those that can be read, newest first."""

    def describe(self, name: str) -> SecretInfo:
        """Its tags, among others."""

    def set_tags(self, name: str, tags: Mapping[str, str | None]) -> None:
        """Set these, keep the others."""

    def put(self, name: str, value: SecretValue, *, if_version: str | Absent | None = None) -> SecretVersion:
        """Write a new current version, if that one is current."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a migration goes.

    Attributes:
        place: the store.
        check: raises InvalidRequestError for a name, value and tags that it would refuse, without I/O.
        take: called before each write of a name, to keep within what the provider takes.
    """

    place: Place
    check: Check
    take: Callable[[str], None] = lambda _name: None


@dataclass(frozen=True, slots=True)
class Loss:
    """What of a secret does not come along, and why.

    Attributes:
        name: the secret's.
        what: ``secret`` (all of it), ``version`` (an older one), ``history``, ``tags`` or ``pending``.
        why: for a person.
        version: the source's id of the version, where it is about one.
    """

    name: str
    what: Kind
    why: str
    version: str | None = None


class Inventory:
    """One secret of the source.

    Args:
        source: where it is.
        name: the secret's.
        historic: carry its older versions too.
        check: raises InvalidRequestError for what the target would refuse.

    Attributes:
        exists: whether there is such a secret.
        unfit: the target cannot hold its current value, and so nothing of it.
        ids: the source's versions that can be carried, oldest first; None stands for "the current one".
        values: theirs.
        tags: the user's own.
        losses: what cannot come along.

    Raises:
        SecretStoreError: the current value cannot be read.
    """

    def __init__(self, source: Place, name: str, *, historic: bool, check: Check):
        self._source, self._name, self._check = source, name, check
        self.ids: list[str | None] = []
        self.values: list[SecretValue] = []
        self.tags: Mapping[str, str] = {}
        self.losses: list[Loss] = []
        self.exists, self.unfit = True, False
        try:
            self._read(historic)
        except SecretNotFoundError:
            self.exists = False

    def lose(self, what: Kind, why: str, version: str | None = None) -> None:
        """Note what does not come along."""
        self.losses.append(Loss(self._name, what, why, version))

    def _read(self, historic: bool) -> None:
        current = self._source.get(self._name)
        if why := self._refused(current.value):
            self.lose("secret", why)
            self.unfit = True
            return
        for version in self._older(current.version, historic):
            self._keep(version)
        self.ids.append(current.version if historic else None)
        self.values.append(current.value)
        self._describe()

    def _older(self, current: str, historic: bool) -> list[str]:
        """All but the current version, and one that became so meanwhile: a repeated migration carries it."""
        if Capability.VERSIONS not in self._source.capabilities:
            return []
        versions = in_order(self._source.versions(self._name))[:-1]
        older = [version.id for version in versions if version.id != current]
        if older and not historic:
            self.lose("history", f"the target keeps no versions; {len(older)} older ones stay behind")
        return older if historic else []

    def _keep(self, version: str) -> None:
        try:
            value = self._source.get(self._name, version=version).value
        except (SecretNotFoundError, IntegrityError) as error:
            self.lose("version", f"it cannot be read: {error.message}", version)
            return
        if why := self._refused(value):
            self.lose("version", why, version)
            return
        self.ids.append(version)
        self.values.append(value)

    def _refused(self, value: SecretValue) -> str:
        try:
            self._check(self._name, value, {})
        except InvalidRequestError as error:
            return error.message
        return ""

    def _describe(self) -> None:
        if Capability.DESCRIBE not in self._source.capabilities:
            return
        info = self._source.describe(self._name)
        self.tags = info.tags
        if info.pending:
            self.lose("pending", f"{len(info.pending)} pending values stay behind; finish their rotations")
