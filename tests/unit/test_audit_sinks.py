"""Each sink against a real receiver: what arrives, and what a receiver that misbehaves does to the sender."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from strongroom.audit.record import parse
from strongroom.audit.sinks.base import FORMATS, Sink, TooLargeError, one_line
from strongroom.audit.sinks.files import FileSink
from strongroom.audit.sinks.logger import LoggingSink
from strongroom.audit.sinks.opening import open_sink
from strongroom.audit.sinks.otel import OpenTelemetrySink
from strongroom.audit.sinks.syslog import SyslogSink
from strongroom.audit.sinks.webhook import WebhookSink
from strongroom.audit.wire import Reach
from strongroom.errors import InvalidRequestError, SecretStoreError, UnavailableError
from strongroom.value import SecretValue
from strongroom.webhooks.standard import verify
from tests.canary import CANARY, assert_no_canary_in
from tests.scale import NIGHTLY
from tests.servers.https import Authority, Response, Server, serving
from tests.servers.receivers import (
    answering,
    counted,
    deaf,
    dying,
    ending_without_notice,
    honest,
    receiving,
)
from tests.unit.audit_sink_support import TIME, id_of, line

SECRET = "whsec_" + "c3Ryb25ncm9vbS10ZXN0cy1vZi13ZWJob29rcw=="
SECOND = "whsec_" + "dGhlLXNlY29uZC1zZWNyZXQtb2YtdGhlLXRlc3Q="
NASTY = "a|b=c\\d\r\ne\x00f\x1b[31mg\u202eh\u2028i\x85j\x7fk"

SYSLOG = re.compile(
    rb"<(?P<priority>\d{1,3})>1 (?P<time>\S+) (?P<host>\S+) strongroom (?P<pid>\d+) (?P<id>[!-~]{1,32}) - "
    rb"(?P<text>.*)",
    re.DOTALL,
)


@pytest.fixture(scope="module")
def authority() -> Iterator[Authority]:
    made = Authority()
    yield made
    made.close()


def syslog(port: int, authority: Authority, **options: Any) -> SyslogSink:
    timeout = options.pop("timeout", 5.0)
    return SyslogSink("127.0.0.1", port, reach=Reach(authority.ca_file, timeout=timeout), **options)


def webhook(server: Server, secret: Any = SECRET, **options: Any) -> WebhookSink:
    timeout = options.pop("timeout", 5.0)
    return WebhookSink(f"{server.url}/audit", secret, reach=Reach(server.ca_file, timeout=timeout), **options)


def texts_of(message: bytes) -> dict[str, bytes]:
    match = SYSLOG.fullmatch(message)
    assert match
    return match.groupdict()


# Syslog


def test_syslog_messages_are_rfc_5424_over_tls(authority: Authority) -> None:
    """Octet count, header fields and the record's own line, a message for each record, in order."""
    with receiving(honest, authority.server_context()) as receiver:
        syslog(receiver.port, authority).send([line(0), line(1, outcome="PermissionDeniedError")])
    first, second = map(texts_of, receiver.messages)
    assert (first["priority"], second["priority"]) == (b"110", b"109")  # 13 * 8 + 6, and + 5
    assert (first["time"], first["id"]) == (b"2026-01-02T03:04:05.123456Z", b"get")
    assert first["text"] == line(0)
    assert parse(second["text"])["seq"] == 1


def test_syslog_counts_a_batch_as_taken_when_the_receiver_ended_its_stream(authority: Authority) -> None:
    """Also of a receiver that omits TLS's close_notify, as GnuTLS servers do."""
    with receiving(ending_without_notice, authority.server_context()) as receiver:
        syslog(receiver.port, authority).send([line(0)])
        assert len(receiver.messages) == 1


