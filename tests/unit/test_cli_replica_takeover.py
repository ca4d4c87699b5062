"""``replica takeover`` and ``replica divergence``, over a file that is turned around as its output says."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from click.testing import CliRunner

from strongroom.backend import Stage
from strongroom.cli import replica_takeover
from strongroom.cli.main import cli
from strongroom.cli.replica_turning import turned
from strongroom.errors import PermissionDeniedError
from strongroom.layers.recorded import Recorded
from strongroom.memory import MemoryBackend
from strongroom.names import Key, Name, StoreURL
from strongroom.replication.sheet import NO_TAKEOVER, Sheet, read_sheet, write_sheet
from strongroom.settings import Settings
from strongroom.toml.file import Config
from strongroom.value import SecretValue
from tests.canary import CANARY, assert_no_canary
from tests.unit.cli_support import Result

DB = Name("db/password")


class Drill:
    """Two stores of this process, a file that makes one the other's replica, and the program."""

    def __init__(self, folder: Path):
        self.urls = {alias: f"memory://{uuid.uuid4().hex}-{alias}" for alias in ("eu", "us")}
        self.path, self.folder = folder / "strongroom.toml", folder
        self.turned("eu", "us")

    def turned(self, source: str, replica: str, *, coordinator: bool = True) -> None:
        """The file with this source."""
        stores = "".join(f'{alias} = {{ url = "{url}" }}\n' for alias, url in self.urls.items())
        decides = f'[coordinator]\nurl = "sqlite://{self.folder}/coordinator.db"\n' if coordinator else ""
        told = f'[replica]\n{replica} = {{ source = "{source}", domain = "prod" }}\n'
        self.path.write_text(f"[store]\n{stores}{told}{decides}")

    def backend(self, alias: str) -> MemoryBackend:
        """What the program opens by an alias."""
        return MemoryBackend.from_url(StoreURL.parse(self.urls[alias]), Settings())

    def put(self, alias: str, label: str) -> None:
        """An application writes."""
        Recorded(self.backend(alias), "prod", alias=alias).put(DB, SecretValue(f"{CANARY} {label}"), None)

    def holds(self, alias: str, label: str) -> bool:
        """Whether this value is current there."""
        return self.backend(alias).get(DB, Stage.CURRENT).value.matches(f"{CANARY} {label}")

    def __call__(self, *args: str, shows: bool = False) -> Result:
        argv = ["replica", *args, "--config", str(self.path)]
        done = CliRunner().invoke(cli, argv, prog_name="strongroom")
        assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
        if not shows:
            assert_no_canary(done.stdout + done.stderr)
        return Result(done.exit_code, done.stdout, done.stderr, done.stdout_bytes)


@pytest.fixture
def drill(tmp_path: Path) -> Drill:
    made = Drill(tmp_path)
    made.put("eu", "first")
    assert made("sync").code == 0
    return made


@pytest.fixture
def returned(drill: Drill) -> Drill:
    """The old source has come back with a write that nobody else has, and follows."""
    drill("takeover", "us", "--lost", "--yes")
    _lift_fence(drill)
    drill.put("eu", "lost")
    drill.turned("us", "eu")
    assert drill("sync").code == 0
    return drill


def test_a_takeover_says_what_is_now_and_what_to_write_in_the_file(drill: Drill) -> None:
    """Applications go where the file says: it is turned around by a person."""
    drill.put("eu", "last")
    done = drill("takeover", "us", "--yes")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        "us is the source of prod since epoch 2",
        "eu is fenced",
        "write in strongroom.toml, for applications and for those that replicate:",
        '  [replica.eu] source = "us", domain = "prod"',
    ]
    assert drill.holds("us", "last")
    again = drill("takeover", "us", "--yes", "--json").json
    assert (again["again"], again["epoch"], again["fenced"]) == (True, 2, [])


def test_a_file_that_is_not_turned_around_is_refused_by_the_sheets(drill: Drill) -> None:
    """Nothing is copied over the new source by who has not heard of it."""
    drill("takeover", "us", "--yes")
    done = drill("sync")
    assert (done.code, "us is the source since epoch 2" in done.err) == (4, True)
    drill.turned("us", "eu")
    drill.put("us", "new")
    assert drill("sync").code == 0
    assert drill.holds("eu", "new")


