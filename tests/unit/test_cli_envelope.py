"""``inspect``, ``encrypt``, ``decrypt`` and ``reencrypt`` in this process."""

from __future__ import annotations

import base64
import io
import os
import shutil
import stat
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner

from strongroom.cli.bar import bar
from strongroom.cli.main import cli
from strongroom.cli.options import Options
from strongroom.envelope.cipher import decrypt, encrypt
from strongroom.envelope.message import decode_header
from strongroom.envelope.survey import survey
from strongroom.errors import IntegrityError, UnavailableError
from strongroom.keys import KeyWrapper
from strongroom.reencryption import StoreReport
from strongroom.registry import create_key
from tests.canary import CANARY, CANARY_BYTES, assert_no_canary, plaintext
from tests.unit.cli_support import Result
from tests.unit.envelope_support import Author, SpyKey


@pytest.fixture(scope="module")
def keysets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the keysets ``one`` and ``two``, made once: most tests would take longer to make them."""
    folder = tmp_path_factory.mktemp("keysets")
    for name in ("one", "two"):
        create_key(f"local-key://{folder}/{name}.json", None, "aes-256")
    return folder


@pytest.fixture(autouse=True)
def _home(keysets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder whose configuration has the keys ``one`` and ``two``."""
    monkeypatch.delenv("STRONGROOM_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    tables = [f'[key.{name}]\nurl = "local-key://{tmp_path}/{name}.json"\n' for name in ("one", "two")]
    Path("strongroom.toml").write_text("".join(tables))
    shutil.copytree(keysets, tmp_path, dirs_exist_ok=True)  # keysets and their wrap counters


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


def test_what_is_encrypted_is_decrypted_through_pipes_unchanged() -> None:
    """Bytes in, bytes out: no newline is added, none is lost."""
    for value in (b"", CANARY_BYTES, bytes(range(256)), os.urandom(3 << 20)):
        message = run("encrypt", "-k", "one", "-c", "purpose=test", stdin=value)
        assert (message.code, message.err) == (0, "")
        assert decode_header(message.out_bytes)[0].context == {"purpose": "test"}
        plain = run("decrypt", "-k", "one", "-c", "purpose=test", "-", stdin=message.out_bytes)
        assert (plain.code, plain.err, plain.out_bytes == value) == (0, "", True)


def test_any_of_several_keys_opens_it() -> None:
    """Aliases and URLs; a key that is named twice stands in the message once."""
    url = f"local-key://{Path('two.json').resolve()}"
    message = run("encrypt", "-k", "one", "-k", url, "-k", "one", stdin=b"v").out_bytes
    assert len(decode_header(message)[0].wrapped_keys) == 2
    for name in ("one", "two"):
        assert run("decrypt", "-k", name, stdin=message).out == "v"


def test_a_file_becomes_another_file() -> None:
    """The message has the mode of what it was made of; the plaintext is its owner's alone."""
    Path("plain").write_bytes(CANARY_BYTES)
    plaintext("plain", "the input of encrypt")
    Path("plain").chmod(0o640)
    done = run("encrypt", "plain", "-o", "sealed", "-k", "one", "--signed")
    assert (done.code, done.out) == (0, f"encrypted plain to sealed ({len(CANARY)} bytes of plaintext)\n")
    assert "still holds this in clear" in done.err
    assert stat.S_IMODE(Path("sealed").stat().st_mode) == 0o640
    assert run("inspect", "sealed", "--json").json["signed"]
    opened = run("decrypt", "sealed", "-o", "again", "-k", "one", "--json")
    facts = {"file": "sealed", "output": "again", "size": len(CANARY), "passed_over": []}
    assert opened.json == {**facts, "context": opened.json["context"]}
    assert stat.S_IMODE(Path("again").stat().st_mode) == 0o600
    assert plaintext("again", "the output of decrypt").read_bytes() == CANARY_BYTES


def test_a_file_is_encrypted_in_its_own_place() -> None:
    """With --replace; then nothing holds it in clear any more, and nothing says so."""
    Path("f").write_bytes(b"v")
    done = run("encrypt", "f", "-o", "f", "--replace", "-k", "one")
    assert (done.code, done.err) == (0, "")
    assert run("decrypt", "f", "-o", "f", "--replace", "-k", "one").code == 0
    assert Path("f").read_bytes() == b"v"


def test_quiet_means_quiet() -> None:
    """Neither what was done nor what to do."""
    Path("plain").write_bytes(b"v")
    done = run("encrypt", "-q", "plain", "-o", "sealed", "-k", "one")
    assert (done.code, done.out, done.err) == (0, "", "")


@pytest.mark.parametrize("command", ["encrypt", "decrypt"])
def test_a_file_that_is_there_is_not_written_over(command: str) -> None:
    """Conflict, 5, unless --replace says so; a link is not written through even then."""
    message = write("sealed", "one", value=b"v")
    content = b"v" if command == "encrypt" else message
    Path("out").write_text("precious")
    done = run(command, "-o", "out", "-k", "one", stdin=content)
    assert (done.code, done.out) == (5, "")
    assert "--replace" in done.err
    assert Path("out").read_text() == "precious"
    Path("link").symlink_to("out")
    assert run(command, "-o", "link", "--replace", "-k", "one", stdin=content).code == 2
    assert Path("out").read_text() == "precious"
    assert run(command, "-o", "out", "--replace", "-k", "one", stdin=content).code == 0
    assert Path("out").read_text(errors="replace") != "precious"


@pytest.mark.parametrize("command", ["encrypt", "decrypt"])
def test_no_key_is_ever_guessed(command: str) -> None:
    """The error says how to name one, and which there are."""
    done = run(command, stdin=b"v")
    assert (done.code, done.out) == (2, "")
    assert "-k ALIAS" in done.err
    assert "one, two" in done.err
    Path("strongroom.toml").unlink()
    assert "local-key:///" in run(command, stdin=b"v").err
    done = run(command, "-k", "three", stdin=b"v")
    assert (done.code, "three" in done.err) == (2, True)


@pytest.mark.parametrize(
    "pairs",
    [("a",), ("=b",), ("a=1", "a=2"), ("strongroom-name=x",), ("aws-crypto-public-key=x",)],
    ids=["no pair", "no name", "twice", "ours", "aws's"],
)
@pytest.mark.parametrize("command", ["encrypt", "decrypt"])
def test_a_context_is_pairs_of_unreserved_names_each_once(command: str, pairs: tuple[str, ...]) -> None:
    """Anything else is 2, before a key is asked."""
    write("m", "one")
    options = [part for pair in pairs for part in ("-c", pair)]
    done = run(command, "m", "-k", "one", *options)
    assert (done.code, done.out) == (2, "")


@pytest.mark.parametrize(
    "said", [(), ("purpose=test",), ("purpose=test", "tenant=us"), ("purpose=test", "tenant=eu", "more=1")]
)
def test_decrypt_wants_the_whole_context(said: tuple[str, ...]) -> None:
    """A pair less, another value, or a pair more: 7, and nothing is written."""
    write("m", "one", context={"purpose": "test", "tenant": "eu"})
    options = [part for pair in said for part in ("-c", pair)]
    done = run("decrypt", "m", "-k", "one", "-o", "out", *options)
    assert done.code == 7
    assert not Path("out").exists()


def test_a_value_may_hold_an_equals_sign() -> None:
    """Only the first one divides."""
    message = run("encrypt", "-k", "one", "-c", "a=b=c", stdin=b"v").out_bytes
    assert decode_header(message)[0].context == {"a": "b=c"}


def test_a_damaged_message_leaves_no_output_file() -> None:
    """Not even the frames that were good; on stdout exit code 7 says that what came was not all."""
    message = bytearray(write("m", "one", value=CANARY_BYTES + bytes(3 << 20)))
    message[-1] ^= 1
    Path("m").write_bytes(message)
    done = run("decrypt", "m", "-k", "one", "-o", "out")
    assert (done.code, done.err.count("\n")) == (7, 1)
    assert not Path("out").exists()
    assert run("decrypt", "m", "-k", "one").code == 7


def test_the_wrong_key_is_7() -> None:
    """The error says under what kind of keys it was encrypted."""
    write("m", "one")
    done = run("decrypt", "m", "-k", "two")
    assert done.code == 7
    assert "strongroom-local" in done.err


def test_a_key_that_was_passed_over_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message opened, but not by all that should open it."""
    message = encrypt(b"v", keys=[SpyKey("a"), SpyKey("b")], context={})
    keys = {"a": SpyKey("a", UnavailableError("down")), "b": SpyKey("b")}
    monkeypatch.setattr("strongroom.config.key", lambda target, **_: keys[target])
    done = run("decrypt", "-k", "a", "-k", "b", stdin=message)
    assert (done.code, done.out) == (0, "v")
    assert done.err == "strongroom: a should have opened it and did not; another key has\n"
    assert run("decrypt", "-q", "-k", "a", "-k", "b", stdin=message).err == ""


def test_a_signed_message_is_not_taken_from_a_pipe_to_a_pipe() -> None:
    """Nothing may leave before the signature, which comes last; a file appears after it."""
    message = run("encrypt", "-k", "one", "--signed", stdin=b"v").out_bytes
    Path("m").write_bytes(message)
    assert run("decrypt", "m", "-k", "one").out == "v"
    assert run("decrypt", "-k", "one", "-o", "out", stdin=message).code == 0


def test_a_message_of_an_encrypted_store_is_left_to_its_store() -> None:
    """Nobody can name its pairs on the command line; a keyring likewise."""
    bindings = {"strongroom-domain": "prod", "strongroom-name": "db/password", "strongroom-kind": "text"}
    Path("m").write_bytes(encrypt(CANARY_BYTES, keys=[key("one")], context={}, bindings=bindings))
    done = run("decrypt", "m", "-k", "one")
    assert (done.code, done.out) == (7, "")
    assert "encrypted store" in done.err
    assert "strongroom get" in done.err
    del bindings["strongroom-domain"]
    bindings["strongroom-kind"] = "keyring"
    Path("m").write_bytes(encrypt(b"{}", keys=[key("one")], context={}, bindings=bindings))
    assert "it is a keyring" in run("decrypt", "m", "-k", "one").err


@pytest.mark.parametrize("command", ["encrypt", "decrypt"])
def test_folders_and_full_disks_are_one_line(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """No bug of ours, and no traceback."""
    Path("m").write_bytes(write("sealed", "one") if command == "decrypt" else b"v")
    assert run(command, ".", "-k", "one").code == 2
    assert run(command, "m", "-k", "one", "-o", ".").code == 2
    assert run(command, "m", "-k", "one", "-o", "no/such/out").code == 3


@pytest.mark.parametrize("name", ["encrypt", "decrypt", "inspect", "reencrypt"])
def test_a_shell_completes_the_new_commands(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their names, and their options."""
    monkeypatch.setenv("_STRONGROOM_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", f"strongroom {name[:3]}")
    monkeypatch.setenv("COMP_CWORD", "1")
    assert name in run().out
    monkeypatch.setenv("COMP_WORDS", f"strongroom {name} --js")
    monkeypatch.setenv("COMP_CWORD", "2")
    assert "--json" in run().out


@pytest.mark.parametrize("words", ["encrypt -k", "decrypt -k", "reencrypt --to", "reencrypt -k"])
def test_a_shell_completes_the_configured_keys(words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without opening any; a configuration that is wrong completes nothing."""
    monkeypatch.setenv("_STRONGROOM_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", f"strongroom {words} o")
    monkeypatch.setenv("COMP_CWORD", "3")
    Path("one.json").unlink()
    assert run().out.splitlines() == ["plain,one"]
    Path("strongroom.toml").write_text("wrong")
    assert run().out.strip() == ""


@pytest.mark.parametrize("command", ["encrypt", "decrypt"])
def test_a_terminal_gets_nothing_unasked(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message because it is binary, plaintext because it would stay there."""
    write("m", "one")
    monkeypatch.setattr("strongroom.cli.encrypting.on_terminal", lambda: True)
    done = run(command, "m", "-k", "one")
    assert (done.code, done.out) == (2, "")
    assert "-o OUT" in done.err


@pytest.mark.parametrize("options", [Options(quiet=True), Options(json=True)])
def test_no_progress_where_quiet_is_wanted(options: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also on a terminal."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with bar(options, "working") as advance:
        assert advance is None


def test_progress_needs_no_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setitem(sys.modules, "rich", None)
    with bar(Options(), "working") as advance:
        assert advance is None


def _messages(*paths: str) -> list[Path]:
    for path in paths:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        write(path, "one", context={"purpose": "test"})
    return [Path(path) for path in paths]


def _opens(path: Path, name: str) -> bool:
    try:
        return decrypt(path.read_bytes(), keys=[key(name)], context={"purpose": "test"}).value == CANARY_BYTES
    except IntegrityError:
        return False


def test_reencrypt_puts_files_and_folders_under_other_keys() -> None:
    """Then the new key opens them and the old one does not; a repeat finds nothing to do."""
    messages = _messages("a", "tree/b", "tree/deep/c")
    Path("tree/note.txt").write_text("hello")
    done = run("reencrypt", "a", "tree", "--to", "two", "-k", "one")
    assert (done.code, done.out, done.err) == (0, "done: 3 reencrypted, 1 other files\n", "")
    assert [(_opens(path, "two"), _opens(path, "one")) for path in messages] == [(True, False)] * 3
    again = run("reencrypt", "tree", "--to", "two", "-k", "one")
    assert (again.code, again.out) == (0, "done: 2 already, 1 other files\n")


def test_reencrypt_adds_and_drops_keys_without_k() -> None:
    """A key that stays opens what is there."""
    (path,) = _messages("a")
    assert run("reencrypt", "a", "--to", "one", "--to", "two").code == 0
    assert _opens(path, "one")
    assert _opens(path, "two")
    assert run("reencrypt", "a", "--to", "two").code == 0
    assert not _opens(path, "one")


def test_a_rotated_keyring_is_another_key() -> None:
    """Its older versions open what they made; reencrypt --to the same keyring puts it under the newest."""
    with Path("strongroom.toml").open("a") as file:
        file.write(f'[keyring.main]\nroots = ["one"]\nfile = "{Path.cwd()}/main.keyring"\n')
    assert run("key", "create", "main").code == 0
    assert run("encrypt", "-k", "main", "-o", "m", stdin=b"v").code == 0
    assert run("reencrypt", "m", "--to", "main").out == "done: 1 already\n"
    before = run("inspect", "m", "--json").json["keys"]
    assert run("key", "rotate", "main").code == 0
    assert run("decrypt", "m", "-k", "main").out == "v"
    assert run("reencrypt", "m", "--to", "main").out == "done: 1 reencrypted\n"
    assert run("inspect", "m", "--json").json["keys"] != before
    assert run("decrypt", "m", "-k", "main").out == "v"
    assert run("reencrypt", "main.keyring", "--to", "two", "-k", "one").code == 2


def test_reencrypt_signs_when_told_to() -> None:
    """And keeps what is signed signed."""
    _messages("a")
    assert run("reencrypt", "a", "--to", "one", "--signed").out == "done: 1 reencrypted\n"
    assert run("reencrypt", "a", "--to", "two", "-k", "one").code == 0
    assert run("inspect", "a", "--json").json["signed"]
    assert run("reencrypt", "a", "--to", "two", "--unsigned").out == "done: 1 reencrypted\n"
    assert not run("inspect", "a", "--json").json["signed"]


def test_a_dry_run_of_reencrypt_names_what_it_would_do() -> None:
    """A line for each message, and the sum; nothing is changed."""
    (path, _) = _messages("tree/b", "tree/c")
    before = path.read_bytes()
    done = run("reencrypt", "tree", "--to", "two", "-k", "one", "--dry-run")
    assert (done.code, path.read_bytes()) == (0, before)
    lines = ["would reencrypt tree/b", "would reencrypt tree/c", "would do: 2 reencrypted"]
    assert done.out.splitlines() == lines


def test_reencrypt_reports_each_failure_and_exits_with_8() -> None:
    """The others are done; as JSON the report is on stdout and the error on stderr."""
    good, bad = _messages("tree/good", "tree/bad")
    bad.write_bytes(bad.read_bytes()[:-1])
    Path("tree/link").symlink_to("good")
    done = run("reencrypt", "tree", "--to", "two", "-k", "one")
    assert (done.code, done.out) == (8, "done: 1 reencrypted, 1 skipped, 1 failed\n")
    assert "skipped tree/link: a symbolic link" in done.err
    assert "  tree/bad: the message is cut short" in done.err
    assert _opens(good, "two")
    done = run("reencrypt", "tree", "--to", "two", "-k", "one", "--json")
    assert (done.code, done.error["exit"], list(done.error["errors"])) == (8, 8, ["tree/bad"])
    assert done.json["counts"]["already"] == done.json["counts"]["failed"] == 1
    assert done.json["failed"]["tree/bad"]["error"] == "IntegrityError"
    assert done.json["skipped"] == {"tree/link": "a symbolic link"}
    assert not done.json["complete"]


def test_a_name_that_is_no_utf_8_is_printed_as_escapes() -> None:
    """A file's name is bytes."""
    folder = os.fsencode(Path.cwd()) + b"/tree"
    os.mkdir(folder)
    with open(folder + b"/caf\xe9", "wb") as file:
        file.write(b"\x02\x04\x78")
    done = run("reencrypt", "tree", "--to", "two", "--json")
    assert list(done.json["failed"]) == ["tree/caf\\xe9"]
    assert "caf" in run("reencrypt", "tree", "--to", "two").err


@pytest.mark.parametrize(
    ("path", "code"), [("damaged", 7), ("text", 7), ("no/such", 3), ("link", 2), ("of-another-key", 7)]
)
def test_one_file_that_fails_has_its_own_exit_code(path: str, code: int) -> None:
    """8 is for several."""
    Path("damaged").write_bytes(write("of-another-key", "one")[:-1])
    Path("text").write_text("hello")
    Path("link").symlink_to("damaged")
    assert run("reencrypt", path, "--to", "two").code == code
    assert run("reencrypt", path, "damaged", "no/such", "--to", "two", "-k", "one").code == 8


def test_a_new_key_that_does_not_answer_stops_reencrypt(monkeypatch: pytest.MonkeyPatch) -> None:
    """6, as what should have been done first is what failed."""
    _messages("tree/a", "tree/b")
    keys = {"one": key("one"), "down": SpyKey(failure=UnavailableError("the KMS is down"))}
    monkeypatch.setattr("strongroom.config.key", lambda target, **_: keys[target])
    done = run("reencrypt", "tree", "tree", "x", "--to", "down", "-k", "one")
    assert (done.code, done.out) == (6, "done: nothing\n")
    assert "the KMS is down" in done.err


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("--to", "two"),
        ("a",),
        ("a", "--to", "nobody"),
        ("a", "--to", "two", "--store", "s"),
        ("a", "--to", "two", "--prefix", "p"),
        ("--store", "memory://x", "-k", "one"),
        ("--store", "memory://x", "--signed"),
        ("--store", "memory://x"),
        ("--store", "memory://x", "--to", "two"),
    ],
    ids=" ".join,
)
def test_reencrypt_says_what_is_missing(args: tuple[str, ...]) -> None:
    """Files and --to, or a store that is encrypted by its configuration: else 2, and nothing is done."""
    (path,) = _messages("a")
    done = run("reencrypt", *args)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert _opens(path, "one")


@pytest.fixture
def encrypted_store() -> Path:
    """A configured store with three secrets under key ``one``, whose configuration says ``two`` by now."""
    config = Path("strongroom.toml")
    plain = config.read_text()
    Path("store").mkdir()
    table = '[store.s]\nurl = "local://{}/s.db"\nencrypt = {{ domain = "d", {} }}\n'
    assert run("--store", f"local://{Path.cwd()}/s.db?create=keyset", "list").code == 0
    config.write_text(plain + table.format(Path.cwd(), 'keys = ["one"]'))
    for name in ("db/a", "db/b", "other"):
        assert run("--store", "s", "put", name, stdin=CANARY_BYTES).code == 0
    config.write_text(plain + table.format(Path.cwd(), 'keys = ["two"], old_keys = ["one"]'))
    return config


def test_reencrypt_puts_a_store_under_its_configured_keys(encrypted_store: Path) -> None:
    """--dry-run first, a part by --prefix, then all; at the end the old key can leave the configuration."""
    done = run("reencrypt", "--store", "s", "--prefix", "db/", "--dry-run")
    assert done.out.splitlines() == [
        "would reencrypt db/a",
        "would reencrypt db/b",
        "would do: 2 reencrypted",
    ]
    assert run("reencrypt", "--store", "s", "--to", "two", "--prefix", "db/").out == "done: 2 reencrypted\n"
    assert run("reencrypt", "--store", "s").out == "done: 1 reencrypted, 2 already\n"
    document = run("reencrypt", "--store", "s", "--json").json
    assert (document["done"], document["already"], document["failed"]) == ([], 3, {})
    encrypted_store.write_text(encrypted_store.read_text().replace(', old_keys = ["one"]', ""))
    assert run("--store", "s", "get", "db/a").out_bytes == CANARY_BYTES


def test_a_store_is_not_put_under_keys_that_it_is_not_configured_with(encrypted_store: Path) -> None:
    """Its readers could not open it."""
    done = run("reencrypt", "--store", "s", "--to", "one")
    assert (done.code, "old_keys" in done.err) == (2, True)
    assert run("reencrypt", "--store", "s", "--dry-run", "--json").json["due"] == ["db/a", "db/b", "other"]


def test_a_secret_that_does_not_open_is_a_failure_of_its_own(encrypted_store: Path) -> None:
    """8, with its name; the others are done."""
    encrypted_store.write_text(encrypted_store.read_text().replace("one.json", "three.json"))
    assert run("key", "create", "one").code == 0
    done = run("reencrypt", "--store", "s")
    assert (done.code, done.out) == (8, "done: 3 failed\n")
    assert done.err.count("\n  ") == 3


def test_what_of_a_store_is_left_is_8_with_the_reason(
    encrypted_store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rotation that waits, a writer that was faster, a name that was not tried any more."""
    report = StoreReport(done=["a"], pending=["b"], conflicts=["c"], skipped=["d"])
    monkeypatch.setattr("strongroom.reencryption.reencrypt_store", lambda *_, **__: report)
    done = run("reencrypt", "--store", "s")
    assert (done.code, done.out) == (8, "done: 1 reencrypted, 1 waiting for a rotation, 2 failed\n")
    for name, reason in (("b", "rotation"), ("c", "others wrote"), ("d", "not tried")):
        assert any(line.startswith(f"  {name}: ") and reason in line for line in done.err.splitlines())
    failed = run("reencrypt", "--store", "s", "--json")
    assert sorted(failed.error["errors"]) == failed.json["pending"] + failed.json["conflicts"] + ["d"]
