"""A folder of files as a store: as Kubernetes mounts it, and as an attacker would arrange it."""

from __future__ import annotations

import os
import socket
import threading
from pathlib import Path

import pytest

from strongroom.backend import Settings, Stage
from strongroom.errors import (
    InvalidRequestError,
    PermissionDeniedError,
    SecretNotFoundError,
    UnavailableError,
)
from strongroom.layers.edge import Edge
from strongroom.names import Companion, Name
from strongroom.registry import open_backend
from strongroom.value import SecretValue
from strongroom_local import files
from strongroom_local.files import LIMIT
from tests.canary import CANARY, plaintext
from tests.scale import scaled

KEY = Name("password")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The mounted folder."""
    plaintext(tmp_path, "mounted secrets, in clear by nature")
    root = tmp_path / "mount"
    root.mkdir()
    return root


@pytest.fixture
def store(root: Path) -> Edge:
    return open_backend(f"file://{root}")


def _mount(root: Path, name: str, values: dict[str, str]) -> None:
    """Publish values as the kubelet does: a new folder, then `..data` swapped to it at once."""
    old = os.readlink(root / "..data") if (root / "..data").is_symlink() else None
    (root / name).mkdir()
    for key, value in values.items():
        (root / name / key).write_text(value)
        if not (root / key).is_symlink():
            (root / key).symlink_to(f"..data/{key}")
    (root / "..data_tmp").symlink_to(name)
    (root / "..data_tmp").rename(root / "..data")
    if old:
        for file in (root / old).iterdir():
            file.unlink()
        (root / old).rmdir()


def test_a_file_is_a_secret(root: Path, store: Edge) -> None:
    """Its bytes as they are, a final newline too; folders are segments of the name."""
    (root / "db").mkdir()
    (root / "db" / "password").write_text(f"{CANARY}\n")
    (root / "raw").write_bytes(b"\xff\x00")
    text, raw = store.get(Name("db/password"), Stage.CURRENT), store.get(Name("raw"), Stage.CURRENT)
    assert (text.value.reveal_text(), text.value.kind) == (f"{CANARY}\n", "text")
    assert (raw.value.reveal(), raw.value.kind) == (b"\xff\x00", "binary")


def test_a_kubernetes_mount_is_read_through_its_links(root: Path, store: Edge) -> None:
    """And a swap shows as a new version."""
    _mount(root, "..one", {"password": CANARY})
    first = store.get(KEY, Stage.CURRENT)
    _mount(root, "..two", {"password": f"{CANARY}-2"})
    second = store.get(KEY, Stage.CURRENT)
    assert (first.value, second.value) == (SecretValue(CANARY), SecretValue(f"{CANARY}-2"))
    assert first.version != second.version
    assert [info.key for info in store.list_info("")] == [KEY]


def test_a_swap_during_reads_is_never_seen_half(root: Path, store: Edge) -> None:
    """Each read gives one of the values: never "not found", empty or torn."""
    _mount(root, "..0", {"password": f"{CANARY}-0"})
    swaps = scaled(2000)
    failures: list[str] = []

    def read() -> None:
        while not done.is_set():
            try:
                text = store.get(KEY, Stage.CURRENT).value.reveal_text()
                number = int(text.removeprefix(f"{CANARY}-"))
                assert 0 <= number <= swaps
            except UnavailableError:
                continue
            except BaseException as error:
                failures.append(repr(error))

    done = threading.Event()
    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for number in range(1, swaps + 1):
        _mount(root, f"..{number}", {"password": f"{CANARY}-{number}"})
    done.set()
    for reader in readers:
        reader.join()
    assert failures == []


@pytest.mark.parametrize("target", ["../outside", "/etc/hostname", "inner/../../outside", "loop"])
def test_a_link_out_of_the_folder_is_not_followed(root: Path, store: Edge, target: str) -> None:
    """Nor one in a circle; a listing leaves them out and goes on."""
    (root.parent / "outside").write_text(CANARY)
    (root / "inner").mkdir()
    (root / "password").symlink_to("password" if target == "loop" else target)
    (root / "good").write_text(CANARY)
    with pytest.raises((InvalidRequestError, SecretNotFoundError)):
        store.get(KEY, Stage.CURRENT)
    assert [info.key for info in store.list_info("")] == [Name("good")]


def test_a_linked_folder_does_not_lead_out(root: Path, store: Edge) -> None:
    """Whichever part of the way is the link."""
    (root.parent / "outside").mkdir()
    (root.parent / "outside" / "password").write_text(CANARY)
    (root / "db").symlink_to("../outside")
    with pytest.raises(InvalidRequestError, match="out of the folder"):
        store.get(Name("db/password"), Stage.CURRENT)
    assert list(store.list_info("")) == []


def test_a_link_that_comes_in_after_the_check_is_not_followed(
    root: Path, store: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between resolving the path and opening it an attacker may swap a folder for a link."""
    (root.parent / "outside").mkdir()
    (root.parent / "outside" / "password").write_text(CANARY)
    (root / "db").mkdir()
    (root / "db" / "password").write_text("inside")
    resolve = files._resolved

    def resolve_then_swap(folder: Path, path: Path) -> Path | None:
        found = resolve(folder, path)
        if not (root / "db").is_symlink():
            (root / "db").rename(root / "before")
            (root / "db").symlink_to(root.parent / "outside")
        return found

    monkeypatch.setattr(files, "_resolved", resolve_then_swap)
    with pytest.raises(InvalidRequestError, match="out of the folder"):
        store.get(Name("db/password"), Stage.CURRENT)