@pytest.mark.parametrize("behaviour", [deaf, dying, answering(b"\0garbage\n" * 10)])
def test_syslog_takes_nothing_for_sent_that_was_not_read(behaviour: Any, authority: Authority) -> None:
    """One that never reads, that dies with messages unread, that talks instead: all is sent again."""
    with (
        receiving(behaviour, authority.server_context()) as receiver,
        pytest.raises(UnavailableError) as caught,
    ):
        syslog(receiver.port, authority, timeout=0.5).send([line(0)] * 500)
    assert caught.value.__context__ is None


def test_syslog_goes_to_nobody_under_a_foreign_authority(authority: Authority) -> None:
    """Nothing is sent, in clear least of all."""
    other = Authority("somebody else")
    with receiving(honest, other.server_context()) as receiver, pytest.raises(UnavailableError):
        syslog(receiver.port, authority).send([line(0)])
    assert receiver.streams == []
    other.close()


@pytest.mark.parametrize("form", FORMATS)
def test_a_syslog_message_is_never_longer_than_its_bound(form: str, authority: Authority) -> None:
    """Texts are clipped until it fits; the record stays whole JSON, and says that it is clipped."""
    long = dict.fromkeys(("name", "location", "version", "stage", "backend", "store"), "🔑" * 2000)
    with receiving(honest, authority.server_context()) as receiver:
        syslog(receiver.port, authority, form=form, limit=2048).send([line(0, **long)])
    (message,) = receiver.messages
    assert len(message) <= 2048
    if form != "cef":
        json.loads(texts_of(message)["text"])
    if form == "json":
        assert json.loads(texts_of(message)["text"])["clipped"] is True


@settings(max_examples=500 if NIGHTLY else 8)
@given(names=st.lists(st.text(max_size=60) | st.just(NASTY) | st.just("x" * 10_000), min_size=1, max_size=4))
@pytest.mark.parametrize("form", FORMATS)
def test_no_name_forges_a_message(form: str, names: list[str]) -> None:
    """As many messages as records, each on one line of its own, whatever the names hold, in every format."""
    sink = SyslogSink("127.0.0.1", form=form)
    frames = b"".join(sink._frame(entry, sink.written(entry)) for entry in _entries(names))
    messages = counted(frames)
    assert len(messages) == len(names)
    for message in messages:
        assert one_line(message.decode()) == message.decode()
        assert len(message) <= 8192


def _entries(names: list[str]) -> list[Any]:
    from strongroom.audit.sinks.base import _entry

    return [_entry(line(number, name=name or "x")) for number, name in enumerate(names)]


# HTTPS webhook


def test_a_webhook_verifies_by_the_reference_library_and_by_ours(authority: Authority) -> None:
    """One message, signed; its data are the records as they stand in the journal."""
    with serving(lambda _: Response(), authority) as server:
        webhook(server).send([line(0), line(1)])
    (request,) = server.requests
    message = Webhook(SECRET).verify(request.body, dict(request.headers))
    delivery = verify(SecretValue(SECRET), request.headers, request.body)
    assert message["type"] == "strongroom.audit.records"
    assert [json.dumps(record, separators=(",", ":")).encode() for record in message["data"]] == [
        line(0),
        line(1),
    ]
    assert (message["timestamp"], request.path) == (TIME, "/audit")
    assert delivery.id.startswith(f"{id_of(0)}+2-")


def test_a_changed_webhook_does_not_verify(authority: Authority) -> None:
    """The peer would refuse what was altered on the way."""
    with serving(lambda _: Response(), authority) as server:
        webhook(server).send([line(0)])
    (request,) = server.requests
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(request.body.replace(b"password", b"Password"), dict(request.headers))


def test_one_record_alone_has_its_own_id_and_a_repeat_has_the_same(authority: Authority) -> None:
    """The receiver's key against doing a thing twice: equal for equal batches, new for another."""
    with serving(lambda _: Response(), authority) as server:
        sink = webhook(server)
        for batch in ([line(0)], [line(0)], [line(0), line(1)], [line(0), line(1)], [line(0), line(2)]):
            sink.send(batch)
    ids = [request.headers["webhook-id"] for request in server.requests]
    assert ids[0] == ids[1] == id_of(0)
    assert ids[2] == ids[3] != ids[4]


