"""``make drill`` shows what docs/drill.md says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from strongroom.toml.file import Config
from tests import drill
from tests.canary import CANARY
from tests.scale import NIGHTLY

ROOT = Path(__file__).parents[2]


def _drill(folder: Path) -> drill.Drill:
    ports: Any = [SimpleNamespace(port=port) for port in (8200, 8201)]
    return drill.Drill(folder, *ports)


@pytest.mark.parametrize("source", ["eu", "us"])
def test_what_the_drill_writes_into_strongroom_toml_is_valid(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever is the source: the two others follow it."""
    monkeypatch.setenv("DRILL_TOKEN", CANARY)
    _drill(tmp_path).configure(source)
    replicas = Config.load(str(tmp_path / drill.AFTER), None).replicas
    assert {entry.source for entry in replicas.values()} == {source}
    assert replicas.keys() == {"eu", "us", "dr"} - {source}


def test_a_fact_that_is_not_true_ends_the_drill(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With exit code 1."""
    with pytest.raises(SystemExit) as ended:
        _drill(tmp_path).fact("the moon is a cheese", False)
    assert ended.value.code == 1
    assert capsys.readouterr().out == "✗ the moon is a cheese\n"


if NIGHTLY:  # it takes most of a minute: its steps are tested one by one by day

    def test_the_drill_loses_a_region_and_comes_home() -> None:
        """Every fact is true, and no value is printed."""
        command = [sys.executable, "-m", "tests.drill"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.count("✓") == 14
        assert CANARY not in done.stdout + done.stderr
