"""A plan of a hundred secrets: the time that the provider itself takes, from its start, on a real socket.

Its processor time counts, since what Terraform and the store's server do meanwhile is not its own. The peer
is the same provider, started and asked for nothing but what it has.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

import strongroom
from strongroom.config import Config
from strongroom_terraform.messages import new
from strongroom_terraform.provider import SCHEMA
from strongroom_terraform.reference import identity
from strongroom_terraform.schema import Values
from strongroom_terraform.secret import SecretResource
from strongroom_terraform.wire import dynamic, values
from terraform.tests.plugin_client import Identity, call, started, tls
from tests.bench.harness import Bar, Row
from tests.unit.strict_aws_support import Aws

SECRETS = 100
BAR = Bar(at_most=2.0)
_TYPE = SecretResource.name
_SCHEMA = SecretResource.schema
Asked = Sequence[tuple[str, Any]]


def rows() -> Iterator[Row]:
    """With the embedded store, and at AWS by the double of Secrets Manager."""
    with tempfile.TemporaryDirectory(prefix="tf") as name:
        folder = Path(name)
        (folder / "vault").mkdir(mode=0o700)
        url = f'"local://{folder}/vault/s.db?create=keyset"\noptions = {{ keyset = "{folder}/keys.json" }}'
        yield _row("plan 100 secrets: embedded store", folder, url)
        aws = Aws()
        with aws.server:
            yield _row(
                "plan 100 secrets: AWS", folder, f'"aws-sm://eu-west-1/prod?endpoint={aws.server.url}"'
            )


def _row(name: str, folder: Path, url: str) -> Row:
    toml = folder / "strongroom.toml"
    toml.write_text(f'default = "prod"\n[store.prod]\nurl = {url}\n')
    states = _made(toml)
    begun = [("GetProviderSchema", new("Empty"))]
    alone, _ = _seconds(folder, begun)
    ours, answers = _seconds(folder, [*begun, _configured(toml), *_plan(states)])
    for state, answer in zip(states, answers[2::2], strict=True):
        assert values(_SCHEMA, answer.new_state) == state
    for state, answer in zip(states, answers[3::2], strict=True):
        assert values(_SCHEMA, answer.planned_state) == state
    return BAR.row(name, ours, alone, "its start")


def _made(toml: Path) -> list[Values]:
    """The secrets, and what Terraform's state says of them."""
    with strongroom.open("prod", config=Config.load(toml)) as store:
        for number in range(SECRETS):
            store.put(f"app/n{number}", f"value {number}")
        return [_state(store.describe(f"app/n{number}")) for number in range(SECRETS)]


def _state(info: Any) -> Values:
    from strongroom_terraform.metadata import moment

    name, version = str(info.key), info.newest.id
    told: Values = {"store": "prod", "name": name, "value_wo_version": 1, "id": identity("prod", name)}
    told |= {"version": version, "written_version": version, "created_at": moment(info.created_at)}
    return {**dict.fromkeys(_SCHEMA.attributes), **told}


def _configured(toml: Path) -> tuple[str, Any]:
    said: Values = {**dict.fromkeys(SCHEMA.attributes), "config": str(toml)}
    return "ConfigureProvider", new("ConfigureRequest", config=dynamic(SCHEMA, said))


def _plan(states: Sequence[Values]) -> Iterator[tuple[str, Any]]:
    """A read and a plan of each, as Terraform's second plan asks."""
    for state in states:
        now = dynamic(_SCHEMA, state)
        yield "ReadResource", new("ReadRequest", type_name=_TYPE, current_state=now)
        config = dynamic(_SCHEMA, {**state, **dict.fromkeys(_computed())})
        yield (
            "PlanResourceChange",
            new("PlanRequest", type_name=_TYPE, prior_state=now, proposed_new_state=now, config=config),
        )


def _computed() -> list[str]:
    return [name for name, each in _SCHEMA.attributes.items() if each.computed]


def _seconds(folder: Path, asked: Asked) -> tuple[float, list[Any]]:
    """Processor seconds of one provider, from its start to its last answer."""
    identity = Identity.new()
    with _provider(folder, identity) as running:
        context = tls(identity, running.fields[5], folder)
        answers = call(running.address, context, *asked)
        times = psutil.Process(running.process.pid).cpu_times()
    return times.user + times.system, answers


@contextmanager
def _provider(folder: Path, identity: Identity) -> Iterator[Any]:
    settings = {"PLUGIN_CLIENT_CERT": identity.certificate, "TF_DATA_DIR": str(folder / "terraform")}
    settings |= {"STRONGROOM_CONFIG": os.devnull}
    with started(settings, sys.executable, "-m", "strongroom_terraform.main") as running:
        yield running
