"""Signed notes and checkpoints: the published examples, byte for byte, and what is refused."""

from __future__ import annotations

import base64
import contextlib
import os
import stat
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils
from hypothesis import given
from hypothesis import strategies as st

from strongroom.audit import verify_note
from strongroom.audit.head import Checkpoint, body
from strongroom.audit.note import COSIGNATURE, ECDSA, ED25519, Note, NoteKey, NoteSigner, Signature
from strongroom.audit.notekey import FileSigner, create_note_key
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    SecretConflictError,
    UnsupportedOperationError,
)
from strongroom.keys import Signer

# golang.org/x/mod/sumdb/note, its documentation and note_test.go.
GO_PRIVATE = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
GO_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
ENOCH_KEY = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
GO_TEXT = (
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
)
GO_LINE = (
    "— PeterNeumann "
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
ENOCH_LINE = (
    "— EnochRoot "
    "rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n"
)
# c2sp.org/signed-note, its example.
C2SP_KEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
C2SP_NOTE = (
    "This is an example message.\n\n"
    "— example.com/foo "
    "Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
# c2sp.org/tlog-cosignature, its example of a checkpoint.
C2SP_CHECKPOINT = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "— example.com/behind-the-sofa "
    "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
    "— witness.example.com/w1 "
    "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n"
)


class P256(Signer):
    """An ECDSA P-256 key in memory, as a KMS would offer it."""

    provider_id, key_id, algorithm = "test", "p256", "ES256"

    def __init__(self, algorithm: str = "ES256") -> None:
        self._key, self.algorithm = ec.generate_private_key(ec.SECP256R1()), algorithm

    def sign_digest(self, digest: bytes) -> bytes:
        return self._key.sign(digest, ec.ECDSA(utils.Prehashed(hashes.SHA256())))

    def public_key(self) -> bytes:
        form = serialization.PublicFormat.SubjectPublicKeyInfo
        return self._key.public_key().public_bytes(serialization.Encoding.DER, form)


def key_file(folder: Path, line: str) -> Path:
    path = folder / "audit.key"
    path.write_text(line)
    path.chmod(0o600)
    return path


def test_the_published_private_key_makes_the_published_note(tmp_path: Path) -> None:
    """Go's key, text and signature: Ed25519 is deterministic, so ours is the same note, byte for byte."""
    signer = FileSigner.open(key_file(tmp_path, GO_PRIVATE + "\n"))
    note = NoteSigner(signer.name, signer)
    assert str(note.key) == str(signer.note_key) == GO_KEY
    assert note.sign(GO_TEXT) == f"{GO_TEXT}\n{GO_LINE}"


@pytest.mark.parametrize(
    ("note", "keys"),
    [
        (f"{GO_TEXT}\n{GO_LINE}{ENOCH_LINE}", [GO_KEY, ENOCH_KEY]),
        (C2SP_NOTE, [C2SP_KEY]),
    ],
)
def test_the_published_notes_verify(note: str, keys: list[str]) -> None:
    """Each key finds its signature, whatever stands beside it; a note is written as it was read."""
    parsed = Note.parse(note)
    assert str(parsed) == note
    assert all(NoteKey.parse(key).signed(parsed) for key in keys)
    assert not any(NoteKey.parse(key).signed(parsed._replace(text="another\n")) for key in keys)


def test_the_published_checkpoint_is_read() -> None:
    """Origin, size and root stand in their lines; signatures of others are kept."""
    checkpoint = Checkpoint.parse(C2SP_CHECKPOINT)
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert body(checkpoint.origin, checkpoint.size, checkpoint.root) == Note.parse(C2SP_CHECKPOINT).text
    assert [signature.name for signature in Note.parse(C2SP_CHECKPOINT).signatures] == [
        "example.com/behind-the-sofa",
        "witness.example.com/w1",
    ]


@pytest.mark.parametrize("key", [GO_KEY, ENOCH_KEY, C2SP_KEY])
def test_a_public_key_is_written_as_it_was_read(key: str) -> None:
    """Name, id and key in their text form, there and back."""
    assert str(NoteKey.parse(f" {key}\n")) == key


@pytest.mark.parametrize("cut", range(0, len(GO_KEY), 5))
def test_a_mangled_public_key_is_refused(cut: int) -> None:
    """A key whose letter changed, or that was cut, has another id."""
    for text in (GO_KEY[:cut], f"{GO_KEY[:cut]}~{GO_KEY[cut + 1 :]}"):
        with pytest.raises(InvalidRequestError, match="not a public key"):
            NoteKey.parse(text)


def test_an_ecdsa_key_signs_notes_that_the_verifier_accepts() -> None:
    """Type 2: the id is the hash of the public key alone, the signature ASN.1 DER over SHA-256."""
    signer = NoteSigner("example.com/log", P256())
    note = signer.sign(body("example.com/log", 3, bytes(32)))
    assert (signer.key.kind, signer.key.key_id) == (ECDSA, sha256(signer.key.public).digest()[:4])
    theirs = verify_note.parse_key(str(signer.key))
    assert verify_note.signed_by(verify_note.parse_checkpoint(note), [theirs])
    assert NoteKey.parse(str(signer.key)) == signer.key
    assert signer.key.signed(Note.parse(note))


def test_a_new_key_is_for_its_owner_alone_and_never_overwrites(tmp_path: Path) -> None:
    """0600, one line; a second one at the same place is a conflict, and the first still signs."""
    path = tmp_path / "audit.key"
    key = create_note_key(path, "example.com/log")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(SecretConflictError, match="already"):
        create_note_key(path, "example.com/log")
    note = NoteSigner("example.com/log", FileSigner.open(path)).sign("text\n")
    assert key.kind == ED25519
    assert key.signed(Note.parse(note))
    assert GO_PRIVATE.rsplit("+", maxsplit=1)[-1] not in repr(FileSigner.open(path))


def test_a_key_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """Whoever could read it may have signed another tree."""
    path = key_file(tmp_path, GO_PRIVATE)
    path.chmod(0o640)
    with pytest.raises(InvalidRequestError, match="chmod 600"):
        FileSigner.open(path)


@pytest.mark.parametrize(
    "line", ["", "PRIVATE+KEY+a+b+c", GO_PRIVATE[:-4], GO_PRIVATE.replace("c74f", "c74e")]
)
def test_a_damaged_key_file_is_refused_without_showing_it(tmp_path: Path, line: str) -> None:
    """The error names the file and holds nothing of it."""
    with pytest.raises(IntegrityError, match="holds no signing key") as caught:
        FileSigner.open(key_file(tmp_path, line))
    assert not line or line not in str(caught.value)


def test_a_missing_key_file_is_said_and_a_pipe_never_waited_for(tmp_path: Path) -> None:
    """Both are the configuration's fault."""
    with pytest.raises(InvalidRequestError, match="no signing key at"):
        FileSigner.open(tmp_path / "absent")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InvalidRequestError, match="is no file"):
        FileSigner.open(tmp_path / "pipe")


