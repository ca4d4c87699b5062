"""The guard of the run is itself tested: an inner run that leaks its canary fails, whatever the way out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.canary import CANARY, assert_no_canary, assert_no_canary_in
from tests.scale import NIGHTLY

ROOT = Path(__file__).parents[2]
LEAKS = {
    "stdout": "print(CANARY)",
    "stderr": "print(CANARY, file=sys.stderr)",
    "stdout of a child process": "subprocess.run(['printf', '%s', CANARY], check=True)",
    "debug log": "logging.getLogger('botocore.endpoint').debug('sent %s', CANARY)",
    "base64 in a debug log": "logging.debug(base64.b64encode(b'x' + CANARY.encode()))",
    "extra field of a log record": "logging.info('sent', extra={'body': CANARY})",
    "file in tmp_path": "(tmp_path / 'state').write_text(CANARY)",
    "file in the temporary folder": "pathlib.Path(tempfile.mkdtemp(), 'x').write_text(CANARY)",
    "removed temporary file": "(tmp_path / 'x').write_text(CANARY); (tmp_path / 'x').unlink()",
    "removed folder": "pathlib.Path('d').mkdir(); pathlib.Path('d/x').write_text(CANARY); shutil.rmtree('d')",
    "file of a child process": "subprocess.run('cat > x', input=CANARY.encode(), shell=True)",
}
CLEAN = {
    "nothing": "pass",
    "declared plaintext": "(plaintext(tmp_path, 'an input') / '.env').write_text(CANARY)",
    "another program's log": "with not_ours(): logging.getLogger('botocore.endpoint').debug(CANARY)",
    "output the test read itself": "print(CANARY); assert CANARY in capfd.readouterr().out",
}
IMPORTS = """
import base64, logging, pathlib, shutil, subprocess, sys, tempfile
from tests.canary import CANARY, not_ours, plaintext
"""
INNER = """
def test_{number}(tmp_path, capfd, monkeypatch):
    monkeypatch.chdir(tmp_path)
    {body}
"""


def _runs(bodies: dict[str, str]) -> dict[str, tuple[str, ...]]:
    """Each in a run of its own by night; a run takes a second, so by day all are tests of one."""
    return {name: (body,) for name, body in bodies.items()} if NIGHTLY else {"all": tuple(bodies.values())}


def _run(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, bodies: tuple[str, ...], *args: str
) -> pytest.RunResult:
    # The inner run has a canary of its own: what it leaves behind must not fail this one.
    monkeypatch.setenv("STRONGROOM_CANARY_SEED", "inner")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    tests = (INNER.format(number=number, body=body) for number, body in enumerate(bodies))
    pytester.makepyfile(IMPORTS + "".join(tests))
    return pytester.runpytest_subprocess("-p", "tests.guard", "-p", "no:randomly", *args)


@pytest.mark.parametrize("bodies", _runs(LEAKS).values(), ids=_runs(LEAKS).keys())
def test_a_leak_fails_the_run(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, bodies: tuple[str, ...]
) -> None:
    """Every test passes, yet the run exits 1 and says where the canary was found."""
    result = _run(pytester, monkeypatch, bodies)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.assert_outcomes(passed=len(bodies))
    assert len([line for line in result.outlines if line.startswith("canary found: ")]) == len(bodies)
    result.stdout.fnmatch_lines(["FAILED: a secret left its place*"])


@pytest.mark.parametrize("bodies", _runs(CLEAN).values(), ids=_runs(CLEAN).keys())
def test_a_clean_run_passes(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, bodies: tuple[str, ...]
) -> None:
    """What a test declares, or reads itself, does not count as a leak."""
    result = _run(pytester, monkeypatch, bodies)
    assert result.ret == pytest.ExitCode.OK
    result.stdout.no_fnmatch_line("*canary found*")


def test_a_leak_in_a_worker_fails_the_run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under xdist the workers' findings reach the process that sets the exit status."""
    result = _run(pytester, monkeypatch, (LEAKS["debug log"],), "-n", "1")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(["canary found: log record of botocore.endpoint*"])


class _Provider:
    """Stands in for product code: its frames are compiled under a name outside tests/."""

    source = """
def fail(value, wrap):
    kept = value
    del value
    try:
        raise ValueError("refused")
    except ValueError as error:
        wrap(error, kept)
"""

    @classmethod
    def fail(cls, wrap: object, value: str = CANARY) -> BaseException:
        namespace: dict[str, object] = {}
        exec(compile(cls.source, "/opt/product.py", "exec"), namespace)
        with pytest.raises(Exception) as caught:  # noqa: PT011 - whatever comes
            namespace["fail"](value, wrap)  # type: ignore[operator]
        return caught.value


class _SlottedError(Exception):
    __slots__ = ("body",)


def _with_args(error: Exception, kept: str) -> None:
    raise RuntimeError("failed", {"body": kept})


def _with_slot(error: Exception, kept: str) -> None:
    raised = _SlottedError()
    raised.body = kept  # type: ignore[attr-defined]
    raise raised


def _with_note(error: Exception, kept: str) -> None:
    error.add_note(kept)
    raise error


def _with_context(error: Exception, kept: str) -> None:
    raise RuntimeError("translated")


def _in_a_group(error: Exception, kept: str) -> None:
    raise ExceptionGroup("several", [ValueError(kept)])


@pytest.mark.parametrize("wrap", [_with_args, _with_slot, _with_note, _with_context, _in_a_group])
def test_a_secret_reachable_from_an_exception_is_found(wrap: object) -> None:
    """Arguments, attributes, notes, groups, and the locals of frames in the chain are all searched."""
    with pytest.raises(AssertionError, match="the canary stands in") as caught:
        assert_no_canary_in(_Provider.fail(wrap))
    assert_no_canary(str(caught.value))


@pytest.mark.parametrize("wrap", [_with_args, _with_slot, _with_note, _with_context, _in_a_group])
def test_the_tests_own_frames_are_not_searched(wrap: object) -> None:
    """The caller's own frames are the caller's: the canary in this test's locals is no leak."""
    mine = CANARY
    assert_no_canary_in(_Provider.fail(wrap, "harmless"))
    assert mine == CANARY
