"""What the guard asks of Key Vault: the newest version, all of them, and one attempt to write another."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from strongroom.backend import Secret, SecretVersion, Stage
from strongroom.errors import SecretNotFoundError

from . import _values
from ._entry import Entry, Kept
from ._errors import code_of
from ._order import newest_first

if TYPE_CHECKING:
    from strongroom.guarded import Head, Stamp
    from strongroom.names import Key
    from strongroom.value import SecretValue

    from ._client import Client


class Versions:
    """The versions of one vault's secrets, as `strongroom.guarded.Port`.

    A new version inherits nothing, so `write` copies what the version before it had. It takes this from what
    the same thread has just read: under a lease the write must be one request.
    """

    def __init__(self, client: Client, name: Callable[[Key], str]):
        self._client = client
        self._name = name
        self.after_fork()

    def after_fork(self) -> None:
        """Forget what the parent's threads have read."""
        self._seen = threading.local()

    def newest(self, key: Key, *, once: bool = False) -> Entry | None:
        """The version that Key Vault calls newest, enabled or not; None if there is none.

        Args:
            once: one attempt, for whoever repeats all of what this is a part of.
        """
        name = self._name(key)
        try:
            return self._asked(name, once=once)
        except SecretNotFoundError as exc:
            error = exc
        if code_of(error) != "SecretDisabled":
            return None
        return next(iter(newest_first(self._listed(name), None)), None)

    def _asked(self, name: str, *, once: bool) -> Entry:
        if once:
            return self._client.once("get", lambda sdk: Entry.sealed(sdk.get_secret(name)), operation="get")
        return self._client.read("get", lambda sdk: Entry.sealed(sdk.get_secret(name)))

    def entries(self, key: Key) -> list[Entry]:
        """Every version, newest first; none if there is no such secret."""
        head = self.newest(key)
        return newest_first(self._listed(self._name(key)), head) if head else []

    def _listed(self, name: str) -> list[Entry]:
        pages = self._client.pages("list", lambda sdk: sdk.list_properties_of_secret_versions(name), Entry.of)
        try:
            return [entry for page in pages for entry in page]
        except SecretNotFoundError:
            return []

    def head(self, key: Key) -> Head | None:
        """The newest version, in one attempt: whoever writes repeats reading and writing together."""
        found = self.newest(key, once=True)
        self._remember(found)
        return found.head if found else None

    def heads(self, key: Key) -> Sequence[Head]:
        """Every version, newest first, disabled ones too: lines of versions lead through them."""
        return [entry.head for entry in self.entries(key)]

    def get(self, key: Key, version: str) -> Secret:
        """One version's value and record."""
        name = self._name(key)
        found = self._client.read("get", lambda sdk: Entry.sealed(sdk.get_secret(name, version)))
        assert found.value is not None
        self._remember(found)
        return Secret(str(key), found.value, found.version, None, record=found.record)

    def write(self, key: Key, value: SecretValue, record: str | None, stamp: Stamp) -> SecretVersion:
        """One attempt to set a new version: value, kind, record and stamp in one request.

        Raises:
            InvalidRequestError: the secret's own tags leave no room for ours.
            UnavailableError: ``performed`` is None if the answer was lost.
        """
        name, kept = self._name(key), self._kept(stamp.before)
        tags = kept.with_ours(stamp.pack(), record)
        written = self._client.once(
            "set",
            lambda sdk: Entry.of(
                sdk.set_secret(
                    name,
                    _values.encode(value),
                    tags=tags,
                    content_type=_values.content_type(value, kept.content_type),
                    not_before=kept.not_before,
                    expires_on=kept.expires,
                ).properties
            ),
        )
        self._remember(written)
        return written.public(Stage.CURRENT)

    def _remember(self, found: Entry | None) -> None:
        self._seen.last = (found.version, found.kept) if found else None

    def _kept(self, version: str | None) -> Kept:
        last = getattr(self._seen, "last", None)
        return last[1] if last and last[0] == version else Kept()
