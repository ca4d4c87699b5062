"""The pre-commit hook and the GitHub Action for ``strongroom check``, run as their makers run them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.scale import NIGHTLY

ROOT = Path(__file__).parents[2]
HOOKS = ROOT / ".pre-commit-hooks.yaml"
ACTION = ROOT / ".github" / "actions" / "check" / "action.yml"
BIN = Path(sys.executable).parent
GOOD = '[store.prod]\nurl = "vault://vault.example.net/secret"\n'
BAD = GOOD + 'caches = "100%"\n'


def _run(folder: Path, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("STRONGROOM_", "GIT_"))}
    variables = {**kept, "HOME": str(folder), "PATH": f"{BIN}:{os.environ['PATH']}", **more}
    return subprocess.run(
        command, cwd=folder, env=variables, capture_output=True, text=True, check=False, timeout=600
    )


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository of somebody's, with a right file, a wrong one, and one that is none of ours."""
    folder = tmp_path / "repository"
    (folder / "deploy").mkdir(parents=True)
    (folder / "strongroom.toml").write_text(GOOD)
    (folder / "deploy" / "strongroom.prod.toml").write_text(BAD)
    (folder / "pyproject.toml").write_text("no toml at all")
    assert _run(folder, "git", "init", "-q").returncode == 0
    return folder


def _hooked(folder: Path, repo: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    (folder / ".pre-commit-config.yaml").write_text(yaml.safe_dump({"repos": [repo]}))
    assert _run(folder, "git", "add", ".").returncode == 0
    return _run(folder, "pre-commit", "run", "--color=never")


def _only_the_wrong_file_is_told(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 1, done.stdout + done.stderr
    assert "deploy/strongroom.prod.toml:3: store.prod.caches: there is no such key" in done.stdout
    assert "pyproject" not in done.stdout


def test_the_hook_stops_a_commit_of_a_wrong_file(repository: Path) -> None:
    """The real pre-commit runs it, with the program that is installed here; other files are none of its."""
    [hook] = yaml.safe_load(HOOKS.read_text())
    local = {**hook, "language": "system"}
    del local["additional_dependencies"]
    _only_the_wrong_file_is_told(_hooked(repository, {"repo": "local", "hooks": [local]}))
    (repository / "deploy" / "strongroom.prod.toml").write_text(GOOD)
    assert _hooked(repository, {"repo": "local", "hooks": [local]}).returncode == 0


def test_pre_commit_accepts_the_manifest() -> None:
    """As its users' pre-commit reads it."""
    done = _run(ROOT, "pre-commit", "validate-manifest", str(HOOKS), HOME=os.environ["HOME"])
    assert done.returncode == 0, done.stdout


def _steps() -> list[dict[str, Any]]:
    action = yaml.safe_load(ACTION.read_text())
    steps: list[dict[str, Any]] = action["runs"]["steps"]
    return steps


def _act(step: dict[str, Any], folder: Path, **inputs: str) -> subprocess.CompletedProcess[str]:
    """Run a step as GitHub's runner does: a file of its script, and what is asked for in its environment."""
    defaults = {name: one["default"] for name, one in yaml.safe_load(ACTION.read_text())["inputs"].items()}
    given = {**defaults, **inputs}
    variables = {
        name: re.sub(r"\$\{\{ inputs\.(\w+) \}\}", lambda found: given[found[1]], text)
        for name, text in step["env"].items()
    }
    script = folder.parent / "step.sh"
    script.write_text(step["run"])
    where = {"RUNNER_TEMP": str(folder.parent), "GITHUB_ACTION_PATH": str(ACTION.parent)}
    shell = ("bash", "--noprofile", "--norc", "-e", "-o", "pipefail", str(script))
    return _run(folder, *shell, **variables, **where)


@pytest.mark.parametrize(
    ("files", "code", "said"),
    [
        ("strongroom.toml", 0, "strongroom.toml: ok; stores: 1, rotations: 0\n"),
        (
            "strongroom.toml\n\ndeploy/strongroom.prod.toml\n",
            2,
            "::error file=deploy/strongroom.prod.toml,line=3::store.prod.caches: there is no such key",
        ),
        ("$(touch ran)", 2, "ran"),
    ],
)
def test_the_action_shows_what_is_wrong_at_its_line(
    repository: Path, files: str, code: int, said: str
) -> None:
    """And what an input holds is never a part of the script."""
    done = _act(_steps()[1], repository, files=files)
    assert done.returncode == code, done.stdout + done.stderr
    assert said in done.stdout
    assert not (repository / "ran").exists()


def test_the_action_asks_what_the_file_names_if_it_is_told_to(repository: Path) -> None:
    """A store that does not answer, or that the job may not read, fails the job."""
    (repository / "strongroom.toml").write_text('[store.a]\nurl = "file:///no/such/folder"\n')
    assert _act(_steps()[1], repository).returncode == 0
    done = _act(_steps()[1], repository, online="true")
    assert done.returncode == 10, done.stdout + done.stderr


def test_no_step_puts_an_input_into_its_script() -> None:
    """Who names a branch or a file would otherwise run commands with the job's credentials."""
    for step in _steps():
        assert "${{" not in step["run"]
        assert "uses" not in step, "what others publish under a tag can be replaced"


if NIGHTLY:  # pip makes two environments from the package index

    def test_the_hook_and_the_action_install_what_they_run(repository: Path, tmp_path: Path) -> None:
        """pre-commit makes the hook's environment from this repository; the action makes its own."""
        source = tmp_path / "source"
        tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
        for name in filter(None, tracked.decode().split("\0")):
            if (ROOT / name).is_file():
                (source / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, source / name)
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.net")
        for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "all"]):
            assert _run(source, "git", *command).returncode == 0
        revision = _run(source, "git", "rev-parse", "HEAD").stdout.strip()
        hook = {"repo": str(source), "rev": revision, "hooks": [{"id": "strongroom-check"}]}
        _only_the_wrong_file_is_told(_hooked(repository, hook))
        installed = _act(_steps()[0], repository)
        assert installed.returncode == 0, installed.stderr
        assert _act(_steps()[1], repository).returncode == 0
