"""``resource "strongroom_rotation"``: a secret is rotated when the configuration asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar, Final, final

from .blocks import Change, Resource, State
from .places import STORE, alias_of, known
from .problems import Diagnostic, ProblemError
from .reference import identified
from .rotating import Rotating, Subject, subject
from .schema import BOOL, STRING, UNKNOWN, Attribute, Schema, Value, Values

_FACTS: Final = ("rotation_id", "state", "last_rotated_at", "next_due_at")
_IMPORTED: Final = b"imported"


@final
class RotationResource(Resource):
    """Rotates once for each `trigger`; when it is created anew, and when that changes.

    The rotation's id is made of the secret, the trigger and the rotation before, so that an apply that was
    killed and is applied again goes on with the one that it had begun.
    """

    name: ClassVar[str] = "strongroom_rotation"
    schema: ClassVar[Schema] = Schema(
        "Has a secret rotated now, as the [rotation.LABEL] of strongroom.toml says that names it: when it is "
        "created, and each time its trigger changes. Scheduled rotations go on beside it; destroying it "
        "changes nothing but the state.",
        {
            "store": Attribute(STRING, STORE, optional=True, computed=True, replace=True),
            "name": Attribute(STRING, "The secret's name.", required=True, replace=True),
            "trigger": Attribute(STRING, "Any text: another one rotates the secret anew.", optional=True),
            "wait": Attribute(
                BOOL,
                "Carry the rotation on until the new value is current (the default). false only begins it, "
                "for a worker to carry on: strongroom rotation serve, or tick.",
                optional=True,
                computed=True,
            ),
            "id": Attribute(STRING, "The secret as a reference: strongroom://STORE/NAME.", computed=True),
            "policy": Attribute(STRING, "The LABEL of [rotation.LABEL] that names it.", computed=True),
            "rotation_id": Attribute(STRING, "Of the rotation that this resource has begun.", computed=True),
            "state": Attribute(
                STRING, "How far that one is, as `strongroom rotation status` says it.", computed=True
            ),
            "last_rotated_at": Attribute(
                STRING, "When a rotation's value became current last, whoever began it.", computed=True
            ),
            "next_due_at": Attribute(STRING, "When the schedule wants the next one.", computed=True),
        },
    )

    def plan(self, change: Change) -> State:
        """Fails at ``name`` if no [rotation.LABEL] means the secret."""
        wait = change.config["wait"]
        planned = {**change.planned, "wait": True if wait is None else wait}
        if not known(change.config["store"], change.config["name"]):
            unsaid = {} if change.config["store"] else {"store": UNKNOWN}
            later = dict.fromkeys(("id", "policy", *_FACTS), UNKNOWN)
            return State({**planned, **unsaid, **later}, change.private)
        planned["store"] = planned["store"] or alias_of(self.stores, None)
        meant = self._subject(planned)
        planned |= {"id": meant.reference, "policy": meant.policy.label}
        if self._rotates(change):
            planned |= dict.fromkeys(_FACTS, UNKNOWN)
        return State(planned, change.private, tuple(_recorded_only(change)))

    def create(self, change: Change) -> State:
        """Begin the rotation of this trigger and carry it on; what was begun already is gone on with."""
        return self._rotated(change, before="")

    def update(self, change: Change) -> State:
        """Another trigger rotates; anything else changes nothing but the state.

        What the plan knew is told as it was, though a worker may have carried the rotation on since: the next
        read tells it.
        """
        prior = change.prior or {}
        if self._rotates(change):
            before = prior["rotation_id"]
            return self._rotated(change, before=before if isinstance(before, str) else "")
        return State({n: prior[n] if value is UNKNOWN else value for n, value in change.planned.items()})

    def read(self, values: Values, private: bytes) -> State | None:
        """From the ledger alone; neither store nor target is asked."""
        found = subject(self.stores, values)
        if isinstance(found, Diagnostic):  # nothing can be told; a plan says why, a destroy goes on
            return State(values, private)
        with self._rotating(values) as rotating:
            facts = rotating.facts(values["rotation_id"])
        told = {"id": found.reference, "policy": found.policy.label}
        return State({**values, **told, **facts}, private)

    def delete(self, values: Values, private: bytes) -> None:
        """The state forgets; a rotation that is open is carried on by whoever does so."""

    def bring(self, identity: str) -> State:
        """By ``STORE/NAME`` or its reference. The first apply records the trigger, and rotates nothing."""
        store, name = identified(identity)
        values: Values = {**dict.fromkeys(self.schema.attributes), "store": store, "name": name}
        self._subject(values)
        return State({**values, "wait": True}, _IMPORTED)

    def _rotated(self, change: Change, before: str) -> State:
        planned, trigger = change.planned, change.planned["trigger"]
        with self._rotating(planned) as rotating:
            entry, warnings = rotating.rotate(before, str(trigger or ""), wait=bool(planned["wait"]))
            return State({**planned, **rotating.facts(entry.id)}, warnings=warnings)

    @staticmethod
    def _rotates(change: Change) -> bool:
        if change.prior is None:
            return True
        return change.planned["trigger"] != change.prior["trigger"] and change.private != _IMPORTED

    def _subject(self, values: Values) -> Subject:
        found = subject(self.stores, values)
        if isinstance(found, Diagnostic):
            raise ProblemError(found)
        return found

    @contextmanager
    def _rotating(self, values: Values) -> Iterator[Rotating]:
        with Rotating.opened(self.stores, self._subject(values)) as rotating:
            yield rotating


def _recorded_only(change: Change) -> Iterator[Diagnostic]:
    prior: Value = (change.prior or {}).get("trigger")
    if change.private == _IMPORTED and change.planned["trigger"] != prior:
        summary = "the trigger of a rotation that was imported is only recorded"
        yield Diagnostic(
            summary, "nothing is rotated before it changes once more", ("trigger",), warning=True
        )
