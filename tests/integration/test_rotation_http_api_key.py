"""The rotator of HTTP API keys, against doubles that sign as Binance and as Coinbase do."""

from __future__ import annotations

import base64
import hashlib
import hmac
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    SecretConflictError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.rotation.rotator import Rotation
from strongroom.rotation.rotators.http_api_key import HTTPKeyRotator
from strongroom.rotation.rotators.signing import Ask, signed
from strongroom.value import SecretValue
from tests.canary import CANARY, assert_no_canary_in
from tests.servers.exchange import Exchange, Key, Style, exchange
from tests.servers.https import Authority, Server, serving


@pytest.fixture(params=["binance", "coinbase"])
def market(request: pytest.FixtureRequest) -> Iterator[Exchange]:
    with exchange(cast("Style", request.param)) as made:
        yield made


@pytest.fixture
def binance() -> Iterator[Exchange]:
    with exchange("binance") as made:
        yield made


def _rotator(market: Exchange, **options: Any) -> HTTPKeyRotator:
    managed = {"admin": lambda: SecretValue.of(market.manager.value())}
    return HTTPKeyRotator(**{**market.options(), **managed, **options})


def _rotation(current: Key | None, **facts: Any) -> Rotation:
    value = SecretValue.of({**current.value(), "desk": "spot"}) if current else None
    return Rotation(**{"id": str(uuid.uuid4()), "name": "exchange/key", "current": value, **facts})


def _made(rotator: HTTPKeyRotator, r: Rotation) -> SecretValue:
    return SecretValue.of(rotator.create_secret(r))


def test_a_rotation_from_create_to_revoke_leaves_one_key(market: Exchange) -> None:
    """Both keys sign requests until the old one is revoked; then the exchange refuses it."""
    old = market.add()
    rotator, r = _rotator(market), _rotation(old)
    assert rotator.reclaim(r) == ()
    new = _made(rotator, r)
    r = replace(r, pending=new)
    assert r.current
    for value in (new, r.current):
        rotator.test_secret(r, value)
    for _ in range(2):
        rotator.revoke_secret(r, r.current)
    assert rotator.refuses(r, r.current)
    assert not rotator.refuses(r, new)
    assert list(market.keys) == [new.reveal_json("/key")]
    assert new.reveal_json("/desk") == "spot"


def test_keys_may_manage_themselves(market: Exchange) -> None:
    """Without a manager's key the current one makes the new one, and the new one deletes the old."""
    market.managed = False
    rotator, r = _rotator(market, admin=None), _rotation(market.add())
    r = replace(r, pending=_made(rotator, r))
    assert r.current
    assert r.pending
    assert rotator.reclaim(replace(r, epoch=2)) == ()
    rotator.revoke_secret(r, r.current)
    assert rotator.refuses(r, r.current)
    assert list(market.keys) == [r.pending.reveal_json("/key")]


def test_a_key_that_was_withdrawn_does_not_manage(market: Exchange) -> None:
    """The pending one is revoked when a rotation is aborted, and the current one goes on listing."""
    market.managed = False
    rotator, r = _rotator(market, admin=None), _rotation(market.add())
    made = _made(rotator, r)
    rotator.withdraw(replace(r, pending=made), made.reveal_json("/key"))
    assert rotator.reclaim(replace(r, pending=made, epoch=2)) == ()
    assert rotator.refuses(replace(r, pending=made), made)
    with pytest.raises(UnavailableError, match="give `admin`"):
        rotator.listed(replace(r, current=SecretValue("nothing yet")))


def test_a_key_whose_answer_was_lost_is_reclaimed_by_the_next_attempt(market: Exchange) -> None:
    """The label says which rotation and epoch made it."""
    rotator, r = _rotator(market), _rotation(market.add())
    market.lose = ["POST /v1/keys"]
    with pytest.raises(UnavailableError) as lost:
        rotator.create_secret(r)
    assert lost.value.performed is None
    assert_no_canary_in(lost.value)
    assert len(market.keys) == 2
    again = replace(r, epoch=2)
    assert rotator.reclaim(r) == ()
    assert len(market.keys) == 2, "an attempt reclaims nothing of its own epoch"
    assert rotator.reclaim(again) == ()
    assert len(market.keys) == 1
    rotator.test_secret(again, _made(rotator, again))


def test_keys_that_nobody_knows_are_reported_and_stay(binance: Exchange) -> None:
    """Without a label, or of another rotation: somebody has to look."""
    current = binance.add()
    foreign = binance.add("made by hand")
    rotator, r = _rotator(binance), _rotation(current, epoch=5)
    assert rotator.reclaim(r) == (foreign.id,)
    with pytest.raises(SecretConflictError, match=foreign.id):
        rotator.create_secret(r)
    assert set(binance.keys) == {current.id, foreign.id}


def test_an_exchange_that_keeps_no_labels_loses_no_key(binance: Exchange) -> None:
    """Whose it is cannot be told then: it is reported, and never removed."""
    binance.labels = False
    rotator, r = _rotator(binance), _rotation(binance.add())
    made = _made(rotator, r).reveal_json("/key")
    assert rotator.reclaim(replace(r, epoch=2)) == (made,)
    assert made in binance.keys


def test_the_slot_of_the_value_before_is_used_again(binance: Exchange) -> None:
    """After a rollback the bad value is the previous one, and its key would block every later rotation."""
    current, bad = binance.add(), binance.add()
    r = _rotation(current, previous=SecretValue.of(bad.value()))
    made = _made(_rotator(binance), r).reveal_json("/key")
    assert set(binance.keys) == {current.id, made}


