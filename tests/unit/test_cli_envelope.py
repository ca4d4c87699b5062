"""``inspect``, ``encrypt``, ``decrypt`` and ``reencrypt`` in this process."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner

from strongroom.cli.main import cli
from strongroom.envelope.cipher import encrypt
from strongroom.envelope.message import decode_header
from strongroom.envelope.survey import survey
from strongroom.keys import KeyWrapper
from tests.canary import CANARY, CANARY_BYTES, assert_no_canary
from tests.unit.cli_support import Result
from tests.unit.envelope_support import Author, SpyKey


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder whose configuration has the keys ``one`` and ``two``."""
    monkeypatch.delenv("STRONGROOM_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    tables = [f'[key.{name}]\nurl = "local-key://{tmp_path}/{name}.json"\n' for name in ("one", "two")]
    Path("strongroom.toml").write_text("".join(tables))
    for name in ("one", "two"):
        assert run("key", "create", name).code == 0


def run(*args: str, stdin: bytes = b"") -> Result:
    """``strongroom ARGS`` with stdin in a pipe; no error and no message shows the canary."""
    done = CliRunner().invoke(cli, args, input=stdin, prog_name="strongroom")
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert_no_canary(done.stderr)
    return Result(done.exit_code, done.stdout, done.stderr, done.stdout_bytes)


def key(name: str) -> KeyWrapper:
    """A configured key, through the library."""
    import strongroom

    return strongroom.key(name)


def write(
    path: str, *names: str, value: bytes = CANARY_BYTES, context: Mapping[str, str] | None = None
) -> bytes:
    """A message under configured keys, in a file."""
    message = encrypt(value, keys=[key(name) for name in names], context=context or {})
    Path(path).write_bytes(message)
    return message


def test_inspect_says_in_words_what_the_header_says() -> None:
    """Suite, id, context, keys with their aliases here, frames, size; and that nothing is verified."""
    message = write("m", "one", "two", context={"purpose": "backup", "tenant": "eu"})
    done = run("inspect", "m")
    assert done.code == 0
    assert "0x0478: AES-256-GCM, HKDF-SHA512, key commitment; not signed" in done.out
    assert decode_header(message)[0].message_id.hex() in done.out
    for words in ("purpose = backup", "tenant = eu", "(one here)", "(two here)"):
        assert words in done.out
    assert f"{len(CANARY)} bytes of plaintext in 1 frame of at most 1048576" in done.out
    assert "verified  nothing" in done.out
    assert_no_canary(done.out)


def test_inspect_as_json_has_the_same_facts() -> None:
    """One document; sizes are numbers, the keys a list."""
    message = write("m", "one", context={"purpose": "backup"})
    (wrapped,) = decode_header(message)[0].wrapped_keys
    name = wrapped.key_info[:-20].decode()
    assert run("inspect", "m", "--json").json == {
        "version": 2,
        "suite": "0x0478",
        "signed": False,
        "message_id": decode_header(message)[0].message_id.hex(),
        "context": {"purpose": "backup"},
        "keys": [{"provider": "strongroom-local", "key": name, "alias": "one"}],
        "frame_length": 1 << 20,
        "frames": 1,
        "size": len(CANARY),
        "verified": False,
    }


def test_inspect_reads_stdin_and_needs_no_configuration() -> None:
    """In a pipe, where nothing can be sought, and where no key is known."""
    message = write("m", "one", value=bytes(3 << 20))
    Path("strongroom.toml").unlink()
    found = run("inspect", "--json", stdin=message).json
    assert (found["frames"], found["size"]) == (3, 3 << 20)
    assert [known["alias"] for known in found["keys"]] == [None]


def test_inspect_opens_only_keys_that_could_have_made_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A KMS key is not even loaded for a message under local keys; a missing keyset is no error."""
    write("m", "one")
    Path("one.json").unlink()
    with Path("strongroom.toml").open("a") as file:
        file.write('[key.cloud]\nurl = "aws-kms://eu-west-1/alias/x"\n')
    opened: list[str] = []
    real = __import__("strongroom.registry", fromlist=["open_key"]).open_key

    def spy(url: str, settings: object) -> KeyWrapper:
        opened.append(url.partition(":")[0])
        wrapper: KeyWrapper = real(url, settings)
        return wrapper

    monkeypatch.setattr("strongroom.registry.open_key", spy)
    assert run("inspect", "m", "--json").json["keys"][0]["alias"] is None
    assert set(opened) == {"local-key"}


@pytest.mark.parametrize("seekable", [True, False])
@pytest.mark.parametrize(("length", "frame_length"), [(0, 8), (8, 8), (9, 8), (40, 8), (40, 0)])
def test_a_survey_counts_frames_of_any_length(length: int, frame_length: int, seekable: bool) -> None:
    """Framed and not, from a file and from a pipe."""
    author = Author()
    value = bytes(length)
    message = author.framed(value, frame_length) if frame_length else author.header() + author.single(value)
    source = io.BytesIO(message)
    if not seekable:
        source.seekable = lambda: False  # type: ignore[method-assign]
    found = survey(source)
    assert found.size == length
    assert found.frames == (max(1, -(-length // 8)) if frame_length else 0)


@pytest.mark.parametrize("seekable", [True, False])
def test_a_survey_of_a_message_that_was_cut_fails(seekable: bool) -> None:
    """At every byte, and with one byte more."""
    author = Author(context={"a": "b"})
    message = author.framed(bytes(20), 8)
    from strongroom.errors import IntegrityError

    for damaged in [*(message[:end] for end in range(len(message))), message + b"x"]:
        source = io.BytesIO(damaged)
        if not seekable:
            source.seekable = lambda: False  # type: ignore[method-assign]
        with pytest.raises(IntegrityError):
            survey(source)


def test_a_stated_length_beyond_any_file_is_a_cut() -> None:
    """A non-framed body says its length in eight bytes."""
    message = Author().header() + bytes(12) + b"\xff" * 8 + bytes(16)
    Path("m").write_bytes(message)
    assert run("inspect", "m").code == 7
    assert run("inspect", stdin=message).code == 7


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no message"),
        (b"hello world", "no message"),
        (b"\x02\x03\x78" + bytes(100), "no message"),
        (bytes.fromhex("01800378") + bytes(100), "version 1"),
        (base64.b64encode(Author().framed(b"x", 8)), "base64 -d"),
        (Author().framed(b"x", 8)[:-1], "cut short"),
        (Author().framed(b"x", 8) + b"\n", "bytes follow"),
    ],
)
def test_inspect_of_anything_else_is_one_line_and_7(content: bytes, said: str) -> None:
    """It says what the file is instead, where that can be known."""
    Path("f").write_bytes(content)
    done = run("inspect", "f")
    assert (done.code, done.out, done.err.count("\n")) == (7, "", 1)
    assert said in done.err
    assert run("inspect", "--json", "f").error["exit"] == 7


def test_a_file_that_is_not_there_is_3() -> None:
    """The error names it, and does not talk of secrets."""
    done = run("inspect", "no/such")
    assert done.code == 3
    assert "no/such" in done.err
    assert "list" not in done.err


def test_what_a_header_holds_cannot_drive_the_terminal() -> None:
    """A context and a provider are whatever the writer chose."""
    hostile = SpyKey("key\x1b[2J\n")
    Path("m").write_bytes(encrypt(b"v", keys=[hostile], context={"a\x1b]0;": "b\nverified  by all keys"}))
    out = run("inspect", "m").out
    assert "\x1b" not in out
    assert not any(line.startswith("verified  by") for line in out.splitlines())
    assert run("inspect", "--json", "m").json["context"] == {"a\x1b]0;": "b\nverified  by all keys"}
