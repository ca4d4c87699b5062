"""`strongroom revoke` and `put --rotation`: what a person does about a leak, or for a rotation that waits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from strongroom.audit.notekey import FileSigner, create_note_key
from strongroom.errors import InvalidRequestError, SecretNotFoundError
from strongroom.revoking import revocations
from strongroom.toml.file import Config, read_text
from tests.canary import CANARY, plaintext
from tests.unit.rotation_cli_support import NAME, Place

LEAKED = ("/revoke", NAME, "--compromised", "--reason", "found in a log", "--yes")


@pytest.fixture
def place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    create_note_key(tmp_path / "list.key", "prod/revocations")
    place.write(more=_list(place))
    return place


def _list(place: Place, max_age: str = "24h") -> str:
    kept = f'file = "{place.folder}/list"\nsigner = "{place.folder}/list.key"\n'
    return f'[revocations]\ndomain = "prod"\n{kept}max_age = "{max_age}"\n'


def said(place: Place, *args: str, code: int = 0) -> dict[str, Any]:
    result = place(*args, "--json")
    assert result.code == code, result.err
    found: dict[str, Any] = json.loads(result.out)
    return found


def test_a_leak_is_answered_by_one_command(place: Place) -> None:
    """The target takes the new value and not the old, the list is signed, and the timeline is printed."""
    with place.store() as store:
        old = store.get(NAME)
    result = place(*LEAKED)
    assert result.code == 0, result.err
    assert place.works()
    assert not place.target.accepts(old.value)
    for word in ("fence:", "replace:", "target: the target refuses it", "store:", "cache:", "list:"):
        assert word in result.out
    assert f"version {old.version} of {NAME} is cut off" in result.out
    with revocations(Config.load(place.folder / "strongroom.toml")) as listed:
        assert listed
        with pytest.raises(SecretNotFoundError, match="found in a log"):
            listed.check(NAME, old.version)


def test_the_json_has_every_step_and_bound(place: Place) -> None:
    """What a script goes by: whether it is complete, and until when the value may work."""
    document = said(place, *LEAKED)
    assert document["complete"]
    assert document["refused"]
    assert document["timeline"][0]["step"] == "fence"
    assert {one["who"] for one in document["bounds"]} == {"replicas and backups", "readers of prod"}
    assert document["worst"] == max(one["until"] for one in document["bounds"])


def test_a_target_that_is_down_leaves_the_secret_unavailable_and_the_repeat_finishes(place: Place) -> None:
    """Exit code 8: nothing could replace the value, nobody is given it, and its target takes it still."""
    with place.store() as store:
        leaked = store.get(NAME).version
    place.down.touch()
    result = place(*LEAKED, "--patience", "0")
    assert result.code == 8, result.err
    again = f"strongroom restore {NAME}, then strongroom revoke {NAME} --compromised --version {leaked}"
    assert f"not finished; repeat: {again}" in result.out
    with place.store() as store, pytest.raises(SecretNotFoundError):
        store.get(NAME)
    place.down.unlink()


def test_a_secret_that_nothing_renews_is_a_persons(place: Place) -> None:
    """Exit code 10: readers are told that there is none, and only a person can end it at its target."""
    with place.store() as store:
        store.put("other/secret", CANARY)
    result = place("/revoke", "other/secret", *LEAKED[2:])
    assert result.code == 10, result.err
    assert "is unavailable until somebody puts a new value" in result.out


def test_a_dry_run_says_what_would_happen_and_does_nothing(place: Place) -> None:
    """By which rotation, or that nothing renews it."""
    assert "would revoke version" in place(*LEAKED, "--dry-run").out
    assert said(place, *LEAKED, "--dry-run")["rotation"] == "db"
    assert not (place.folder / "list").exists()
    with place.store() as store:
        store.put("other/secret", CANARY)
    dry = place("/revoke", "other/secret", "--compromised", "--reason", "x", "--dry-run")
    assert "nothing renews it" in dry.out


@pytest.mark.parametrize(
    "args",
    [
        ("/revoke", NAME),
        ("/revoke", NAME, "--compromised"),
        ("/revoke", NAME, "--reason", "leaked"),
        ("/revoke", NAME, "--compromised", "--reason", "leaked"),
    ],
)
def test_nothing_is_revoked_without_word_reason_and_consent(place: Place, args: tuple[str, ...]) -> None:
    """In a pipe nobody can be asked, so --yes is needed; the value works on."""
    result = place(*args)
    assert result.code == 2
    assert place.works()


def test_an_unknown_secret_is_not_found(place: Place) -> None:
    """Exit code 3, as for every command."""
    assert place("/revoke", "no/such", "--compromised", "--reason", "x", "--yes").code == 3


def test_the_journal_has_one_intent_and_one_outcome_of_it(place: Place) -> None:
    """Under the name of the store and of the version that leaked; its steps have records of their own."""
    folder = place.folder / "audit"
    place.write(more=f'{_list(place)}[audit]\njournal = {{ path = "{folder}" }}\n')
    with place.store() as store:
        version = store.get(NAME).version
    assert place(*LEAKED).code == 0
    shown = said(place, "/audit", "show", "--op", "revoke", "--all")
    events = [(one["phase"], one.get("outcome")) for one in shown["records"]]
    assert events == [("intent", None), ("outcome", "ok")]
    assert {(one["store"], one["version"]) for one in shown["records"]} == {("prod", version)}


def test_check_tells_how_long_the_list_is_believed(place: Place) -> None:
    """Nothing to do while it is young; an action, with what is wrong, once it is not believed."""
    assert "revocations of prod: ok; none yet" in place("/check").out
    place(*LEAKED)
    found = said(place, "/check")["revocations"]
    assert (found["sequence"], found["revoked"], found["needs_action"]) == (1, 1, False)
    assert "1 versions, believed until" in place("/check").out
    (place.folder / "list").write_text("damaged")
    broken = place("/check")
    assert broken.code == 10
    assert "revocations of prod: this is not a signed note" in broken.out


def test_a_failover_is_revoked_where_its_writes_go(place: Place) -> None:
    """By the rotation of its first member, under whatever alias; the other members' copies are told."""
    second = '[store.dr]\nurl = "memory://dr"\n[store.both]\nfailover = ["alias", "dr"]\ncache = false\n'
    place.write(more=f'{_list(place)}{second}[store.alias]\nurl = "{place.url}"\n')
    with place.store() as store:
        old = store.get(NAME)
    document = said(place, *LEAKED, "--store", "both", "--version", f"prod:{old.version}")
    assert document["replacement"]
    assert not place.target.accepts(old.value)
    assert place.works()
    told = {one["who"].removeprefix("readers of ") for one in document["bounds"]}
    assert told == {"prod", "alias", "both", "dr", "replicas and backups"}


