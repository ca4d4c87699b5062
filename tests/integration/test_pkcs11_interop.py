"""Strongroom and other programs on one token: python-pkcs11 and OpenSC's pkcs11-tool beside it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pkcs11 import Attribute

from strongroom.backend import ABSENT, Stage
from strongroom.coordinator import SQLiteCoordinator
from strongroom.errors import SecretConflictError, SecretNotFoundError
from strongroom.names import Name
from strongroom.value import SecretValue
from strongroom_pkcs11 import _entries, _mark
from strongroom_pkcs11.objects import LARGEST
from tests.canary import CANARY
from tests.integration.pkcs11_support import DB, Place, after, text
from tests.servers.softhsm import TestToken

VALUES = {
    "text": b"a password",
    "binary": bytes(range(256)),
    "json": b'{"user": "app", "strongroom/1 ": {"path": ""}}',
    "empty": b"",
    "one byte": b"\0",
    "one MiB": b"m" * LARGEST,
    "one MiB of bytes": bytes(255 - n % 251 for n in range(LARGEST)),
    "unicode": "Zürich 秘密 🔐 \u202e\u0000".encode(),
}
TOOLS_LARGEST = 5000
"""pkcs11-tool cuts what it writes there (MAX_OBJECT_SIZE in its source); it writes nothing empty."""
SOME_VALUE = pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)


@pytest.fixture
def place(softhsm_store: TestToken) -> Place:
    """A prefix of its own."""
    return Place(softhsm_store)


@pytest.fixture
def coordinator(tmp_path: Path) -> Iterator[SQLiteCoordinator]:
    """Of this test."""
    made = SQLiteCoordinator(tmp_path / "leases.db")
    yield made
    made.close()


def pkcs11_tool(place: Place, *arguments: str) -> bytes:
    """What OpenSC's tool prints; the PIN comes by its environment."""
    program = shutil.which("pkcs11-tool")
    if program is None:
        pytest.skip("pkcs11-tool is not installed (apt install opensc)")
    token = place.token
    argv = [program, "--module", token.module, "--token-label", token.label, "--login", "--pin", "env:PIN"]
    environment = {**os.environ, "PIN": token.pin}
    run = subprocess.run([*argv, *arguments], env=environment, capture_output=True, check=False, timeout=60)
    assert run.returncode == 0
    return run.stdout


@SOME_VALUE
def test_what_we_write_others_read(place: Place, value: bytes) -> None:
    """The value itself under the secret's path, without a frame, whatever it holds."""
    store = place.open()
    store.put(DB, SecretValue(b"before"), None)
    store.put(DB, SecretValue(value), None)
    assert place.read() == [value]
    assert pkcs11_tool(place, "--read-object", "--type", "data", "--label", place.label()) == value
    assert store.get(DB, Stage.CURRENT).value.matches(value)


@SOME_VALUE
def test_what_others_write_we_read(place: Place, value: bytes, tmp_path: Path) -> None:
    """Text if it can be; as the current version, which has an id but no date."""
    place.write(value)
    source, by_tool = tmp_path / "value", value[:TOOLS_LARGEST] or b"\n"
    source.write_bytes(by_tool)
    label = place.label(Name("tool"))
    pkcs11_tool(place, "--write-object", str(source), "--type", "data", "--label", label, "--private")
    store = place.open()
    found = store.get(DB, Stage.CURRENT)
    assert found.value.matches(value)
    assert found.value.kind == ("text" if value.isascii() or b"\xc3\xbc" in value else "binary")
    assert (found.created_at, found.record) == (None, None)
    assert store.get(DB, found.version).value == found.value
    assert [version.id for version in store.versions(DB)] == [found.version]
    assert store.get(Name("tool"), Stage.CURRENT).value.matches(by_tool)
    assert {str(info.key) for info in store.list_info("")} == {str(DB), "tool"}
    assert {info.newest.id for info in store.list_info("db", detail=True) if info.newest} == {found.version}


def test_the_kind_goes_with_the_value(place: Place) -> None:
    """Bytes that happen to be text stay binary."""
    store = place.open()
    store.put(DB, SecretValue(b"bytes", "binary"), None, "v1.1.1.record")
    found = store.get(DB, Stage.CURRENT)
    assert (found.value.kind, found.record) == ("binary", "v1.1.1.record")
    assert store.describe(DB).record == "v1.1.1.record"


def test_a_listing_by_another_program_shows_no_value(place: Place) -> None:
    """But its label, and in its application the version; the object is private."""
    made = place.open().put(DB, text(), None)
    shown = pkcs11_tool(place, "--list-objects", "--type", "data").decode()
    told = next(part for part in shown.split("Data object") if f"'{place.label()}'" in part)
    assert made.id.partition(".")[2] in told
    assert "private" in told
    assert CANARY not in told


def test_without_the_pin_nothing_is_seen(place: Place) -> None:
    """Neither value nor name stands on the disk or in a listing of the public objects."""
    place.open().put(DB, text(), None)
    folder = Path(os.environ["SOFTHSM2_CONF"]).parent
    stored = b"".join(path.read_bytes() for path in folder.rglob("*.object"))
    assert not [part for part in (CANARY, place.prefix, "db/password") if part.encode() in stored]


