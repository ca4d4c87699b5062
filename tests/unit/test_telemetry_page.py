"""The page of metrics and traces: its table, its other example, and OpenTelemetry's own command."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
import urllib.request
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from strongroom.integrations.opentelemetry_catalogue import METRICS, SECONDS
from strongroom.integrations.opentelemetry_instrument import SERIES
from strongroom.memory import MemoryBackend
from strongroom.store import SecretStore
from tests.canary import CANARY
from tests.pages import ROOT, marked
from tests.unit.telemetry_support import alone, series

PAGE = ROOT / "docs" / "telemetry.md"


def test_the_table_is_the_catalogue() -> None:
    """Each metric with its labels and its meaning, in its order."""
    rows = [
        f"| `{one.name}` | {', '.join(f'`{label}`' for label in one.labels)} | {one.meaning} |"
        for one in METRICS
    ]
    assert "\n".join(rows) in PAGE.read_text()


def test_what_the_page_says_of_numbers() -> None:
    """The budget; and the decision's product of what a histogram of everything would be."""
    assert f"at most {SERIES} for a process" in PAGE.read_text()
    assert 24 * 9 * 4 * (len(SECONDS) + 3) == 6912  # "seven thousand"


def test_a_process_that_prometheus_scrapes() -> None:
    """The page's example, on a free port."""
    [block] = marked("python telemetry", PAGE)
    names: dict[str, Any] = {}
    code = compile(block.text.replace("9464", "0"), str(PAGE), "exec")
    with alone(), ExitStack() as end:
        exec(code, names)
        server = names["server"]
        for each in (names["meters"].shutdown, names["instrumentation"].close, names["thread"].join):
            end.callback(each)
        end.callback(server.server_close)
        end.callback(server.shutdown)
        store = SecretStore(MemoryBackend(), alias="scraped")
        store.put("db/password", CANARY)
        store.get("db/password")
        with urllib.request.urlopen(f"http://127.0.0.1:{server.server_port}/metrics", timeout=5) as answer:
            text = answer.read().decode()
    assert "strongroom_cache_reads_total{" in text
    assert 'store="scraped"' in text
    assert sum(count for name, count in series(text).items() if name.startswith("strongroom")) < SERIES
    assert "db/password" not in text


def test_opentelemetrys_own_command_finds_us(tmp_path: Path) -> None:
    """By the entry point that the distribution registers."""
    registered = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    metadata = tmp_path / "strongroom_registered-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: strongroom-registered\nVersion: 1\n")
    [(name, place)] = registered["opentelemetry_instrumentor"].items()
    (metadata / "entry_points.txt").write_text(f"[opentelemetry_instrumentor]\n{name} = {place}\n")
    code = "import strongroom; s = strongroom.open('memory://'); s.put('db/password', 'DEMO'); s.close()"
    command = [str(Path(sys.executable).parent / "opentelemetry-instrument"), sys.executable, "-c", code]
    chosen = {
        "OTEL_TRACES_EXPORTER": "console",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
    }
    done = subprocess.run(
        command,
        env={**os.environ, **chosen, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert '"name": "strongroom put"' in done.stdout
    assert '"name": "memory put"' in done.stdout
    assert "DEMO" not in done.stdout + done.stderr
    assert "db/password" not in done.stdout