def test_a_timer_keeps_the_list_believed(place: Place) -> None:
    """`rotation tick` signs it anew in time, and tells when it cannot, without failing itself."""
    place(*LEAKED)
    signed = (place.folder / "list").read_text()
    assert "signed" not in place("tick").err
    place.write(more=_list(place, max_age="1m"))
    place("/revoke", NAME, *LEAKED[2:])
    issued = (place.folder / "list").read_text().splitlines()[3]
    old = (place.folder / "list").read_text().replace(issued, "2020-01-01T00:00:00Z")
    assert old != signed
    (place.folder / "list").write_text(old)
    result = place("tick")
    assert result.code == 0
    assert "could not be signed" in result.err


HUMAN = """
[rotation.exchange]
names = ["exchange/key"]
rotator = "human"
grace = "2s"
options = { pattern = "CANARY-[0-9a-f]+ [a-z]+" }
"""


@pytest.fixture
def waiting(tmp_path: Path) -> tuple[Place, str]:
    place = Place(tmp_path)
    place.write(more=HUMAN)
    with place.store() as store:
        store.put("exchange/key", f"{CANARY} old")
    started = said(place, "start", "exchange/key", code=10)
    assert started["state"] == "waiting"
    return place, started["id"]


def bring(place: Place, rotation_id: str, text: str, *more: str, name: str = "exchange/key") -> int:
    file = place.folder / "value"
    file.write_text(text)
    return place("/put", name, "--file", str(file), "--rotation", rotation_id, *more).code