def test_both_secrets_sign_while_one_replaces_the_other(authority: Authority) -> None:
    """A receiver that has either of the two accepts."""
    with serving(lambda _: Response(), authority) as server:
        webhook(server, [SecretValue(SECRET), SecretValue(SECOND)]).send([line(0)])
    (request,) = server.requests
    for secret in (SECRET, SECOND):
        Webhook(secret).verify(request.body, dict(request.headers))


@pytest.mark.parametrize("status", [301, 400, 401, 404, 410, 429, 500, 503])
def test_any_answer_but_success_is_an_error_that_may_pass(status: int, authority: Authority) -> None:
    """Nothing the receiver says makes a record count as delivered but 2xx; its text is not repeated."""
    answer = Response(status, CANARY.encode(), {"Location": "https://127.0.0.1:9/"})
    with serving(lambda _: answer, authority) as server, pytest.raises(UnavailableError) as caught:
        webhook(server).send([line(0)])
    assert str(status) in str(caught.value)
    assert_no_canary_in(caught.value)


def test_a_receiver_that_refuses_the_size_says_so(authority: Authority) -> None:
    """413 is told apart: less at once may pass."""
    with serving(lambda _: Response(413), authority) as server, pytest.raises(TooLargeError):
        webhook(server).send([line(0)])


def test_neither_secret_nor_header_is_in_an_error() -> None:
    """Not in its text, nor in a frame of the sink; and a malformed secret is not repeated."""
    failing = [
        lambda: open_sink("https://127.0.0.1:9/", secret=CANARY),
        lambda: open_sink("nonsense://x", secret=CANARY, headers={"X": CANARY}),
        lambda: open_sink("https://127.0.0.1:9/", secret=SECRET, headers={"X": CANARY}).send([line(0)]),
    ]
    for call in failing:
        with pytest.raises(SecretStoreError) as caught:
            call()
        assert_no_canary_in(caught.value)


def test_an_unsigned_webhook_cannot_be_opened() -> None:
    """A receiver could not tell our records from anybody's."""
    with pytest.raises(InvalidRequestError, match="signs"):
        open_sink("https://siem.example/")


# Files, logging, OpenTelemetry


