"""Starlette, FastAPI and Jinja themselves, with secrets in them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from jinja2 import Environment, StrictUndefined
from jinja2.sandbox import SandboxedEnvironment
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from strongroom.aio import AsyncSecretStore
from strongroom.backend import Secret
from strongroom.errors import InvalidRequestError, PartialFailureError, SecretStoreError
from strongroom.integrations.fastapi_dependency import secret, secrets
from strongroom.integrations.jinja2_filter import add_secrets
from strongroom.integrations.starlette_lifespan import UNAVAILABLE, lifespan
from strongroom.memory import MemoryBackend
from strongroom.store import SecretStore
from strongroom.testing import FaultyBackend, override
from strongroom.value import SecretValue
from tests.canary import CANARY, assert_no_canary, holds_canary
from tests.pages import ROOT, marked

NAME = "db/password"
REFERENCE = "strongroom://prod/db/password"
PAGE = ROOT / "docs" / "frameworks-web.md"


@pytest.fixture
def backend() -> FaultyBackend:
    backend = FaultyBackend(MemoryBackend())
    with SecretStore(backend.inner) as writing:
        writing.put(NAME, CANARY)
    return backend


@pytest.fixture
def store(backend: FaultyBackend) -> Iterator[SecretStore]:
    store = SecretStore(backend)
    with override(prod=store):
        yield store


class Client:
    """An ASGI server for one application, without sockets: its lifespan, and requests by path."""

    def __init__(self, app: Any):
        self._app = app
        self.state: dict[str, Any] = {}
        self.sent: list[Any] = []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Client]:
        async with self._app.router.lifespan_context(self._app) as state:
            self.state = dict(state)
            yield self

    async def get(self, path: str, accept: str = "text/html") -> tuple[int, str]:
        sent = self.sent = []
        scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": [(b"accept", accept.encode())],
            "state": dict(self.state),
        }

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        await self._app(scope, receive, send)
        return sent[0]["status"], b"".join(part.get("body", b"") for part in sent[1:]).decode()


async def shown(request: Request) -> PlainTextResponse:
    found = await request.state.secrets.get(NAME)
    return PlainTextResponse(f"{found.value} {found.value.matches(CANARY)}")


def starlette(**options: Any) -> Starlette:
    routes = [Route("/", shown)]
    return Starlette(routes=routes, lifespan=lifespan("prod", **options), exception_handlers=UNAVAILABLE)


def test_requests_find_the_store_and_the_own_lifespan_lives_inside_it(store: SecretStore) -> None:
    """What is prefetched is warm when the own lifespan begins; the store is closed at the end."""
    seen: list[object] = []

    @asynccontextmanager
    async def own(app: Any) -> AsyncIterator[dict[str, object]]:
        seen.append(app.state.secrets.is_warm(NAME))
        yield {"own": 1}
        seen.append(app.state.secrets.is_warm(NAME))

    async def main() -> None:
        async with Client(starlette(names=[NAME], inner=own)).running() as client:
            assert client.state["own"] == 1
            assert await client.get("/") == (200, "<SecretValue redacted> True")
            kept = client.state["secrets"]
        with pytest.raises(SecretStoreError):
            await kept.get(NAME)

    asyncio.run(main())
    assert seen == [True, True]


def test_an_application_that_cannot_have_its_secrets_does_not_start(
    store: SecretStore, backend: FaultyBackend
) -> None:
    """Instead of failing each request later."""
    backend.deny()

    async def main() -> None:
        async with Client(starlette(names=[NAME])).running():
            pytest.fail("it has started")

    with pytest.raises(PartialFailureError):
        asyncio.run(main())


def test_an_outage_is_answered_without_detail(store: SecretStore, backend: FaultyBackend) -> None:
    """503, on a debug page's application too; the log has the reason."""

    async def main() -> None:
        app = starlette()
        app.debug = True
        async with Client(app).running() as client:
            backend.unreachable()
            assert await client.get("/") == (503, '{"detail":"Service Unavailable"}')

    asyncio.run(main())


def test_an_event_loop_goes_on_while_a_provider_is_slow(backend: FaultyBackend) -> None:
    """A cached client that is called in a handler, as the SDK's own, stops every other request meanwhile."""

    async def others_run(read: Any) -> bool:
        ran = asyncio.Event()
        asyncio.get_running_loop().call_soon(ran.set)
        await read()
        return ran.is_set()

    async def main() -> None:
        async def blocking() -> None:
            SecretStore(backend).get(NAME)

        assert not await others_run(blocking)
        async with AsyncSecretStore(SecretStore(backend)) as store:
            assert await others_run(lambda: store.get(NAME))

    asyncio.run(main())


