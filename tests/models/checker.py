"""A small explicit-state model checker: breadth first, so the first violation found is a shortest one.

A model names its initial states, the labelled steps out of a state, invariants (must hold in every state
reached) and optionally a goal: from EVERY reachable state some goal state must still be reachable ("a resumed
rotation can go on or end").

What it does not do: fairness, liveness under a scheduler, symmetry or partial-order reduction. A search cut
off by `limit` proves nothing about states beyond it; states whose steps were not followed count as reaching
the goal.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

S = TypeVar("S", bound=Hashable)

RESUMABLE = "resumable"


class Model(Protocol[S]):
    """What the checker needs to know. States are compared and stored by value: hashable, never changed."""

    name: str
    invariants: Mapping[str, Callable[[S], bool]]
    goal: Callable[[S], bool] | None

    def initial(self) -> Iterable[S]: ...

    def successors(self, state: S) -> Iterable[tuple[str, S]]: ...


@dataclass(frozen=True)
class Violation(Generic[S]):
    """The rule that broke, a shortest way there (one label per step), and the state in which it is broken."""

    rule: str
    steps: tuple[str, ...]
    state: S

    def __str__(self) -> str:
        lines = [f"  {number:2}. {label}" for number, label in enumerate(self.steps, 1)]
        return "\n".join([f"violates: {self.rule}", *lines, f"  in: {self.state}"])


@dataclass(frozen=True)
class Report(Generic[S]):
    """`complete` is False if the search stopped at its limit; a violation also stops it."""

    model: str
    states: int
    transitions: int
    complete: bool
    violation: Violation[S] | None

    def __str__(self) -> str:
        extent = "" if self.complete or self.violation else " (cut off by the limit)"
        verdict = "holds" if self.violation is None else str(self.violation)
        return f"[model] {self.model}: {self.states:,} states, {self.transitions:,} steps{extent}: {verdict}"


@dataclass
class _Search(Generic[S]):
    model: Model[S]
    number: dict[S, int] = field(default_factory=dict)
    states: list[S] = field(default_factory=list)
    came: list[tuple[int, str]] = field(default_factory=list)
    edges: list[list[int]] = field(default_factory=list)
    broken: tuple[str, int] | None = None

    def reach(self, state: S, parent: int, label: str) -> int:
        known = self.number.setdefault(state, len(self.states))
        if known == len(self.states):
            self.states.append(state)
            self.came.append((parent, label))
            rule = next((name for name, holds in self.model.invariants.items() if not holds(state)), None)
            if rule is not None and self.broken is None:
                self.broken = rule, known
        return known

    def run(self, limit: int | None) -> Report[S]:
        for state in self.model.initial():
            self.reach(state, -1, "")
        bound = float("inf") if limit is None else limit
        while self.broken is None and len(self.edges) < len(self.states) < bound:
            here = len(self.edges)
            steps = self.model.successors(self.states[here])
            self.edges.append([self.reach(state, here, label) for label, state in steps])
        complete = len(self.edges) == len(self.states)
        if self.broken is None and self.model.goal is not None:
            self.broken = self.stuck(self.model.goal)
        return Report(
            self.model.name, len(self.states), sum(map(len, self.edges)), complete, self.violation()
        )

    def violation(self) -> Violation[S] | None:
        if self.broken is None:
            return None
        rule, number = self.broken
        return Violation(rule, self.path(number), self.states[number])

    def stuck(self, goal: Callable[[S], bool]) -> tuple[str, int] | None:
        """The first state found that reaches no goal state, by walking the steps backwards from the goals."""
        before: list[list[int]] = [[] for _ in self.states]
        for here, targets in enumerate(self.edges):
            for there in targets:
                before[there].append(here)
        good = [number >= len(self.edges) or goal(state) for number, state in enumerate(self.states)]
        frontier = [number for number, is_good in enumerate(good) if is_good]
        while frontier:
            for number in before[frontier.pop()]:
                if not good[number]:
                    good[number] = True
                    frontier.append(number)
        return next(((RESUMABLE, number) for number, is_good in enumerate(good) if not is_good), None)

    def path(self, number: int) -> tuple[str, ...]:
        labels: list[str] = []
        while self.came[number][0] >= 0:
            labels.append(self.came[number][1])
            number = self.came[number][0]
        return tuple(reversed(labels))


def check(model: Model[S], limit: int | None = None) -> Report[S]:
    """Explores `model` breadth first, up to `limit` states, and reports the first violation found.

    The cyclic collector runs seldom meanwhile: it would walk the same millions of states again and again.
    """
    usual = gc.get_threshold()
    gc.set_threshold(100_000, 20, 1_000)
    try:
        return _Search(model).run(limit)
    finally:
        gc.set_threshold(*usual)
