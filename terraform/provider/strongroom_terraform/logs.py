"""What may leave the process: our own lines by standard error, which Terraform copies into its log. No more.

With TF_LOG=trace that log holds whatever a provider prints. An SDK's message, a traceback and a stray `print`
may hold a value, so none of them gets out.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
import threading
from datetime import UTC, datetime
from types import TracebackType

_LEVELS = {"DEBUG": "debug", "INFO": "info", "WARNING": "warn", "ERROR": "error", "CRITICAL": "error"}


class _Line(logging.Formatter):
    """A line as go-hclog reads it; an exception by its type only."""

    def format(self, record: logging.LogRecord) -> str:
        raised = record.exc_info[0] if record.exc_info else None
        return json.dumps(
            {
                "@level": _LEVELS.get(record.levelname, "info"),
                "@message": record.getMessage() + (f" ({raised.__name__})" if raised else ""),
                "@module": record.name,
                "@timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(),
            }
        )


def confine() -> None:
    """Send our own log lines to standard error and everything else nowhere; for this process, for good.

    A crash leaves no core file either: it would hold every value that was in use.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    stream = os.fdopen(os.dup(2), "w", buffering=1)
    nothing = open(os.devnull, "w")  # noqa: SIM115  # as long as the process
    os.dup2(nothing.fileno(), 1)
    sys.stdout = sys.stderr = nothing
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Line())
    logging.getLogger().handlers = [logging.NullHandler()]
    for name in ("strongroom", "strongroom_terraform"):
        ours = logging.getLogger(name)
        ours.handlers, ours.propagate = [handler], False
        ours.setLevel(logging.INFO)
    sys.excepthook = _raised
    threading.excepthook = lambda args: _raised(args.exc_type, args.exc_value, args.exc_traceback)


def _raised(kind: type[BaseException], _raised: BaseException | None, _trace: TracebackType | None) -> None:
    logging.getLogger("strongroom_terraform").error("the provider ended with %s", kind.__name__)
