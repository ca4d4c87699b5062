"""The token store's writes, as shipped, between any two calls: what bears a secret's name, what is kept."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Hashable
from functools import lru_cache
from typing import Any

import pytest

from strongroom.errors import UnavailableError
from strongroom.guarded import Guard
from strongroom.value import SecretValue
from strongroom_pkcs11 import _entries
from strongroom_pkcs11._mark import Mark, older_label
from tests.models.checker import check
from tests.models.guarded import write_ids
from tests.models.replay import Budget, Call, Port, Program, State, Suspended, System
from tests.models.spaces import explored, faults
from tests.models.token import KEEP, NAME, PATH, WRITES, ModelVersions, World, apply

FOREIGN = b"theirs"


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store tells of every rename that failed, in every state; and a salt would make each run another."""
    caplog.set_level(logging.CRITICAL, "strongroom_pkcs11._versions")
    monkeypatch.setattr("strongroom_pkcs11._versions.os.urandom", bytes)


def writer(who: str) -> Program:
    """One put without a coordinator, whatever is there."""

    def act(port: Port) -> str:
        with write_ids(who, port.run):
            versions = ModelVersions(port)
            guard = Guard(versions, versions._settings, str)
            try:
                return guard.put(NAME, SecretValue(who + "'" * port.run), None, None).id
            except UnavailableError as error:
                return "nothing" if error.performed is False else "unknown"

    return act


def console(port: Port) -> str:
    """Another program makes an object of the secret's name."""
    port.call("create", PATH, "", b"", FOREIGN)
    return "ok"


def after(world: World, *programs: Program) -> World:
    """The token once these have run, one after the other and undisturbed."""
    for program in programs:
        answers: tuple[Hashable, ...] = ()
        while (call := _next(program, answers)) is not None:
            world, answer = apply(world, "", call)
            answers = (*answers, answer)
    return world


def _next(program: Program, answers: tuple[Hashable, ...]) -> Call | None:
    port = Port(answers, 0)
    with contextlib.suppress(Suspended):
        program(port)
    return port.next


def never_nothing(state: State[World]) -> bool:
    """Whatever moment another program chooses to look."""
    return bool(state.world.bearing)


def the_newest_is_shown(state: State[World]) -> bool:
    """The newest version is never renamed, and never destroyed."""
    newest = state.world.ours[-1].version
    return newest in [found.mark.version for found in state.world.bearing if found.mark]


def one_is_left(budget: Budget) -> Callable[[State[World]], bool]:
    """At rest one version bears the name, and no more are kept than should be; a dead writer's rest stays."""

    def holds(state: State[World]) -> bool:
        if state.flying or any(actor.result is None for actor in state.actors):
            return True
        if state.budget == budget:
            ours = [found for found in state.world.bearing if found.mark]
            return len(ours) == 1 and len(state.world.ours) <= KEEP
        return True

    return holds


def the_next_writer_tidies(state: State[World]) -> bool:
    """Whatever is left: after one more write only its value bears the name."""
    if state.flying or any(actor.result is None for actor in state.actors):
        return True
    return _tidied(state.world)


@lru_cache(None)
def _tidied(world: World) -> bool:
    world = after(world, writer("last"))
    return [found.value for found in world.bearing] == [b"last"] and len(world.objects) <= KEEP


BEFORE = after(World(), writer("one"), writer("two"))
CASES: dict[str, tuple[dict[str, Program], Budget]] = {
    "two writers": ({"a": writer("a"), "b": writer("b")}, faults(1, 0, 0, small=(0, 0, 0))),
    "two writers, late calls": ({"a": writer("a"), "b": writer("b")}, faults(0, 1, 1, small=(0, 0, 0))),
    "a writer and a console": ({"a": writer("a"), "console": console}, faults(1, 1, 1, small=(1, 0, 1))),
}  # fmt: skip


def model(name: str, programs: dict[str, Program], budget: Budget) -> System[World]:
    """With all rules."""
    system = System(f"token/{name}", BEFORE, programs, apply, WRITES, {}, None, budget)
    system.invariants = {
        "something bears the name": never_nothing,
        "the newest version bears the name": the_newest_is_shown,
        "one is left": one_is_left(budget),
        "the next writer tidies": the_next_writer_tidies,
    }
    return system


@pytest.mark.parametrize("case", CASES)
def test_writers_keep_the_rules(case: str) -> None:
    """`_versions.py` and `_entries.py` as shipped."""
    report = explored(check(model(case, *CASES[case])))
    assert report.violation is None, report
    assert report.complete


def test_the_checker_catches_who_renames_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the other order there is a moment without the secret."""
    create = _entries.create

    def renamed_first(session: Any, mark: Mark, value: SecretValue) -> None:
        for entry in _entries.bearers(session, PATH):
            entry.rename(older_label(PATH, entry.version))
        create(session, mark, value)

    monkeypatch.setattr(_entries, "create", renamed_first)
    violation = check(model("renames first", {"a": writer("a")}, Budget())).violation
    assert violation is not None
    assert violation.rule == "something bears the name", violation


def test_the_checker_catches_who_does_not_look_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a writer tidied by what it saw before its write, two at once would leave two of the name."""
    seen: dict[int, list[_entries.Entry]] = {}
    bearers = _entries.bearers

    def remembered(session: Any, path: str) -> list[_entries.Entry]:
        found = bearers(session, path)
        seen.setdefault(id(session.port), found)
        return found

    def by_memory(session: Any, path: str, keep: int) -> None:
        for entry in seen.pop(id(session.port), []):
            entry.rename(older_label(path, entry.version))

    monkeypatch.setattr(_entries, "bearers", remembered)
    monkeypatch.setattr(_entries, "tidy", by_memory)
    programs = {"a": writer("a"), "b": writer("b")}
    violation = check(model("tidies by memory", programs, Budget())).violation
    assert violation is not None
    assert violation.rule in ("one is left", "the newest version bears the name"), violation
