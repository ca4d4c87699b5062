"""The canary: the one secret value of all tests. Where it turns up outside a secret, the run fails."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType

from tests.session import note

# Computed, so that no source file, traceback or .pyc holds it; the seed lets an inner run have its own.
_SEED = os.environ.get("STRONGROOM_CANARY_SEED", "strongroom")
CANARY = "CANARY-" + hashlib.sha256(_SEED.encode()).hexdigest()[:24]
CANARY_BYTES = CANARY.encode()

_TESTS = str(Path(__file__).parent)
_not_ours: ContextVar[bool] = ContextVar("not_ours", default=False)


def _needles() -> tuple[bytes, ...]:
    """The canary in clear, in hexadecimal, and inside base64 at each of its three alignments."""
    shifted = [base64.b64encode(b"\0" * pad + CANARY_BYTES)[4 if pad else 0 : -4] for pad in range(3)]
    return CANARY_BYTES, CANARY_BYTES.hex().encode(), *shifted


NEEDLES = _needles()


def holds_canary(data: str | bytes) -> bool:
    """Whether the canary stands in `data`, in clear or encoded."""
    raw = data.encode(errors="surrogateescape") if isinstance(data, str) else data
    return any(needle in raw for needle in NEEDLES)


def assert_no_canary(*texts: str | bytes) -> None:
    """No text holds the canary; the failure shows where it stands, not what stands around it."""
    for position, text in enumerate(texts):
        assert not holds_canary(text), f"the canary stands in text {position} of {len(texts)}"


def assert_no_canary_in(exc: BaseException) -> None:
    """Nothing reachable from `exc` holds the canary.

    Searched: message, arguments, attributes, notes, the chain of causes and contexts, grouped exceptions, and
    the locals of every traceback frame but those of the tests themselves.
    """
    leaks = [place for place, text in _places(exc, "error", set()) if holds_canary(text)]
    assert not leaks, f"the canary stands in {', '.join(leaks)}"


def _places(exc: BaseException, path: str, seen: set[int]) -> Iterator[tuple[str, str]]:
    if id(exc) in seen:
        return
    seen.add(id(exc))
    yield f"str({path})", str(exc)
    for place, value in _attributes(exc):
        yield f"{path}.{place}", _show(value)
    yield from _locals(exc.__traceback__, path)
    for place, inner in _inner(exc):
        yield from _places(inner, f"{path}.{place}", seen)


def _attributes(exc: BaseException) -> Iterator[tuple[str, object]]:
    yield "args", exc.args
    yield from vars(exc).items()
    for cls in type(exc).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            if hasattr(exc, slot):
                yield slot, getattr(exc, slot)


def _locals(traceback: TracebackType | None, path: str) -> Iterator[tuple[str, str]]:
    while traceback is not None:
        code = traceback.tb_frame.f_code
        if not code.co_filename.startswith(_TESTS):
            for name, value in traceback.tb_frame.f_locals.items():
                yield f"{path}: local {name} of {code.co_qualname}, line {traceback.tb_lineno}", _show(value)
        traceback = traceback.tb_next


def _inner(exc: BaseException) -> Iterator[tuple[str, BaseException]]:
    chain = {"__cause__": exc.__cause__, "__context__": exc.__context__}
    yield from ((place, inner) for place, inner in chain.items() if inner is not None)
    if isinstance(exc, BaseExceptionGroup):
        yield from ((f"exceptions[{n}]", inner) for n, inner in enumerate(exc.exceptions))
    for place, value in _attributes(exc):
        if isinstance(value, BaseException):
            yield place, value


def _show(value: object) -> str:
    """What a debugger or crash reporter would print; an object whose repr fails prints nothing."""
    try:
        return repr(value)
    except Exception as error:
        return f"<{type(error).__name__}>"


@contextmanager
def not_ours() -> Iterator[None]:
    """Code in this block stands for another program (a plain SDK reading natively): its logs are not ours."""
    token = _not_ours.set(True)
    try:
        yield
    finally:
        _not_ours.reset(token)


def is_not_ours() -> bool:
    """Whether the code now running stands for another program."""
    return _not_ours.get()


def plaintext(path: Path | str, reason: str) -> Path:
    """Declare that the test itself puts secrets in clear at `path`, file or folder, and why; return the path.

    For inputs (a `.env` to import, a `file://` store) and the data of a server that is not ours. Never for
    anything that Strongroom wrote on its own account.
    """
    note("plaintext", path=str(Path(path).resolve()), reason=reason)
    return Path(path)
