"""What the page on change notices shows is true: its configuration, its code, its rule and its commands."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import strongroom
from strongroom.config import Config
from strongroom.names import Name
from strongroom.registry import backend_class, open_backend, queue_schemes
from strongroom.store import SecretStore
from strongroom.toml.file import read_text
from strongroom_aws import change_events
from tests.pages import ROOT, marked
from tests.servers.boto import REGION
from tests.servers.moto import Moto
from tests.unit.core_support import DEADLINE, NAME, text
from tests.unit.test_hinting import until

PAGE = ROOT / "docs" / "notices.md"


@pytest.fixture(autouse=True)
def _short_requests(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A thread whose request is held open ends with it: no test of another file shall meet one."""
    monkeypatch.setattr("strongroom.notify.listener.WAIT", 1.0)
    yield
    for thread in threading.enumerate():
        if thread.name == "strongroom-listen":
            thread.join(DEADLINE)


def test_the_configuration_is_valid(tmp_path: Path) -> None:
    """And it listens to what it says."""
    [block] = marked("toml", PAGE)
    [notice] = read_text(tmp_path / "strongroom.toml", block.text, "").stores["prod"].notices
    assert notice.url == f"sqs://{REGION}/123456789012/changes-web-1"


def test_a_configured_store_hears_of_a_change(moto_server: Moto, tmp_path: Path) -> None:
    """The page's first example, whole: another program writes, the event comes, the subscriber is told."""
    [block] = marked("toml", PAGE)
    endpoint = f"endpoint={moto_server.url}"
    written = block.text.replace(f"{REGION}/prod", f"{REGION}/prod?{endpoint}")
    (tmp_path / "strongroom.toml").write_text(
        written.replace("web-1", f"web-1?{endpoint}").replace('"5s"', '"0s"')
    )
    other = SecretStore(open_backend(f"aws-sm://{REGION}/prod?{endpoint}"), cache=None)
    other.put(NAME, text("first"))
    with other, strongroom.open("prod", config=Config.load(tmp_path / "strongroom.toml")) as store:
        told: list[str] = []
        store.on_change(NAME, lambda _, version: told.append(version))
        second = other.put(NAME, text("second"))
        sqs = moto_server.client("sqs")
        queue = sqs.create_queue(QueueName="changes-web-1")["QueueUrl"]
        sqs.send_message(QueueUrl=queue, MessageBody=_moved())
        until(lambda: told == [second.id])
        assert store.get(NAME).value.matches(text("second"))


def test_a_queue_may_be_named_at_the_start(moto_server: Moto) -> None:
    """The code of the page, at an AWS of the test's own."""
    endpoint = f"endpoint={moto_server.url}"
    sqs = moto_server.client("sqs")
    queue = sqs.create_queue(QueueName="changes-here")["QueueUrl"]
    other = SecretStore(open_backend(f"aws-sm://{REGION}/prod?{endpoint}"), cache=None)
    other.put(NAME, text("first"))
    told: list[str] = []
    names = _run(
        lambda code: code.replace('/prod"', f'/prod?{endpoint}"').replace("{host}", f"{{host}}?{endpoint}"),
        host="here",
        reconnect=lambda _, version: told.append(version),
    )
    with other, names["store"]:
        second = other.put(NAME, text("second"))
        sqs.send_message(QueueUrl=queue, MessageBody=_moved())
        until(lambda: told == [second.id])


def test_the_rule_lets_through_what_is_understood() -> None:
    """Each value of the pattern is one of an event that names the secret; nothing else is asked of it."""
    [block] = marked("json rule", PAGE)
    pattern = json.loads(block.text)
    event: dict[str, Any] = {"region": REGION, "detail": {"name": "prod/db/password"}}
    event |= {key: values[0] for key, values in pattern.items() if key != "detail"}
    event["detail"] |= {key: values[0] for key, values in pattern["detail"].items()}
    backend = backend_class("aws-sm")
    location = open_backend(f"{backend.scheme}://{REGION}/prod").locate(Name.parse(NAME))
    assert change_events.resources(json.dumps(event)) == {change_events.resource(location)}


def test_the_commands_are_shell() -> None:
    """No cloud runs them here; bash reads them."""
    for block in marked("bash syntax", PAGE):
        subprocess.run(["bash", "-n"], input=block.text, text=True, check=True)


def test_every_queue_is_on_the_page() -> None:
    """With the extra that installs it."""
    shown = PAGE.read_text()
    assert all(f"`{scheme}://" in shown for scheme in queue_schemes())


def _moved() -> str:
    detail = {"name": f"prod/{NAME}", "labelUpdated": "AWSCURRENT"}
    return json.dumps({"source": "aws.secretsmanager", "region": REGION, "detail": detail})


def _run(change: Callable[[str], str], **names: Any) -> dict[str, Any]:
    [block] = marked("python sqs", PAGE)
    exec(compile(change(block.text), str(block.page), "exec", dont_inherit=True), names)
    return names
