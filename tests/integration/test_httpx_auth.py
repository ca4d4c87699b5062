"""Requests signed with a rotated key, judged by a real HTTP server that verifies as exchanges do."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from strongroom.errors import InvalidRequestError, UnavailableError
from strongroom.integrations import httpx_auth
from strongroom.integrations.httpx_auth import Form, HmacAuth, ServerClock, iso, seconds
from strongroom.memory import MemoryBackend
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.testing.faults import FaultyBackend
from tests.canary import CANARY, assert_no_canary_in
from tests.scale import scaled
from tests.unit.core_support import DEADLINE

NAME = "exchange/api-key"
START = datetime(2026, 1, 1, tzinfo=UTC)
WINDOW = timedelta(seconds=5)
TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Unused on loopback; by default each client reads the machine's authorities anew."""


def secret(number: int) -> dict[str, str]:
    return {"key": f"key-{number}", "secret": f"{CANARY}-{number}", "phrase": f"{CANARY}-phrase"}


class Exchange(ThreadingHTTPServer):
    """Knows keys, has a clock, and verifies what it is sent.

    Attributes:
        ahead: how far its clock is ahead of START.
        keys: the signing secret of each key that is good.
        asked: method, path, key, body and timestamp of each request.
        date: whether answers have a Date.
        age: whether answers come from a cache.
    """

    daemon_threads = True

    def __init__(self, form: Form | None = None):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.form = form or Form()
        self.ahead = timedelta(0)
        self.keys = {"key-1": secret(1)["secret"].encode()}
        self.asked: list[tuple[str, str, str | None, bytes, str | None]] = []
        self.date, self.age = True, False

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def now(self) -> datetime:
        return START + self.ahead

    def rotate(self, number: int) -> None:
        """Only this key is good from now on."""
        self.keys = {f"key-{number}": secret(number)["secret"].encode()}

    def paths(self) -> list[str]:
        return [path for _, path, *_ in self.asked]

    def handle_error(self, *args: object) -> None:
        raise AssertionError("the server failed")


class _Handler(BaseHTTPRequestHandler):
    server: Exchange
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        form, exchange = self.server.form, self.server
        body = self._body()
        stamp, key = self.headers.get(form.timestamp_header), self.headers.get(form.key_header)
        exchange.asked.append((self.command, self.path, key, body, stamp))
        if self.path == "/time":
            self._answer(200, str(int(exchange.now().timestamp() * 1000)).encode())
        else:
            self._answer(200 if self._is_good(key, stamp, body) else 401, b"")

    do_POST = do_GET  # noqa: N815  (http.server's name)

    def _is_good(self, key: str | None, stamp: str | None, body: bytes) -> bool:
        form, exchange = self.server.form, self.server
        good = exchange.keys.get(key or "")
        if good is None or stamp is None or abs(_time(stamp) - exchange.now()) > WINDOW:
            return False
        message = stamp.encode() + self.command.encode() + self.path.encode() + (body if form.body else b"")
        digest = hmac.new(good, message, hashlib.sha256).digest()
        want = digest.hex() if form.signature == "hex" else base64.b64encode(digest).decode()
        return hmac.compare_digest(want, self.headers.get(form.signature_header) or "")

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response_only(status)
        self.send_header("Content-Length", str(len(body)))
        if self.server.date:
            self.send_header("Date", format_datetime(self.server.now(), usegmt=True))
        if self.server.age:
            self.send_header("Age", "3600")
        self.end_headers()
        self.wfile.write(body)


def _time(stamp: str) -> datetime:
    if stamp.isdigit():
        return datetime.fromtimestamp(int(stamp) / (1000 if len(stamp) > 10 else 1), UTC)
    return datetime.fromisoformat(stamp)


def serving(form: Form | None = None) -> Iterator[Exchange]:
    with Exchange(form) as exchange:
        threading.Thread(target=exchange.serve_forever, args=(0.01,), daemon=True).start()
        yield exchange
        exchange.shutdown()


@pytest.fixture
def exchange() -> Iterator[Exchange]:
    yield from serving()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(START)


@pytest.fixture
def backend(clock: FakeClock) -> FaultyBackend:
    return FaultyBackend(MemoryBackend(clock=clock))


@pytest.fixture
def store(backend: FaultyBackend, clock: FakeClock) -> Iterator[SecretStore]:
    with SecretStore(backend, clock=clock) as store:
        store.put(NAME, secret(1))
        yield store