def test_a_takeover_asks_and_takes_no_answer_from_a_pipe(drill: Drill) -> None:
    """A person decides; nothing is changed before."""
    done = drill("takeover", "us")
    assert (done.code, "add --yes" in done.err) == (2, True)
    drill.put("eu", "last")
    assert drill("takeover", "us", "--dry-run").out.splitlines() == [
        "us would be the source under epoch 2, after eu",
        "1 names are not there as eu has them",
        "  db/password",
    ]


def test_a_dry_run_in_json_tells_where_everything_stands(drill: Drill) -> None:
    """For whoever decides by a program."""
    said = drill("takeover", "us", "--dry-run", "--json").json
    assert said == {
        "domain": "prod",
        "member": "us",
        "source": "eu",
        "epoch": 1,
        "becomes": 2,
        "resumes": False,
        "done": False,
        "missing": [],
        "unreachable": {},
        "dry_run": True,
    }


def test_without_a_coordinator_nobody_takes_over(drill: Drill) -> None:
    """An epoch that two can give is none."""
    drill.turned("eu", "us", coordinator=False)
    done = drill("takeover", "us", "--yes")
    assert (done.code, "needs a coordinator" in done.err) == (2, True)


def test_a_wrong_alias_gets_the_right_ones(drill: Drill) -> None:
    """Members of replication only."""
    done = drill("takeover", "su", "--yes")
    assert (done.code, "eu, us" in done.err) == (2, True)


def test_a_replication_that_the_file_does_not_have_cannot_be_drained(drill: Drill) -> None:
    """Back without having been replicated to would go over what the other wrote; --lost says so."""
    drill("takeover", "us", "--yes")
    done = drill("takeover", "eu", "--yes")
    assert (done.code, "the file does not replicate us to eu" in done.err) == (5, True)
    drill.turned("us", "eu")
    assert drill("sync").code == 0
    assert drill("takeover", "eu", "--yes").out.startswith("eu is the source of prod since epoch 3")


def test_a_provider_that_cannot_refuse_writes_is_told_of(drill: Drill) -> None:
    """The takeover stands; only the provider's own refusal is missing."""
    done = drill("takeover", "us", "--yes", "--deny-old")
    assert (done.code, "cannot refuse writes" in done.err) == (2, True)
    assert drill("takeover", "us", "--yes", "--json").json["again"]
    both = drill("takeover", "us", "--deny-old", "--allow-old")
    assert (both.code, "exclude each other" in both.err) == (2, True)


