"""From the URL of an anchor to the anchor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from strongroom.errors import InvalidRequestError
from strongroom.value import SecretValue

from .anchors import Export, FileExport, FolderExport, HttpsExport
from .witness import SCHEME, WitnessExport

if TYPE_CHECKING:
    from strongroom.backend import Settings


def open_export(url: str, settings: Settings) -> Export:
    """The anchor that a URL names: a file, a folder, a receiver over HTTPS, a witness.

    Raises:
        InvalidRequestError: it names none.
    """
    reach: dict[str, Any] = {
        "ca": settings.ca,
        "timeout": settings.timeout,
        "private": bool(settings.options.get("private")),
    }
    if url.startswith("file:///"):
        path = url.removeprefix("file://")
        return FolderExport(Path(path)) if path.endswith("/") else FileExport(Path(path))
    if url.startswith(SCHEME):
        return WitnessExport.open(url, **reach)
    if url.startswith(("https://", "http://")):
        return HttpsExport(url, headers=_headers(settings.auth.get("token")), **reach)
    raise InvalidRequestError(
        "not an anchor's URL", hint="write file:///path, s3://bucket/, https://host/ or witness+https://host/"
    )


def _headers(token: str | SecretValue | None) -> Any:
    if token is None:
        return dict
    secret = token if isinstance(token, SecretValue) else SecretValue(token)
    return lambda: {"Authorization": f"Bearer {secret.reveal_text()}"}
