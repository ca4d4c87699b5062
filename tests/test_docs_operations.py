"""The page on what surrounds a deployment: its hook, its workflow, its settings of Airflow, its image."""

from __future__ import annotations

import ast
import configparser
import json
import re
import tomllib
from typing import Any

import yaml

from tests.pages import ROOT, marked

PAGE = ROOT / "docs" / "operations.md"


def _block(mark: str) -> str:
    [found] = marked(mark, PAGE)
    return found.text


def _project() -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return project


def test_the_hook_is_one_of_ours() -> None:
    """By its id, at this version."""
    [repository] = yaml.safe_load(_block("yaml hook"))["repos"]
    ours = {hook["id"] for hook in yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())}
    assert {hook["id"] for hook in repository["hooks"]} <= ours
    assert repository["rev"] == f"v{_project()['version']}"


def test_the_workflow_uses_the_action_as_it_is() -> None:
    """Its folder, this version, and inputs that it has."""
    [_, step] = yaml.safe_load(_block("yaml workflow"))["jobs"]["configuration"]["steps"]
    path, _, version = step["uses"].partition("@")
    folder = path.partition("/.github/")[2]
    action = yaml.safe_load((ROOT / ".github" / folder / "action.yml").read_text())
    assert step["with"].keys() <= action["inputs"].keys()
    assert version == f"v{_project()['version']}"


def test_airflow_takes_the_settings() -> None:
    """The class is there, and has the arguments that Airflow would call it with."""
    parser = configparser.ConfigParser()
    parser.read_string(_block("ini airflow"))
    module, _, name = parser["secrets"]["backend"].rpartition(".")
    source = (ROOT / "src" / f"{module.replace('.', '/')}.py").read_text()
    [found] = [one for one in ast.parse(source).body if isinstance(one, ast.ClassDef) and one.name == name]
    [made] = [one for one in found.body if isinstance(one, ast.FunctionDef) and one.name == "__init__"]
    known = {argument.arg for argument in made.args.kwonlyargs}
    assert json.loads(parser["secrets"]["backend_kwargs"]).keys() <= known
    said = PAGE.read_text()
    assert all(f"`{argument}`" in said for argument in known - {"store", "config"})


def test_the_image_has_what_the_manifests_run() -> None:
    """Extras that there are, and this version; the user is theirs."""
    text = _block("image")
    [(extras, version)] = re.findall(r"'strongroom\[([\w,-]+)\]==([\d.]+)'", text)
    assert set(extras.split(",")) <= _project()["optional-dependencies"].keys()
    assert version == _project()["version"]
    [user] = re.findall(r"USER (\d+)", text)
    for file in (ROOT / "docs" / "kubernetes").iterdir():
        assert f"runAsUser: {user}\n" in file.read_text()
        assert f"strongroom:{version}\n" in file.read_text()
