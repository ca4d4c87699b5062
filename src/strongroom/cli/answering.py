"""``put --rotation ID``: the value that a human rotation waits for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from strongroom.errors import InvalidRequestError

from .output import report
from .rotation_running import exit_code
from .rotations import document, engine_of, told

if TYPE_CHECKING:
    from strongroom.value import SecretValue

    from .options import Options


def answer(options: Options, name: str, rotation_id: str, value: SecretValue) -> int:
    """Hand a value to the rotation that waits for it, which goes on at once; its exit code.

    Raises:
        InvalidRequestError: the rotation is another secret's, or the value is the current one.
        SecretNotFoundError: there is no such rotation.
        SecretConflictError: it does not wait.
    """
    from strongroom.rotation.policy import secret_of

    with engine_of(options, judged=False) as engine:
        found, secret = engine.ledger.get(rotation_id), secret_of(engine.policy(name))
        if found.secret != secret:
            problem = f"rotation {rotation_id} is of another secret"
            raise InvalidRequestError(problem, operation="put", name=name, hint=found.secret)
        if options.dry_run:
            said = f"would bring the value that rotation {rotation_id} of {secret} waits for"
            report(options, {**document(found), "dry_run": True}, said)
            return 0
        entry = engine.answer(rotation_id, value)
        report(options, document(entry), told(entry))
        return exit_code(entry)
