"""Run the conformance suite on any URL: ``strongroom backend test URL``, or ``run(url)``.

As a pytest plugin (``pytest -p strongroom.testing.plugin --store-url URL``) it offers the fixture
``store_backend`` to test classes of one's own. It is no ``pytest11`` entry point: a plugin that loads
itself would be imported in every test run of everybody who installs Strongroom.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from strongroom.backend import Backend, Settings
from strongroom.errors import InvalidRequestError
from strongroom.registry import open_backend

OPTION = "--store-url"
_SUITE = Path(__file__).with_name("suite.py")
_SETTINGS = pytest.StashKey[Settings]()


def run(url: str, settings: Settings | None = None, *arguments: str) -> int:
    """Run the suite on the store that ``url`` names, in this process, and print what pytest prints.

    Each case makes names of its own, beginning with ``t`` and eight hexadecimal digits, and purges them.

    Args:
        url: as for ``strongroom.open``; of a read-only store only the cases that need no secret are run.
        settings: credentials, endpoint and options.
        arguments: further arguments for pytest, such as ``-k``, ``Errors`` or ``-x``.

    Raises:
        SecretStoreError: the store cannot be opened.

    Returns:
        pytest's exit status: 0 if every case passed.
    """
    options = ["-q", "-c", os.devnull, "-p", "no:cacheprovider", "--import-mode=importlib"]
    place = ["--rootdir", str(_SUITE.parent), f"{OPTION}={url}"]
    opened(url, settings or Settings()).close()
    plugins = [sys.modules[__name__], _Given(settings or Settings())]
    return int(pytest.main([*options, *place, *arguments, str(_SUITE)], plugins))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--store-url``."""
    parser.addoption(OPTION, help="the store that `store_backend` opens", default=None)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the cases of what a class says its backend does not declare."""
    from .conformance import deselect_undeclared

    deselect_undeclared(config, items)


@pytest.fixture
def store_backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """The backend that ``--store-url`` names, opened anew for each test."""
    url = request.config.getoption(OPTION)
    if not url:
        raise InvalidRequestError(f"no store to test; say which with {OPTION}")
    backend = opened(url, request.config.stash.get(_SETTINGS, Settings()))
    yield backend
    backend.close()


def opened(url: str, settings: Settings) -> Backend:
    """The backend of a URL, under its own key where it has one, as ``strongroom.open`` puts it."""
    backend = open_backend(url, settings)
    key = backend.own_key()
    if key is None:
        return backend
    from strongroom.layers.encrypted import Encrypted

    return Encrypted(backend, [key], backend.domain or url)


class _Given:
    """Hands ``run``'s settings to the run; they hold credentials, and an argument could be printed."""

    def __init__(self, settings: Settings):
        self._settings = settings

    def pytest_configure(self, config: pytest.Config) -> None:
        config.stash[_SETTINGS] = self._settings
