"""Sinks as strongroom.toml names them: from an operation to a receiver."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from standardwebhooks.webhooks import Webhook

import strongroom
from strongroom.audit.sinks.base import Sink
from strongroom.auditing import sink_of
from strongroom.clock import Clock
from strongroom.config import Config
from strongroom.errors import InvalidRequestError, UnavailableError
from tests.canary import CANARY, assert_no_canary
from tests.servers.https import Authority, Response, serving
from tests.servers.receivers import deaf, honest, receiving
from tests.unit.audit_sink_support import ids_in

PAGE = Path(__file__).parents[2] / "docs" / "audit-sinks.md"
SECRET = "whsec_c3Ryb25ncm9vbS10ZXN0cy1vZi13ZWJob29rcw=="


@pytest.fixture(scope="module")
def authority() -> Iterator[Authority]:
    made = Authority()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SINK_SECRET", SECRET)
    monkeypatch.setenv("COLLECTOR_SECRET", SECRET)


def configuration(folder: Path, sinks: str, journal: str = "") -> Path:
    path = folder / "strongroom.toml"
    trail = journal or f'journal = {{ path = "{folder}/audit" }}'
    path.write_text(f'[store]\napp = {{ url = "memory://" }}\n[audit]\n{trail}\nsinks = [{sinks}]\n')
    return path


def test_what_an_operation_does_arrives_at_every_receiver(tmp_path: Path, authority: Authority) -> None:
    """Intents and outcomes, signed and over TLS, every record of the journal, and never the value."""
    with (
        serving(lambda _: Response(204, b""), authority) as web,
        receiving(honest, authority.server_context()) as syslog,
    ):
        sinks = (
            f'{{ url = "{web.url}/in", secret = "env://SINK_SECRET", ca = "{authority.ca_file}" }}, '
            f'{{ url = "syslog+tls://127.0.0.1:{syslog.port}", ca = "{authority.ca_file}" }}'
        )
        with strongroom.open("app", config=configuration(tmp_path, sinks)) as store:
            store.put("db/password", CANARY)
            store.get("db/password")
    bodies = [Webhook(SECRET).verify(each.body, dict(each.headers)) for each in web.requests]
    records = [record for body in bodies for record in body["data"]]
    by_syslog = [json.loads(message.partition(b" - ")[2]) for message in syslog.messages]
    assert [f"{one['chain']}:{one['seq']}" for one in records] == ids_in(tmp_path / "audit")
    assert by_syslog == records
    told = [(one["op"], one["phase"]) for one in records if one["kind"] == "event"]
    assert {("put", "intent"), ("put", "outcome"), ("get", "intent"), ("get", "outcome")} <= set(told)
    assert_no_canary(*(request.text() for request in web.requests), *syslog.streams)


def test_a_receiver_that_never_answers_fails_no_operation(tmp_path: Path, authority: Authority) -> None:
    """The operation, and the end of the program, do not wait for it."""
    with receiving(deaf, authority.server_context()) as receiver:
        sinks = (
            f'{{ url = "https://127.0.0.1:{receiver.port}/", secret = "env://SINK_SECRET", '
            f'ca = "{authority.ca_file}", timeout = "500ms" }}'
        )
        with strongroom.open("app", config=configuration(tmp_path, sinks)) as store:
            store.put("db/password", CANARY)
            assert store.get("db/password").audit_degraded is False


def test_a_gate_that_does_not_answer_lets_nothing_happen(tmp_path: Path, authority: Authority) -> None:
    """Where a sink is the gate its silence refuses, before any effect."""
    with receiving(deaf, authority.server_context()) as receiver:
        sinks = (
            f'{{ name = "siem", url = "https://127.0.0.1:{receiver.port}/", secret = "env://SINK_SECRET", '
            f'ca = "{authority.ca_file}", timeout = "200ms" }}'
        )
        path = configuration(tmp_path, sinks, 'gate = "siem"')
        store = strongroom.open("app", config=path)
        with pytest.raises(UnavailableError) as caught:
            store.put("db/password", CANARY)
        assert caught.value.performed is False
        with pytest.raises(UnavailableError):  # it says once more that something was not recorded
            store.close()


def test_the_sinks_of_the_documentation_open(tmp_path: Path) -> None:
    """What the page shows is what the configuration takes."""
    (text,) = re.findall(
        r"test: configuration -->\n```toml\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE
    )
    (tmp_path / "strongroom.toml").write_text(text)
    audit = Config.load(tmp_path / "strongroom.toml").audit
    assert audit is not None
    sinks = [sink_of(entry, Clock()) for entry in audit.sinks]
    assert [type(sink).__name__ for sink in sinks] == ["SyslogSink", "WebhookSink", "OpenTelemetrySink"]
    assert all(isinstance(sink, Sink) for sink in sinks)


def test_a_webhook_without_a_secret_is_refused_at_the_start(tmp_path: Path) -> None:
    """Not at the first record, which may be days later."""
    path = configuration(tmp_path, '{ url = "https://siem.example.net/" }')
    with pytest.raises(InvalidRequestError, match="secret"):
        strongroom.open("app", config=path)
