"""Runs plain protocol code inside the checker, by deterministic re-execution.

A program is an ordinary function that talks to its provider through a `Port`. To learn its next call, it is
run from the start with the answers it has had so far; the first call beyond them suspends it. So an actor's
whole state is its answers, states stay hashable, and code that a backend really uses (a `Backend` or an SDK
client made of a `Port` under it) is checked as it stands.

`System` makes a checker's model of several programs over one world, with every interleaving of their calls
and, within a budget:
  crash   the program starts again from nothing; the provider's state stays
  lost    the call took effect, the caller gets `Lost` instead of the answer
  late    the caller gets `Lost` at once; the call takes effect at any later moment, or never
Only calls named in `writes` can be lost or late. A program must be deterministic: clocks and random ids come
in from outside.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

W = TypeVar("W", bound=Hashable)


class Call(NamedTuple):
    name: str
    args: tuple[Any, ...]

    def __str__(self) -> str:
        return f"{self.name}({', '.join(map(str, self.args))})"


@dataclass(frozen=True)
class Refused:
    """An answer: the provider did not do it, and said why."""

    why: str
    detail: Hashable = None


@dataclass(frozen=True)
class Lost:
    """An answer: there was none. The call may have taken effect, may yet, or never will."""


class Suspended(BaseException):
    """Unwinds a program at its first unanswered call, past any `except Exception` of the code under test."""


class Port:
    """Answers recorded calls and suspends at the next. `run` counts the crashes before this life."""

    def __init__(self, answers: tuple[Hashable, ...], run: int) -> None:
        self._answers = iter(answers)
        self.run = run
        self.next: Call | None = None

    def call(self, name: str, *args: Hashable) -> Any:
        """The provider's answer, `Refused` or `Lost` included."""
        if self.next is None:
            answer = next(self._answers, self)
            if answer is not self:
                return answer
            self.next = Call(name, args)
        raise Suspended


Program = Callable[[Port], Hashable]


class Actor(NamedTuple):
    """`trail` numbers the answers so far (see `_Script`); a finished actor keeps only its result."""

    run: int
    trail: int
    result: Hashable | None = None


class Budget(NamedTuple):
    """How many faults may still happen, over all actors together."""

    crash: int = 0
    lost: int = 0
    late: int = 0


NO_FAULTS = Budget()


class State(NamedTuple, Generic[W]):
    world: W
    actors: tuple[Actor, ...]
    flying: tuple[tuple[int, Call], ...]
    budget: Budget


class _Script:
    """Memory of one program: every sequence of answers seen gets a number, and is executed once."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._answers: list[tuple[Hashable, ...]] = [()]
        self._children: dict[tuple[int, Hashable], int] = {}
        self._next: dict[tuple[int, int], Call | tuple[Hashable]] = {}

    def extend(self, trail: int, answer: Hashable) -> int:
        child = self._children.setdefault((trail, answer), len(self._answers))
        if child == len(self._answers):
            self._answers.append((*self._answers[trail], answer))
        return child

    def next(self, run: int, trail: int) -> Call | tuple[Hashable]:
        """The call that the program makes after these answers, or a tuple of its result."""
        step = self._next.get((run, trail))
        if step is None:
            step = self._next[run, trail] = self._execute(run, self._answers[trail])
        return step

    def _execute(self, run: int, answers: tuple[Hashable, ...]) -> Call | tuple[Hashable]:
        port = Port(answers, run)
        try:
            result = self._program(port)
        except Suspended:
            result = None
        return (result,) if port.next is None else port.next


@dataclass
class System(Generic[W]):
    """`apply(world, actor, call)` is the provider: the world after the call, and the call's answer.

    An actor whose result is in `again` may be started again at any time, as a scheduler or an operator would
    after an error that says so. Results must not be None.
    """

    name: str
    world: W
    programs: Mapping[str, Program]
    apply: Callable[[W, str, Call], tuple[W, Hashable]]
    writes: frozenset[str]
    invariants: Mapping[str, Callable[[State[W]], bool]]
    goal: Callable[[State[W]], bool] | None = None
    budget: Budget = NO_FAULTS
    again: frozenset[Hashable] = frozenset()
    _scripts: list[_Script] = field(default_factory=list)
    _names: tuple[str, ...] = ()

    def initial(self) -> Iterator[State[W]]:
        self._names = tuple(self.programs)
        self._scripts = [_Script(program) for program in self.programs.values()]
        actors = tuple(self._settle(number, Actor(0, 0)) for number in range(len(self._names)))
        yield State(self.world, actors, (), self.budget)

    def successors(self, state: State[W]) -> Iterator[tuple[str, State[W]]]:
        for number, actor in enumerate(state.actors):
            if actor.result is None:
                yield from self._steps(state, number, actor)
            elif actor.result in self.again:
                yield f"{self._names[number]} starts again", self._with(state, number, Actor(actor.run, 0))
        yield from self._landings(state)

    def results(self, state: State[W]) -> dict[str, Hashable]:
        """What each finished program returned, by its name."""
        actors = zip(self._names, state.actors, strict=True)
        return {name: actor.result for name, actor in actors if actor.result is not None}

    def _steps(self, state: State[W], number: int, actor: Actor) -> Iterator[tuple[str, State[W]]]:
        call = self._scripts[number].next(actor.run, actor.trail)
        assert isinstance(call, Call)
        name, left = self._names[number], state.budget
        world, answer = self.apply(state.world, name, call)
        done = state._replace(world=world)
        yield f"{name}: {call} -> {answer}", self._answered(done, number, actor, answer)
        if call.name in self.writes and left.lost:
            lost = done._replace(budget=left._replace(lost=left.lost - 1))
            yield f"{name}: {call} -> answer lost", self._answered(lost, number, actor, Lost())
        if call.name in self.writes and left.late:
            flying = tuple(sorted((*state.flying, (number, call)), key=repr))
            late = state._replace(flying=flying, budget=left._replace(late=left.late - 1))
            yield f"{name}: {call} -> given up, still in flight", self._answered(late, number, actor, Lost())
        if left.crash:
            crashed = state._replace(budget=left._replace(crash=left.crash - 1))
            yield f"{name}: crashes before {call.name}", self._with(crashed, number, Actor(actor.run + 1, 0))

    def _landings(self, state: State[W]) -> Iterator[tuple[str, State[W]]]:
        for index, (number, call) in enumerate(state.flying):
            world, answer = self.apply(state.world, self._names[number], call)
            flying = state.flying[:index] + state.flying[index + 1 :]
            label = f"(late) {self._names[number]}: {call} -> {answer}"
            yield label, state._replace(world=world, flying=flying)

    def _answered(self, state: State[W], number: int, actor: Actor, answer: Hashable) -> State[W]:
        trail = self._scripts[number].extend(actor.trail, answer)
        return self._with(state, number, actor._replace(trail=trail))

    def _with(self, state: State[W], number: int, actor: Actor) -> State[W]:
        actors = (*state.actors[:number], self._settle(number, actor), *state.actors[number + 1 :])
        return state._replace(actors=actors)

    def _settle(self, number: int, actor: Actor) -> Actor:
        """A finished program forgets how it got there, so that histories with one outcome are one state."""
        step = self._scripts[number].next(actor.run, actor.trail)
        return actor if isinstance(step, Call) else Actor(actor.run, -1, step[0])
