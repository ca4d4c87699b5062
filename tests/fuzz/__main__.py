"""Fuzz header decoding, decryption and the streaming readers: ``python -m tests.fuzz [libFuzzer's options]``.

Inputs that reach new code are kept in build/fuzz/corpus from run to run; one that fails is left in build/fuzz
and ends the run. Put it into tests/fuzz/corpus, named by what it shows: the everyday tests replay that.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["strongroom"]):
    from tests.fuzz import harness, mutation, seeds

_BUILD = Path(__file__).parents[2] / "build" / "fuzz"
_OPTIONS = ["-max_len=2000", "-rss_limit_mb=1024", "-timeout=10", f"-artifact_prefix={_BUILD}/"]


def _mutate(data: bytes, most: int, seed: int) -> bytes:
    """Half of the time one field of the message changes, with its lengths put right, else any bytes."""
    dice = random.Random(seed)
    made = mutation.changed(data, dice, lambda part: bytes(atheris.Mutate(part, 200))) if seed % 2 else None
    return bytes(atheris.Mutate(data, most)) if made is None else made[:most]


def main() -> None:
    """Run until a failure, or as long as the options say."""
    found = _BUILD / "corpus"
    found.mkdir(parents=True, exist_ok=True)
    arguments = [sys.argv[0], *_OPTIONS, *sys.argv[1:], str(found), str(seeds.CORPUS)]
    atheris.Setup(arguments, harness.check_some, custom_mutator=_mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
