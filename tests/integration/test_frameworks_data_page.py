"""The snippets of the page on data frameworks run, on real servers, and are as short as they claim."""

from __future__ import annotations

import ast
import asyncio
import inspect
import types
from collections.abc import Iterator
from typing import Any

import keyring.core
import pytest

import strongroom
from strongroom.testing import override
from tests.pages import ROOT, blocks, marked
from tests.servers.postgres import Postgres
from tests.servers.redis import Redis

PAGE = ROOT / "docs" / "frameworks-data.md"
LINES = 10


@pytest.fixture
def places(redis_server: Redis, postgres_server: Postgres) -> Iterator[dict[str, str]]:
    """The page's places, and where they are here; the store has what the page reads."""
    user, role = redis_server.new_user("DEMO"), postgres_server.new_role("DEMO")
    with strongroom.open("memory://") as store, override(prod=store):
        for name in ("redis/password", "db/password", "pypi/token"):
            store.put(name, "DEMO")
        store.put("db/login", {"username": "app", "password": "DEMO"})
        yield {
            'username="app"': f'username="{user}"',
            '"cache.example.net"': f'"127.0.0.1", {redis_server.port}',
            "redis://cache.example.net/0": f"redis://127.0.0.1:{redis_server.port}/0",
            "app@db.example.net/app": f"{role}@127.0.0.1:{postgres_server.port}/postgres",
        }


def _replaced(text: str, places: dict[str, str]) -> str:
    for example, real in places.items():
        text = text.replace(example, real)
    return text


def test_the_snippets_run(places: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each on its own; Celery's sends a task too."""
    monkeypatch.setattr(keyring.core, "_keyring_backend", None)
    for block in marked("python data", PAGE):
        names: dict[str, Any] = {"__name__": "example"}
        exec(_replaced(block.text, places), names)
        if "client" in names:
            names["client"].close()
        if "app" in names:
            names["app"].connection_for_write().ensure_connection(max_retries=1).release()
            names["app"].close()


def test_the_asyncio_snippets_run(places: dict[str, str]) -> None:
    """With `await` at the top, as in an asyncio console."""
    for block in marked("python data asyncio", PAGE):
        flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        code = compile(_replaced(block.text, places), str(PAGE), "exec", flags)
        running = types.FunctionType(code, {"__name__": "example"})()
        assert inspect.iscoroutine(running)
        asyncio.run(running)


def test_each_snippet_is_short() -> None:
    """At most ten lines, without blank ones."""
    snippets = [block for block in blocks(PAGE) if block.language == "python"]
    assert len(snippets) == 5
    for block in snippets:
        assert len([line for line in block.text.splitlines() if line.strip()]) <= LINES, block.line
