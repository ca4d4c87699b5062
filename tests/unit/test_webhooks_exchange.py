"""Requests signed as exchanges have it."""

from __future__ import annotations

import hashlib
import hmac
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.errors import InvalidRequestError
from strongroom.integrations.httpx_auth import HmacAuth, ServerClock
from strongroom.memory import MemoryBackend
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.webhooks import ReplayStore, RequestForm, RequestReceiver, WebhookError, sign_request
from tests.canary import CANARY, assert_no_canary_in
from tests.scale import scaled
from tests.unit.webhook_support import NOW, after, client, opened

NAME, TARGET, ORDER = "clients/acme", "/v1/orders?limit=5", b'{"side":"buy"}'
FORMS = [
    RequestForm(),
    RequestForm(timestamp="last"),
    RequestForm(separator="\n", unit="s", encoding="base64"),
    RequestForm(key_header="CB-ACCESS-KEY", timestamp_header="CB-TS", signature_header="CB-SIGN", unit="s"),
]


class Exchange:
    """A server and the secret of its client."""

    def __init__(self, folder: Path):
        self.clock, self.folder = FakeClock(), folder
        self.backend = MemoryBackend(clock=self.clock)
        self.store = SecretStore(self.backend, cache=None, clock=self.clock)
        self.store.put(NAME, client())
        self.replays = ReplayStore(folder / "seen.db", clock=self.clock)

    def receiver(self, form: RequestForm | None = None, **options: Any) -> RequestReceiver:
        return RequestReceiver(self.store, NAME, replays=self.replays, form=form, clock=self.clock, **options)


@pytest.fixture
def exchange(tmp_path: Path) -> Exchange:
    """With client 0."""
    return Exchange(tmp_path)


@pytest.mark.parametrize("form", FORMS)
def test_a_signed_request_is_taken_once(exchange: Exchange, form: RequestForm) -> None:
    """In every form; sent again it is the same request, and has no further effect."""
    found = sign_request(client(), "POST", TARGET, ORDER, at=NOW, form=form)
    receiver, effects = exchange.receiver(form), list[str]()
    answers = [
        receiver.receive("POST", TARGET, found, ORDER, lambda delivery, _: effects.append(delivery.id))
        for _ in range(2)
    ]
    assert answers == [True, False]
    assert effects == [found[form.signature_header]]


def test_the_default_form_is_the_one_that_our_own_client_sends(exchange: Exchange) -> None:
    """`HmacAuth` signs, and the receiver takes it, body and query and all."""
    store = opened(exchange.backend, exchange.clock)
    auth = HmacAuth(store, NAME, server=ServerClock(clock=exchange.clock))
    request = next(auth.sync_auth_flow(httpx.Request("POST", f"https://x.example{TARGET}", content=ORDER)))
    delivery = exchange.receiver().verify(
        request.method, request.url.raw_path.decode(), request.headers, request.content
    )
    assert delivery.timestamp == NOW


def test_the_signature_is_hmac_sha256_of_the_parts() -> None:
    """Timestamp, method, path with query, body."""
    found = sign_request(client(), "POST", TARGET, ORDER, at=NOW)
    message = f"1767225600000POST{TARGET}".encode() + ORDER
    assert found["X-Signature"] == hmac.digest(f"{CANARY}-0".encode(), message, hashlib.sha256).hex()
    assert found["X-Timestamp"] == "1767225600000"


def _changed(**headers: str | None) -> dict[str, str]:
    found: dict[str, str | None] = {**sign_request(client(), "POST", TARGET, ORDER, at=NOW)}
    found.update({f"X-{name}": value for name, value in headers.items()})
    return {name: value for name, value in found.items() if value is not None}


_SIGNATURE = _changed()["X-Signature"]
FORGED: dict[str, tuple[str, str, Any, bytes]] = {
    "another method": ("PUT", TARGET, _changed(), ORDER),
    "a method in small letters": ("post", TARGET, _changed(), ORDER),
    "another path": ("POST", "/v1/order", _changed(), ORDER),
    "another query": ("POST", "/v1/orders?limit=6", _changed(), ORDER),
    "another body": ("POST", TARGET, _changed(), b"{}"),
    "no body": ("POST", TARGET, _changed(), b""),
    "a path that took from the body": ("POST", TARGET + ORDER.decode(), _changed(), b""),
    "a body that took from the path": ("POST", "/v1/orders", _changed(), b"?limit=5" + ORDER),
    "another timestamp": ("POST", TARGET, _changed(Timestamp="1767225600001"), ORDER),
    "a timestamp in seconds": ("POST", TARGET, _changed(Timestamp="1767225600"), ORDER),
    "foreign digits": ("POST", TARGET, _changed(Timestamp="١٧٦٧٢٢٥٦٠٠٠٠٠"), ORDER),
    "a timestamp with a line's end": ("POST", TARGET, _changed(Timestamp="1767225600000\n"), ORDER),
    "another key": ("POST", TARGET, {**_changed(), "X-Api-Key": "client-1"}, ORDER),
    "no key": ("POST", TARGET, {**_changed(), "X-Api-Key": ""}, ORDER),
    "no timestamp": ("POST", TARGET, _changed(Timestamp=None), ORDER),
    "no signature": ("POST", TARGET, _changed(Signature=None), ORDER),
    "an empty signature": ("POST", TARGET, _changed(Signature=""), ORDER),
    "capitals": ("POST", TARGET, _changed(Signature=_SIGNATURE.upper()), ORDER),
    "a surrogate": ("POST", TARGET, _changed(Signature="\udcff"), ORDER),
    "bytes": ("POST", TARGET, [(b"x-api-key", b"\xff")], ORDER),
    "the signature twice": ("POST", TARGET, [*_changed().items(), ("x-signature", _SIGNATURE)], ORDER),
    "another's secret": ("POST", TARGET, sign_request(client(1), "POST", TARGET, ORDER, at=NOW), ORDER),
    "too old": ("POST", TARGET, sign_request(client(), "POST", TARGET, ORDER, at=after(-300.001)), ORDER),
    "too new": ("POST", TARGET, sign_request(client(), "POST", TARGET, ORDER, at=after(300.001)), ORDER),
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED.keys())
def test_every_forged_request_gets_the_same_answer(
    exchange: Exchange, forged: tuple[str, str, Any, bytes]
) -> None:
    """As a forged webhook; no expected signature stands in what a crash reporter would print."""
    method, target, headers, body = forged
    with pytest.raises(WebhookError) as caught:
        exchange.receiver().verify(method, target, headers, body)
    assert (str(caught.value), caught.value.status) == ("webhook: the webhook was refused", 401)
    assert_no_canary_in(caught.value)


