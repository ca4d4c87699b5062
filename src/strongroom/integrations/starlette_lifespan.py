"""A store that lives as long as an application of Starlette (``pip install 'strongroom[starlette]'``).

::

    app = Starlette(lifespan=lifespan("prod", names=["db/password"]), exception_handlers=UNAVAILABLE)

Requests find an ``AsyncSecretStore`` as ``request.state.secrets``.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from strongroom.aio import AsyncSecretStore
from strongroom.config import open as open_store
from strongroom.errors import BackendNotInstalledError, SecretStoreError

try:
    from starlette.requests import HTTPConnection
    from starlette.responses import JSONResponse
except ImportError:
    installed = False
else:
    installed = True
if not installed:
    raise BackendNotInstalledError("starlette is not installed", hint="pip install 'strongroom[starlette]'")

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from contextlib import AbstractAsyncContextManager

_log = logging.getLogger(__name__)


def lifespan(
    target: str | None = None,
    *,
    names: Iterable[str] = (),
    inner: Callable[[Any], AbstractAsyncContextManager[Any]] | None = None,
) -> Callable[[Any], AbstractAsyncContextManager[dict[str, Any]]]:
    """What ``Starlette(lifespan=...)`` and ``FastAPI(lifespan=...)`` take: a store, open while they serve.

    It is opened in the process that serves, so each of several workers has its own. While it is open,
    requests have it as ``request.state.secrets``, and the application as ``app.state.secrets``.

    Args:
        target: alias or URL, as of ``strongroom.open``.
        names: what is read at the start; an application that cannot have it does not start.
        inner: the application's own lifespan. It is entered when the store is open,
            and left before it closes.
    """
    wanted = list(names)

    @asynccontextmanager
    async def opened(app: Any) -> AsyncIterator[dict[str, Any]]:
        store = await asyncio.to_thread(open_store, target)
        async with AsyncSecretStore(store) as secrets:
            await secrets.prefetch(wanted)
            app.state.secrets = secrets
            if inner is None:
                yield {"secrets": secrets}
            else:
                async with inner(app) as state:
                    yield {**(state or {}), "secrets": secrets}

    return opened


async def unavailable(_request: HTTPConnection, error: Exception) -> JSONResponse:
    """An answer for what a store could not give: 503, and nothing of why; that stands in the log."""
    told(error)
    return JSONResponse({"detail": "Service Unavailable"}, 503)


def told(error: Exception) -> None:
    """Log what a request could not have; errors of a store hold no value."""
    _log.error("a request could not have its secret: %s: %s", type(error).__name__, error)


UNAVAILABLE: Final[dict[Any, Any]] = {SecretStoreError: unavailable}
"""For ``exception_handlers`` of Starlette and FastAPI."""
