"""Other keys for one message, a file, a tree: what stays, what must change, and what is left as it is."""

from __future__ import annotations

import ast
import base64
import inspect
import os
import socket
import stat
import sys
import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import strongroom
from strongroom.envelope import reencrypt as module
from strongroom.envelope.cipher import decrypt, encrypt
from strongroom.envelope.message import decode_header
from strongroom.envelope.reencrypt import Outcome, reencrypt, reencrypt_file
from strongroom.envelope.stream import decrypt_stream
from strongroom.envelope.tree import KEPT, Report, Step, reencrypt_tree
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.keys import KeyWrapper, WrappedKey
from tests.canary import CANARY_BYTES, assert_no_canary_in
from tests.unit.envelope_support import Author, SpyKey, local_key

OLD = local_key(bytes(32), "old")
NEW = local_key(bytes(range(32)), "new")
CONTEXT = {"purpose": "backup", "tenant": "eu"}
BINDINGS = {
    "strongroom-domain": "prod",
    "strongroom-name": "db/password",
    "strongroom-write-id": "w1",
    "strongroom-kind": "text",
}


def _id(message: bytes) -> bytes:
    return decode_header(message)[0].message_id


def _signed(message: bytes) -> bool:
    return decode_header(message)[0].suite == 0x0578


def _opens(path: Path, key: KeyWrapper, context: Mapping[str, str] = CONTEXT) -> bytes | None:
    try:
        return decrypt(path.read_bytes(), keys=[key], context=context).value
    except IntegrityError:
        return None


def _put(path: Path, value: bytes = CANARY_BYTES, *, key: KeyWrapper = OLD, signed: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encrypt(value, keys=[key], context=CONTEXT, signed=signed))
    return path


def _change(path: Path, **more: Any) -> bool:
    return reencrypt_file(path, **{"opens": [OLD], "keys": [NEW], **more})


def _tree(path: Path, **more: Any) -> Report:
    return reencrypt_tree(path, **{"opens": [OLD, NEW], "keys": [NEW], **more})


def _names(report: Report) -> dict[str, int]:
    return {outcome.value: count for outcome, count in report.counts.items() if count}