def test_a_provider_that_can_refuses_the_old_source_s_writes_until_it_is_allowed(
    drill: Drill, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the fenced store alone, each name that it has; what could not be refused is said."""
    native = Refusing()
    monkeypatch.setattr(MemoryBackend, "native_replication", lambda _: native)
    assert drill("takeover", "us", "--yes", "--deny-old").code == 0
    assert native.told == [("fence", str(DB))]
    assert drill("takeover", "us", "--yes", "--allow-old").code == 0
    assert native.told[1:] == [("lift", str(DB))]
    native.error = PermissionDeniedError("denied", hint="grant PutResourcePolicy")
    done = drill("takeover", "us", "--yes", "--deny-old")
    assert (done.code, "grant PutResourcePolicy" in done.err) == (8, True)


class Refusing:
    """A provider whose policies can refuse the writes of a secret."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.error: PermissionDeniedError | None = None

    def fence(self, key: Key) -> None:
        """Notes it."""
        self._tell("fence", key)

    def lift(self, key: Key) -> None:
        """Notes it."""
        self._tell("lift", key)

    def _tell(self, what: str, key: Key) -> None:
        if self.error:
            raise self.error
        self.told.append((what, str(key)))


def test_what_the_old_source_had_is_listed_and_told_by_status(returned: Drill) -> None:
    """Names, places, whence and when; no value."""
    status = returned("status")
    assert (status.code, "strongroom replica divergence" in status.out + status.err) == (10, True)
    header, row = returned("divergence").out.splitlines()
    assert header.split() == ["secret", "place", "what", "of", "written", "found", "write"]
    assert row.split()[:4] == ["db/password", "1.2", "value", "eu"]
    [write] = returned("divergence", "db/password", "--json").json["writes"]
    assert (write["origin"], write["report"], write["epoch"], write["deleted"]) == ("eu", "us", 1, False)


def test_a_kept_value_is_printed_as_get_does(returned: Drill) -> None:
    """Into a pipe as it is, with nothing added; so that it can be put again."""
    done = returned("divergence", "db/password", "--value", shows=True)
    assert done.out_bytes == f"{CANARY} lost".encode()
    [write] = returned("divergence", "--json").json["writes"]
    chosen = returned("divergence", "db/password", "--value", "--write", write["write"], shows=True)
    assert chosen.out_bytes == done.out_bytes
    missing = returned("divergence", "db/password", "--value", "--write", "0" * 32)
    assert missing.code == 3


def test_what_a_person_lets_go_is_gone(returned: Drill) -> None:
    """It asks first; afterwards the replica has nothing to tell."""
    assert returned("divergence", "db/password", "--discard").code == 2
    dry = returned("divergence", "db/password", "--discard", "--dry-run")
    assert dry.out == "would let 1 kept writes of db/password go\n"
    done = returned("divergence", "db/password", "--discard", "--yes")
    assert done.out == "let 1 kept writes of db/password go\n"
    assert returned("divergence").out == "no report has a write\n"
    assert returned("status").code == 0


def test_a_source_that_cannot_even_be_opened_keeps_no_takeover_back(drill: Drill) -> None:
    """A lost region takes its folders, its keys and its logins along; --lost says that this is known."""
    drill.urls["eu"] = f"local://{drill.folder}/gone/eu.db"
    drill.turned("eu", "us")
    assert drill("takeover", "us", "--dry-run", "--json").json["missing"] is None
    careful = drill("takeover", "us", "--yes")
    assert (careful.code, "if it is lost, add --lost" in careful.err) == (2, True)
    done = drill("takeover", "us", "--lost", "--yes")
    assert done.out.startswith("us is the source of prod since epoch 2\nwrite in strongroom.toml")
    assert "eu was not asked" in done.err
    assert drill("takeover", "eu", "--lost", "--yes").code == 2


def test_all_that_the_file_has_to_say_otherwise_is_told(tmp_path: Path) -> None:
    """A failover writes to its first member, and a rotation to its store: both name the old source."""
    text = """
        default = "a"
        [store]
        a = { url = "memory://a" }
        b = { url = "memory://b" }
        c = { url = "memory://c" }
        app = { failover = ["a", "c", "b"] }
        other = { failover = ["c", "a"] }
        [replica]
        b = { source = "a", names = ["db/**"], domain = "prod" }
        c = { source = "a", domain = "prod" }
        [rotation.db]
        names = ["db/password"]
        store = "a"
        rotator = "random"
        schedule = { every = "rate(30 days)" }
        """
    (tmp_path / "c.toml").write_text(text)
    assert turned(Config.load(tmp_path / "c.toml"), "b") == [
        'default = "b"',
        '[store.app] failover = ["b", "a", "c"]',
        '[replica.a] source = "b", domain = "prod"',
        '[replica.c] source = "b", domain = "prod"',
        '[rotation.db] store = "b"',
    ]
    assert turned(Config.load(tmp_path / "c.toml"), "a") == []


def test_who_is_asked_is_told_what_the_replica_has_not(drill: Drill, monkeypatch: pytest.MonkeyPatch) -> None:
    """Applications would miss the others from then on."""
    asked: list[str] = []
    monkeypatch.setattr(replica_takeover, "confirmed", lambda _, question, __: asked.append(question))
    drill.path.write_text(drill.path.read_text().replace('source = "eu"', 'source = "eu", names = ["db/**"]'))
    assert drill("takeover", "us").code == 0
    [question] = asked
    assert question.startswith(
        "eu is the source now, takes no more writes then, and is brought over. us would"
    )
    assert question.endswith("under epoch 2. It has only db/**. Make it the source?")


@pytest.mark.parametrize("option", ["--value", "--discard"])
def test_without_a_name_no_value_is_printed_nor_let_go(returned: Drill, option: str) -> None:
    """All at once is nobody's decision."""
    assert returned("divergence", option).code == 2


def _lift_fence(drill: Drill) -> None:
    """The old source as it was behind the partition: it has heard of nothing."""
    store = drill.backend("eu")
    write_sheet(store, Sheet("prod", 1, NO_TAKEOVER, "eu"), read_sheet(store)[1])
