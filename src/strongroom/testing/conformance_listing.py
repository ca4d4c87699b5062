"""Areas of the conformance suite: versions, listings, batches, tags."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING

import pytest

from strongroom.backend import Capability, Stage
from strongroom.errors import PartialFailureError, SecretNotFoundError

from .conformance_base import Harness, Plant, needs

if TYPE_CHECKING:
    from strongroom.store import SecretStore

    from .faults import FaultyBackend


class Versions(Harness):
    """Versions stay as they were written, and their ids never repeat."""

    @needs(Capability.PUT, Capability.VERSIONS)
    def test_an_earlier_version_is_unchanged_after_a_put(self, store: SecretStore) -> None:
        """`get(version=…)` of an old id is the old value, however many came after."""
        ids = [store.put(self.name(), self.text(f"v{n}")).id for n in range(3)]
        for n, version in enumerate(ids):
            secret = store.get(self.name(), version=version)
            assert (secret.value, secret.version) == (self.value(f"v{n}"), version)

    @needs(Capability.PUT, Capability.VERSIONS)
    def test_versions_are_listed_newest_first(self, store: SecretStore) -> None:
        """Every version written and readable is listed, the newest first, with times in UTC."""
        ids = [store.put(self.name(), self.text(f"v{n}")).id for n in range(3)]
        listed = store.versions(self.name())
        assert [version.id for version in listed] == ids[::-1]
        times = [version.created_at for version in listed if version.created_at]
        assert times == sorted(times, reverse=True)
        assert all(time.tzinfo and time.utcoffset() == UTC.utcoffset(None) for time in times)

    @needs(Capability.PUT, Capability.VERSIONS)
    def test_stages_name_the_two_newest(self, store: SecretStore) -> None:
        """The newest bears CURRENT, the one before PREVIOUS, and each can be had by its stage."""
        ids = [store.put(self.name(), self.text(f"v{n}")).id for n in range(3)]
        stages = {version.id: set(version.stages) for version in store.versions(self.name())}
        assert stages == {ids[2]: {Stage.CURRENT}, ids[1]: {Stage.PREVIOUS}, ids[0]: set()}
        previous = store.get(self.name(), stage=Stage.PREVIOUS)
        assert (previous.version, previous.value) == (ids[1], self.value("v1"))
        assert previous.stage is Stage.PREVIOUS

    @needs(Capability.PUT, Capability.VERSIONS)
    def test_a_first_version_has_no_previous(self, store: SecretStore) -> None:
        """PREVIOUS of a secret with one version is SecretNotFoundError."""
        store.put(self.name(), self.text("only"))
        with pytest.raises(SecretNotFoundError):
            store.get(self.name(), stage=Stage.PREVIOUS)

    @needs(Capability.PUT, Capability.VERSIONS)
    def test_equal_values_are_two_versions(self, store: SecretStore) -> None:
        """Writing the same value again is a new version."""
        first, second = (store.put(self.name(), self.text("same")).id for _ in range(2))
        assert first != second
        assert len(store.versions(self.name())) == 2

    @pytest.mark.parametrize("bad", ["no-such-version", "999999", "0", "-1", "../1", "é", "x" * 300, "1.2"])
    @needs(Capability.PUT, Capability.VERSIONS)
    def test_a_version_that_does_not_exist_is_not_found(self, store: SecretStore, bad: str) -> None:
        """Any id that was never given is SecretNotFoundError, not another version and not a crash."""
        store.put(self.name(), self.text("one"))
        with pytest.raises(SecretNotFoundError):
            store.get(self.name(), version=self.version_id(bad))

    @needs(Capability.PUT, Capability.VERSIONS)
    def test_a_version_of_another_secret_is_not_found(self, store: SecretStore) -> None:
        """A version id opens only the secret it belongs to, or is not found."""
        store.put(self.name("a"), self.text("a"))
        store.put(self.name("b"), self.text("b1"))
        other = store.put(self.name("b"), self.text("b2"))
        with pytest.raises(SecretNotFoundError):
            store.get(self.name("a"), version=other.id)

    @needs(Capability.PUT, Capability.VERSIONS, Capability.PURGE)
    def test_a_version_id_never_repeats(self, store: SecretStore) -> None:
        """After a purge the name's new life has new ids; the old ones open nothing."""
        old = [store.put(self.name(), self.text("old")).id for _ in range(2)]
        store.purge(self.name())
        new = [store.put(self.name(), self.text("new")).id for _ in range(2)]
        assert not set(old) & set(new)
        for version in old:
            with pytest.raises(SecretNotFoundError):
                store.get(self.name(), version=version)


