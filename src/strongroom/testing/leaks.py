"""Where a marker that stands in secret values shows: in texts, and in everything reachable from an error."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from types import TracebackType


def leaks_in(text: str | bytes, marker: str) -> bool:
    """Whether the marker stands in ``text``: in clear, in hexadecimal, or within base64."""
    raw = text.encode(errors="surrogateescape") if isinstance(text, str) else text
    return any(needle in raw for needle in _needles(marker))


def leaks_of(error: BaseException, marker: str, *callers: str) -> list[str]:
    """The places of an error that show the marker: its text, arguments, attributes, causes, frames.

    Frames of the modules named as ``callers``, and of this kit, are the caller's own and not searched.
    """
    return [place for place, text in _places(error, "error", callers, set()) if leaks_in(text, marker)]


def _needles(marker: str) -> tuple[bytes, ...]:
    """Base64 shows the marker differently at each of its three alignments."""
    data = marker.encode()
    shifted = (base64.b64encode(b"\0" * pad + data)[4 if pad else 0 : -4] for pad in range(3))
    return data, data.hex().encode(), *shifted


def _places(
    error: BaseException, path: str, callers: tuple[str, ...], seen: set[int]
) -> Iterator[tuple[str, str]]:
    if id(error) in seen:
        return
    seen.add(id(error))
    yield f"str({path})", str(error)
    yield f"{path}.args", _show(error.args)
    facts = vars(error)
    yield from ((f"{path}.{name}", _show(fact)) for name, fact in facts.items())
    yield from _locals(error.__traceback__, path, callers)
    inner = {"__cause__": error.__cause__, "__context__": error.__context__, **facts}
    for name, fact in inner.items():
        if isinstance(fact, BaseException):
            yield from _places(fact, f"{path}.{name}", callers, seen)


def _locals(
    traceback: TracebackType | None, path: str, callers: tuple[str, ...]
) -> Iterator[tuple[str, str]]:
    while traceback is not None:
        frame = traceback.tb_frame
        module = str(frame.f_globals.get("__name__", ""))
        if module not in callers and not module.startswith("strongroom.testing"):
            for name, value in frame.f_locals.items():
                yield f"{path}: local {name} of {frame.f_code.co_qualname}", _show(value)
        traceback = traceback.tb_next


def _show(value: object) -> str:
    """What a debugger prints; an object whose repr fails prints nothing."""
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001  (any object may stand in a frame)
        return f"<{type(error).__name__}>"
