"""Secrets as dependencies of FastAPI (``pip install 'strongroom[fastapi]'``).

::

    app = FastAPI(lifespan=lifespan("prod"))

    @app.get("/orders")
    async def orders(password: Annotated[Secret, Depends(secret("db/password"))]) -> list[Order]: ...

The lifespan is ``strongroom.integrations.starlette_lifespan``'s.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from strongroom.aio import AsyncSecretStore
from strongroom.backend import Secret
from strongroom.errors import BackendNotInstalledError, InvalidRequestError, SecretStoreError

try:
    from fastapi import HTTPException
    from fastapi.requests import HTTPConnection
except ImportError:
    installed = False
else:
    installed = True
if not installed:
    raise BackendNotInstalledError("fastapi is not installed", hint="pip install 'strongroom[fastapi]'")

from .starlette_lifespan import told

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def secrets(connection: HTTPConnection) -> AsyncSecretStore:
    """The application's store: ``Annotated[AsyncSecretStore, Depends(secrets)]``.

    Raises:
        InvalidRequestError: the application has no store.
    """
    store = getattr(connection.state, "secrets", None)
    if not isinstance(store, AsyncSecretStore):
        raise InvalidRequestError(
            "the application has no store", hint="write FastAPI(lifespan=lifespan('prod'))"
        )
    return store


@functools.cache
def secret(name: str) -> Callable[[HTTPConnection], Awaitable[Secret]]:
    """One secret, as it is current: ``Annotated[Secret, Depends(secret("db/password"))]``.

    A warm one costs a request no wait. What the store does not give is answered by 503 with no detail, and
    logged. The same name gives the same dependency, for ``app.dependency_overrides``.
    """

    async def read(connection: HTTPConnection) -> Secret:
        try:
            return await secrets(connection).get(name)
        except SecretStoreError as error:
            told(error)
        raise HTTPException(503)

    return read
