"""strongroom.toml: which stores there are, and how to reach them.

Looked up by ``--config``, ``STRONGROOM_CONFIG``, ``./strongroom.toml``; never in parent folders, where
somebody else's file could name other stores. Errors give file, line, key and the nearest right name.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strongroom.errors import InvalidRequestError
from strongroom.names import StoreURL

from .entries import CoordinatorEntry, KeyEntry, KeyringEntry, StoreEntry
from .links import View
from .spot import Spot, near
from .tables import DOCUMENT

if TYPE_CHECKING:
    from .audit_entries import AuditEntry
    from .replicas import ReplicaEntry
    from .revocations import RevocationsEntry
    from .rotation_entries import LedgerEntry, RotationEntry

FILE_NAME = "strongroom.toml"
_WORLD_WRITABLE = 0o002


@dataclass(frozen=True, slots=True)
class Config:
    """A strongroom.toml that was read and checked.

    Attributes:
        path: the file, or None if there is none.
        default: the alias that ``open()`` takes.
        stores: every store by alias.
        keys: every key by alias.
        keyrings: every keyring by alias; none is a key's.
        coordinator: what guards conditional writes where a provider has none, or None if the file names none.
        profile: the environment whose entries stand in for others; empty for none.
        audit: the audit trail, or None if the file names none.
        rotations: what is rotated, by label.
        ledger: where it is kept how far each rotation has come, or None if the file names none.
        revocations: the signed list of revoked versions, or None if the file names none.
        replicas: what is a replica of which store, by alias.
    """

    path: Path | None = None
    default: str | None = None
    stores: Mapping[str, StoreEntry] = field(default_factory=dict)
    keys: Mapping[str, KeyEntry] = field(default_factory=dict)
    coordinator: CoordinatorEntry | None = None
    keyrings: Mapping[str, KeyringEntry] = field(default_factory=dict)
    profile: str = ""
    audit: AuditEntry | None = None
    rotations: Mapping[str, RotationEntry] = field(default_factory=dict)
    ledger: LedgerEntry | None = None
    revocations: RevocationsEntry | None = None
    replicas: Mapping[str, ReplicaEntry] = field(default_factory=dict)

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None, profile: str | None = None) -> Config:
        """Read the file given, the one ``STRONGROOM_CONFIG`` names, or ``./strongroom.toml``.

        Args:
            path: the file.
            profile: the environment; without it the one that ``STRONGROOM_PROFILE`` names, or none.

        Raises:
            InvalidRequestError: a file that was named is missing, a line of it is wrong, or it has no such
                profile. Profiles that are not chosen are checked too.
        """
        named = path or os.environ.get("STRONGROOM_CONFIG")
        profile = profile or os.environ.get("STRONGROOM_PROFILE") or ""
        file = Path(named) if named else Path(FILE_NAME)
        if not named and not profile and not file.exists():
            return cls()
        config = _read(file, profile)
        if isinstance(config, InvalidRequestError):
            raise config
        return config

    def entry(self, target: str | None) -> StoreEntry:
        """The store an alias or a URL means; without either, the default one.

        Raises:
            InvalidRequestError: nothing of that name; the hint has the nearest one.
        """
        if target is None:
            target = self.default or (next(iter(self.stores)) if len(self.stores) == 1 else None)
        if target is None:
            raise InvalidRequestError("no store was named", hint=f"name one, or set default in {FILE_NAME}")
        if target in self.stores:
            return self.stores[target]
        if ":" in target:
            return StoreEntry(target, StoreURL.parse(target).text)
        raise InvalidRequestError(
            f"no store is called {target!r}",
            hint=near(target, self.stores, f" in {self.path}" if self.path else ""),
        )

    def key(self, target: str) -> KeyEntry:
        """The key an alias or a URL means; a keyring is not among them.

        Raises:
            InvalidRequestError: nothing of that name; the hint has the nearest one.
        """
        if target in self.keys:
            return self.keys[target]
        if target in self.keyrings:
            raise InvalidRequestError(f"{target!r} is a keyring", hint="name a key: it has roots of its own")
        if ":" in target:
            return KeyEntry(target, StoreURL.parse(target).text)
        raise InvalidRequestError(
            f"no key is called {target!r}", hint=near(target, [*self.keys, *self.keyrings])
        )

    def keyring(self, target: str) -> KeyringEntry:
        """The keyring of an alias.

        Raises:
            InvalidRequestError: nothing of that name; the hint has the nearest one.
        """
        if target in self.keyrings:
            return self.keyrings[target]
        raise InvalidRequestError(f"no keyring is called {target!r}", hint=near(target, self.keyrings))


def _read(path: Path, profile: str) -> Config | InvalidRequestError:
    """Return what is wrong, never raise it: the frames below hold the file, and whoever wrote a credential
    into it must not find it in a traceback's locals too.
    """
    try:
        return read_text(path, _text_of(path), profile)
    except InvalidRequestError as error:
        return error.with_traceback(None)


def _text_of(path: Path) -> str:
    problem = None
    try:
        if path.stat().st_mode & _WORLD_WRITABLE:
            problem = "anybody may write it, and it decides where secrets go"
        else:
            return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        problem = exc.strerror if isinstance(exc, OSError) else "not UTF-8"
    raise InvalidRequestError(f"{path}: {problem}", hint="pass --config, or set STRONGROOM_CONFIG")


def read_text(path: Path, text: str, profile: str) -> Config:
    """Read what a file holds.

    Args:
        path: the file, for errors alone.
        text: what it holds.
        profile: the environment, or empty for none.

    Raises:
        InvalidRequestError: a line is wrong, or there is no such profile.
    """
    top = Spot(path, text)
    values = DOCUMENT.read(top, _parsed(path, text))
    profiles = values["profile"]
    if profile and profile not in profiles:
        hint = near(profile, profiles) if profiles else "it has none: write [profile.NAME]"
        raise InvalidRequestError(f"{path}: no profile is called {profile!r}", hint=hint)
    views = {name: View(top, values, name) for name in ("", *profiles)}
    view = views[profile]
    return Config(
        path,
        view.default,
        view.stores,
        view.keys,
        view.coordinator,
        view.keyrings,
        profile,
        view.audit,
        view.rotations,
        view.ledger,
        view.revocations,
        view.replicas,
    )


def _parsed(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as exc:  # a thousand brackets, one in the other
        at = re.search(r"at line (\d+)", str(exc))
        line = int(at[1]) if at else text.count("\n") + 1
    raise InvalidRequestError(f"{path}:{line}: not valid TOML", hint="check quotes and brackets there")
