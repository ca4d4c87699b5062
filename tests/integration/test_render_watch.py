"""``render --watch`` as a process: a file that is replaced whole, a program that is told, an end."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

from click.testing import CliRunner

import strongroom
from strongroom.cli.main import cli
from tests.canary import plaintext

STRONGROOM = str(Path(sys.executable).with_name("strongroom"))


def _home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    config = home / "strongroom.toml"
    places = ["--database", str(home / "secrets.db"), "--keyset", str(tmp_path / "keyset")]
    assert CliRunner().invoke(cli, ["--config", str(config), "init", "--yes", *places]).exit_code == 0
    config.write_text(config.read_text() + 'cache = { fresh = "1s", poll = "50ms" }\n')
    (home / "app.env.j2").write_text('PASSWORD={{ secret("db/password") }}\n')
    return home


def _put(home: Path, value: str) -> None:
    with strongroom.open(config=home / "strongroom.toml") as store:
        store.put("db/password", value)


def test_a_file_follows_its_secret_until_the_process_is_asked_to_end(tmp_path: Path) -> None:
    """Each change is a new file, never the old one written over, and then the command; SIGTERM ends it."""
    home = _home(tmp_path)
    out = plaintext(home / "app.env", "render writes values where it is told to")
    _put(home, "first")
    out.write_text("PASSWORD=of-a-process-before\n")
    args = ["app.env.j2", "--out", "app.env", "--watch", "--mode", "400", "--on-change", "cat app.env"]
    variables = {k: v for k, v in os.environ.items() if k != "STRONGROOM_CONFIG"} | {"HOME": str(home)}
    with subprocess.Popen(
        [STRONGROOM, "render", *args], cwd=home, env=variables, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr
        seen, held = [], []
        for value in ("second", "third", ""):
            line = process.stderr.readline()
            while not line.startswith("PASSWORD="):
                line = process.stderr.readline()
            seen.append(line)
            held.append(out.open())
            if value:
                _put(home, value)
        assert seen == ["PASSWORD=first\n", "PASSWORD=second\n", "PASSWORD=third\n"]
        assert [file.read() for file in held] == seen, "who has the old file open goes on reading it"
        assert stat.S_IMODE(out.stat().st_mode) == 0o400
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        for file in held:
            file.close()
    assert sorted(path.name for path in home.glob("*app*")) == ["app.env", "app.env.j2"]
