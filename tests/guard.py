"""The guard around the whole run (a pytest plugin): no secret left a test, and the run says what it used.

Every process of the run works in one private temporary folder. What tests print, what any logger says at
DEBUG, and every file in that folder is searched for the canary; one hit fails the run. Tests that read output
themselves (`capsys`, a subprocess) state with `assert_no_canary` that it holds none.
"""

from __future__ import annotations

import functools
import logging
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.canary import NEEDLES, holds_canary, is_not_ours
from tests.session import VARIABLE, folder, note, notes

_CHUNK = 1 << 20
_OVERLAP = max(map(len, NEEDLES))
_STANDARD_FIELDS = vars(logging.makeLogRecord({})).keys()


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        _make_private_folder()
    tempfile.tempdir = None  # forget the folder chosen before TMPDIR was ours
    if config.option.basetemp:
        note("searched", path=os.path.realpath(config.option.basetemp))
    logging.getLogger().addHandler(_Listener())
    logging.getLogger().setLevel(logging.DEBUG)
    sys.addaudithook(_search_before_removal)


def _make_private_folder() -> None:
    """TMPDIR is inherited by every worker and server, so whatever they leave behind is found in one place."""
    path = os.path.realpath(tempfile.mkdtemp(prefix="strongroom-"))
    os.environ[VARIABLE] = path
    os.environ["TMPDIR"] = str(Path(path, "tmp"))
    Path(path, "tmp").mkdir()
    note("searched", path=os.environ["TMPDIR"])


def _searched() -> list[Path]:
    """The temporary folders of the run: its private one, and the one that `--basetemp` names."""
    return [Path(searched["path"]) for searched in notes("searched")]


class _Listener(logging.Handler):
    """Reads every record of every logger as a handler at DEBUG prints it, with its traceback and extras."""

    def emit(self, record: logging.LogRecord) -> None:
        if is_not_ours():
            return
        extras = {key: value for key, value in vars(record).items() if key not in _STANDARD_FIELDS}
        if holds_canary(f"{self.format(record)} {extras!r}"):
            _leak(f"log record of {record.name} ({record.pathname}:{record.lineno})", _test())


@functools.cache
def _leak(place: str, test: str) -> None:
    note("leaks", place=place, test=test)


def _test() -> str:
    return os.environ.get("PYTEST_CURRENT_TEST", "no test (the end)").partition(" (")[0]


def _search_before_removal(event: str, args: tuple[object, ...]) -> None:
    """A temporary file that is removed during the run is searched while it is still there."""
    if event != "os.remove":
        return
    path, directory = args[0], args[1]
    if isinstance(directory, int) and directory >= 0:
        path = Path(os.readlink(f"/proc/self/fd/{directory}"), os.fsdecode(path))  # type: ignore[arg-type]
    _search_file(Path(os.fsdecode(path)).absolute(), "removed file")  # type: ignore[arg-type]


def _search_file(path: Path, kind: str) -> None:
    temporary = any(path.is_relative_to(root) for root in _searched())
    if temporary and _file_holds_canary(path) and not _is_plaintext(path):
        _leak(f"{kind} {path}", _test())


def _is_plaintext(path: Path) -> bool:
    """Whether a test declared `path`, or a folder above it, to hold secrets in clear."""
    return any(path.is_relative_to(declared["path"]) for declared in notes("plaintext"))


def _file_holds_canary(path: Path) -> bool:
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return False
        with path.open("rb") as file:
            tail = b""
            while chunk := file.read(_CHUNK):
                if holds_canary(tail + chunk):
                    return True
                tail = chunk[-_OVERLAP:]
    except OSError:
        return False  # gone meanwhile: whoever removed it was searched first
    return False


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """In each process that reports: what the test printed. (Log sections are the listener's.)"""
    for title, text in report.sections:
        if "log" not in title and holds_canary(text):
            _leak(title.lower(), report.nodeid)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workerinput"):
        return
    for path in _files_left():
        _search_file(path, "file left behind:")
    if notes("leaks") and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def _files_left() -> Iterator[Path]:
    for searched in _searched():
        for root, _, files in os.walk(searched):
            yield from (Path(root, name) for name in files)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    say = terminalreporter.write_line
    if servers := sorted({server["name"] for server in notes("servers")}):
        say(f"servers used: {', '.join(servers)}")
    for count in sorted(notes("counts"), key=lambda count: count["name"]):
        say(f"count: {count['name']}: {count['run']} (nightly {count['nightly']})")
    leaks = notes("leaks")
    for leak in leaks:
        say(f"canary found: {leak['place']}, in {leak['test']}", red=True)
    if leaks:
        say(f"FAILED: a secret left its place {len(leaks)} times (see tests/canary.py)", red=True)


def pytest_unconfigure(config: pytest.Config) -> None:
    home = folder()
    if home and not hasattr(config, "workerinput"):
        if not notes("leaks"):
            shutil.rmtree(home, ignore_errors=True)
        os.environ.pop(VARIABLE)
