"""The coordinator in PostgreSQL, for all processes that reach one database."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any, Final

from .errors import SecretConflictError
from .lease import Coordinator, Lease
from .postgres import Login, Postgres

if TYPE_CHECKING:
    from .clock import Clock

_TABLE: Final = "strongroom_lease"
_SCHEMA: Final = f"""CREATE TABLE {_TABLE} (
    resource TEXT PRIMARY KEY, fence BIGINT NOT NULL, expires DOUBLE PRECISION NOT NULL,
    holder TEXT NOT NULL, recorded TEXT)"""


class PostgresCoordinator(Coordinator):
    """Coordinates all processes that reach a PostgreSQL database, by that database's clock.

    A fail-over to an asynchronous standby may give a fence again: use a synchronous one.

    Args:
        login: how to reach the database. The table is made when missing, in the schema ``public``.
        clock: in tests, instead of the database's.
    """

    def __init__(self, login: Login, clock: Clock | None = None):
        self._database = Postgres(login, _SCHEMA, _TABLE, "the coordinator's database")
        self._clock = clock

    def acquire(self, resource: str, seconds: float) -> Lease | None:
        holder, now = uuid.uuid4().hex, self._now()
        rows = self._run(  # a repeat after a lost answer finds the lease that its first run took
            """INSERT INTO strongroom_lease AS l (resource, fence, expires, holder) VALUES (%s, 1, %s, %s)
            ON CONFLICT (resource) DO UPDATE SET holder = excluded.holder, expires = excluded.expires,
            fence = l.fence + CASE WHEN l.holder = excluded.holder THEN 0 ELSE 1 END
            WHERE l.expires <= %s OR l.holder = excluded.holder RETURNING fence""",
            (resource, now + seconds, holder, now),
        )
        return Lease(resource, rows[0][0], now + seconds, holder) if rows else None

    def seconds_left(self, lease: Lease) -> float:
        return lease.expires - self._now()

    def release(self, lease: Lease) -> None:
        self._run(
            "UPDATE strongroom_lease SET expires = 0 WHERE resource = %s AND holder = %s",
            (lease.resource, lease.holder),
        )

    def recorded(self, resource: str) -> str | None:
        rows = self._run("SELECT recorded FROM strongroom_lease WHERE resource = %s", (resource,))
        return rows[0][0] if rows else None

    def record(self, lease: Lease, text: str) -> None:
        rows = self._run(
            """UPDATE strongroom_lease SET recorded = %s
            WHERE resource = %s AND fence = %s AND holder = %s RETURNING 1""",
            (text, lease.resource, lease.fence, lease.holder),
        )
        if not rows:
            raise SecretConflictError("the lease was overtaken", hint="stop; another holder writes now")

    def after_fork(self) -> None:
        self._database.renew()

    def close(self) -> None:
        self._database.close()

    def _now(self) -> float:
        if self._clock:
            return self._clock.now().timestamp()
        return float(self._run("SELECT extract(epoch FROM clock_timestamp())", ())[0][0])

    def _run(self, statement: str, values: tuple[Any, ...]) -> list[Any]:
        def work(cursor: Any) -> list[Any]:
            found = cursor.execute(statement, values)
            return list(found.fetchall()) if found.description else []

        return self._database.transact(work)
