"""A version as the SDK tells it, and what of it the next version must carry on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final

from strongroom.backend import SecretVersion, Stage
from strongroom.errors import InvalidRequestError
from strongroom.guarded import Head, Stamp

from . import _values
from ._errors import garbage

if TYPE_CHECKING:
    from azure.keyvault.secrets import KeyVaultSecret, SecretProperties

    from strongroom.value import SecretValue

STAMP: Final = "strongroom"
RECORD: Final = "strongroom-record"
OURS: Final = (STAMP, RECORD)
MOST_TAGS: Final = 15
"""Of one version, ours included; https://learn.microsoft.com/azure/key-vault/secrets/about-secrets"""
_LONGEST = 256  # characters; editions of that page say 256 or 512, for a tag's name and for its value


@dataclass(frozen=True, slots=True)
class Kept:
    """What a new version would lose if it were not copied: Key Vault hands nothing on.

    Attributes:
        tags: the user's own.
    """

    tags: Mapping[str, str] = field(default_factory=dict)
    content_type: str | None = None
    not_before: datetime | None = None
    expires: datetime | None = None

    def with_ours(self, stamp: str | None, record: str | None) -> dict[str, str]:
        """All tags of a version of ours.

        Raises:
            InvalidRequestError: somebody else left no room for ours.
        """
        ours = {STAMP: stamp, RECORD: record}
        tags = {**self.tags, **{name: text for name, text in ours.items() if text is not None}}
        if len(tags) > MOST_TAGS:
            raise InvalidRequestError(
                f"the secret has {len(self.tags)} tags of its own; Key Vault takes {MOST_TAGS}, and"
                f" {len(tags) - len(self.tags)} are Strongroom's",
                hint=f"remove {len(tags) - MOST_TAGS}",
            )
        return tags


@dataclass(frozen=True, slots=True)
class Entry:
    """One version. Its value, where it was read, is sealed."""

    name: str
    version: str
    tags: Mapping[str, str]
    content_type: str | None
    enabled: bool
    created: datetime | None
    not_before: datetime | None
    expires: datetime | None
    value: SecretValue | None = None

    @classmethod
    def of(cls, found: SecretProperties, value: SecretValue | None = None, *, named: bool = False) -> Entry:
        """What the SDK found; `named`: a list's item, which stands for a name and not for a version.

        Raises:
            UnavailableError: a field is missing: whatever answered, it was not Key Vault.
        """
        if not found.name or not (found.version or named):
            raise garbage()
        return cls(
            found.name,
            found.version or "",
            found.tags or {},
            found.content_type,
            found.enabled is not False,
            found.created_on,
            found.not_before,
            found.expires_on,
            value,
        )

    @classmethod
    def sealed(cls, found: KeyVaultSecret) -> Entry:
        """A version with its value."""
        if found.value is None:
            raise garbage()
        return cls.of(found.properties, _values.decode(found.value, found.properties.content_type))

    @property
    def head(self) -> Head:
        """As the guard sees it."""
        return Head(self.version, Stamp.parse(self.tags.get(STAMP)))

    @property
    def record(self) -> str | None:
        """Replication's record."""
        return self.tags.get(RECORD)

    @property
    def user_tags(self) -> dict[str, str]:
        """Without ours."""
        return {name: text for name, text in self.tags.items() if name not in OURS}

    @property
    def kept(self) -> Kept:
        """What its successor carries on."""
        return Kept(self.user_tags, self.content_type, self.not_before, self.expires)

    def public(self, *stages: Stage) -> SecretVersion:
        """As users see it."""
        return SecretVersion(self.version, self.created, frozenset(stages))


def checked_tags(tags: Mapping[str, str | None], kept: Mapping[str, str]) -> dict[str, str]:
    """The user's tags after a change.

    Raises:
        InvalidRequestError: Key Vault would refuse them, or they would leave no room for ours.
    """
    for name, text in tags.items():
        if name.lower().startswith(STAMP):
            raise InvalidRequestError(f"tags that begin with {STAMP!r} are Strongroom's own")
        if not 1 <= len(name) <= _LONGEST or len(text or "") > _LONGEST:
            raise InvalidRequestError(
                "the tag does not fit Key Vault",
                hint=f"1 to {_LONGEST} characters a name, at most {_LONGEST} a text",
            )
    changed = {name: text for name, text in {**kept, **tags}.items() if text is not None}
    room = MOST_TAGS - len(OURS)
    if len(changed) > max(room, len(kept)):
        raise InvalidRequestError(
            f"{len(changed)} tags; Key Vault takes {MOST_TAGS}, of which {len(OURS)} are Strongroom's",
            hint=f"{max(0, room - len(kept))} more fit",
        )
    return changed
