"""`strongroom check` of replicas: how far each is behind, and until when it knows what was revoked."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

import strongroom
from strongroom.audit.notekey import create_note_key
from strongroom.memory import MemoryBackend
from strongroom.names import Name, Reserved
from strongroom.replicas import domains, replicas
from strongroom.value import SecretValue
from tests.canary import CANARY
from tests.unit.cli_support import Result
from tests.unit.test_cli_keys import _run

NAME = "db/password"


class Place:
    """A strongroom.toml with a source and a replica of it in memory."""

    def __init__(self, folder: Path):
        self.path, self.urls = folder / "strongroom.toml", {one: uuid.uuid4().hex for one in ("eu", "us")}
        create_note_key(folder / "list.key", "prod/revocations")
        stores = "".join(f'[store.{one}]\nurl = "memory://{url}"\n' for one, url in self.urls.items())
        listed = f'[revocations]\ndomain = "prod"\nstore = "eu"\nsigner = "{folder}/list.key"\n'
        self.path.write_text(f'{stores}{listed}[replica.us]\nsource = "eu"\nrevocable = ["exchange/**"]\n')

    def check(self, *args: str) -> Result:
        return _run("check", *args, "--config", str(self.path))

    def put(self, value: str = CANARY) -> None:
        with strongroom.open("eu", config=self.path) as eu:
            eu.put(NAME, value)

    def sync(self) -> None:
        with replicas(strongroom.config.Config.load(self.path)) as found:
            found["us"].sync()

    @property
    def replica(self) -> MemoryBackend:
        return MemoryBackend._shared[self.urls["us"]]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    for url in made.urls.values():
        MemoryBackend._shared.pop(url, None)


def test_a_replica_that_is_up_needs_nothing(place: Place) -> None:
    """Its names, and until when its own copy of the list is believed."""
    place.put()
    place.sync()
    done = place.check()
    assert done.code == 0, done.out
    assert "replica us of eu: ok; 1 of 1 names as there\n" in done.out
    assert "replica us: its copy of the list of revocations is believed until" in done.out
    [told] = place.check("--json").json["replicas"]
    assert (told["state"], told["in_sync"], told["needs_action"]) == ("ok", 1, False)


def test_a_replica_without_the_list_refuses_what_is_marked(place: Place) -> None:
    """Before somebody asks for it in the night."""
    place.put()
    place.sync()
    place.replica.purge(Reserved("revocations", Name("prod")))
    done = place.check()
    assert done.code == 10
    assert (
        "replica us: it has no copy of the list of revocations; what is marked revocable is refused"
        in done.out
    )


def test_what_waits_for_a_person_is_told(place: Place) -> None:
    """With what to do."""
    place.put()
    place.sync()
    place.replica.put(Name.parse(NAME), SecretValue("somebody's"), None)
    done = place.check()
    assert done.code == 10
    assert "replica us of eu: needs a person; 0 of 1 names as there" in done.out
    assert "strongroom replica adopt" in done.out


def test_a_replica_that_is_not_up_yet_is_behind(place: Place) -> None:
    """Within its max_lag that is nobody's work."""
    place.put()
    place.sync()
    place.put(f"{CANARY} two")
    done = place.check()
    assert (done.code, "replica us of eu: behind; 0 of 1 names as there, 1 writes behind" in done.out) == (
        0,
        True,
    )


def test_a_source_that_another_domain_has_is_told_with_the_replica(place: Place) -> None:
    """The problem of one replica stands in its own line, and the others are looked at."""
    place.put()
    place.sync()
    with domains(strongroom.config.Config.load(place.path)) as found:
        from strongroom.replication.sheet import SHEET_KEY

        found.members["eu"].backend.put(SHEET_KEY, SecretValue("{}"), None)
    done = place.check()
    assert done.code == 10
    assert "replica us of eu: " in done.out
    assert "sheet is damaged" in done.out