class Listing(Harness):
    """Listings are whole, hold names and nothing else, and hide what is not the user's."""

    @needs(Capability.LIST)
    def test_nothing_is_cut_off(self, store: SecretStore, plant: Plant) -> None:
        """Every page is fetched: as many names come back as were written, each once."""
        names = [self.name(f"many/n{number:04}") for number in range(self.many)]
        for name in names:
            plant(name, self.text("listed"))
        assert sorted(store.list_names(self.name("many/"))) == names

    @needs(Capability.LIST)
    def test_a_prefix_is_the_beginning_of_a_name(self, store: SecretStore, plant: Plant) -> None:
        """`a/` finds what is under `a`, `a` also finds `ab`, and `a/t` finds `a/two`."""
        names = [self.name(text) for text in ("a/one", "a/two/deep", "ab", "b")]
        for name in names:
            plant(name, self.text("listed"))
        assert sorted(store.list_names(self.name("a/"))) == names[:2]
        assert sorted(store.list_names(self.name("a"))) == names[:3]
        assert sorted(store.list_names(self.name("a/t"))) == names[1:2]
        assert set(names) <= set(store.list_names())

    @needs(Capability.LIST, Capability.PUT)
    def test_a_name_that_is_also_a_folder_is_listed_once(self, store: SecretStore) -> None:
        """`db` and `db/password` are two names of one listing."""
        names = [self.name("db"), self.name("db/password")]
        for name in names:
            store.put(name, self.text("listed"))
        assert sorted(store.list_names(self.name("db"))) == names

    @needs(Capability.LIST, Capability.DESCRIBE, Capability.PUT)
    def test_what_a_listing_tells_is_what_a_description_tells(self, store: SecretStore) -> None:
        """Of each name once, and never another version or tag than its own; what is not told is empty."""
        names = [self.name("a"), self.name("b")]
        for name in names:
            store.put(name, self.text("listed"))
        listed = {str(info.key): info for info in store.list_info(self.name(""))}
        assert sorted(listed) == names
        for name, info in listed.items():
            newest = store.describe(name).newest
            assert newest
            assert info.newest is None or info.newest.id == newest.id
            assert info.tags.items() <= store.describe(name).tags.items()

    @needs(Capability.LIST)
    def test_nothing_found_is_an_empty_listing(self, store: SecretStore) -> None:
        """A prefix without names is not an error."""
        assert list(store.list_names(self.name("nothing/"))) == []

    @needs(Capability.LIST, Capability.PUT, Capability.DELETE)
    def test_a_deleted_name_is_not_listed(self, store: SecretStore) -> None:
        """Names in the bin are hidden, and come back when restored."""
        store.put(self.name("kept"), self.text("k"))
        store.put(self.name("gone"), self.text("g"))
        store.delete(self.name("gone"))
        assert list(store.list_names(self.name(""))) == [self.name("kept")]
        store.restore(self.name("gone"))
        assert sorted(store.list_names(self.name(""))) == [self.name("gone"), self.name("kept")]

    @needs(Capability.LIST, Capability.PUT, Capability.PURGE)
    def test_a_purged_name_is_not_listed(self, store: SecretStore) -> None:
        """A purge leaves no trace in listings."""
        store.put(self.name("gone"), self.text("g"))
        store.purge(self.name("gone"))
        assert list(store.list_names(self.name(""))) == []

    @needs(Capability.LIST, Capability.PUT, pending=True)
    def test_what_waits_is_not_listed(self, store: SecretStore) -> None:
        """A pending value adds no name."""
        base = store.put(self.name("a"), self.text("old"))
        store.pending(self.name("a"), self.rotation()).put(self.text("new"), base_version=base.id)
        assert list(store.list_names(self.name(""))) == [self.name("a")]
        assert not [name for name in store.list_names() if "strongroom" in name]


class Batch(Harness):
    """`get_many` answers for every name, in one request where the provider can."""

    def test_many_are_read_at_once(self, store: SecretStore, plant: Plant) -> None:
        """Every name maps to its own secret, a name given twice too."""
        names = [self.name(f"n{number}") for number in range(5)]
        for name in names:
            plant(name, self.text(name))
        found = store.get_many([*names, names[0]])
        assert {name: secret.value for name, secret in found.items()} == {n: self.value(n) for n in names}

    def test_no_names_are_no_request(self, store: SecretStore, faulty: FaultyBackend) -> None:
        """An empty batch is an empty answer."""
        assert dict(store.get_many([])) == {}
        assert not faulty.calls

    def test_a_missing_one_does_not_hide_the_others(self, store: SecretStore, plant: Plant) -> None:
        """PartialFailureError holds what worked and an error for each name that did not."""
        plant(self.name("here"), self.text("here"))
        with pytest.raises(PartialFailureError) as caught:
            store.get_many([self.name("here"), self.name("missing")])
        assert caught.value.results[self.name("here")].value == self.value("here")
        assert set(caught.value.results) == {self.name("here")}
        assert set(caught.value.errors) == {self.name("missing")}
        assert isinstance(caught.value.errors[self.name("missing")], SecretNotFoundError)


class Tags(Harness):
    """Tags belong to the user; Strongroom's own are hidden."""

    @needs(Capability.PUT, Capability.TAGS, Capability.DESCRIBE)
    def test_tags_are_set_kept_and_removed(self, store: SecretStore) -> None:
        """`set_tags` sets those given, removes those that are None, and keeps the others."""
        store.put(self.name(), self.text("one"))
        assert dict(store.describe(self.name()).tags) == {}
        store.set_tags(self.name(), {"team": "core", "env": "prod"})
        store.set_tags(self.name(), {"env": "test", "team": None, "missing": None})
        assert dict(store.describe(self.name()).tags) == {"env": "test"}

    @needs(Capability.PUT, Capability.TAGS, Capability.DESCRIBE)
    def test_tags_survive_a_put(self, store: SecretStore) -> None:
        """A new version keeps the secret's tags, and tags change neither value nor version."""
        store.put(self.name(), self.text("one"))
        store.set_tags(self.name(), {"team": "core"})
        version = store.put(self.name(), self.text("two"))
        store.set_tags(self.name(), {"more": "x"})
        assert dict(store.describe(self.name()).tags) == {"team": "core", "more": "x"}
        assert store.get(self.name()).version == version.id

    @needs(Capability.PUT, Capability.DESCRIBE)
    def test_a_description_names_the_newest_version(self, store: SecretStore) -> None:
        """`describe` has the name and the newest version's id, never the value."""
        store.put(self.name(), self.text("one"))
        newest = store.put(self.name(), self.text("two"))
        info = store.describe(self.name())
        assert str(info.key) == self.name()
        assert info.newest is not None
        assert info.newest.id == newest.id