@pytest.fixture
def auth(store: SecretStore, clock: FakeClock) -> HmacAuth:
    return HmacAuth(store, NAME, server=ServerClock(clock=clock))


def client(exchange: Exchange, auth: HmacAuth) -> httpx.Client:
    return httpx.Client(base_url=exchange.url, auth=auth, verify=TLS, trust_env=False, timeout=DEADLINE)


def rotate_elsewhere(backend: FaultyBackend, number: int) -> None:
    """Another program promotes another key."""
    with SecretStore(backend.inner) as other:
        other.put(NAME, secret(number))


class TestSigning:
    """What the server verifies."""

    def test_requests_of_all_kinds_are_accepted(self, exchange: Exchange, auth: HmacAuth) -> None:
        """Without a body, with one of each kind, and with a query that is sent as it is signed."""

        def parts() -> Iterator[bytes]:
            yield b"first "
            yield b"second"

        with client(exchange, auth) as http:
            answers = [
                http.get("/orders", params={"symbol": "BTC USD", "limit": "ä"}),
                http.post("/orders", json={"side": "buy"}),
                http.post("/orders", content=b"\x00\xff"),
                http.post("/orders", content=parts()),
            ]
        assert [answer.status_code for answer in answers] == [200] * 4
        assert exchange.asked[-1][3] == b"first second"

    @pytest.mark.parametrize(
        "form",
        [
            Form(signature="base64", timestamp=iso, key_header="OK-KEY", headers={"OK-PHRASE": "/phrase"}),
            Form(timestamp=seconds, secret="base64"),
            Form(body=False),
        ],
        ids=["base64 and iso", "seconds and a base64 secret", "no body"],
    )
    def test_other_forms_are_accepted(self, store: SecretStore, clock: FakeClock, form: Form) -> None:
        """How an exchange wants it is configuration."""
        if form.secret == "base64":
            coded = base64.b64encode(secret(1)["secret"].encode()).decode()
            store.put(NAME, {**secret(1), "secret": coded})
        for exchange in serving(form):
            with client(exchange, HmacAuth(store, NAME, form, ServerClock(clock=clock))) as http:
                assert http.post("/orders", content=b"body").status_code == 200

    def test_the_default_form_is_as_documented(self, store: SecretStore, clock: FakeClock) -> None:
        """A fixed example, computed here from the definition."""
        request = httpx.Request("POST", "https://x.example/a?b=1", content=b"{}")
        Form().sign(request, store.get(NAME).value, START)
        digest = hmac.new(secret(1)["secret"].encode(), b"1767225600000POST/a?b=1{}", "sha256").hexdigest()
        assert (request.headers["X-Api-Key"], request.headers["X-Timestamp"]) == ("key-1", "1767225600000")
        assert request.headers["X-Signature"] == digest

    @pytest.mark.parametrize(
        ("value", "form", "problem"),
        [
            ("plain", Form(), "not JSON"),
            ({"key": "key-1"}, Form(), "nothing at '/secret'"),
            ({"key": "key-1", "secret": 7}, Form(), "/secret is not text"),
            ({"key": "key-1", "secret": f"{CANARY}!"}, Form(secret="base64"), "not Base64"),
        ],
    )
    def test_a_secret_of_another_shape_says_what_is_wrong(
        self, exchange: Exchange, store: SecretStore, value: str | dict[str, str], form: Form, problem: str
    ) -> None:
        """Before anything is sent, and without the value."""
        store.put(NAME, value)
        with client(exchange, HmacAuth(store, NAME, form)) as http:
            with pytest.raises(InvalidRequestError, match=problem) as caught:
                http.get("/orders")
            assert_no_canary_in(caught.value)
        assert not exchange.asked


