"""Running the command line in this process, against a memory store that outlives a call."""

from __future__ import annotations

import itertools
import json
import os
from dataclasses import dataclass
from typing import Any

from click.testing import CliRunner

import strongroom.config  # noqa: F401  (it must not be loaded while a test has doubles in place of its imports)
from strongroom.cli.main import cli
from strongroom.names import StoreURL
from strongroom.store import SecretStore
from tests.canary import assert_no_canary

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Result:
    """What a call left behind."""

    code: int
    out: str
    err: str
    out_bytes: bytes

    @property
    def json(self) -> Any:
        """Stdout as JSON."""
        return json.loads(self.out)

    @property
    def error(self) -> Any:
        """Stderr as one line of JSON."""
        assert self.err.count("\n") == 1
        return json.loads(self.err)


class Cli:
    """The program, and the store it works on."""

    def __init__(self) -> None:
        self.url = new_store_url()

    def __call__(self, *args: str, stdin: str | bytes = b"", store: str | None = None) -> Result:
        """Run ``strongroom ARGS`` with stdin in a pipe."""
        done = CliRunner().invoke(
            cli, ["--store", store or self.url, *args], input=stdin, prog_name="strongroom"
        )
        assert done.exception is None or isinstance(done.exception, SystemExit), type(done.exception)
        assert_no_canary(done.stderr)
        return Result(done.exit_code, done.stdout, done.stderr, done.stdout_bytes)

    def store(self) -> SecretStore:
        """The same store, through the library."""
        return library(self.url)


def new_store_url() -> str:
    """A memory store that no other test knows."""
    return f"memory://cli-{os.getpid()}-{next(_numbers)}"


def library(url: str) -> SecretStore:
    """The store at `url`, without a cache."""
    from strongroom.registry import open_backend

    return SecretStore(open_backend(StoreURL.parse(url)), cache=None)
