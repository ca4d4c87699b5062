"""Area of the conformance suite: replication's record, which lies beside the value it was written with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from strongroom.backend import Capability, Stage
from strongroom.errors import SecretNotFoundError, UnsupportedOperationError
from strongroom.layers.edge import edge
from strongroom.names import Name

from .conformance_base import Harness, needs

if TYPE_CHECKING:
    from strongroom.backend import Backend, SecretVersion
    from strongroom.store import SecretStore

LONGEST: Final = f"v1.{'9' * 19}.{'9' * 19}.{'f' * 64}.".ljust(200, "a")
"""As long as a record may be, of the characters it may have."""


class Records(Harness):
    """A record is kept with its version, or refused with `UnsupportedOperationError` and nothing written."""

    def put_recorded(self, backend: Backend, record: str) -> SecretVersion | None:
        """The version written with a record; None where the backend refuses records."""
        try:
            return edge(backend).put(Name(self.name()), self.value("recorded"), None, record)
        except UnsupportedOperationError:
            pass
        with pytest.raises(SecretNotFoundError):
            self.open(backend).get(self.name())
        return None

    def listed(self, backend: Backend) -> str | None:
        """The record that a listing in detail tells."""
        found = {str(info.key): info for info in edge(backend).list_info(self.name(), detail=True)}
        return found[self.name()].record

    @needs(Capability.PUT, Capability.LIST)
    def test_a_record_is_told_with_its_version(self, store: SecretStore, backend: Backend) -> None:
        """200 characters come back whole, with the version and in a listing, and are no tag of the user's."""
        if (version := self.put_recorded(backend, LONGEST)) is None:
            return
        assert edge(backend).get(Name(self.name()), version.id).record == LONGEST
        assert self.listed(backend) == LONGEST
        if Capability.DESCRIBE in store.capabilities:
            assert dict(store.describe(self.name()).tags) == {}

    @needs(Capability.PUT, Capability.LIST)
    def test_a_record_is_one_version_s_alone(self, store: SecretStore, backend: Backend) -> None:
        """What is written without one has none, though the version before it had."""
        if self.put_recorded(backend, LONGEST) is None:
            return
        store.put(self.name(), self.text("unrecorded"))
        assert self.listed(backend) is None

    @needs(Capability.PUT, Capability.LIST, Capability.TAGS, Capability.DESCRIBE)
    def test_tags_leave_the_record_alone(self, store: SecretStore, backend: Backend) -> None:
        """A user's tags come and go beside it, also in one call."""
        if (version := self.put_recorded(backend, LONGEST)) is None:
            return
        store.set_tags(self.name(), {"team": "core", "env": "prod"})
        store.set_tags(self.name(), {"team": None, "env": "test"})
        assert self.listed(backend) == LONGEST
        assert edge(backend).get(Name(self.name()), version.id).record == LONGEST
        assert dict(store.describe(self.name()).tags) == {"env": "test"}

    @needs(Capability.PUT, Capability.LIST, Capability.NATIVE_PENDING)
    def test_a_pending_value_s_record_is_in_force_once_promoted(self, backend: Backend) -> None:
        """It waits with its value: told with it, and of nothing else, until that is current."""
        name, rotation, edged = Name(self.name()), self.rotation(), edge(backend.writer)
        first, second = LONGEST[:-1] + "b", LONGEST
        if (written := self.put_recorded(backend, first)) is None:
            return
        value, base = self.value("promoted"), backend.own_version(written.id)
        for _ in range(2):  # a repeat is the same write
            edged.put_pending(name, rotation, value, base, second)
        assert edged.get_pending(name, rotation).record == second
        assert (self.listed(backend), edged.get(name, Stage.CURRENT).record) == (first, first)
        version = edged.promote_pending(name, rotation)
        assert (self.listed(backend), edged.get(name, Stage.CURRENT).record) == (second, second)
        assert edged.get(name, version.id).value == value
        assert edged.get(name, base).record in (first, None)

    @needs(Capability.PUT, Capability.LIST, Capability.NATIVE_PENDING)
    def test_a_discarded_value_s_record_is_nobody_s(self, backend: Backend) -> None:
        """What is current afterwards has the record that it had."""
        name, rotation, edged = Name(self.name()), self.rotation(), edge(backend.writer)
        first = LONGEST[:-1] + "b"
        if (written := self.put_recorded(backend, first)) is None:
            return
        base = backend.own_version(written.id)
        edged.put_pending(name, rotation, self.value("discarded"), base, LONGEST)
        edged.discard_pending(name, rotation)
        assert (self.listed(backend), edged.get(name, Stage.CURRENT).record) == (first, first)
