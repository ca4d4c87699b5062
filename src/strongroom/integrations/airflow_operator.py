"""Operators of Apache Airflow 2 and 3, in an environment of their own: Airflow pins what it stands on.

::

    with DAG("rotation", schedule="*/15 * * * *", catchup=False):
        RotationTickOperator(task_id="due")

    RotateSecretOperator(task_id="now", secret="db/password", retries=10)

The DAG's schedule only says when to look; when a secret is due, strongroom.toml says.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Final

from strongroom.errors import BackendNotInstalledError

from .rotation_work import RotationWork, require_current

try:
    from airflow.sdk import BaseOperator
except ImportError:
    try:
        from airflow.models import BaseOperator
    except ImportError:
        BaseOperator = None
if BaseOperator is None:
    raise BackendNotInstalledError(
        "apache-airflow is not installed", hint="install strongroom in Airflow's own environment"
    )

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_RUNS: Final = uuid.UUID("c1d7b7a6-3a34-5f0c-9b53-2d8f6a1e4c70")
"""The name space of the rotation ids that are made of a task's run."""


class RotationTickOperator(BaseOperator):  # type: ignore[misc]
    """Does all that is due, once; its XCom is each rotation's state, by its id.

    Args:
        config: a strongroom.toml; without one, ``STRONGROOM_CONFIG`` names it.
        limit: how many rotations to begin, and how many to go on with, at most.
    """

    template_fields: Sequence[str] = ("config",)

    def __init__(self, *, config: str | None = None, limit: int = 100, **options: Any):
        super().__init__(**options)
        self.config, self.limit = config, limit

    def execute(self, context: Mapping[str, Any]) -> dict[str, str]:
        """What Airflow calls."""
        return RotationWork(self.config).tick(self.limit)


class RotateSecretOperator(BaseOperator):  # type: ignore[misc]
    """Rotates one secret now, and succeeds once the new value is current; the end of its grace is a tick's.

    Every try of one run is the same rotation: a retry goes on where the one before stopped.

    Args:
        secret: its name, or ``STORE:NAME``.
        config: a strongroom.toml; without one, ``STRONGROOM_CONFIG`` names it.
    """

    template_fields: Sequence[str] = ("secret", "config")

    def __init__(self, *, secret: str, config: str | None = None, **options: Any):
        super().__init__(**options)
        self.secret, self.config = secret, config

    def execute(self, context: Mapping[str, Any]) -> dict[str, str]:
        """What Airflow calls.

        Raises:
            UnavailableError: it is on its way; a retry goes on.
            SecretConflictError: it ended otherwise, or another rotation of the secret is open.
        """
        run = context["ti"]
        which = f"{run.dag_id} {run.run_id} {run.task_id} {run.map_index}"
        rotation_id = str(uuid.uuid5(_RUNS, which))
        entry = require_current(RotationWork(self.config).start(self.secret, rotation_id))
        return {"id": entry.id, "state": entry.state.value}
