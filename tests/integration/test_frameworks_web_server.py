"""An application of FastAPI under the server that people run it with: uvicorn, and several workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import strongroom
from tests.canary import CANARY
from tests.pages import ROOT
from tests.servers.process import free_port, listens
from tests.session import note

START = 60.0
"""Seconds until a server must listen, or have ended, on the slowest machine."""
APP = """
import os
from typing import Annotated
from fastapi import Depends, FastAPI
from strongroom.backend import Secret
from strongroom.integrations.fastapi_dependency import secret
from strongroom.integrations.starlette_lifespan import lifespan

app = FastAPI(lifespan=lifespan("prod", names=["db/password"]))

@app.get("/")
async def who(password: Annotated[Secret, Depends(secret("db/password"))]) -> dict[str, str]:
    return {"pid": str(os.getpid()), "version": password.version}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An application beside its strongroom.toml and its store, which has no secret yet."""
    (tmp_path / "app.py").write_text(APP)
    url = f"local://{tmp_path}/secrets.db?create=keyset"
    (tmp_path / "strongroom.toml").write_text(f'[store]\nprod = {{ url = "{url}" }}\n')
    strongroom.open(url).close()
    return tmp_path


@contextmanager
def uvicorn(folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    note("servers", name="uvicorn")
    variables = {"STRONGROOM_CONFIG": str(folder / "strongroom.toml"), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "uvicorn", "app:app", "--port", str(port), "--workers", "2"]
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *command],
            cwd=folder,
            env={**os.environ, **variables},
            stdout=log,
            stderr=log,
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def _asked(port: int) -> dict[str, str]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
        found: dict[str, str] = json.load(answer)
    return found


def test_each_worker_has_a_store_of_its_own_and_they_end_cleanly(folder: Path) -> None:
    """Nothing is opened before the workers are there, so that there is nothing to share or to inherit."""
    with strongroom.open(f"local://{folder}/secrets.db") as store:
        version = store.put("db/password", CANARY).id
    port = free_port()
    with uvicorn(folder, port) as server:
        until, workers = time.monotonic() + START, set[str]()
        while len(workers) < 2:
            assert time.monotonic() < until, (folder / "log").read_text()
            if not listens(port):
                continue
            answer = _asked(port)
            assert answer["version"] == version
            workers.add(answer["pid"])
        server.send_signal(signal.SIGTERM)
        assert server.wait(START) in (0, -signal.SIGTERM)
    log = (folder / "log").read_text()
    assert log.count("Application shutdown complete") == 2
    assert CANARY not in log
