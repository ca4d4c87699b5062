"""``import`` and ``copy``: all names known before anything is written, and a repeat does what is missing."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from strongroom.cli import formats, importing
from strongroom.errors import InvalidRequestError, PartialFailureError, SecretConflictError, UnavailableError
from strongroom.names import Name
from strongroom.store import SecretStore
from strongroom.value import SecretValue
from tests.canary import CANARY, assert_no_canary, assert_no_canary_in, plaintext
from tests.unit.cli_support import Cli, library, new_store_url

ENV = f"""\
# exchange
BINANCE_API_KEY={CANARY}1
export BINANCE_API_SECRET="{CANARY}2#x\\ny"   # quoted
DATABASE_URL='postgres://app:{CANARY}@db.example.net/ledger?sslmode=require'
SPACED =  {CANARY}3   # a comment
EMPTY=
"""
VALUES = {
    "binance/api-key": f"{CANARY}1",
    "binance/api-secret": f"{CANARY}2#x\ny",
    "database/url": f"postgres://app:{CANARY}@db.example.net/ledger?sslmode=require",
    "spaced": f"{CANARY}3",
}


@pytest.fixture
def run() -> Cli:
    """The program on an empty store."""
    return Cli()


def _file(folder: Path, text: str, name: str = "app.env") -> str:
    path = plaintext(folder / name, "the input of import")
    path.write_text(text)
    return str(path)


def _content(url: str) -> dict[str, str]:
    with library(url) as store:
        return {name: store.get(name).value.reveal_text() for name in store.list_names()}


def test_an_env_file_is_taken_in_with_portable_names(run: Cli, tmp_path: Path) -> None:
    """Quotes, comments, export and escapes as python-dotenv reads them; an empty key is left out, aloud."""
    done = run("import", _file(tmp_path, ENV))
    assert done.code == 0
    assert _content(run.url) == VALUES
    assert "EMPTY" in done.err
    assert_no_canary(done.out)


def test_a_dry_run_shows_the_names_and_writes_nothing(run: Cli, tmp_path: Path) -> None:
    """Key, name and action; no value."""
    done = run("import", _file(tmp_path, ENV), "--dry-run", "--json")
    assert {item["from"]: item["name"] for item in done.json["items"]}["BINANCE_API_KEY"] == "binance/api-key"
    assert done.json["counts"] == {"create": 4}
    assert done.json["empty"] == ["EMPTY"]
    assert _content(run.url) == {}
    assert_no_canary(done.out)


def test_stdin_can_be_taken_in(run: Cli, tmp_path: Path) -> None:
    """So that nothing has to lie on disk in clear; a file that does is pointed at."""
    assert "in clear" in run("import", _file(tmp_path, ENV)).err
    done = run("import", "-", stdin=ENV)
    assert (done.code, "in clear" in done.err) == (0, False)
    assert run("import", "-", "--format", "json", stdin='{"a": "b"}').code == 0
    assert _content(run.url) == {**VALUES, "a": "b"}


def test_a_repeated_import_writes_nothing_again(run: Cli, tmp_path: Path) -> None:
    """Equal values are left alone: still one version each."""
    path = _file(tmp_path, ENV)
    run("import", path)
    assert run("import", path, "--json").json["counts"] == {"same": 4}
    with run.store() as store:
        assert [len(store.versions(name)) for name in VALUES] == [1] * 4


def test_other_values_are_a_collision_before_any_write(run: Cli, tmp_path: Path) -> None:
    """Refused whole; kept with --if-absent; replaced with --replace; never both."""
    with run.store() as store:
        store.put("binance/api-secret", "mine")
    path = _file(tmp_path, ENV)
    refused = run("import", path)
    assert refused.code == 5
    assert "binance/api-secret" in refused.err
    assert _content(run.url) == {"binance/api-secret": "mine"}
    assert run("import", path, "--if-absent", "--replace").code == 2
    assert run("import", path, "--if-absent").code == 0
    assert _content(run.url) == {**VALUES, "binance/api-secret": "mine"}
    assert run("import", path, "--replace").code == 0
    assert _content(run.url) == VALUES


def test_json_yaml_and_toml_files(run: Cli, tmp_path: Path) -> None:
    """Text stays text, objects are kept as JSON; both formats alike."""
    document = {"db/password": CANARY, "db/login": {"user": "app", "port": 5432}}
    assert run("import", _file(tmp_path, json.dumps(document), "a.json")).code == 0
    yaml = f"db/password: '{CANARY}'\ndb/login:\n  user: app\n  port: 5432\n"
    assert run("import", _file(tmp_path, yaml, "a.yaml"), "--json").json["counts"] == {"same": 2}
    toml = f'"db/password" = "{CANARY}"\n["db/login"]\nuser = "app"\nport = 5432\n'
    assert run("import", _file(tmp_path, toml, "a.toml"), "--json").json["counts"] == {"same": 2}
    with run.store() as store:
        assert store.get("db/login").value.reveal_json("/port") == 5432


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.env", f"A={CANARY}\nthis is {CANARY} no assignment\n"),
        ("a.env", f"A={CANARY}\nA=other\n"),
        ("a.env", "A\n"),
        ("a.env", f"A={CANARY}${{B}}\n"),
        ("a.json", f'{{"a": "{CANARY}"'),
        ("a.json", f'["{CANARY}"]'),
        ("a.json", f'{{"a": "{CANARY}", "b": 1.10}}'),
        ("a.json", f'{{"a": "{CANARY}", "a": "b"}}'),
        ("a.json", f'{{"a": "\\ud800{CANARY}"}}'),
        ("a.yaml", f"a: '{CANARY}\n"),
        ("a.yaml", "a: 0123\n"),
        ("a.yaml", "on: x\n"),
        ("a.env", f"A={CANARY}\n__=1\n"),
        ("a.env", f"A_B={CANARY}\na/b=1\n"),
    ],
)
def test_a_file_in_doubt_is_refused_whole(run: Cli, tmp_path: Path, name: str, text: str) -> None:
    """With the line or the key, no value of it, and nothing written."""
    refused = run("import", _file(tmp_path, text, name), "--debug")
    assert refused.code == 2
    assert "nothing was written" in refused.err
    assert_no_canary(refused.out, refused.err)
    assert _content(run.url) == {}


def test_an_error_of_a_reader_holds_nothing_of_the_file() -> None:
    """Not in its attributes, and not in the locals of its frames."""
    for kind, text in {
        "env": f"A={CANARY}\nbad\n",
        "json": f'{{"a": "{CANARY}"',
        "yaml": f"a: '{CANARY}",
    }.items():
        data = SecretValue(text)
        with pytest.raises(InvalidRequestError) as refused:
            formats.read(data, kind, None)
        assert_no_canary_in(refused.value)


def test_a_reference_inside_an_env_value_must_be_settled(
    run: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--expand puts in earlier keys of the file, never the environment; --literal keeps the text."""
    monkeypatch.setenv("STRONGROOM_TEST_OUTER", "from outside")
    text = f"PASS={CANARY}\nURL=postgres://app:${{PASS}}@db/${{NAME:-ledger}}\n"
    assert run("import", _file(tmp_path, text), "--expand").code == 0
    assert _content(run.url)["url"] == f"postgres://app:{CANARY}@db/ledger"
    run("import", _file(tmp_path, text), "--literal", "--replace")
    assert _content(run.url)["url"] == "postgres://app:${PASS}@db/${NAME:-ledger}"
    assert run("import", _file(tmp_path, "A=${STRONGROOM_TEST_OUTER}\n"), "--expand").code == 2