class TestRotation:
    """A key that the server refuses."""

    def test_a_refused_key_is_replaced_and_the_request_repeated(
        self, exchange: Exchange, auth: HmacAuth, backend: FaultyBackend
    ) -> None:
        """Body and all, once; the next request needs no second attempt."""
        with client(exchange, auth) as http:
            assert http.get("/orders").status_code == 200
            exchange.rotate(2)
            rotate_elsewhere(backend, 2)
            assert http.post("/orders", content=iter([b"bo", b"dy"])).status_code == 200
            assert http.get("/orders").status_code == 200
        keys = [(key, body) for _, _, key, body, _ in exchange.asked]
        assert keys == [("key-1", b""), ("key-1", b"body"), ("key-2", b"body"), ("key-2", b"")]

    def test_a_key_that_did_not_change_is_not_sent_again(
        self, exchange: Exchange, auth: HmacAuth, backend: FaultyBackend
    ) -> None:
        """The server's 401 is the answer; the store was asked once."""
        exchange.keys.clear()
        with client(exchange, auth) as http:
            http.get("/orders")
            backend.calls.clear()
            assert http.get("/orders").status_code == 401
        assert len(exchange.asked) == 2
        assert backend.calls["get"] <= 1

    def test_a_newer_key_that_is_refused_too_is_the_end(
        self, exchange: Exchange, auth: HmacAuth, backend: FaultyBackend, store: SecretStore
    ) -> None:
        """No third attempt."""
        store.get(NAME)
        exchange.keys.clear()
        rotate_elsewhere(backend, 2)
        with client(exchange, auth) as http:
            assert http.get("/orders").status_code == 401
        assert [key for _, _, key, *_ in exchange.asked] == ["key-1", "key-2"]

    def test_a_stream_that_was_sent_is_not_sent_again(
        self, exchange: Exchange, store: SecretStore, backend: FaultyBackend, clock: FakeClock
    ) -> None:
        """It is used up; what has its body at hand is repeated also where the body is not signed."""
        exchange.form = Form(body=False)
        store.get(NAME)
        exchange.rotate(2)
        rotate_elsewhere(backend, 2)
        auth = HmacAuth(store, NAME, exchange.form, ServerClock(clock=clock))
        with client(exchange, auth) as http:
            assert http.post("/orders", content=iter([b"stream"])).status_code == 401
            assert http.post("/orders", content=b"bytes").status_code == 200
        assert len(exchange.asked) == 3

    def test_a_store_that_does_not_answer_says_so(
        self, exchange: Exchange, auth: HmacAuth, store: SecretStore, backend: FaultyBackend
    ) -> None:
        """The key is refused and nobody knows a newer one."""
        store.get(NAME)
        exchange.rotate(2)
        backend.unreachable()
        with client(exchange, auth) as http, pytest.raises(UnavailableError):
            http.get("/orders")

    def test_rotations_under_load_fail_no_request(
        self, exchange: Exchange, auth: HmacAuth, backend: FaultyBackend, clock: FakeClock
    ) -> None:
        """Threads sign while the key changes; the old one dies once the new one is promoted."""
        failed: list[int] = []
        with client(exchange, auth) as http:

            def ask() -> None:
                statuses = [http.post("/orders", content=b"x").status_code for _ in range(5)]
                failed.extend(status for status in statuses if status != 200)

            for number in range(2, 2 + scaled(40, "rotations of a signing key under load")):
                threads = [threading.Thread(target=ask) for _ in range(4)]
                for thread in threads:
                    thread.start()
                exchange.keys[f"key-{number}"] = secret(number)["secret"].encode()
                rotate_elsewhere(backend, number)
                exchange.rotate(number)
                for thread in threads:
                    thread.join(DEADLINE)
                clock.advance(1)  # the limit of `refresh`
                exchange.ahead += timedelta(seconds=1)
        assert not failed


