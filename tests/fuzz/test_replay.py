"""By day: every message of the corpus, and what fuzzing has found, is opened by every reader alike."""

from __future__ import annotations

from pathlib import Path

import pytest

from strongroom.errors import IntegrityError
from tests.fuzz.harness import _decrypt, _expected, check
from tests.fuzz.seeds import CORPUS, seeds

_OPENED = {
    "one-frame",
    "three-frames",
    "non-framed",
    "frame-length-highest",
    "signed-three-frames",
    "bindings",
}


@pytest.mark.parametrize("path", sorted(CORPUS.iterdir()), ids=lambda path: path.name)
def test_a_message_of_the_corpus_is_read_by_all_alike(path: Path) -> None:
    """As it is, and with all its tags put right; nothing but IntegrityError is ever raised."""
    check(path.read_bytes())


def test_the_corpus_is_what_its_script_makes() -> None:
    """A seed changed by hand would show something else than its name says."""
    for name, message in seeds():
        assert (CORPUS / name).read_bytes() == message, name
        assert len(message) < 2_000


def test_the_corpus_holds_what_opens_and_what_does_not() -> None:
    """The control: a harness under which nothing opens would find nothing."""
    opened = set()
    for name, message in seeds():
        try:
            _decrypt(message, *_expected(message))
        except IntegrityError:
            continue
        opened.add(name)
    assert opened >= _OPENED
    assert len(opened) < len([*seeds()]) / 2 + 5