def test_names_can_be_chosen(run: Cli, tmp_path: Path) -> None:
    """--map for one key, --prefix for all; a key that the file does not have is a typo."""
    path = _file(tmp_path, f"DB_PASS={CANARY}\nTOKEN=t\n")
    assert run("import", path, "--map", "DB_PASS=db/password", "--prefix", "prod/").code == 0
    assert sorted(_content(run.url)) == ["prod/db/password", "prod/token"]
    for wrong in ("NONE=a", "DB_PASS", "=a"):
        assert run("import", path, "--map", wrong).code == 2


def test_without_pyyaml_the_hint_says_what_to_install(
    run: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 2, as for any missing extra."""
    monkeypatch.setitem(sys.modules, "yaml", None)
    refused = run("import", _file(tmp_path, "a: b\n", "a.yaml"))
    assert refused.code == 2
    assert "pip install pyyaml" in refused.err


def test_a_key_that_names_itself_keeps_its_name() -> None:
    """A portable name is its own suggestion; two keys of one name are refused."""
    assert importing.name_keys(["db/password", "A_B"], "", ()) == {"db/password": "db/password", "A_B": "a/b"}
    with pytest.raises(InvalidRequestError, match="a/b"):
        importing.name_keys(["A_B", "a/b"], "", ())


class Faulty:
    """Makes puts of some names fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, failing: dict[str, Exception]):
        self.failing = failing
        self.tried: list[str] = []
        put = SecretStore.put

        def faulty(store: SecretStore, name: str, value: SecretValue, **kw: object) -> object:
            self.tried.append(name)
            if name in self.failing:
                raise self.failing[name]
            return put(store, name, value, **kw)  # type: ignore[arg-type]

        monkeypatch.setattr(SecretStore, "put", faulty)


