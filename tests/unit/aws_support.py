"""A strict AWS with the backend under test in front of it, and a clock on which waiting takes no time."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

from strongroom.backend import Backend, SecretVersion, Settings, Stage
from strongroom.errors import SecretConflictError, SecretNotFoundError, SecretStoreError
from strongroom.layers.edge import edge
from strongroom.names import Name, StoreURL
from strongroom.testing.clock import FakeClock
from strongroom.value import SecretValue
from strongroom_aws.secrets_manager import SecretsManager
from tests.canary import CANARY
from tests.unit.strict_aws_support import REGION, Aws

KEY = Name.parse("db/password")
FULL = "prod/db/password"


def value(label: str) -> SecretValue:
    """A secret text value."""
    return SecretValue(f"{CANARY} {label}")


def backend(aws: Aws, region: str = REGION, **settings: Any) -> Backend:
    """The backend in front of a strict AWS, as a process of its own would open it."""
    clock = FakeClock()
    # The double's clock, by which AWS says when a deletion happened, shall agree with the process's.
    aws.now[0] = clock.now().timestamp()
    url = StoreURL.parse(f"aws-sm://{region}/prod?endpoint={aws.server.url}")
    return edge(SecretsManager.from_url(url, Settings(clock=clock, **settings)))


def next_process(aws: Aws, **settings: Any) -> Backend:
    """Another process's backend: it knows nothing of the others; only the SDK's slow client is shared."""
    store = backend(aws, **settings)
    client = store.inner._client  # type: ignore[attr-defined]
    if REGION not in aws.sdks:
        aws.sdks[REGION] = client._connected()
    client._sdk = aws.sdks[REGION]
    return store


def shown(store: Backend, key: Name = KEY, stage: Stage = Stage.CURRENT) -> str:
    """The label of what is current."""
    return store.get(key, stage).value.reveal_text().removeprefix(f"{CANARY} ")


def rotation() -> str:
    """A new rotation id."""
    return str(uuid.uuid4())


def outcome(call: Callable[[], Any]) -> str:
    """``ok``, ``conflict``, ``missing``, or for other errors what is known of the effect."""
    try:
        call()
    except SecretConflictError:
        return "conflict"
    except SecretNotFoundError:
        return "missing"
    except SecretStoreError as error:
        return {True: "performed", False: "not performed", None: "unknown"}[error.performed]
    return "ok"


def put_first(store: Backend, label: str = "old") -> SecretVersion:
    """The first version."""
    return store.put(KEY, value(label), None)