def test_a_key_that_signs_no_notes_is_refused() -> None:
    """Checkpoints are signed by Ed25519 or ES256 alone; Ed25519 signs no digests."""
    with pytest.raises(InvalidRequestError, match="RS256 key signs no checkpoints"):
        NoteSigner("a", P256("RS256")).sign("text\n")
    with pytest.raises(InvalidRequestError, match="no white space"):
        NoteSigner("a b", P256())
    private = ed25519.Ed25519PrivateKey.generate()
    with pytest.raises(UnsupportedOperationError):
        FileSigner("a", private).sign_digest(bytes(32))


def test_a_signature_that_does_not_verify_never_leaves() -> None:
    """A provider that signed with another key, or nonsense, is found out before the note is used."""

    class Lying(P256):
        def sign_digest(self, digest: bytes) -> bytes:
            return super().sign_digest(sha256(digest).digest())

    with pytest.raises(IntegrityError, match="does not verify"):
        NoteSigner("a", Lying()).sign("text\n")


def test_a_cosignature_is_verified_with_its_time() -> None:
    """Type 4: a witness signs a header line, the time and the text (c2sp.org/tlog-cosignature)."""
    private = ed25519.Ed25519PrivateKey.generate()
    key = NoteKey("witness.example/w1", COSIGNATURE, private.public_key().public_bytes_raw())
    text, time = body("example.com/log", 3, bytes(32)), 1679315147
    made = private.sign(f"cosignature/v1\ntime {time}\n{text}".encode())
    note = Note(text, (Signature(key.name, key.key_id, time.to_bytes(8) + made),))
    assert key.signed(Note.parse(str(note)))
    assert (
        verify_note.cosigned_by(verify_note.parse_checkpoint(str(note)), verify_note.parse_key(str(key)))
        == time
    )
    earlier = note._replace(signatures=(note.signatures[0]._replace(value=(time - 1).to_bytes(8) + made),))
    assert not key.signed(earlier)


@pytest.mark.parametrize(
    "note",
    [
        "",
        "text\n",
        GO_TEXT + GO_LINE,
        f"{GO_TEXT}\n{GO_LINE}".removesuffix("\n"),
        f"{GO_TEXT}\n{GO_LINE}not a signature\n",
        f"{GO_TEXT}\n— a AAAA\n",
        f"{GO_TEXT}\x1b\n\n{GO_LINE}",
    ],
)
def test_what_is_no_note_is_refused(note: str) -> None:
    """No blank line, no last line feed, no signature, a control character."""
    with pytest.raises(IntegrityError):
        Note.parse(note)


@pytest.mark.parametrize(
    "text", ["o\n07\n{}\n", "o\n7\n", "o\n7\nAAAA\n", "\n7\n{}\n", "o\n-7\n{}\n", "o\n7\n~\n"]
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    """Leading zeros, missing lines, roots that are no hash."""
    filled: Any = text.format(base64.b64encode(bytes(32)).decode())
    with pytest.raises(IntegrityError):
        Checkpoint.parse(f"{filled}\n{GO_LINE}")


@given(text=st.text(), cut=st.integers(0, len(C2SP_CHECKPOINT)), length=st.integers(0, 9))
def test_no_text_makes_the_parser_fall_over(text: str, cut: int, length: int) -> None:
    """Whatever is put into a note, it is a note, a checkpoint, or told to be none."""
    changed = C2SP_CHECKPOINT[:cut] + text + C2SP_CHECKPOINT[cut + length :]
    for parse in (Note.parse, Checkpoint.parse):
        with contextlib.suppress(IntegrityError):
            parse(changed)
    with contextlib.suppress(InvalidRequestError):
        NoteKey.parse(GO_KEY[: cut % 60] + text)