@pytest.mark.parametrize("name", [".hidden", "..data/password", "db/.git", "../outside", "db/../x"])
def test_a_name_cannot_climb_nor_reach_what_is_hidden(root: Path, name: str) -> None:
    """In native mode either, where the store's own check is the provider's."""
    native = open_backend(f"file://{root}", Settings(names="native"))
    with pytest.raises(InvalidRequestError):
        native.get(Name(name), Stage.CURRENT)


def test_a_long_file_is_refused_before_it_is_read(root: Path, store: Edge) -> None:
    """One byte over the limit; at the limit it is read."""
    with (root / "password").open("wb") as file:
        file.truncate(LIMIT)
        assert len(store.get(KEY, Stage.CURRENT).value.reveal()) == LIMIT
        file.truncate(LIMIT + 1)
    with pytest.raises(InvalidRequestError, match="longer than"):
        store.get(KEY, Stage.CURRENT)


def test_a_pipe_or_socket_is_no_secret_and_does_not_hang(
    root: Path, store: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening a pipe would wait for its writer."""
    os.mkfifo(root / "password")
    monkeypatch.chdir(root)  # a socket's path is at most 107 bytes
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(root)
        listener.bind("sock")
        for name in ("password", "sock"):
            with pytest.raises(SecretNotFoundError):
                store.get(Name(name), Stage.CURRENT)
    assert list(store.list_info("")) == []


def test_a_file_that_never_stands_still_is_unavailable(
    root: Path, store: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of a write is never returned."""
    (root / "password").write_text(CANARY)
    monkeypatch.setattr(files, "_identity", lambda status: object())
    with pytest.raises(UnavailableError):
        store.get(KEY, Stage.CURRENT)


def test_the_version_tells_nothing_of_the_content(root: Path, store: Edge) -> None:
    """Two files with one content have two ids; another id is not found."""
    for name in ("a", "b"):
        (root / name).write_text(CANARY)
    first, second = (store.get(Name(name), Stage.CURRENT) for name in ("a", "b"))
    assert first.version != second.version
    assert store.get(Name("a"), first.version).value == first.value
    for missing in (second.version, Stage.PREVIOUS):
        with pytest.raises(SecretNotFoundError):
            store.get(Name("a"), missing)


def test_a_listing_shows_what_can_be_read(root: Path, store: Edge) -> None:
    """Neither dot files nor names that are not portable."""
    for folder in ("db", ".git", "db/..2026"):
        (root / folder).mkdir()
    for name in ("db/x", "db/y", "a", ".hidden", ".git/config", "db/..2026/x", "UPPER"):
        (root / name).write_text(CANARY)
    assert [str(info.key) for info in store.list_info("")] == ["a", "db/x", "db/y"]
    assert [str(info.key) for info in store.list_info("db/")] == ["db/x", "db/y"]
    native = open_backend(f"file://{root}", Settings(names="native"))
    assert "UPPER" in [str(info.key) for info in native.list_info("")]


def test_a_missing_folder_is_the_caller_s_error(tmp_path: Path) -> None:
    """Not a missing secret; and a folder that comes later is found."""
    store = open_backend(f"file://{tmp_path}/later")
    for use in (lambda: store.get(KEY, Stage.CURRENT), lambda: list(store.list_info(""))):
        with pytest.raises(InvalidRequestError, match="no folder"):
            use()
    (tmp_path / "later").mkdir()
    with pytest.raises(SecretNotFoundError):
        store.get(KEY, Stage.CURRENT)


@pytest.mark.parametrize("url", ["file://host/dir", "file://relative", "file:relative", "file:///dir?x=1"])
def test_a_url_that_is_no_absolute_path_is_refused(url: str) -> None:
    """At opening."""
    with pytest.raises(InvalidRequestError):
        open_backend(url)


def test_denied_is_not_missing(root: Path, store: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system refuses the file, or its folder."""
    (root / "password").write_text(CANARY)

    def deny(*_: object) -> int:
        raise PermissionError(13, "denied", str(root))

    monkeypatch.setattr(files, "_open", deny)
    with pytest.raises(PermissionDeniedError):
        store.get(KEY, Stage.CURRENT)


def test_a_companion_is_nowhere(root: Path, store: Edge) -> None:
    """There is no pending value here, whatever lies in the folder."""
    (root / "_strongroom" / "pending").mkdir(parents=True)
    (root / "_strongroom" / "pending" / "password").write_text(CANARY)
    with pytest.raises(SecretNotFoundError):
        store.get(Companion(KEY), Stage.CURRENT)
    assert list(store.list_info("")) == []
