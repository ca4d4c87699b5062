"""Records as messages of Python's own logging."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from .base import Sink

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .base import Entry

LOGGER: Final = "strongroom.audit"
"""The logger that takes records unless another is named."""


class LoggingSink(Sink):
    """One message a record, at INFO; detections and gaps at WARNING. What handlers do with it is theirs.

    The record's fields are the message's `strongroom` attribute, for formatters that write structures.

    Args:
        logger: its name.
        form: how each record is written.
        limit: bytes of one message.
    """

    def __init__(self, logger: str = LOGGER, form: str = "json", *, limit: int | None = None):
        super().__init__(form, limit=limit)
        self._logger = logging.getLogger(logger)

    def deliver(self, entries: Sequence[Entry]) -> None:
        for entry, text in zip(entries, self.all_written(entries), strict=True):
            level = logging.WARNING if is_alarm(entry) else logging.INFO
            self._logger.log(level, "%s", text.decode(), extra={"strongroom": dict(entry.fields)})


def is_alarm(entry: Entry) -> bool:
    """Whether somebody should look: a detection, or records that are missing somewhere."""
    return entry.fields.get("kind") in ("detection", "gap", "recovery", "skipped")