def test_a_foreign_version_is_written_over_like_any_other(
    place: Place, coordinator: SQLiteCoordinator
) -> None:
    """Under its id; then only ours bears the name, and theirs is the previous value."""
    store = place.open(coordinator)
    place.write(b"theirs")
    theirs = store.get(DB, Stage.CURRENT)
    with pytest.raises(SecretConflictError):
        store.put(DB, text(), ABSENT)
    made = store.put(DB, text(), theirs.version)
    assert place.read() == [text().reveal()]
    assert store.get(DB, Stage.CURRENT).version == made.id
    previous = store.get(DB, Stage.PREVIOUS)
    assert (previous.version, previous.value) == (theirs.version, theirs.value)
    assert [version.id for version in store.versions(DB)] == [made.id, theirs.version]
    with pytest.raises(SecretConflictError):
        store.put(DB, text(), theirs.version)


def test_a_foreign_version_beside_ours_counts(place: Place, coordinator: SQLiteCoordinator) -> None:
    """Its writer knows no coordinator; a write that saw ours is a conflict, the next one goes over it."""
    store = place.open(coordinator)
    ours = store.put(DB, text("ours"), None)
    place.write(b"theirs")
    assert store.get(DB, Stage.CURRENT).value.matches(b"theirs")
    assert store.get(DB, Stage.PREVIOUS).version == ours.id
    with pytest.raises(SecretConflictError):
        store.put(DB, text("late"), ours.id)
    store.put(DB, text("next"), None)
    assert place.read() == [text("next").reveal()]
    assert store.get(DB, Stage.PREVIOUS).value.matches(b"theirs")


def test_a_program_that_replaces_ours_is_followed(place: Place) -> None:
    """It makes its own object and destroys ours, as values cannot be changed."""
    store = place.open()
    for label in ("old", "ours"):
        store.put(DB, text(label), None)
    place.write(b"theirs")
    place.destroy(text("ours").reveal())
    assert store.get(DB, Stage.CURRENT).value.matches(b"theirs")
    assert store.get(DB, Stage.PREVIOUS).value == text("old")


def test_a_program_that_destroys_the_newest_ends_the_secret(
    place: Place, coordinator: SQLiteCoordinator
) -> None:
    """No older value comes back by itself; the next write is a first one, with an id of its own."""
    store = place.open(coordinator)
    ids = {store.put(DB, text(n), None).id for n in range(3)}
    place.destroy(text(2).reveal())
    gone: list[str | Stage] = [Stage.CURRENT, Stage.PREVIOUS, *ids]
    for version in gone:
        with pytest.raises(SecretNotFoundError):
            store.get(DB, version)
    with pytest.raises(SecretNotFoundError):
        store.versions(DB)
    assert list(store.list_info("")) == []
    made = store.put(DB, text("anew"), ABSENT)
    assert made.id not in ids
    assert store.get(DB, Stage.CURRENT).value == text("anew")
    assert [version.id for version in store.versions(DB)] == [made.id]


def test_what_was_written_over_stays_older_in_every_process(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Our writer died before it renamed the foreign object: others see both, and know which is which."""
    place.write(b"theirs")
    with monkeypatch.context() as dying:
        dying.setattr(_entries, "tidy", lambda *_: None)
        place.open().put(DB, text("ours"), None)
    assert len(place.read()) == 2
    monkeypatch.setattr(_mark, "_FINGERPRINT_KEY", b"of another process")
    store = place.open()
    assert store.get(DB, Stage.CURRENT).value == text("ours")
    previous = store.get(DB, Stage.PREVIOUS)
    assert previous.value.matches(b"theirs")
    assert previous.version.startswith("foreign-")
    store.put(DB, text("next"), None)
    assert place.read() == [text("next").reveal()]
    assert [store.get(DB, v.id).value.reveal() for v in store.versions(DB)][-1] == b"theirs"


def test_a_purge_takes_what_others_wrote_too(place: Place) -> None:
    """Everything that is or was the secret's, its tags with it; one that died before the end is repeated."""
    store = place.open()
    place.write(b"theirs")
    for n in range(3):
        store.put(DB, text(n), None)
    store.set_tags(DB, {"team": "core"})
    place.write(b"beside")
    with pytest.MonkeyPatch.context() as dying:
        after(3, _interrupt, dying)
        with pytest.raises(KeyboardInterrupt):
            store.purge(DB)
    assert store.get(DB, Stage.CURRENT).value.matches(b"beside")
    store.purge(DB)
    assert place.objects() == []


def _interrupt() -> None:
    raise KeyboardInterrupt


def test_copies_of_our_objects_are_foreign(place: Place) -> None:
    """A program that copies a version under another name has made an object of its own there."""
    store = place.open()
    store.put(DB, text(), None)
    with place.native() as session:
        (item,) = place._found(session, place.label())
        item.copy({Attribute.LABEL: place.label(Name("copy"))})
    found = store.get(Name("copy"), Stage.CURRENT)
    assert found.value == text()
    assert found.version.startswith("foreign-")
    assert len(store.versions(DB)) == 1