def fastapi() -> FastAPI:
    app = FastAPI(lifespan=lifespan("prod"), debug=True)

    @app.get("/one")
    async def one(found: Annotated[Secret, Depends(secret(NAME))]) -> bool:
        return found.value.matches(CANARY)

    @app.get("/plain")
    def plain(found: Annotated[Secret, Depends(secret(NAME))]) -> str:
        return found.version

    @app.get("/all")
    async def every(store: Annotated[AsyncSecretStore, Depends(secrets)]) -> str:
        return (await store.get(NAME)).version

    @app.get("/broken")
    async def broken(found: Annotated[Secret, Depends(secret(NAME))]) -> str:
        password = found.value.reveal_text()
        raise ValueError(len(password))

    @app.get("/whole", response_model=None)
    async def whole(found: Annotated[Secret, Depends(secret(NAME))]) -> Any:
        return found

    return app


def test_dependencies_follow_a_rotation(store: SecretStore) -> None:
    """Where settings that were read at the start would stay as they were; sync endpoints have them too."""

    async def main() -> None:
        app = fastapi()
        async with Client(app).running() as client:
            assert await client.get("/one") == (200, "true")
            first = await client.get("/plain")
            assert await client.get("/all") == first
            store.put(NAME, "DEMO")
            assert await client.get("/one") == (200, "false")
            assert await client.get("/plain") != first
        assert NAME not in str(app.openapi())

    asyncio.run(main())


def test_neither_debug_pages_nor_answers_show_a_value(store: SecretStore) -> None:
    """The page of an endpoint that failed with the password at hand; a secret that is given back whole."""

    async def main() -> None:
        async with Client(fastapi()).running() as client:
            for path in ("/broken", "/whole"):
                with pytest.raises((ValueError, TypeError)) as caught:
                    await client.get(path)
                assert client.sent[0]["status"] == 500
                assert_no_canary(str(caught.value), repr(client.sent))

    asyncio.run(main())


def test_an_outage_of_a_dependency_has_no_detail(store: SecretStore, backend: FaultyBackend) -> None:
    """FastAPI's own form of an error; and a test may put another secret in its place."""

    async def main() -> None:
        app = fastapi()
        async with Client(app).running() as client:
            backend.deny()
            assert await client.get("/one") == (503, '{"detail":"Service Unavailable"}')
            app.dependency_overrides[secret(NAME)] = lambda: Secret(NAME, SecretValue("DEMO"), "1")
            assert await client.get("/one") == (200, "false")

    asyncio.run(main())


def test_an_application_without_the_lifespan_says_so() -> None:
    """A fault of the program, which no answer hides."""
    app = FastAPI()

    @app.get("/")
    async def root(store: Annotated[AsyncSecretStore, Depends(secrets)]) -> str:
        return store.alias

    with pytest.raises(InvalidRequestError, match="has no store"):
        asyncio.run(Client(app).get("/"))


class TestJinja:
    """The filter."""

    def test_a_compiled_template_holds_nothing_and_follows_a_rotation(self, store: SecretStore) -> None:
        """A plain filter is called by the optimizer, and its result stands in the code and in its cache."""
        template = f'{{{{ "{REFERENCE}" | secret }}}}'
        plain, ours = Environment(), Environment()
        plain.filters["secret"] = lambda _: store.get(NAME).value.reveal_text()
        add_secrets(ours, {"prod": store})
        assert holds_canary(plain.compile(template, raw=True))
        assert_no_canary(ours.compile(template, raw=True))
        compiled, called = ours.from_string(template), ours.from_string(f'{{{{ secret("{REFERENCE}") }}}}')
        assert compiled.render() == called.render() == CANARY
        store.put(NAME, "DEMO")
        assert compiled.render() == "DEMO"

    def test_autoescape_and_the_sandbox_hold(self, store: SecretStore) -> None:
        """A value is text like any other, and the function leads to nothing else."""
        environment = SandboxedEnvironment(autoescape=True, undefined=StrictUndefined)
        add_secrets(environment, {"prod": store})
        store.put(NAME, {"a": "<b>"})
        assert environment.from_string(f'{{{{ "{REFERENCE}#/a" | secret }}}}').render() == "&lt;b&gt;"
        with pytest.raises(Exception, match="unsafe"):
            environment.from_string("{{ secret.__globals__ }}").render()

    @pytest.mark.parametrize(
        "text", ["missing", '"plain"', '"strongroom://other/db/password"', '"strongroom://prod/api/key"']
    )
    def test_what_is_not_allowed_is_not_read(
        self, store: SecretStore, backend: FaultyBackend, text: str
    ) -> None:
        """Undefined, no reference, another store, a name outside the patterns."""
        environment = Environment()
        add_secrets(environment, {"prod": store}, names=["db/**"])
        with pytest.raises(InvalidRequestError):
            environment.from_string(f"{{{{ {text} | secret }}}}").render()
        assert not backend.calls


@pytest.mark.parametrize("block", marked("python web", PAGE), ids=lambda block: f"line {block.line}")
def test_the_examples_run(store: SecretStore, block: Any) -> None:
    """Each is at most ten lines, and what it makes serves."""
    assert len([line for line in block.text.splitlines() if line.strip()]) <= 10
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(block.text, str(PAGE), "exec", dont_inherit=True), names)

    async def main() -> None:
        async with Client(names["app"]).running() as client:
            assert (await client.get("/"))[0] == 200

    if "app" in names:
        asyncio.run(main())
