"""`get` with auditing on while every sink misbehaves, beside the same without sinks: the 99th percentile.

Each measurement is a process of its own, in turn, since a sink's thread would slow both in one. Three sinks
at once: one that accepts and never answers, one that answers garbage, one that refuses every size.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import strongroom
from tests.bench.harness import Bar, Row
from tests.servers.https import Authority, Response, serving
from tests.servers.receivers import answering, deaf, receiving

BAR = Bar(ratio=1.20)
ROUNDS = 5
READS = 3000
WARM_UP = 1.5
"""Seconds of reads that are not measured: the sinks' libraries are loaded and their first attempts fail."""

_SECRET = "whsec_c3Ryb25ncm9vbS10ZXN0cy1vZi13ZWJob29rcw=="


def rows() -> Iterator[Row]:
    """One row: all misbehaving sinks at once."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "values" / "db").mkdir(parents=True, mode=0o700)
        (folder / "values" / "db" / "password").write_text("correct horse battery staple")
        (folder / "secret").write_text(_SECRET)
        sinks = _hostile(stack, folder)
        samples: dict[str, list[float]] = {"": [], sinks: []}
        for number in range(ROUNDS):
            for kind in ("", sinks) if number % 2 else (sinks, ""):
                samples[kind].append(_percentile(folder, kind))
        ours, peer = (statistics.median(samples[kind]) for kind in (sinks, ""))
        yield BAR.row("get beside hostile sinks, p99", ours, peer, "no sinks")


def _hostile(stack: ExitStack, folder: Path) -> str:
    authority = Authority()
    stack.callback(authority.close)
    mute = stack.enter_context(receiving(deaf, authority.server_context()))
    garbage = stack.enter_context(receiving(answering(b"\0" * 999), authority.server_context()))
    small = stack.enter_context(serving(lambda _: Response(413, b""), authority))
    more = f'ca = "{authority.ca_file}", secret = "file://{folder}/secret"'
    urls = (f"https://127.0.0.1:{mute.port}/", f"https://127.0.0.1:{garbage.port}/", f"{small.url}/")
    tables = ", ".join(f'{{ url = "{url}", {more} }}' for url in urls)
    return f"sinks = [{tables}]"


def _percentile(folder: Path, sinks: str) -> float:
    configuration = folder / "strongroom.toml"
    with tempfile.TemporaryDirectory() as journal:
        configuration.write_text(
            f'[store]\nvalues = {{ url = "file://{folder}/values", cache = false }}\n'
            f'[audit]\njournal = {{ path = "{journal}/journal" }}\n{sinks}\n'
        )
        command = [sys.executable, "-m", "tests.bench.audit_sinks", str(configuration)]
        run = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return float(json.loads(run.stdout))


def _measure(configuration: str) -> float:
    taken = []
    with strongroom.open("values", config=configuration) as store:
        begun = time.perf_counter()
        while time.perf_counter() < begun + WARM_UP:
            store.get("db/password")
        for _ in range(READS):
            start = time.perf_counter()
            store.get("db/password")
            taken.append(time.perf_counter() - start)
    return statistics.quantiles(taken, n=100)[98]


if __name__ == "__main__":
    print(_measure(sys.argv[1]))
