"""Python's own logging, with a filter that masks what a store has read."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Callable, Iterator
from urllib.parse import quote

import pytest

from strongroom.integrations.logging_redaction import RedactSecrets
from strongroom.memory import MemoryBackend
from strongroom.store import SecretStore
from strongroom.testing import override
from tests.canary import CANARY, assert_no_canary, holds_canary, not_ours
from tests.pages import ROOT, marked

NAME = "db/password"
Log = Callable[..., None]


@pytest.fixture
def store() -> Iterator[SecretStore]:
    with SecretStore(MemoryBackend()) as store:
        store.put(NAME, CANARY)
        store.get(NAME)
        yield store


class Handler:
    """A logger with one handler, and what that wrote."""

    def __init__(self, *filters: logging.Filter):
        self.stream = io.StringIO()
        self.logger = logging.Logger("application")  # noqa: LOG001  (nobody else's)
        handler = logging.StreamHandler(self.stream)
        for one in filters:
            handler.addFilter(one)
        self.logger.addHandler(handler)

    @property
    def written(self) -> str:
        return self.stream.getvalue()


def failed(logger: logging.Logger) -> None:
    try:
        raise ValueError(f"no route to postgresql://app:{CANARY}@db")
    except ValueError:
        logger.exception("failed")


WAYS: list[Callable[[logging.Logger], None]] = [
    lambda log: log.info(f"password {CANARY}"),  # noqa: G004
    lambda log: log.info("password %s and %r", CANARY, {"p": CANARY}),
    lambda log: log.info("Basic %s", base64.b64encode(f"app:{CANARY}".encode()).decode()),
    lambda log: log.info("url %s", quote(CANARY)),
    lambda log: log.info("two %s", CANARY, CANARY),  # noqa: PLE1205  (a mistake)
    lambda log: log.info("%s", ValueError(CANARY)),
    failed,
]


@pytest.mark.parametrize("way", range(len(WAYS)))
def test_no_way_of_logging_shows_a_value(
    store: SecretStore, way: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each shows it without the filter: in the log, or on stderr where the arguments do not fit."""
    plain, ours = Handler(), Handler(RedactSecrets(store))
    with not_ours():
        WAYS[way](plain.logger)
    shown = plain.written + capsys.readouterr().err
    assert holds_canary(shown)
    WAYS[way](ours.logger)
    assert_no_canary(ours.written, capsys.readouterr().err)
    assert "<redacted>" in ours.written


def test_values_of_before_and_new_ones_are_masked(store: SecretStore) -> None:
    """What was read a moment ago too, and what it replaced; what was not read is not known."""
    redaction = RedactSecrets(store)
    assert redaction.text(CANARY) == "<redacted>"
    store.put(NAME, "another-password")
    assert store.get(NAME).value.matches("another-password")
    assert redaction.text(f"{CANARY} another-password") == "<redacted> <redacted>"
    assert redaction.text("nothing") == "nothing"
    assert_no_canary(repr(redaction), repr(vars(redaction)))


def test_extras_are_masked_and_what_cannot_be_searched_is_left_out(store: SecretStore) -> None:
    """Nested ones, and objects by what they print; no log call fails."""

    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError(CANARY)

    class Address:
        def __str__(self) -> str:
            return f"redis://:{CANARY}@cache"

    redaction = RedactSecrets(store)
    record = logging.makeLogRecord({"msg": "m", "a": {CANARY: [CANARY, 1]}, "c": Address()})
    assert redaction.filter(record)
    fields = vars(record)
    assert (fields["a"], fields["c"]) == ({"<redacted>": ["<redacted>", 1]}, "redis://:<redacted>@cache")
    broken = logging.makeLogRecord({"msg": CANARY, "before": CANARY, "extra": Broken(), "other": CANARY})
    assert redaction.filter(broken)
    assert_no_canary(broken.getMessage(), str(vars(broken)))


def test_the_example_runs(store: SecretStore) -> None:
    """On handlers of its own."""
    [block] = marked("python logging", ROOT / "docs" / "frameworks-web.md")
    with override(prod=store):
        exec(block.text, {"__name__": "example", "handlers": [logging.NullHandler()]})
