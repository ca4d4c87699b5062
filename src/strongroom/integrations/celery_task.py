"""Rotations as tasks of Celery (``pip install 'strongroom[celery]'``).

::

    rotation_tasks(app)
    app.conf.beat_schedule = {"rotation": {"task": "strongroom.rotation.tick", "schedule": 60.0}}

``strongroom.rotation.tick`` does what is due, ``strongroom.rotation.start`` rotates one secret now,
``strongroom.rotation.advance`` lets one rotation go on. Results are ids and states, never a value.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from strongroom.errors import BackendNotInstalledError, UnavailableError

from .rotation_work import RotationWork

try:
    import celery
except ImportError:
    installed = False
else:
    installed = True
if not installed:
    raise BackendNotInstalledError("celery is not installed", hint="pip install 'strongroom[celery]'")

if TYPE_CHECKING:
    from strongroom.rotation.ledger import Entry

_TASKS: Final = uuid.UUID("0a8f5a0e-4d0e-5f4c-8a1e-7f5d3c9b6e21")
"""The name space of the rotation ids that are made of a task's id."""


class RotationTasks(NamedTuple):
    """The tasks; call them by ``delay`` or by their names.

    Attributes:
        tick: ``()``: each rotation's state, by its id.
        start: ``(secret)``: ``{"id", "state", "due"}``. A task that is delivered twice is one rotation.
        advance: ``(rotation_id)``: the same.
    """

    tick: Any
    start: Any
    advance: Any


def rotation_tasks(app: celery.Celery, work: RotationWork | None = None) -> RotationTasks:
    """Register the tasks with an app.

    What is due later, such as the end of a grace, is left to `tick`: brokers deliver again what they have to
    hold for hours. A ledger or store that does not answer is tried again ten times, up to ten minutes apart.

    Args:
        app: the Celery app.
        work: opens the engine; without it the one of the configuration.
    """
    chosen = work or RotationWork()
    options = {
        "acks_late": True,
        "autoretry_for": (UnavailableError,),
        "retry_backoff": True,
        "retry_backoff_max": 600,
        "max_retries": 10,
        "shared": False,  # every other app of the process would get them, and act on this one's configuration
    }

    @app.task(name="strongroom.rotation.tick", ignore_result=False, shared=False)  # type: ignore[untyped-decorator]
    def tick() -> dict[str, str]:
        return chosen.tick()

    @app.task(name="strongroom.rotation.start", bind=True, **options)  # type: ignore[untyped-decorator]
    def start(self: Any, secret: str) -> dict[str, str]:
        rotation_id = str(uuid.uuid5(_TASKS, str(self.request.id)))
        return _told(chosen.start(secret, rotation_id))

    @app.task(name="strongroom.rotation.advance", **options)  # type: ignore[untyped-decorator]
    def advance(rotation_id: str) -> dict[str, str]:
        return _told(chosen.advance(rotation_id))

    return RotationTasks(tick, start, advance)


def _told(entry: Entry) -> dict[str, str]:
    return {"id": entry.id, "state": entry.state.value, "due": entry.due.isoformat()}