def test_what_a_person_brings_is_tested_and_made_current(waiting: tuple[Place, str], tmp_path: Path) -> None:
    """The rotation goes on at once, into the grace of the old one."""
    plaintext(tmp_path / "value", "what a person brings, in a file")
    place, rotation_id = waiting
    assert bring(place, rotation_id, f"{CANARY} new", "--dry-run") == 0
    assert bring(place, rotation_id, f"{CANARY} new") == 0
    with place.store() as store:
        assert store.get("exchange/key").value.matches(f"{CANARY} new")
    assert bring(place, rotation_id, f"{CANARY} third") == 5


def test_an_answer_to_the_wrong_question_is_refused(waiting: tuple[Place, str], tmp_path: Path) -> None:
    """Another secret's name, an unknown rotation, the old value, or a condition of one's own."""
    plaintext(tmp_path / "value", "what a person brings, in a file")
    place, rotation_id = waiting
    assert bring(place, rotation_id, f"{CANARY} new", name=NAME) == 2
    assert bring(place, "5f4d1a30-0000-4000-8000-000000000000", f"{CANARY} new") == 3
    assert bring(place, rotation_id, f"{CANARY} old") == 2
    assert bring(place, rotation_id, f"{CANARY} new", "--if-version", "v1") == 2
    with place.store() as store:
        assert store.get("exchange/key").value.matches(f"{CANARY} old")


STORES = """
[store.prod]
url = "memory://"
[store.dr]
url = "memory://dr"
[store.both]
failover = ["prod", "dr"]
"""
KEY = "prod/revocations+4d2a9d3e+AQ"


def read(text: str) -> Config:
    return read_text(Path("c.toml"), STORES + "[revocations]\n" + text, "")


def test_a_list_is_configured_with_a_place_and_somebody_to_believe() -> None:
    """In a file or a store; with a signer, or with the public keys of who signs elsewhere."""
    entry = read('domain = "prod"\nstore = "prod"\nsigner = "/etc/list.key"\nmax_age = "6h"\n').revocations
    assert entry
    assert (entry.store, entry.signer, entry.max_age.total_seconds()) == ("prod", "/etc/list.key", 21600)
    entry = read(f'domain = "prod"\nfile = "/var/list"\nkeys = ["{KEY}"]\n').revocations
    assert entry
    assert (entry.file, entry.keys) == ("/var/list", (KEY,))
    assert read_text(Path("c.toml"), STORES, "").revocations is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('domain = "prod"\nfile = "/f"\n', "a signer"),
        ('file = "/f"\nsigner = "/k"\n', "domain"),
        ('domain = "prod"\nstore = "prod"\nfile = "/f"\nsigner = "/k"\n', "file"),
        ('domain = "prod"\nstore = "nope"\nsigner = "/k"\n', "no store is called 'nope'"),
        ('domain = "prod"\nstore = "both"\nsigner = "/k"\n', "failover"),
        ('domain = "prod"\nstore = "prod"\nsigner = "kms"\n', "no key is called 'kms'"),
        ('domain = "Prod"\nfile = "/f"\nsigner = "/k"\n', "lower-case"),
    ],
)
def test_a_list_that_cannot_be_is_told_with_its_line(text: str, told: str) -> None:
    """File, line and key, before anything is opened."""
    with pytest.raises(InvalidRequestError, match=rf"c\.toml.*{told}"):
        read(text)


def test_who_only_reads_believes_the_keys_of_the_file(place: Place) -> None:
    """Another machine has the public half, and no signer."""
    place(*LEAKED)
    public = FileSigner.open(place.folder / "list.key").note_key
    text = f'domain = "prod"\nfile = "{place.folder}/list"\nkeys = ["{public}"]\n'
    with revocations(read(text)) as listed:
        assert listed
        found = listed.read()
        assert found
        assert found.revocations[0].name == NAME