def test_some_failures_are_told_apart_and_a_repeat_finishes(
    run: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit 8 with the names; the others are written; the repeat writes only what is missing."""
    path = _file(tmp_path, ENV)
    faulty = Faulty(monkeypatch, {"database/url": InvalidRequestError("too long")})
    failed = run("import", path, "--json")
    assert failed.code == 8
    assert list(failed.error["errors"]) == ["database/url"]
    assert "database/url" not in failed.error["results"]
    faulty.failing.clear()
    faulty.tried.clear()
    assert run("import", path).code == 0
    assert faulty.tried == ["database/url"]
    assert _content(run.url) == VALUES


def test_a_store_that_does_not_answer_is_not_asked_for_every_name(
    run: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first unanswered write ends it: exit 6 if nothing was written, 8 if something was."""
    path = _file(tmp_path, ENV)
    faulty = Faulty(monkeypatch, {"binance/api-key": UnavailableError("no answer")})
    assert run("import", path).code == 6
    assert faulty.tried == ["binance/api-key"]
    faulty.failing = {"binance/api-secret": UnavailableError("no answer")}
    assert run("import", path).code == 8


def test_a_copy_takes_values_kinds_and_tags(run: Cli) -> None:
    """The destination then answers the same; a repeat writes nothing; a dry run neither."""
    target = new_store_url()
    with run.store() as store:
        store.put("db/password", CANARY)
        store.put("tls/key", b"\xff" + CANARY.encode())
        store.set_tags("db/password", {"owner": "ledger"})
    assert run("copy", run.url, target, "--dry-run", "--json").json["counts"] == {"create": 2}
    assert _names(target) == []
    assert run("copy", run.url, target).code == 0
    with library(target) as store:
        assert store.get("db/password").value == SecretValue(CANARY)
        assert store.get("tls/key").value.kind == "binary"
        assert store.describe("db/password").tags == {"owner": "ledger"}
    assert run("copy", run.url, target, "--json").json["counts"] == {"same": 2}
    with library(target) as store:
        assert len(store.versions("db/password")) == 1


def _names(url: str) -> list[str]:
    with library(url) as store:
        return list(store.list_names())


def test_a_copy_takes_what_was_named(run: Cli) -> None:
    """By prefix or by name; a name that the source lacks is told before any write."""
    with run.store() as store:
        for name in ("a/one", "a/two", "b/one"):
            store.put(name, CANARY)
    by_prefix, by_name = new_store_url(), new_store_url()
    assert run("copy", run.url, by_prefix, "--prefix", "a/").code == 0
    assert _names(by_prefix) == ["a/one", "a/two"]
    assert run("copy", run.url, by_name, "b/one", "none").code == 3
    assert _names(by_name) == []
    assert run("copy", run.url, by_name, "b/one").code == 0
    assert _names(by_name) == ["b/one"]
    assert run("copy", run.url, by_name, "b/one", "--prefix", "a").code == 2


def test_a_copy_collides_before_any_write(run: Cli) -> None:
    """As an import does."""
    target = new_store_url()
    with run.store() as source, library(target) as store:
        for name in ("a", "b"):
            source.put(name, CANARY)
        store.put("b", "mine")
    assert run("copy", run.url, target).code == 5
    assert _names(target) == ["b"]
    assert run("copy", run.url, target, "--if-absent").code == 0
    assert _content(target) == {"a": CANARY, "b": "mine"}


def test_a_copy_carries_the_history_unless_told_not_to(run: Cli) -> None:
    """All versions, oldest first; --current-only takes one, and a copy with history then leaves it so."""
    whole, current = new_store_url(), new_store_url()
    with run.store() as source:
        for number in range(3):
            source.put("a", f"{CANARY}{number}")
    copied = run("copy", run.url, whole, "--json").json
    assert (copied["counts"], copied["items"][0]["carries"]) == ({"create": 1}, 3)
    assert run("copy", run.url, current, "--current-only").code == 0
    assert run("copy", run.url, current, "--json").json["counts"] == {"same": 1}
    with library(whole) as all_of_it, library(current) as one:
        assert [len(store.versions("a")) for store in (all_of_it, one)] == [3, 1]
        assert all_of_it.get("a").value == one.get("a").value == SecretValue(f"{CANARY}2")


def test_a_loss_is_told_before_any_write(run: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused whole, shown by a dry run, and left behind where that was allowed."""
    monkeypatch.setattr("strongroom.memory.MemoryBackend.limit", lambda _self, _key: 100)
    with run.store() as source:
        source.put("small", CANARY)
        source._backend.put(Name("large"), SecretValue(CANARY * 9), None)
    target = new_store_url()
    refused = run("copy", run.url, target)
    assert (refused.code, "large, secret" in refused.err, _names(target)) == (2, True, [])
    shown = run("copy", run.url, target, "--dry-run", "--json").json
    assert (shown["counts"], shown["losses"][0]["name"]) == ({"create": 1, "leave": 1}, "large")
    done = run("copy", run.url, target, "--allow-loss")
    assert (done.code, "large" in done.err, _names(target)) == (0, True, ["small"])


def test_a_value_that_changes_during_a_copy_is_not_overwritten(
    run: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan's version guards the write: the name is reported, the newer value stays."""
    target = new_store_url()
    with run.store() as source, library(target) as store:
        source.put("a", CANARY)
        store.put("a", "old")
    put = SecretStore.put

    def racing(self: SecretStore, name: str, value: SecretValue, **kw: object) -> object:
        monkeypatch.setattr(SecretStore, "put", put)
        with library(target) as other:
            other.put("a", "newer")
        return put(self, name, value, **kw)  # type: ignore[arg-type]

    monkeypatch.setattr(SecretStore, "put", racing)
    assert run("copy", run.url, target, "--replace").code == 5
    assert _content(target) == {"a": "newer"}


def test_an_empty_plan_raises_nothing_and_one_failure_is_itself() -> None:
    """`finish` says only what is known."""
    from strongroom.cli import transfer

    conflict = SecretConflictError("taken")
    transfer.finish({}, {}, 0)
    with pytest.raises(SecretConflictError):
        transfer.finish({}, {"a": conflict}, 1)
    with pytest.raises(PartialFailureError):
        transfer.finish({"b": "1"}, {"a": conflict}, 2)
