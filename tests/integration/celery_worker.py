"""An app for a worker process of its own: `celery -A tests.integration.celery_worker worker`."""

from __future__ import annotations

import os

import celery

import strongroom
from strongroom.integrations.celery_app import broker_login, result_login

_LOGIN = {"username": os.environ["REDIS_USER"]}

app = celery.Celery("shop", broker=os.environ["REDIS_URL"], backend=os.environ["REDIS_URL"])
app.conf.update(
    task_default_queue=os.environ["REDIS_USER"],
    broker_connection_retry_on_startup=True,
    broker_transport_options={"polling_interval": 0.05},
)
store = strongroom.open(os.environ["STORE"])
store.prefetch(["redis/password", "app/answer"])  # before the fork: the child must not have it from here
_loaded = os.getpid()
broker_login(app, store, "redis/password", **_LOGIN)
result_login(app, store, "redis/password", **_LOGIN)


@app.task(name="shop.told")  # type: ignore[untyped-decorator]
def told() -> dict[str, bool]:
    """Whether this is a forked child, what it has of the store, and whether it can read it."""
    warm = store.is_warm("app/answer")
    read = store.get("app/answer").value.matches("DEMO")
    return {"forked": os.getpid() != _loaded, "warm": warm, "read": read}