class TestOneMessage:
    """`reencrypt`."""

    def test_the_value_and_the_context_stay_and_the_keys_change(self) -> None:
        """Readers with the new key alone, who expect what they always did, read it; the old key does not."""
        old = encrypt(CANARY_BYTES, keys=[OLD], context=CONTEXT, bindings=BINDINGS)
        new = reencrypt(old, opens=[OLD], keys=[NEW])
        bound = {key: BINDINGS[key] for key in ("strongroom-domain", "strongroom-name")}
        opened = decrypt(new, keys=[NEW], context=CONTEXT, bindings=bound)
        assert opened.value == CANARY_BYTES
        assert opened.context == {**CONTEXT, **BINDINGS}
        with pytest.raises(IntegrityError):
            decrypt(new, keys=[OLD], context=CONTEXT, bindings=bound)

    @pytest.mark.parametrize("signed", [True, False])
    def test_the_message_id_is_always_new(self, signed: bool) -> None:
        """Also under the very same keys: two headers under one id give away the authentication key."""
        message = encrypt(CANARY_BYTES, keys=[OLD], context=CONTEXT, signed=signed)
        ids = {_id(reencrypt(message, opens=[OLD], keys=[OLD])) for _ in range(20)}
        assert len(ids | {_id(message)}) == 21

    def test_no_code_here_writes_a_header(self) -> None:
        """What makes a new message is `encrypt` and `EncryptingWriter`; the header's writer is called by
        neither name nor import."""
        for name in ("reencrypt", "tree"):
            source = Path(module.__file__).with_name(f"{name}.py").read_text()
            names = {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
            assert not names & {"encode_header", "write_header", "Sealing", "urandom"}

    @pytest.mark.parametrize("before", [True, False])
    @pytest.mark.parametrize("asked", [True, False, None])
    def test_a_signature_is_kept_added_or_dropped_as_asked(self, before: bool, asked: bool | None) -> None:
        """Each new signature is by a key of its own."""
        old = encrypt(b"v", keys=[OLD], context=CONTEXT, signed=before)
        new = reencrypt(old, opens=[OLD], keys=[NEW], signed=asked)
        assert _signed(new) == (before if asked is None else asked)
        opened = decrypt(new, keys=[NEW], context=CONTEXT)
        assert opened.value == b"v"
        public = decode_header(old)[0].context.get("aws-crypto-public-key")
        assert public is None or opened.context.get("aws-crypto-public-key") != public

    def test_any_message_of_another_writer_is_taken(self) -> None:
        """Other frame lengths, or no frames at all."""
        author = Author(context=CONTEXT)
        opens = [local_key()]
        for old in (author.framed(b"x" * 20, 8), author.header() + author.single(b"x" * 20)):
            new = reencrypt(old, opens=opens, keys=[NEW])
            assert decrypt(new, keys=[NEW], context=CONTEXT).value == b"x" * 20

    def test_a_changed_message_is_not_made_authentic(self) -> None:
        """Every byte flipped: IntegrityError, and no new message."""
        message = encrypt(b"v", keys=[OLD], context=CONTEXT)
        spy = SpyKey()
        for position in range(len(message)):
            damaged = bytearray(message)
            damaged[position] ^= 1
            with pytest.raises(IntegrityError):
                reencrypt(bytes(damaged), opens=[OLD], keys=[spy])
        assert spy.calls == []

    @pytest.mark.parametrize("name", ["strongroom-else", "aws-crypto-else", ""])
    def test_a_reserved_pair_of_another_writer_is_refused(self, name: str) -> None:
        """No reader here could expect it, and that a header says it is no mistake of the caller."""
        author = Author(context={name: "x"})
        with pytest.raises(IntegrityError):
            reencrypt(author.framed(b"v", 8), opens=[local_key()], keys=[NEW])

    def test_a_failing_key_leaves_no_plaintext_in_the_error(self) -> None:
        """Not in the frames that travel with it either."""
        message = encrypt(CANARY_BYTES, keys=[OLD], context=CONTEXT)
        with pytest.raises(UnavailableError) as caught:
            reencrypt(message, opens=[OLD], keys=[SpyKey(failure=UnavailableError("down"))])
        assert_no_canary_in(caught.value)


class TestOneFile:
    """`reencrypt_file`."""

    @pytest.mark.parametrize("signed", [True, False])
    @pytest.mark.parametrize("length", [0, 10, 1 << 20, (1 << 20) + 1, 3 << 20])
    def test_the_file_holds_the_same_under_other_keys(
        self, tmp_path: Path, length: int, signed: bool
    ) -> None:
        """Of any length, signed or not."""
        path = _put(tmp_path / "m", bytes(length), signed=signed)
        before = _id(path.read_bytes())
        assert _change(path)
        assert _opens(path, NEW) == bytes(length)
        assert _opens(path, OLD) is None
        assert _id(path.read_bytes()) != before
        assert _signed(path.read_bytes()) == signed

    def test_what_is_under_exactly_these_keys_is_left(self, tmp_path: Path) -> None:
        """Not even opened: a repeated run costs a look at the header."""
        path = _put(tmp_path / "m", key=NEW)
        content, spy = path.read_bytes(), SpyKey()
        assert not _change(path, opens=[spy])
        assert path.read_bytes() == content
        assert spy.calls == []

    @pytest.mark.parametrize(
        ("before", "after"), [(["old", "new"], ["new"]), (["new"], ["new", "old"]), (["old"], ["new"])]
    )
    def test_one_key_more_or_less_is_another_set(
        self, tmp_path: Path, before: list[str], after: list[str]
    ) -> None:
        """A key that was taken out of the set must not be left in any message."""
        keys = {"old": OLD, "new": NEW}
        path = tmp_path / "m"
        path.write_bytes(encrypt(b"v", keys=[keys[name] for name in before], context=CONTEXT))
        wanted = [keys[name] for name in after]
        assert _change(path, opens=[OLD, NEW], keys=wanted)
        assert not _change(path, opens=[OLD, NEW], keys=wanted)
        made = decode_header(path.read_bytes())[0].wrapped_keys
        assert [key.matches(wrapped) for key, wrapped in zip(wanted, made, strict=True)] == [True] * len(
            after
        )

    def test_an_older_version_of_a_key_is_not_that_key(self, tmp_path: Path) -> None:
        """A rotated keyring opens what its older versions made, but that is what is to be changed."""

        class Rotated(SpyKey):
            def is_primary(self, wrapped: object) -> bool:
                return False

        path = _put(tmp_path / "m", key=SpyKey())
        assert not _change(path, opens=[SpyKey()], keys=[SpyKey()])
        assert _change(path, opens=[SpyKey()], keys=[Rotated()])

    def test_an_alias_is_asked_which_key_it_means(self, tmp_path: Path) -> None:
        """Until it answers it may be any key of its region, the old one too; asking once is enough."""

        class Alias(SpyKey):
            def matches(self, wrapped: WrappedKey) -> bool:
                return not self.calls or super().matches(wrapped)

        for name in ("a", "b"):
            _put(tmp_path / name, key=SpyKey("old"))
        alias = Alias("new")
        report = _tree(tmp_path, opens=[SpyKey("old")], keys=[alias])
        assert _names(report) == {"reencrypted": 2}
        alias = Alias("new")
        assert _names(_tree(tmp_path, keys=[alias])) == {"already": 2}
        assert alias.calls == ["wrap"]

    @pytest.mark.parametrize("dry_run", [True, False])
    def test_who_may_not_use_the_new_key_may_still_look(self, tmp_path: Path, dry_run: bool) -> None:
        """A dry run then goes by the names."""
        path, denied = _put(tmp_path / "m", key=SpyKey()), SpyKey(failure=PermissionDeniedError("no"))
        if dry_run:
            assert not _change(path, keys=[denied], dry_run=True)
        else:
            with pytest.raises(PermissionDeniedError):
                _change(path, keys=[denied])

    @pytest.mark.parametrize(("before", "asked"), [(True, False), (False, True)])
    def test_another_suite_is_another_message(self, tmp_path: Path, before: bool, asked: bool) -> None:
        """Under the same keys, when a signature is to come or go."""
        path = _put(tmp_path / "m", key=NEW, signed=before)
        assert not _change(path, opens=[NEW])
        assert _change(path, opens=[NEW], signed=asked)
        assert _signed(path.read_bytes()) == asked

    def test_the_mode_stays_and_the_time_is_new(self, tmp_path: Path) -> None:
        """A backup that goes by the time must take the new bytes."""
        path = _put(tmp_path / "m")
        path.chmod(0o640)
        os.utime(path, (1, 1))
        assert _change(path)
        status = path.stat()
        assert stat.S_IMODE(status.st_mode) == 0o640
        assert status.st_mtime > 1

    def test_owner_and_group_stay_where_the_process_may(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Else the group alone is tried, then what a new file has is what there is."""
        path, asked = _put(tmp_path / "m"), list[tuple[int, int]]()

        def refuse(_: int, owner: int, group: int) -> None:
            asked.append((owner, group))
            raise PermissionError

        monkeypatch.setattr(os, "fchown", refuse)
        assert _change(path)
        status = path.stat()
        assert asked == [(status.st_uid, status.st_gid), (-1, status.st_gid)]

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
    def test_root_keeps_the_owner_of_others(self, tmp_path: Path) -> None:
        """A service's files stay the service's."""
        path = _put(tmp_path / "m")
        os.chown(path, 12345, 54321)
        assert _change(path)
        assert (path.stat().st_uid, path.stat().st_gid) == (12345, 54321)

    def test_a_dry_run_writes_nothing_and_asks_no_key(self, tmp_path: Path) -> None:
        """It says whether there is something to do."""
        path, spy = _put(tmp_path / "m", key=SpyKey()), SpyKey()
        content = path.read_bytes()
        assert _change(path, opens=[spy], dry_run=True)
        assert path.read_bytes() == content
        assert spy.calls == []

    @pytest.mark.parametrize("dry_run", [True, False])
    def test_a_message_of_other_keys_costs_no_call(self, tmp_path: Path, dry_run: bool) -> None:
        """Neither of the old keys nor of the new; and a dry run finds it."""
        path, opens, keys = _put(tmp_path / "m"), SpyKey("a"), SpyKey("b")
        with pytest.raises(IntegrityError, match="strongroom-local"):
            _change(path, opens=[opens], keys=[keys], dry_run=dry_run)
        assert opens.calls == keys.calls == []

    @pytest.mark.parametrize("position", [5, -1])
    def test_a_damaged_file_is_left_as_it_is(self, tmp_path: Path, position: int) -> None:
        """Header or last byte; nothing stays beside it."""
        path = _put(tmp_path / "m", bytes(2 << 20))
        content = bytearray(path.read_bytes())
        content[position] ^= 1
        path.write_bytes(content)
        with pytest.raises(IntegrityError):
            _change(path)
        assert path.read_bytes() == content
        assert os.listdir(tmp_path) == ["m"]

    @pytest.mark.parametrize("content", [b"", b"hello", b"\x02", bytes(100)])
    def test_what_is_no_message_is_refused(self, tmp_path: Path, content: bytes) -> None:
        """And left."""
        path = tmp_path / "m"
        path.write_bytes(content)
        with pytest.raises(IntegrityError, match="no message"):
            _change(path)
        assert path.read_bytes() == content

    def test_links_folders_and_pipes_are_refused(self, tmp_path: Path) -> None:
        """A rename would put a file in their place; a pipe would be waited for."""
        target = _put(tmp_path / "m")
        (tmp_path / "link").symlink_to(target)
        os.mkfifo(tmp_path / "pipe")
        for name in ("link", "pipe", "."):
            with pytest.raises(InvalidRequestError):
                _change(tmp_path / name)
        with pytest.raises(SecretNotFoundError):
            _change(tmp_path / "no-such")
        assert _opens(target, OLD) == CANARY_BYTES

    def test_a_file_of_two_names_is_refused(self, tmp_path: Path) -> None:
        """Its other name would keep the old message, which nobody would know."""
        path = _put(tmp_path / "m")
        (tmp_path / "other").hardlink_to(path)
        with pytest.raises(InvalidRequestError, match="hard links"):
            _change(path)
        assert _opens(path, OLD) == CANARY_BYTES

    def test_a_keyring_is_left_to_its_own_command(self, tmp_path: Path) -> None:
        """Which holds its lock."""
        path = tmp_path / "keyring"
        bindings = {"strongroom-kind": "keyring", "strongroom-name": "main"}
        path.write_bytes(encrypt(b"{}", keys=[OLD], context={}, bindings=bindings))
        with pytest.raises(InvalidRequestError, match="key rewrap"):
            _change(path)
        report = reencrypt_tree(tmp_path, opens=[OLD], keys=[NEW])
        assert report.complete  # a backup that holds the keyring beside its messages is no failure
        assert "key rewrap" in report.skipped[str(path)]

    @pytest.mark.parametrize("into_the_same_file", [True, False])
    def test_what_another_program_writes_meanwhile_is_not_undone(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, into_the_same_file: bool
    ) -> None:
        """Neither new bytes in the file, nor a new file under its name."""
        path, beside = _put(tmp_path / "m"), tmp_path / "beside"
        newer = encrypt(b"newer", keys=[OLD], context=CONTEXT)

        def meanwhile(*args: Any, **more: Any) -> Any:
            result = decrypt_stream(*args, **more)
            (path if into_the_same_file else beside).write_bytes(newer)
            if not into_the_same_file:
                beside.replace(path)
            return result

        monkeypatch.setattr(module, "decrypt_stream", meanwhile)
        with pytest.raises(SecretConflictError, match="meanwhile"):
            _change(path)
        assert path.read_bytes() == newer
        assert os.listdir(tmp_path) == ["m"]

    def test_a_disk_that_fails_is_an_error_of_that_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """While it is read; not one that ends a run over a tree."""

        def fail(*args: Any, **more: Any) -> None:
            raise OSError(5, "Input/output error")

        _put(tmp_path / "m")
        monkeypatch.setattr(module, "decrypt_stream", fail)
        report = _tree(tmp_path)
        assert isinstance(report.failures[str(tmp_path / "m")], UnavailableError)

    def test_memory_does_not_grow_with_the_file(self, tmp_path: Path) -> None:
        """16 MiB more of file, not even 1 MiB more of memory."""
        peaks = []
        for length in (4 << 20, 20 << 20):
            path = _put(tmp_path / "m", bytes(length))
            tracemalloc.start()
            _change(path)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert peaks[1] - peaks[0] < 1 << 20


class TestATree:
    """`reencrypt_tree`."""

    def test_every_message_is_under_the_new_key_then(self, tmp_path: Path) -> None:
        """In all folders; other files are left, and a second run has nothing to do."""
        messages = [_put(tmp_path / name) for name in ("a", "b/c", "b/d/e", "b/d/f", ".hidden/g")]
        (tmp_path / "b/readme.txt").write_text("hello")
        (tmp_path / "b/empty").touch()
        assert _names(_tree(tmp_path)) == {"reencrypted": 5, "foreign": 2}
        assert [_opens(path, NEW) for path in messages] == [CANARY_BYTES] * 5
        again = _tree(tmp_path)
        assert _names(again) == {"already": 5, "foreign": 2}
        assert again.complete
        assert (tmp_path / "b/readme.txt").read_text() == "hello"

    def test_a_dry_run_counts_and_changes_nothing(self, tmp_path: Path) -> None:
        """The same counts as the run has."""
        paths = [_put(tmp_path / name) for name in ("a", "b/c")]
        _put(tmp_path / "d", key=NEW)
        before = [path.read_bytes() for path in paths]
        assert _names(_tree(tmp_path, dry_run=True)) == {"reencrypted": 2, "already": 1}
        assert [path.read_bytes() for path in paths] == before

    def test_a_failure_is_reported_and_the_rest_goes_on(self, tmp_path: Path) -> None:
        """Damaged, of unknown keys, of version 1, in base64, of two names: each by its path."""
        _put(tmp_path / "a/good")
        _put(tmp_path / "z/good")
        bad = [
            tmp_path / name for name in ("cut", "foreign-key", "version-1", "base64", "linked", "linked-2")
        ]
        message = encrypt(b"v", keys=[OLD], context=CONTEXT)
        bad[0].write_bytes(message[:-1])
        bad[1].write_bytes(encrypt(b"v", keys=[local_key(name="third")], context=CONTEXT))
        bad[2].write_bytes(bytes.fromhex("01800378") + bytes(100))
        bad[3].write_bytes(base64.b64encode(message))
        bad[4].write_bytes(message)
        bad[5].hardlink_to(bad[4])
        before = [path.read_bytes() for path in bad]
        report = _tree(tmp_path)
        assert _names(report) == {"reencrypted": 2, "failed": 6}
        assert not report.complete
        assert set(report.failures) == set(map(str, bad))
        assert [path.read_bytes() for path in bad] == before

    def test_links_and_special_files_are_skipped_by_name(self, tmp_path: Path) -> None:
        """A link is not followed, to a folder neither; a loop of links is none."""
        outside = _put(tmp_path / "outside/m")
        tree = tmp_path / "tree"
        _put(tree / "m")
        (tree / "to-file").symlink_to(outside)
        (tree / "to-folder").symlink_to(outside.parent)
        (tree / "loop").symlink_to(tree)
        os.mkfifo(tree / "pipe")
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(tree / "socket"))
            report = _tree(tree)
        assert _names(report) == {"reencrypted": 1, "skipped": 5}
        kinds = {Path(path).name: reason for path, reason in report.skipped.items()}
        links = dict.fromkeys(("to-file", "to-folder", "loop"), "a symbolic link")
        assert kinds == {**links, "pipe": "a pipe", "socket": "a socket"}
        assert _opens(outside, OLD) == CANARY_BYTES
        assert report.complete

    def test_what_is_being_written_is_no_message_yet(self, tmp_path: Path) -> None:
        """The name that an output has before it is whole."""
        _put(tmp_path / f".strongroom-{'0' * 16}.tmp")
        report = _tree(tmp_path)
        assert _names(report) == {"skipped": 1}

    @pytest.mark.parametrize("what", ["folder", "file"])
    def test_what_cannot_be_read_is_a_failure(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
    ) -> None:
        """Nobody knows what is in it; root may read all, so the refusal is made here."""
        _put(tmp_path / "a/m")
        locked = _put(tmp_path / "b/m")
        refused = str(locked.parent if what == "folder" else locked)
        name = "scandir" if what == "folder" else "open"
        real = getattr(os, name)

        def deny(path: Any, *rest: Any, **more: Any) -> Any:
            if path == refused:
                raise PermissionError(13, "denied")
            return real(path, *rest, **more)

        monkeypatch.setattr(os, name, deny)
        report = _tree(tmp_path)
        assert _names(report) == {"reencrypted": 1, "failed": 1}
        assert isinstance(report.failures[refused], PermissionDeniedError)

    def test_a_key_that_should_open_and_does_not_answer_fails_its_files_only(self, tmp_path: Path) -> None:
        """Others are under other keys."""
        down = SpyKey("down")
        _put(tmp_path / "a", key=down)
        _put(tmp_path / "b")
        down.failure = UnavailableError("down")
        report = _tree(tmp_path, opens=[down, OLD])
        assert _names(report) == {"reencrypted": 1, "failed": 1}
        assert report.stopped is None

    def test_a_new_key_that_does_not_answer_stops_the_run(self, tmp_path: Path) -> None:
        """Else each of a million files would wait for it; what was done stays done, and a repeat goes on."""
        for name in ("a", "b", "c"):
            _put(tmp_path / name)
        new = SpyKey("new")

        def after_first(step: Step) -> None:
            new.failure = UnavailableError("down")

        report = _tree(tmp_path, opens=[OLD], keys=[new], progress=after_first)
        assert _names(report) == {"reencrypted": 1}
        assert isinstance(report.stopped, UnavailableError)
        assert not report.complete
        assert len(new.calls) == 2
        new.failure = None
        assert _names(_tree(tmp_path, opens=[OLD], keys=[new])) == {"reencrypted": 2, "already": 1}
        new.failure = UnavailableError("down")
        with pytest.raises(UnavailableError):
            _change(_put(tmp_path / "d"), keys=[new])

    def test_a_file_is_a_tree_of_one(self, tmp_path: Path) -> None:
        """What is no message is counted, not refused; a link is refused."""
        assert _names(_tree(_put(tmp_path / "m"))) == {"reencrypted": 1}
        (tmp_path / "link").symlink_to(tmp_path)
        with pytest.raises(InvalidRequestError):
            _tree(tmp_path / "link")
        with pytest.raises(SecretNotFoundError):
            _tree(tmp_path / "no-such")

    @pytest.mark.parametrize("what", ["file", "folder"])
    def test_what_is_removed_meanwhile_is_no_failure(self, tmp_path: Path, what: str) -> None:
        """Nothing of it is left under the old keys."""
        first, second = _put(tmp_path / "a"), _put(tmp_path / ("b" if what == "file" else "c/d"))

        def remove(step: Step) -> None:
            if step.path == str(first):
                second.unlink()
                if what == "folder":
                    second.parent.rmdir()

        report = _tree(tmp_path, progress=remove)
        assert _names(report) == {"reencrypted": 1, "skipped": 1}
        assert report.complete

    def test_progress_tells_each_path_in_order(self, tmp_path: Path) -> None:
        """The files of a folder by name, then its folders."""
        for name in ("b/y", "b/x", "a/z", "c"):
            _put(tmp_path / name)
        steps: list[Step] = []
        _tree(tmp_path, progress=steps.append)
        assert [os.path.relpath(step.path, tmp_path) for step in steps] == ["c", "a/z", "b/x", "b/y"]
        assert {step.outcome for step in steps} == {Outcome.REENCRYPTED}

    def test_any_number_of_old_keys_may_open_a_tree(self, tmp_path: Path) -> None:
        """A message takes sixteen; what has grown over the years may be under more."""
        old = [local_key(bytes([number]) * 32, f"old-{number}") for number in range(20)]
        for number, key in enumerate(old):
            _put(tmp_path / str(number), key=key)
        assert _names(_tree(tmp_path, opens=[*old, NEW])) == {"reencrypted": 20}

    def test_a_deep_tree_needs_no_deep_stack(self, tmp_path: Path) -> None:
        """300 folders inside one another, walked with 100 frames left."""
        path = _put(tmp_path.joinpath(*["d"] * 300, "m"))
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(len(inspect.stack(0)) + 100)
        try:
            report = _tree(tmp_path)
        finally:
            sys.setrecursionlimit(limit)
        assert _names(report) == {"reencrypted": 1}
        assert _opens(path, NEW) == CANARY_BYTES

    def test_a_report_names_only_so_many(self) -> None:
        """And counts all."""
        report, error = Report(), IntegrityError("bad")
        for number in range(KEPT + 5):
            report.add(Step(f"f{number}", Outcome.FAILED, error=error))
            report.add(Step(f"s{number}", Outcome.SKIPPED, "a pipe"))
        assert len(report.failures) == len(report.skipped) == KEPT
        assert report.counts[Outcome.FAILED] == report.counts[Outcome.SKIPPED] == KEPT + 5

    def test_memory_is_for_one_folder_not_for_the_tree(self, tmp_path: Path) -> None:
        """Ten times the folders, the same memory."""
        peaks = []
        for count in (10, 100):
            tree = tmp_path / str(count)
            for number in range(count):
                (tree / str(number)).mkdir(parents=True)
                for name in range(5):
                    (tree / str(number) / f"file-{name}").touch()
            tracemalloc.start()
            _tree(tree)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert peaks[1] < peaks[0] + 100_000

    def test_an_error_travels_without_the_frames_of_the_walk(self, tmp_path: Path) -> None:
        """A report of many failures must not hold their buffers."""
        (tmp_path / "m").write_bytes(encrypt(CANARY_BYTES, keys=[OLD], context=CONTEXT)[:-1])
        (error,) = _tree(tmp_path).failures.values()
        assert error.__traceback__ is None
        assert_no_canary_in(error)


def test_the_package_offers_all_three() -> None:
    """And nothing of them is loaded before."""
    assert strongroom.reencrypt is reencrypt
    assert strongroom.reencrypt_file is reencrypt_file
    assert strongroom.reencrypt_tree is reencrypt_tree
    assert issubclass(IntegrityError, SecretStoreError)