def test_a_refusal_does_not_hold_the_signature_that_would_be_taken(exchange: Exchange) -> None:
    """A crash reporter that prints locals would sign for the forger."""
    with pytest.raises(WebhookError) as caught:
        exchange.receiver().verify("POST", TARGET, _changed(), b"{}")
    wanted = sign_request(client(), "POST", TARGET, b"{}", at=NOW)["X-Signature"]
    traceback: TracebackType | None = caught.tb
    shown = ""
    while traceback is not None:
        shown += repr(traceback.tb_frame.f_locals) if traceback.tb_frame.f_code.co_name[0] == "_" else ""
        traceback = traceback.tb_next
    assert _SIGNATURE in shown
    assert wanted not in shown


PARTS = st.text("ab/?{\n1", max_size=6)


@settings(max_examples=scaled(200, "forged requests"))
@given(st.lists(st.tuples(st.sampled_from(["GET", "PUT"]), PARTS, PARTS), min_size=2, max_size=2))
def test_two_requests_are_never_signed_alike(pairs: list[tuple[str, str, str]]) -> None:
    """Whatever is moved between path, body and timestamp, with a separator or without."""
    for form in FORMS:
        stamp = "1" * (10 if form.unit == "s" else 13)
        made = [form.message(stamp, method, f"/{path}", body.encode()) for method, path, body in pairs]
        assert None in made or (made[0] == made[1]) == (pairs[0] == pairs[1])


@settings(max_examples=scaled(200, "forged requests"))
@given(st.text("GET/a1{", max_size=20), st.text("1", min_size=13, max_size=13))
def test_a_timestamp_behind_a_body_is_not_part_of_it(body: str, stamp: str) -> None:
    """It has its one length."""
    form = RequestForm(timestamp="last")
    made = form.message(stamp, "POST", "/a", f"{{{body}".encode())
    assert made == f"POST/a{{{body}{stamp}".encode()
    assert form.message(stamp[1:], "POST", "/a", f"{{{body}{stamp[0]}".encode()) is None


def test_a_body_that_could_end_a_path_needs_a_separator(exchange: Exchange) -> None:
    """A form, `a=1&b=2`, is one; it is refused where it would be signed, with the way out."""
    with pytest.raises(InvalidRequestError, match="separator") as caught:
        sign_request(client(), "POST", "/v1/orders", b"a=1&b=2", at=NOW)
    assert_no_canary_in(caught.value)
    form = RequestForm(separator="\n")
    found = sign_request(client(), "POST", "/v1/orders", b"a=1&b=2", at=NOW, form=form)
    assert exchange.receiver(form).verify("POST", "/v1/orders", found, b"a=1&b=2").timestamp == NOW


def test_in_grace_both_of_a_clients_keys_are_accepted(exchange: Exchange) -> None:
    """Key id and secret change together; a key never goes with the other's secret."""
    exchange.store.put(NAME, client(1))
    receiver = exchange.receiver(grace=timedelta(hours=1))
    both = [sign_request(client(n), "GET", TARGET, at=NOW) for n in (0, 1)]
    for found in both:
        receiver.verify("GET", TARGET, found)
    with pytest.raises(WebhookError):
        receiver.verify("GET", TARGET, {**both[0], "X-Api-Key": "client-1"})
    exchange.clock.advance(3600)
    late = [sign_request(client(n), "GET", TARGET, at=exchange.clock.now()) for n in (0, 1)]
    receiver.verify("GET", TARGET, late[1])
    with pytest.raises(WebhookError):
        receiver.verify("GET", TARGET, late[0])


def test_a_clients_mistake_that_was_mended_is_passed_over(exchange: Exchange) -> None:
    """A forged request is refused, whatever the version before was."""
    exchange.store.put(NAME, "pasted by mistake")
    exchange.store.put(NAME, client(1))
    with pytest.raises(WebhookError):
        exchange.receiver().verify("GET", TARGET, sign_request(client(9), "GET", TARGET, at=NOW))


@pytest.mark.parametrize(
    "wrong", ['{"key":"k"}', '{"key":"k","secret":"short"}', '{"key":1,"secret":2}', "no"]
)
def test_a_secret_of_another_form_is_an_error_of_configuration(exchange: Exchange, wrong: str) -> None:
    """On both sides."""
    with pytest.raises(InvalidRequestError):
        sign_request(wrong, "GET", TARGET, at=NOW)
    exchange.store.put(NAME, wrong)
    with pytest.raises(InvalidRequestError):
        exchange.receiver().verify("GET", TARGET, sign_request(client(), "GET", TARGET, at=NOW))