class TestClock:
    """The server's time, learned and bounded."""

    def test_the_date_of_an_answer_corrects_the_next_signature(
        self, exchange: Exchange, auth: HmacAuth, caplog: pytest.LogCaptureFixture
    ) -> None:
        """This machine is 20 s slow: the first request is refused, the others are not."""
        exchange.ahead = timedelta(seconds=20.9)
        with client(exchange, auth) as http:
            assert [http.get("/orders").status_code for _ in range(3)] == [401, 200, 200]
        assert abs(auth.server.offset - exchange.ahead) <= timedelta(seconds=0.5)
        assert not [record for record in caplog.records if record.name == httpx_auth.__name__]

    def test_a_clock_that_agrees_is_left_alone(self, exchange: Exchange, auth: HmacAuth) -> None:
        """A Date is cut to a second: what it cannot contradict stays."""
        exchange.ahead = timedelta(seconds=0.4)
        with client(exchange, auth) as http:
            http.get("/orders")
        assert auth.server.offset == timedelta(0)

    def test_an_offset_over_the_bound_is_not_used_and_is_logged_once(
        self, exchange: Exchange, auth: HmacAuth, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A signature for tomorrow would be good tomorrow."""
        exchange.ahead = timedelta(days=1)
        with client(exchange, auth) as http:
            assert [http.get("/orders").status_code for _ in range(2)] == [401, 401]
            exchange.ahead = timedelta(0)
            assert http.get("/orders").status_code == 200
        assert auth.server.offset == timedelta(0)
        (line,) = [record.message for record in caplog.records if record.name == httpx_auth.__name__]
        assert line.startswith("the clock of 127.0.0.1 is 86400 s from this machine's, more than the 30 s")

    @pytest.mark.parametrize("date", [None, "yesterday", "aged"])
    def test_an_answer_that_tells_no_time_teaches_nothing(
        self, exchange: Exchange, auth: HmacAuth, date: str | None
    ) -> None:
        """No Date, none that can be read, or one that a cache kept."""
        exchange.ahead = timedelta(seconds=20)
        exchange.date, exchange.age = date == "aged", date == "aged"
        with client(exchange, auth) as http:
            http.get("/orders")
        if date == "yesterday":
            answer = httpx.Response(200, headers={"Date": date}, request=httpx.Request("GET", exchange.url))
            auth.server.learn(answer, START)
        assert auth.server.offset == timedelta(0)

    def test_a_slow_answer_contradicts_only_what_it_can(self, clock: FakeClock) -> None:
        """Its time may lie anywhere between sending and arrival."""
        server = ServerClock(clock=clock)
        answer = httpx.Response(200, headers={"Date": format_datetime(START, usegmt=True)})
        answer.request = httpx.Request("GET", "https://x.example")
        clock.advance(40)
        server.learn(answer, START)
        assert server.offset == timedelta(0)

    def test_a_servers_time_is_asked_before_the_first_request(
        self, exchange: Exchange, store: SecretStore, clock: FakeClock
    ) -> None:
        """Where an exchange has an address for it, no request is lost; it is asked again when that is old."""
        exchange.ahead = timedelta(seconds=20)
        server = ServerClock(f"{exchange.url}/time", _milliseconds, step=timedelta(0), clock=clock)
        with client(exchange, HmacAuth(store, NAME, server=server)) as http:
            assert [http.get("/orders").status_code for _ in range(2)] == [200, 200]
            exchange.ahead = timedelta(seconds=620)
            clock.advance(600)
            assert http.get("/orders").status_code == 200
        assert exchange.paths() == ["/time", "/orders", "/orders", "/time", "/orders"]
        assert server.offset == timedelta(seconds=20)

    def test_no_request_for_the_time_is_signed(
        self, exchange: Exchange, store: SecretStore, clock: FakeClock
    ) -> None:
        """It needs no key, and one that is refused asks no store."""
        server = ServerClock(f"{exchange.url}/time", _milliseconds, clock=clock)
        with client(exchange, HmacAuth(store, NAME, server=server)) as http:
            http.get("/orders")
        assert [key for _, path, key, *_ in exchange.asked if path == "/time"] == [None]


def _milliseconds(response: httpx.Response) -> datetime:
    return datetime.fromtimestamp(int(response.text) / 1000, UTC)


class TestAsync:
    """The same by an AsyncClient."""

    def test_an_async_client_signs_learns_and_rotates(
        self, exchange: Exchange, store: SecretStore, backend: FaultyBackend, clock: FakeClock
    ) -> None:
        """A streamed body, the server's time, a refused key."""
        exchange.ahead = timedelta(seconds=20)
        server = ServerClock(f"{exchange.url}/time", _milliseconds, clock=clock)
        auth = HmacAuth(store, NAME, server=server)

        async def parts() -> AsyncIterator[bytes]:
            yield b"bo"
            yield b"dy"

        async def main() -> list[int]:
            async with httpx.AsyncClient(
                base_url=exchange.url, auth=auth, verify=TLS, trust_env=False
            ) as http:
                first = await http.post("/orders", content=parts())
                exchange.rotate(2)
                rotate_elsewhere(backend, 2)
                return [first.status_code, (await http.post("/orders", content=parts())).status_code]

        assert asyncio.run(main()) == [200, 200]
        assert [body for *_, body, _ in exchange.asked] == [b"", b"body", b"body", b"body"]
