"""The modules of Google and Azure beside the library: the same names, a fragment that its reader reads."""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from strongroom.config import Config
from strongroom.errors import InvalidRequestError
from strongroom.names import Name, check_prefix, flat_name
from terraform.tests.attached import attached
from terraform.tests.tools import Terraform, any_terraform
from terraform.tests.workspace import Workspace
from tests.canary import CANARY
from tests.scale import by_day

MODULES = Path(__file__).resolve().parents[1] / "modules"
PREFIX = "eu_1.x/app"
NAMES = ("db/password", "eu-west/pass.word", "a_b/c.d-e", "x.y.z/1_2_3", "deep/deeper/deepest")
VERSIONS = dict.fromkeys(NAMES[1:], 1)
ROTATION = {
    "rotator": "postgresql",
    "options": {"host": "db.example.net", "port": 5432, "user": "app"},
    "schedule": "cron(0 3 ? * SUN *)",
    "timezone": "Europe/Zurich",
    "window": "2h",
}
CLOUDS: Mapping[str, Mapping[str, Any]] = {
    "gcp": {
        "project": "acme-prod",
        "replicas": {"europe-west6": {}, "europe-west1": {"kms_key_name": "projects/p/key"}},
        "create_keys": False,
        "readers": ["serviceAccount:app@acme-prod.iam.gserviceaccount.com"],
        "alarm_actions": ["projects/acme-prod/notificationChannels/1"],
    },
    "azure": {
        "vault_name": "acme-app",
        "resource_group_name": "secrets",
        "location": "switzerlandnorth",
        "tenant_id": "8d4ec1a2-0000-4000-8000-000000000000",
        "key": {},
        "coordinator": {
            "url": "postgresql://db.example.net/strongroom",
            "user": "rotation",
            "password": "env://PG_PASSWORD",
        },
        "readers": ["8d4ec1a2-0000-4000-8000-000000000001"],
        "log_analytics_workspace_id": "/subscriptions/s/workspaces/logs",
        "alarm_actions": ["/subscriptions/s/actionGroups/people"],
    },
}
FUNCTION: Mapping[str, Mapping[str, Any]] = {
    "gcp": {"location": "europe-west6", "package": "rotate.zip"},
    "azure": {"function": True, "events": True},
}
PROVIDERS = {"gcp": "google", "azure": "azurerm"}
MARKS = {"gcp": ("_", "secret_ids"), "azure": ("-", "secret_names")}


@pytest.fixture(params=CLOUDS)
def cloud(request: pytest.FixtureRequest) -> str:
    """One of those that no emulator of Terraform's calls is there for: their schema is what stands in."""
    return str(request.param)


def _write(workspace: Workspace, cloud: str) -> None:
    module = MODULES / f"{cloud}-secret-store"
    with zipfile.ZipFile(workspace.folder / "rotate.zip", "w") as archive:
        archive.writestr("main.py", "")
    call = {
        # An absolute source would be a package of its own, which has no modules beside it.
        "source": os.path.relpath(module, workspace.folder),
        "name": PREFIX,
        "secrets": {name: {"rotate": name == NAMES[0]} for name in NAMES},
        "values": "${var.values}",
        "value_versions": VERSIONS,
        "rotation": {**ROTATION, **FUNCTION[cloud]},
        **CLOUDS[cloud],
    }
    outputs = re.findall(r'^output "(\w+)"', (module / "outputs.tf").read_text(), re.MULTILINE)
    root = {
        "variable": {"values": {"type": "map(string)", "ephemeral": True, "default": {}}},
        **({"provider": {"azurerm": {"features": {}}}} if cloud == "azure" else {}),
        "module": {"it": call},
        "output": {name: {"value": f"${{module.it.{name}}}"} for name in outputs},
    }
    workspace.write(json.dumps(root), "main.tf.json")


def test_a_store_has_the_librarys_names_and_a_fragment_that_it_reads(cloud: str, short_folder: Path) -> None:
    """Every argument fits the provider's schema; no value is in state, plan or output; the next plan, without
    the values, is empty; each secret stands where the library looks for it.
    """
    workspace = Workspace(short_folder, Terraform(any_terraform()), trace=False)
    _write(workspace, cloud)
    with attached("terraform.tests.attached", PROVIDERS[cloud]) as provider:
        workspace.env["TF_REATTACH_PROVIDERS"] = provider
        _check(workspace, cloud)
    workspace.assert_no_canary()


def _check(workspace: Workspace, cloud: str) -> None:
    workspace.init()
    workspace.env["TF_VAR_values"] = json.dumps(dict.fromkeys(NAMES, CANARY))
    workspace.plan()
    workspace.apply_saved()
    outputs = {name: each["value"] for name, each in workspace.state()["outputs"].items()}
    mark, named = MARKS[cloud]
    assert outputs[named] == {name: flat_name(Name.parse(name), PREFIX, mark) for name in NAMES}
    _check_fragment(cloud, workspace.write(outputs["strongroom_toml"], "strongroom.toml"), outputs)
    del workspace.env["TF_VAR_values"]
    assert workspace.plan_is_empty()


