"""Lives of blocks without Terraform: asked in the order, and held to the rules, that it has."""

from __future__ import annotations

from dataclasses import dataclass, field

from strongroom_terraform.blocks import Block, Change, Resource, State
from strongroom_terraform.problems import Diagnostic, ProblemError
from strongroom_terraform.schema import UNKNOWN, Value, Values


def configured(block: Block, said: Values) -> Values:
    """A configuration as the provider gets it: what is not said is None."""
    assert said.keys() <= block.schema.attributes.keys()
    return {**dict.fromkeys(block.schema.attributes), **said}


def told(error: ProblemError) -> list[tuple[str, tuple[str | int, ...]]]:
    """The summaries of an error's diagnostics, and what they blame."""
    return [(one.summary, one.path) for one in error.diagnostics]


@dataclass
class Life:
    """One object of a resource, and its state; every apply begins with a read, as Terraform's does."""

    resource: Resource
    state: State | None = None
    warnings: list[Diagnostic] = field(default_factory=list)

    def plan(self, said: Values) -> Change:
        """What an apply would be given, but with the planned values; of another object if it is replaced."""
        if self.state:
            self.state = self.resource.read(self.state.values, self.state.private)
        change = self._planned(said, self.state)
        if change.prior and any(
            attribute.replace and change.planned[name] != change.prior[name]
            for name, attribute in self.resource.schema.attributes.items()
        ):
            return self._planned(said, None)
        return change

    def is_empty(self, said: Values) -> bool:
        """Whether a plan changes nothing."""
        change = self.plan(said)
        return change.prior is not None and change.planned == change.prior

    def apply(self, said: Values, known: Values | None = None) -> Values:
        """Plan and apply; `known` is what the configuration says of what the plan did not know."""
        change = self.plan(said)
        if change.prior is not None and change.planned == change.prior:
            return change.planned
        if change.prior is None and self.state:
            self.resource.delete(self.state.values, self.state.private)
            self.state = None
        learned = {**said, **(known or {})}
        planned = {name: learned.get(name, value) for name, value in change.planned.items()}
        change = Change(configured(self.resource, learned), change.prior, planned, change.private)
        made = self.resource.create(change) if change.prior is None else self.resource.update(change)
        _check(planned, made.values)
        self.state = made
        self.warnings += made.warnings
        return made.values

    def bring(self, identity: str) -> Values:
        """Import it, and read it."""
        brought = self.resource.bring(identity)
        self.state = self.resource.read(brought.values, brought.private)
        assert self.state
        return self.state.values

    def _planned(self, said: Values, prior: State | None) -> Change:
        config = configured(self.resource, said)
        before = prior.values if prior else dict.fromkeys(config)
        offered: Values = {
            name: before[name] if attribute.computed and config[name] is None else config[name]
            for name, attribute in self.resource.schema.attributes.items()
        }
        change = Change(config, prior.values if prior else None, offered, prior.private if prior else b"")
        planned = self.resource.plan(change)
        self.warnings += planned.warnings
        return Change(config, change.prior, planned.values, planned.private)


def _check(planned: Values, made: Values) -> None:
    """As Terraform does: what was planned is what comes, and nothing stays unknown."""
    assert planned.keys() == made.keys()
    wrong = {name for name, value in planned.items() if not _agrees(value, made[name])}
    assert not wrong, f"inconsistent result after apply: {wrong}"


def _agrees(planned: Value, made: Value) -> bool:
    return made is not UNKNOWN and (planned is UNKNOWN or planned == made)