def test_a_file_gets_a_line_for_each_record(tmp_path: Path) -> None:
    """Private to its owner, appended to, the journal's own bytes."""
    sink = FileSink(tmp_path / "audit.jsonl")
    sink.send([line(0), line(1)])
    sink.send([line(2)])
    assert (tmp_path / "audit.jsonl").read_bytes() == b"\n".join([line(0), line(1), line(2), b""])
    assert (tmp_path / "audit.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_torn_line_does_not_swallow_the_next(tmp_path: Path) -> None:
    """What a full disk or a crash cut short stays a line of its own."""
    (tmp_path / "audit.jsonl").write_bytes(line(0)[:20])
    FileSink(tmp_path / "audit.jsonl").send([line(0)])
    assert (tmp_path / "audit.jsonl").read_bytes().splitlines()[1] == line(0)


def test_a_rotated_file_is_begun_anew(tmp_path: Path) -> None:
    """Nothing goes to a file that was moved away."""
    sink, path = FileSink(tmp_path / "audit.jsonl"), tmp_path / "audit.jsonl"
    sink.send([line(0)])
    path.rename(tmp_path / "old")
    sink.send([line(1)])
    assert path.read_bytes() == line(1) + b"\n"


def test_a_file_that_cannot_be_written_is_an_error_that_may_pass(tmp_path: Path) -> None:
    """A missing folder, and a link that somebody put there."""
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("missing/audit.jsonl", "link"):
        with pytest.raises(UnavailableError, match="file"):
            FileSink(tmp_path / name).send([line(0)])
    assert not (tmp_path / "elsewhere").exists()


def test_logging_gets_a_message_and_the_fields(caplog: pytest.LogCaptureFixture) -> None:
    """Detections and gaps at WARNING, the rest at INFO."""
    gap = {"kind": "gap", "since": TIME, "until": TIME, "count": 3}
    with caplog.at_level(logging.INFO, "strongroom.audit"):
        LoggingSink().send([line(0), gap])
    first, second = caplog.records
    assert (first.getMessage().encode(), first.levelno) == (line(0), logging.INFO)
    assert second.levelno == logging.WARNING
    assert first.strongroom["name"] == "db/password"  # type: ignore[attr-defined]


def test_opentelemetry_gets_a_log_record_with_attributes_and_its_span() -> None:
    """Time to the nanosecond, the operation's own trace, and the record as the body."""
    exporter, provider = InMemoryLogRecordExporter(), LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    trace = f"00-{'ab' * 16}-{'cd' * 8}-01"
    OpenTelemetrySink(provider=provider).send([line(0, trace=trace), line(1)])
    first, second = (item.log_record for item in exporter.get_finished_logs())
    assert first.timestamp == 1767323045_123456789
    assert (first.trace_id, first.span_id) == (int("ab" * 16, 16), int("cd" * 8, 16))
    assert not second.trace_id
    assert first.body == line(0, trace=trace).decode()
    assert first.attributes is not None
    assert first.attributes["strongroom.audit.id"] == id_of(0)
    assert first.attributes["strongroom.audit.secret.name"] == "db/password"
    provider.shutdown()


def test_opentelemetry_without_a_provider_takes_nothing() -> None:
    """The API's own default drops everything: records wait until the application has set one up."""
    with pytest.raises(UnavailableError, match="logger provider"):
        open_sink("otel:").send([line(0)])


def test_a_provider_that_does_not_flush_has_taken_nothing() -> None:
    """What the SDK would drop without a word is an error here."""
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(_Stuck())
    with pytest.raises(UnavailableError, match="exporter"):
        OpenTelemetrySink(provider=provider).send([line(0)])


class _Stuck(SimpleLogRecordProcessor):
    def __init__(self) -> None:
        super().__init__(InMemoryLogRecordExporter())

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return False


# Opening


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("file:///var/log/audit.jsonl", FileSink),
        ("syslog+tls://siem.example.net", SyslogSink),
        ("syslog+tls://[2001:db8::1]:7000", SyslogSink),
        ("logging:", LoggingSink),
        ("logging:acme.audit", LoggingSink),
        ("otel:", OpenTelemetrySink),
    ],
)
def test_a_url_names_a_sink(url: str, kind: type[Sink]) -> None:
    """Nothing is asked or sent when it is opened."""
    assert type(open_sink(url)) is kind


@pytest.mark.parametrize(
    "url",
    [
        "", "x", "syslog://siem.example.net", "syslog+tls://", "syslog+tls://u:p@h", "syslog+tls://h/path",
        "syslog+tls://h:0", "syslog+tls://h:99999", "file://host/path", "file:relative", "file:///a%00b",
        "file:///a b", "https://user:pass@h/",
    ],
)  # fmt: skip
def test_what_names_no_sink_is_refused(url: str) -> None:
    """Clear syslog does not exist here; credentials stand in no URL."""
    with pytest.raises(InvalidRequestError):
        open_sink(url)


def test_a_format_that_is_none_is_refused() -> None:
    """The hint names those there are."""
    with pytest.raises(InvalidRequestError, match="ocsf"):
        open_sink("logging:", format="xml")


def test_a_secret_for_who_signs_nothing_is_refused() -> None:
    """Somebody believed that it would protect something."""
    with pytest.raises(InvalidRequestError, match="https"):
        open_sink("logging:", secret=SECRET)


@pytest.mark.parametrize("form", FORMATS)
def test_every_sink_takes_every_format_on_one_line(form: str, tmp_path: Path) -> None:
    """A name full of what ends lines or moves cursors stays inside its line."""
    FileSink(tmp_path / "out", form).send([line(0, name=NASTY), line(1)])
    text = (tmp_path / "out").read_bytes().decode()
    assert len(text.splitlines()) == 2
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029]", text)