def test_the_first_key_replaces_whatever_stood_there(binance: Exchange) -> None:
    """A secret may be made with nothing in it, and rotated: nothing is revoked, and it counts as refused."""
    rotator, nothing = _rotator(binance), SecretValue("to be rotated")
    r = replace(_rotation(None), current=nothing)
    assert rotator.reclaim(r) == ()
    made = _made(rotator, r)
    rotator.revoke_secret(replace(r, pending=made), nothing)
    assert rotator.refuses(r, nothing)
    assert list(binance.keys) == [made.reveal_json("/key")]


def test_a_refusal_counts_only_if_the_key_is_gone(market: Exchange) -> None:
    """A wrong clock or an address that is not allowed must not pass for a revoked key."""
    old = market.add()
    rotator, r = _rotator(market), _rotation(old)
    wrong = SecretValue.of({**old.value(), "secret": base64.b64encode(b"other" * 8).decode()})
    with pytest.raises(UnavailableError, match="that it lists"):
        rotator.refuses(r, wrong)
    market.skew = 3600.0
    with pytest.raises(UnavailableError, match="may not list"):
        rotator.refuses(r, SecretValue.of(old.value()))
    market.skew, market.lists = 0.0, False
    del market.keys[old.id]
    with pytest.raises(UnavailableError, match="may not list"):
        rotator.refuses(r, SecretValue.of(old.value()))


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (401, PermissionDeniedError),
        (418, UnavailableError),
        (429, UnavailableError),
        (307, UnavailableError),
        (500, UnavailableError),
        (404, UnavailableError),
        (200, SecretStoreError),
    ],
)
def test_what_the_exchange_answers_is_translated(
    binance: Exchange, status: int, error: type[SecretStoreError]
) -> None:
    """Into what can be done about it; no error holds a key."""
    rotator, r = _rotator(binance), _rotation(binance.add())
    binance.status = status
    with pytest.raises(error) as failed:
        rotator.create_secret(r)
    assert_no_canary_in(failed.value)


def test_the_exchange_must_prove_who_it_is(authority: Authority, foreign_ca_server: Server) -> None:
    """TLS under the authority that `ca` names, and under no other."""
    made = Exchange("coinbase")
    r = _rotation(made.add())
    assert r.current
    with serving(made.respond, authority) as server:
        made.url = server.url
        _rotator(made, ca=str(server.ca_file)).test_secret(r, r.current)
        with pytest.raises(UnavailableError):
            _rotator(made).test_secret(r, r.current)
    made.url = foreign_ca_server.url
    with pytest.raises(UnavailableError):
        _rotator(made, ca=str(foreign_ca_server.ca_file)).create_secret(r)
    assert foreign_ca_server.requests == []


def test_fields_that_the_exchange_does_not_have_are_named(binance: Exchange) -> None:
    """The hint says which options to look at."""
    r = _rotation(binance.add())
    with pytest.raises(IntegrityError, match="id_field and list_field"):
        _rotator(binance, id_field="name").listed(r)
    with pytest.raises(IntegrityError, match="id_field and secret_field"):
        _rotator(binance, secret_field="password").create_secret(r)


def test_options_that_cannot_be_are_refused() -> None:
    """Before any request."""
    good = Exchange("binance", "https://api.exchange.example").options()
    for wrong in ({"style": "kraken"}, {"delete": "DELETE /v1/keys"}, {"probe": "account"}):
        with pytest.raises(InvalidRequestError):
            HTTPKeyRotator(**{**good, **wrong})
    plain = HTTPKeyRotator(**{**good, "url": "http://api.exchange.example"})
    r = _rotation(Exchange("binance").manager)
    assert r.current
    with pytest.raises(InvalidRequestError, match="not https"):
        plain.test_secret(r, r.current)


def test_binance_signs_as_its_documentation_shows() -> None:
    """The example of Binance's own REST documentation, but for the order of our own parameters."""
    key = "vmPUZE6mv9SD5VNHk4HlWFsOr6aKE2zvsw0MuIgwCIPy6utIco14y7Ju91duEh8A"
    secret = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"
    at = datetime.fromtimestamp(1499827319.559, UTC)
    order = {"symbol": "LTCBTC", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC"}
    ask = Ask("POST", "/api/v3/order", {**order, "quantity": "1", "price": "0.1"}, at)
    call = signed("binance", SecretValue.of({"key": key, "secret": secret}), ask)
    published = "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71"
    assert call.target.endswith(f"&recvWindow=5000&timestamp=1499827319559&signature={published}")
    assert call.headers == {"X-MBX-APIKEY": key}


def test_the_headers_of_our_own_style_verify() -> None:
    """Key, milliseconds and HMAC over timestamp, method, path and body."""
    secret = f"{CANARY}-{'s' * 32}"
    at = datetime.fromtimestamp(1767225600, UTC)
    ask = Ask("POST", "/v1/keys", {"label": "x"}, at)
    call = signed("headers", SecretValue.of({"key": "id", "secret": secret}), ask)
    message = b'1767225600000POST/v1/keys{"label":"x"}'
    expected = hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()
    assert call.headers["X-Signature"] == expected
    assert call.body == b'{"label":"x"}'


def test_a_secret_that_is_not_base64_is_named_without_showing_it() -> None:
    """Coinbase's secrets are Base64."""
    value = SecretValue.of({"key": "id", "secret": f"{CANARY}!"})
    with pytest.raises(InvalidRequestError, match="Base64") as wrong:
        signed("coinbase", value, Ask("GET", "/", {}, datetime.now(UTC)))
    assert_no_canary_in(wrong.value)
