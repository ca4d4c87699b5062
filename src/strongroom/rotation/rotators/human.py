"""Credentials that only a person can renew, such as API keys behind an exchange's web page.

The rotation waits, and is overdue when its deadline passes; the value comes in by
``strongroom put NAME --rotation ID`` and then goes the way of every other: tested, promoted, in grace. What
the old credential still opens, the person ends at the same page.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NoReturn

from strongroom.errors import InvalidRequestError
from strongroom.rotation.fields import fields
from strongroom.rotation.rotator import Rotator, WaitingForHumanError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from strongroom.rotation.rotator import Rotation
    from strongroom.value import SecretValue


class HumanRotator(Rotator):
    """Asks a person. Override `test_secret`, `revoke_secret` and `probes` where the target can be reached.

    Args:
        instructions: what to do, printed by ``rotation status``; a link to a page, never a credential.
        fields: the names that the value, a JSON object, must hold, each with text: ``["key", "secret"]``.
        pattern: a regular expression that the whole value must match, of a value that is plain text.

    Raises:
        InvalidRequestError: the pattern is none, or both are given.
    """

    slots = "human"
    probes = False

    def __init__(self, *, instructions: str = "", fields: Sequence[str] = (), pattern: str | None = None):
        if fields and pattern:
            raise InvalidRequestError("a value has fields or matches a pattern, not both")
        self.instructions, self._fields, self._pattern = instructions, tuple(fields), _compiled(pattern)

    def create_secret(self, r: Rotation) -> NoReturn:
        """Ask: the rotation waits for `Engine.answer`, at most as long as its policy's deadline says.

        Raises:
            WaitingForHumanError: always.
        """
        hint = self.instructions or f"make a new one, then: strongroom put {r.name} --rotation {r.id}"
        raise WaitingForHumanError("a person has to bring the value", name=r.name, hint=hint)

    def test_secret(self, r: Rotation, value: SecretValue) -> None:
        """Return if the value has the form that it must have, and is another than the current one.

        Raises:
            InvalidRequestError: it has not, or nothing was renewed.
        """
        if r.current is not None and r.pending is not None and r.pending.matches(r.current):
            raise InvalidRequestError("this is the current value", hint="make a new one at the target first")
        lacking = self._lacking(value)
        if lacking:
            raise InvalidRequestError(f"the value lacks {lacking}", hint="bring it again")

    def _lacking(self, value: SecretValue) -> str:
        """What is missing, by name; no word of the value."""
        if self._pattern is not None:
            return "" if self._pattern.fullmatch(value.reveal()) else "the form that its pattern states"
        found = fields(value) if self._fields else {}
        missing = [
            field for field in self._fields if not isinstance(found.get(field), str) or not found[field]
        ]
        return ", ".join(missing) if missing else "" if value.reveal() else "everything: it is empty"


def _compiled(pattern: str | None) -> re.Pattern[bytes] | None:
    try:
        return re.compile(pattern.encode()) if pattern else None
    except re.error:
        pass
    raise InvalidRequestError("the pattern is no regular expression")