def _check_fragment(cloud: str, path: Path, outputs: Mapping[str, Any]) -> None:
    path.chmod(0o600)
    config = Config.load(path)
    [(alias, store)] = config.stores.items()
    assert store.url == outputs["store_url"]
    [rotation] = config.rotations.values()
    assert (rotation.names, rotation.store) == (NAMES[:1], alias)
    assert rotation.options == ROTATION["options"]
    assert rotation.grace == timedelta(hours=2)
    assert config.ledger is not None
    assert config.ledger.url == f"strongroom://{alias}"
    if cloud == "gcp":
        assert store.settings.options == {"locations": {"europe-west6": "", "europe-west1": "projects/p/key"}}
        return
    assert [key.url for key in config.keys.values()] == [outputs["key_url"]]
    assert config.coordinator is not None
    assert config.coordinator.url == "postgresql://db.example.net/strongroom"


def test_a_fragment_holds_any_text(short_folder: Path) -> None:
    """What JSON and TOML write differently, what Terraform escapes, and what begins another table."""
    texts = {
        "quotes": "a \"b\" 'c' \\ d",
        "lines": "one\ntwo\ttab\r",
        "angles": "<a & b>",
        "table": "]\n[store.other]\nurl = 'x'",
        "unicode": "gr\u00fc\u00dfe \U0001f511 \u2028",
        "template": "${var.name} %{if}",
    }
    escaped = {key: text.replace("${", "$${").replace("%{", "%%{") for key, text in texts.items()}
    rotation = {
        "names": ["db/password", "exchange/**"],
        "rotator": "acme.rotators:Ledger",
        "options": {**escaped, "number": 1.5, "flag": True, "list": ["a", "b"]},
    }
    store = {"url": "local:///srv/secrets.db"}
    workspace = Workspace(short_folder, Terraform(any_terraform()), trace=False)
    call = {"source": str(MODULES / "strongroom-toml"), "alias": "prod", "store": store, "rotation": rotation}
    root = {"module": {"it": call}, "output": {"text": {"value": "${module.it.strongroom_toml}"}}}
    workspace.write(json.dumps(root), "main.tf.json")
    workspace.init()
    workspace.apply()
    path = workspace.write(workspace.state()["outputs"]["text"]["value"], "strongroom.toml")
    path.chmod(0o600)
    [entry] = Config.load(path).rotations.values()
    assert entry.options == {**texts, "number": 1.5, "flag": True, "list": ["a", "b"]}
    assert entry.names == ("db/password", "exchange/**")


README = {"vault": "vault", **PROVIDERS}
_SOURCE = re.compile(r'source = "[^"]*/terraform/modules/([a-z-]+)"')


@pytest.mark.parametrize(
    "module", by_day("examples of the modules", README, lambda module: module == "vault")
)
def test_the_example_of_the_readme_is_planned(module: str, short_folder: Path) -> None:
    """As it stands there, with the source for its address, and with a value for each variable."""
    example = (MODULES / f"{module}-secret-store" / "README.md").read_text().split("```terraform\n")[1]
    here = os.path.relpath(MODULES, short_folder)
    text, replaced = _SOURCE.subn(rf'source = "{here}/\1"', example.split("```")[0])
    assert replaced == 1
    workspace = Workspace(short_folder, Terraform(any_terraform()), trace=False)
    workspace.write(text + ('provider "azurerm" {\n  features {}\n}\n' if module == "azure" else ""))
    with zipfile.ZipFile(short_folder / "rotate.zip", "w") as archive:
        archive.writestr("main.py", "")
    with attached("terraform.tests.attached", README[module]) as provider:
        workspace.env["TF_REATTACH_PROVIDERS"] = provider
        for name in re.findall(r'^variable "(\w+)"', text, re.MULTILINE):
            workspace.env[f"TF_VAR_{name}"] = CANARY
        workspace.init()
        assert re.search(r"Plan: [1-9]\d* to add, 0 to change", workspace.plan().text)
    workspace.assert_no_canary()


_VALIDATION = re.compile(r'can\(regex\("(?P<pattern>[^"]+)", (?:var\.name|name)\)\)')


@pytest.mark.parametrize("module", ["vault", "gcp", "azure"])
def test_modules_take_the_names_that_the_library_takes(module: str) -> None:
    """The pattern of names and prefixes is the library's own, but for its limits of length."""
    text = (MODULES / f"{module}-secret-store" / "variables.tf").read_text()
    patterns = {re.compile(found["pattern"]) for found in _VALIDATION.finditer(text)}
    [pattern] = patterns

    @settings(suppress_health_check=list(HealthCheck))
    @given(st.text(alphabet="ab1-._/A ", min_size=1, max_size=12))
    def holds(text: str) -> None:
        assert bool(pattern.fullmatch(text)) == _takes(text)

    holds()


def _takes(text: str) -> bool:
    try:
        Name.parse(text)
    except InvalidRequestError:
        return False
    return True


def test_a_prefix_has_the_librarys_room() -> None:
    """24 units in which / counts 2, . 3 and _ 4, as in the modules' expression."""
    for text in ("a" * 24, "a/" * 7 + "abc", "a_a_a_a_aaa", "a.a.a.a.a.a"):
        widened = text.replace("/", "//").replace(".", "...").replace("_", "____")
        fits = len(widened) <= 24
        for module in ("vault", "gcp", "azure"):
            variables = (MODULES / f"{module}-secret-store" / "variables.tf").read_text()
            assert (
                'replace(replace(replace(var.name, "/", "//"), ".", "..."), "_", "____")) <= 24' in variables
            )
        if fits:
            check_prefix(text)
            continue
        with pytest.raises(InvalidRequestError):
            check_prefix(text)
