"""Writes ``docs/writing-a-backend.md`` from the suite, so that the contract and its tests cannot differ.

``python -m strongroom.testing.guide`` writes it; a test compares.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from strongroom.backend import Backend, Capability

from .conformance import AREAS
from .conformance_base import Harness
from .conformance_keys import KEY_AREAS, KeyWrapperConformance
from .conformance_signers import SIGNER_AREAS, SignerConformance

TARGET = Path("docs", "writing-a-backend.md")
_INTRODUCTION = """\
<!-- Written by `python -m strongroom.testing.guide` from the conformance suite: change the suite. -->

# Writing a backend

A backend is one class: a subclass of `strongroom.backend.Backend`. Only `get` is required; every other
method stands behind a capability that the instance declares, and the store refuses the rest before it calls.
Names, sizes, capabilities, audit, caching and pending values are not your business: `SecretStore` does them
once for all backends. Raise your SDK's exceptions as they are, and name what they mean in `error_for`.

A whole backend of under 150 lines, with its package and its tests, is in
[`docs/examples/strongroom_consul`](examples/strongroom_consul). Copy it. `MemoryBackend` is the executable
specification.

## Make it known

```toml
# your pyproject.toml
[project.entry-points."strongroom.backends"]
consul = "strongroom_consul:ConsulBackend"
```

From then on `strongroom.open("consul://127.0.0.1:8500/app")` finds it. A built-in scheme cannot be taken.
Name in `auth_keys` and `option_keys` all that your class takes of `settings.auth` and `settings.options`: a
misspelled key in `strongroom.toml` is then refused at once, with the nearest right one.

## Test it

```python
import pytest
from strongroom import registry
from strongroom.testing import BackendConformance

class TestConsul(BackendConformance):
    @pytest.fixture
    def backend(self, consul_url):
        return registry.open_backend(consul_url)
```

The suite runs through `SecretStore` without its cache. A case is skipped only if the backend does not declare
what the case is about. A case that your provider cannot pass is overridden with
`@pytest.mark.xfail(reason="…")`; any other way to lose a case fails the suite. `AsyncConformance` is the same
through `AsyncSecretStore`. `FaultyBackend` plays timeouts, denials, stale reads and kills on any backend, and
`strongroom backend test URL` runs the suite on a store that is already there.

What else a test class may give:

| fixture or fact | what it is |
| --- | --- |
"""


def guide() -> str:
    """The whole page."""
    parts = [*_facts(), "", *_capabilities(), *_contract(), *_keys()]
    return "\n".join([_INTRODUCTION.rstrip("\n"), *parts]).rstrip() + "\n"


def _facts() -> Iterator[str]:
    for name in ("backend", "native_reader", "plant", "refused", "disposable", "version_id", "count"):
        yield f"| `{name}` | {_line(getattr(Harness, name))} |"
    yield "| `marker` | Stands in every secret value; what the redaction cases search for. |"
    yield "| `undeclared` | Capabilities the backend lacks: with the plugin, their cases are not collected. |"
    yield "| `many` | How many names the listing case writes; choose more than one page of the provider. |"


def _capabilities() -> Iterator[str]:
    yield from ("## What a capability promises", "", "| capability | methods |", "| --- | --- |")
    for flag in Capability:
        methods = [
            f"`{name}`" for name, method in vars(Backend).items() if f"Needs {flag.name}" in _text(method)
        ]
        yield f"| `{flag.name}` | {', '.join(methods) or _WITHOUT_METHODS[flag]} |"
    yield ""


_WITHOUT_METHODS = {
    Capability.CREATE_ONLY: "`put` with `if_version=ABSENT`",
    Capability.CAS: "`put` with `if_version` of the current version, whoever else writes",
    Capability.CAS_GUARDED: "the same, safe among Strongroom's own writers alone",
}


def _contract() -> Iterator[str]:
    yield from ("## The contract", "", "Each line is the docstring of the cases that enforce it.", "")
    yield from _areas(AREAS, "###")


def _keys() -> Iterator[str]:
    yield from (*_KEYS.splitlines(), "")
    for title, suite, areas in _KEY_SUITES:
        yield from (f"### {title}", "", _line(suite), "")
        yield from _areas(areas, "####")


_KEY_SUITES = (
    ("Key encryption keys", KeyWrapperConformance, KEY_AREAS),
    ("Signing keys", SignerConformance, SIGNER_AREAS),
)
_KEYS = """\
## Keys

A key encryption key is a subclass of `strongroom.keys.KeyWrapper` with `wrap` and `unwrap`, a signing key
one of `Signer` with `sign_digest` and `public_key`. Both are used from Python, as in
`Encrypted(backend, [key], "prod")`. `KeyWrapperConformance` and `SignerConformance` in `strongroom.testing`
are their suites. Their fixtures `refused` and `unreachable`, the same key for whom it is denied and where
nobody answers, are doubles unless you give real ones.
"""


def _areas(areas: Sequence[type], level: str) -> Iterator[str]:
    for area in areas:
        yield from (f"{level} {area.__name__}", "", _line(area), "")
        for name, case in vars(area).items():
            if name.startswith("test_"):
                title = name.removeprefix("test_").replace("_", " ")
                yield f"- **{title[0].upper()}{title[1:]}.** {_line(case)}{_needs(case)}"
        yield ""


def _needs(case: Any) -> str:
    lacking = getattr(case, "lacking", None)
    needed = lacking(Capability(0)) if lacking else []
    return f" *({', '.join(needed)})*" if needed else ""


def _line(thing: Any) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join(_text(thing).split("\n\n")[0].split())


def _text(thing: Any) -> str:
    return inspect.cleandoc(getattr(thing, "__doc__", None) or "")


if __name__ == "__main__":
    TARGET.write_text(guide())
    sys.stdout.write(f"{TARGET}\n")
