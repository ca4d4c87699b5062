"""MemoryBackend: what the conformance suite, which asks through the store, cannot see."""

from __future__ import annotations

import threading

import pytest

from strongroom.backend import ABSENT, Settings, Stage
from strongroom.errors import InvalidRequestError, SecretConflictError, SecretNotFoundError
from strongroom.memory import MemoryBackend
from strongroom.names import Companion, Name, Reserved, StoreURL
from strongroom.testing.conformance_safety import at_once
from strongroom.value import SecretValue
from tests.unit.core_support import KEY, overwrite, text


@pytest.fixture
def backend() -> MemoryBackend:
    return MemoryBackend()


def test_an_id_never_repeats_not_even_after_a_purge(backend: MemoryBackend) -> None:
    """A leftover ``if_version`` of a former life must not overwrite the new life's secret."""
    seen: set[str] = set()
    for _ in range(20):
        first = overwrite(backend, "life").id
        assert first not in seen
        for old in seen:
            with pytest.raises(SecretConflictError):
                overwrite(backend, "leftover", old)
            with pytest.raises(SecretNotFoundError):
                backend.get(KEY, old)
        seen.add(first)
        backend.purge(KEY)


def test_a_retired_version_is_gone_and_only_it(backend: MemoryBackend) -> None:
    """Its value is destroyed, the others stay, and a repeat is not an error."""
    first, second = overwrite(backend, "first").id, overwrite(backend, "second").id
    for _ in range(2):
        backend.retire(KEY, first)
    with pytest.raises(SecretNotFoundError):
        backend.get(KEY, first)
    with pytest.raises(SecretNotFoundError):
        backend.get(KEY, Stage.PREVIOUS)
    assert [version.id for version in backend.versions(KEY)] == [second]
    backend.retire(KEY, "unknown")
    backend.retire(Name("missing"), first)


def test_absent_matches_a_secret_whose_newest_is_destroyed(backend: MemoryBackend) -> None:
    """The older value does not rise again: there is no current one, until somebody creates it."""
    overwrite(backend, "first")
    newest = overwrite(backend, "second").id
    backend.retire(KEY, newest)
    with pytest.raises(SecretNotFoundError):
        backend.get(KEY, Stage.CURRENT)
    with pytest.raises(SecretConflictError):
        overwrite(backend, "leftover", newest)
    created = overwrite(backend, "third", ABSENT)
    assert backend.get(KEY, Stage.CURRENT).version == created.id
    with pytest.raises(SecretConflictError):
        overwrite(backend, "fourth", ABSENT)


def test_absent_does_not_match_a_name_in_the_bin(backend: MemoryBackend) -> None:
    """Any put on it is a conflict: restore would overwrite what was just written."""
    overwrite(backend, "first")
    backend.delete(KEY)
    for condition in (None, ABSENT, "1"):
        with pytest.raises(SecretConflictError):
            overwrite(backend, "second", condition)


def test_what_came_after_a_base(backend: MemoryBackend) -> None:
    """Oldest first; of an unknown base nothing can be told."""
    ids = [overwrite(backend, str(number)).id for number in range(4)]
    assert [version.id for version in backend.versions_after(KEY, ids[1])] == ids[2:]
    assert backend.versions_after(KEY, ids[3]) == []
    with pytest.raises(SecretNotFoundError):
        backend.versions_after(KEY, "unknown")


def test_keys_of_three_kinds_do_not_meet(backend: MemoryBackend) -> None:
    """A secret, its companion and a record of ours are three things; a listing shows names and companions."""
    keys = (KEY, Companion(KEY), Reserved("lease", KEY))
    for key in keys:
        backend.put(key, SecretValue(text(type(key).__name__)), ABSENT)
    assert all(backend.get(key, Stage.CURRENT).value.matches(text(type(key).__name__)) for key in keys)
    assert {info.key for info in backend.list_info("db/")} == set(keys[:2])


def test_a_reader_cannot_change_what_is_kept(backend: MemoryBackend) -> None:
    """Tags are handed out as a copy."""
    overwrite(backend, "x")
    backend.set_tags(KEY, {"team": "ops"})
    shown = backend.describe(KEY).tags
    shown["team"] = "other"  # type: ignore[index]
    assert backend.describe(KEY).tags == {"team": "ops"}


def test_of_racing_writers_none_is_lost(backend: MemoryBackend) -> None:
    """Sixteen threads write without a condition: sixteen versions, each id once."""
    versions = at_once([lambda: overwrite(backend, "x")] * 16)
    assert len({version.id for version in versions}) == 16
    assert len(backend.versions(KEY)) == 16


def test_a_listing_begun_before_a_write_is_whole(backend: MemoryBackend) -> None:
    """Writers do not break an iteration."""
    for number in range(10):
        backend.put(Name(f"n{number}"), SecretValue(text("x")), None)
    infos = backend.list_info("")
    next(infos)
    writer = threading.Thread(target=lambda: overwrite(backend, "x"))
    writer.start()
    writer.join()
    assert len(list(infos)) == 9


def test_a_host_names_a_store_of_the_process() -> None:
    """``memory://`` is private, ``memory://NAME`` is shared; nothing else may stand in the URL."""
    settings = Settings()
    shared = [MemoryBackend.from_url(StoreURL.parse("memory://test-shared"), settings) for _ in range(2)]
    private = [MemoryBackend.from_url(StoreURL.parse("memory://"), settings) for _ in range(2)]
    assert shared[0] is shared[1]
    assert private[0] is not private[1]
    with pytest.raises(InvalidRequestError):
        MemoryBackend.from_url(StoreURL.parse("memory://x?endpoint=http://127.0.0.1:1"), settings)
