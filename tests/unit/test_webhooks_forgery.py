"""What is not a genuine webhook is refused, always in the same way."""

from __future__ import annotations

import base64
import copy
import hmac
import json
import logging
import pickle
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.errors import InvalidRequestError, PermissionDeniedError
from strongroom.value import SecretValue
from strongroom.webhooks import WebhookError, new_secret, schemes, sign, signed_headers, verify
from tests.canary import CANARY_BYTES, assert_no_canary_in
from tests.scale import scaled
from tests.unit.webhook_support import (
    BODY,
    NOW,
    SECONDS,
    after,
    headers,
    private_key,
    public_key,
    secret,
)

ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
Request = tuple[Any, bytes]
GENUINE = headers()
FIRST = GENUINE[SIGNATURE].removeprefix("v1,")


def _with(**changed: str | None) -> Request:
    """The genuine request with other headers; None leaves one out."""
    found = {**GENUINE, **{f"webhook-{name}": value for name, value in changed.items()}}
    return {name: value for name, value in found.items() if value is not None}, BODY


def _at(timestamp: str) -> Request:
    """Signed over this very text, so that only its form can be the reason."""
    mac = schemes._Symmetric(CANARY_BYTES + b"0").sign(f"msg_1.{timestamp}.".encode() + BODY)
    return _with(timestamp=timestamp, signature="v1," + base64.b64encode(mac).decode())


def _signed_id(id_: str) -> Request:
    mac = schemes._Symmetric(CANARY_BYTES + b"0").sign(f"{id_}.{SECONDS}.".encode() + BODY)
    return _with(id=id_, signature="v1," + base64.b64encode(mac).decode())


FORGED: dict[str, Request] = {
    "another body": (GENUINE, BODY.replace(b"1", b"2")),
    "an empty body": (GENUINE, b""),
    "a body that is not UTF-8": (GENUINE, b"\xff\xfe"),
    "re-serialised JSON": (GENUINE, json.dumps(json.loads(BODY)).encode()),
    "another id": _with(id="msg_2"),
    "an id with the timestamp in it": _with(id=f"msg_1.{SECONDS}"),
    "another timestamp": _with(timestamp=str(SECONDS + 1)),
    "another's secret": (headers(number=1), BODY),
    "no id": _with(id=None),
    "no timestamp": _with(timestamp=None),
    "no signature": _with(signature=None),
    "no header at all": ({}, BODY),
    "an empty id": _signed_id(""),
    "an id with a full stop": _signed_id("msg.1"),
    "an id with a space": _signed_id("msg 1"),
    "an id with a line's end": _signed_id("msg_1\n"),
    "an id of 257 characters": _signed_id("m" * 257),
    "an id beyond ASCII": _signed_id("msg_é"),
    "the id twice": ([*GENUINE.items(), (ID, "msg_1")], BODY),
    "the signature twice": ([*GENUINE.items(), (SIGNATURE.upper(), "v1,x")], BODY),
    "too old": (headers(at=SECONDS - 301), BODY),
    "too new": (headers(at=SECONDS + 301), BODY),
    "a fraction": _at(f"{SECONDS}.0"),
    "an exponent": _at("1e9"),
    "a space": _at(f" {SECONDS}"),
    "a line's end": _at(f"{SECONDS}\n"),
    "an underscore": _at("1_767_225_600"),
    "a plus sign": _at(f"+{SECONDS}"),
    "a leading zero": _at(f"0{SECONDS}"),
    "a negative one": _at("-1"),
    "foreign digits": _at(str(SECONDS).translate({ord(str(n)): 0x0660 + n for n in range(10)})),
    "full-width digits": _at(str(SECONDS).translate({ord(str(n)): 0xFF10 + n for n in range(10)})),
    "a huge one": _at("9" * 11),
    "a huger one": _at("9" * 4000),
    "no number": _at("nan"),
    "an empty timestamp": _at(""),
    "an empty list": _with(signature=""),
    "a list of spaces": _with(signature="   "),
    "no comma": _with(signature=FIRST),
    "two spaces": _with(signature=f"v1,{FIRST}  v1,{FIRST}"),
    "a list with a malformed entry": _with(signature=f"v1,{FIRST} v1"),
    "no signature after the comma": _with(signature="v1,"),
    "an unknown scheme alone": _with(signature=f"v2,{FIRST}"),
    "the asymmetric scheme alone": _with(signature=f"v1a,{FIRST}"),
    "a scheme in capitals": _with(signature=f"V1,{FIRST}"),
    "a list of seventeen": _with(signature=" ".join(["v1,eA=="] * 16 + [f"v1,{FIRST}"])),
    "a list of 10,000": _with(signature=" ".join(["v1,eA=="] * 9_999 + [f"v1,{FIRST}"])),
    "no padding": _with(signature="v1," + FIRST.rstrip("=")),
    "more padding": _with(signature=f"v1,{FIRST}="),
    "other bits in the padding": _with(signature="v1," + FIRST[:-2] + chr(ord(FIRST[-2]) + 1) + "="),
    "hexadecimal": _with(signature="v1," + base64.b64decode(FIRST).hex()),
    "beyond ASCII": _with(signature=f"v1,{FIRST}é"),
    "a comma more": _with(signature=f"v1,,{FIRST}"),
    "bytes that are no text": ([*_with(id=None)[0].items(), (b"webhook-id", b"\xff")], BODY),
}


@pytest.mark.parametrize("request_", FORGED.values(), ids=FORGED.keys())
def test_every_forgery_gets_the_same_answer(request_: Request) -> None:
    """One type, text, status and body; and nothing of the secret in what a crash reporter would print."""
    found, body = request_
    with pytest.raises(WebhookError) as caught:
        verify(secret(), found, body, now=NOW)
    error = caught.value
    assert (str(error), error.status) == ("webhook: the webhook was refused", 401)
    assert error.body == b'{"error":"refused"}'
    assert error.__context__ is None
    assert isinstance(error, PermissionDeniedError)
    assert_no_canary_in(error)


@pytest.mark.parametrize("position", range(len(FIRST)))
def test_any_byte_of_a_signature_counts(position: int) -> None:
    """Each of its characters, changed to another of the alphabet."""
    changed = "B" if FIRST[position] == "A" else "A"
    found, body = _with(signature="v1," + FIRST[:position] + changed + FIRST[position + 1 :])
    with pytest.raises(WebhookError):
        verify(secret(), found, body, now=NOW)


@pytest.mark.parametrize("offset", [-300, -299, 0, 299, 300])
def test_five_minutes_either_way_are_accepted(offset: int) -> None:
    """The last second too."""
    assert verify(secret(), headers(at=SECONDS + offset), BODY, now=NOW).timestamp == after(offset)


@pytest.mark.parametrize("offset", [-300.001, 300.001])
def test_beyond_five_minutes_it_is_refused_either_way(offset: float) -> None:
    """A timestamp of the future would be good long after its secret is revoked."""
    with pytest.raises(WebhookError) as caught:
        verify(secret(), headers(), BODY, now=after(offset))
    assert caught.value.reason == "time"


@pytest.mark.parametrize("tolerance", [timedelta(0), timedelta(seconds=-1), timedelta(hours=1, seconds=1)])
def test_the_tolerance_cannot_be_switched_off(tolerance: timedelta) -> None:
    """Nought is not "any"."""
    with pytest.raises(InvalidRequestError):
        verify(secret(), headers(), BODY, now=NOW, tolerance=tolerance)


@settings(max_examples=scaled(200, "forged headers"))
@given(
    st.dictionaries(st.sampled_from([ID, TIMESTAMP, SIGNATURE, "x"]), st.text() | st.binary()), st.binary()
)
def test_nothing_in_a_request_raises_anything_else(found: dict[str, Any], body: bytes) -> None:
    """Whatever text or bytes stand in the headers."""
    with pytest.raises(WebhookError):
        verify([secret(), public_key()], found, body, now=NOW)


@settings(max_examples=scaled(200, "forged headers"))
@given(st.text(), st.sampled_from([ID, TIMESTAMP, SIGNATURE]))
def test_no_other_text_in_one_header_is_taken(text: str, name: str) -> None:
    """One genuine request has one form."""
    if text != GENUINE[name]:
        with pytest.raises(WebhookError):
            verify(secret(), {**GENUINE, name: text}, BODY, now=NOW)


def test_a_refusal_takes_the_same_steps_whatever_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each makes one signature over the whole body, so that time tells no reasons apart."""
    made: list[int] = []

    def counted(key: bytes, message: bytes, name: str) -> bytes:
        made.append(len(message))
        return digest(key, message, name)

    digest = hmac.digest
    monkeypatch.setattr(hmac, "digest", counted)
    counts = set()
    for found, body in FORGED.values():
        made.clear()
        with pytest.raises(WebhookError):
            verify(secret(), found, body, now=NOW)
        counts.add(len(made))
    assert counts == {1}


@pytest.mark.parametrize(
    "form",
    [
        dict,
        lambda found: {name.title(): value for name, value in found.items()},
        lambda found: [(name.encode(), value.encode()) for name, value in found.items()],
    ],
    ids=["mapping", "other case", "pairs of bytes"],
)
def test_headers_come_in_any_form(form: Callable[[dict[str, str]], Any]) -> None:
    """As frameworks, WSGI and ASGI servers have them."""
    delivery = verify(secret(), form(headers()), BODY, now=NOW)
    assert (delivery.id, delivery.timestamp) == ("msg_1", NOW)


def test_the_published_example_verifies() -> None:
    """The pair that the specification's libraries test themselves with."""
    value = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
    made = sign(value, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_what_the_reference_library_signs_is_taken_and_the_reverse() -> None:
    """Both ways, over the real clock that it insists on."""
    from datetime import UTC

    import standardwebhooks

    value, now = new_secret().reveal_text(), datetime.now(UTC)
    theirs = standardwebhooks.Webhook(value)
    ours = signed_headers([value], "msg_1", BODY, at=now)
    theirs.verify(BODY, ours)
    signature = theirs.sign("msg_1", now, BODY.decode())
    assert ours[SIGNATURE] == signature
    assert verify(value, {**ours, SIGNATURE: signature}, BODY).id == "msg_1"


def test_a_body_that_is_not_text_is_signed_like_any() -> None:
    """Bytes are bytes."""
    body = b"\xff\x00\xfe"
    assert verify(secret(), headers(body), body, now=NOW).id == "msg_1"


def test_an_instant_is_the_same_in_every_zone() -> None:
    """And one without a zone is refused, as is a fraction of a second."""
    there = NOW.astimezone(timezone(timedelta(hours=5, minutes=45)))
    assert sign(secret(), "m", there, BODY) == sign(secret(), "m", SECONDS, BODY)
    for wrong in (NOW.replace(tzinfo=None), 1.5, True, -1):
        with pytest.raises(InvalidRequestError) as caught:
            sign(secret(), "m", wrong, BODY)  # type: ignore[arg-type]
        assert_no_canary_in(caught.value)


def test_unknown_schemes_beside_a_known_one_are_passed_over() -> None:
    """A sender may begin with a new scheme without asking."""
    found = {**GENUINE, SIGNATURE: f"v9,whatever v1a,{FIRST} {GENUINE[SIGNATURE]}"}
    assert verify(secret(), found, BODY, now=NOW).id == "msg_1"


def test_an_asymmetric_signature_is_verified_by_the_public_key() -> None:
    """`v1a` is Ed25519; a key in libsodium's form, with the public half behind, is the same key."""
    libsodium = base64.b64decode(private_key()[5:]) + base64.b64decode(public_key()[5:])
    both = private_key(), "whsk_" + base64.b64encode(libsodium).decode()
    made = {sign(key, "msg_1", SECONDS, BODY) for key in both}
    [signature] = made
    assert signature.startswith("v1a,")
    found = {**GENUINE, SIGNATURE: signature}
    assert verify(public_key(), found, BODY, now=NOW).id == "msg_1"
    for other in (public_key(1), secret()):
        with pytest.raises(WebhookError):
            verify(other, found, BODY, now=NOW)


def test_an_asymmetric_signature_has_one_form() -> None:
    """Other bits behind its last byte decode to the same bytes: refused, as one that is not padded."""
    scheme, _, signature = sign(private_key(), "msg_1", SECONDS, BODY).partition(",")
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    other = alphabet[alphabet.index(signature[-3]) + 1]
    for changed in (f"{signature[:-3]}{other}==", signature.rstrip("=")):
        with pytest.raises(WebhookError):
            verify(public_key(), {**GENUINE, SIGNATURE: f"{scheme},{changed}"}, BODY, now=NOW)


@pytest.mark.parametrize("key", [public_key(), "whpk_" + base64.b64encode(bytes(32)).decode()])
@pytest.mark.parametrize("length", [0, 63, 64, 65])
def test_a_made_up_asymmetric_signature_is_refused(key: str, length: int) -> None:
    """Of any length; also by a weak public key, under which `cryptography` takes no all-zero signature."""
    made_up = base64.b64encode(b"\1" * length).decode()
    with pytest.raises(WebhookError):
        verify(key, {**GENUINE, SIGNATURE: f"v1a,{made_up}"}, BODY, now=NOW)


def test_a_public_key_is_never_a_symmetric_secret() -> None:
    """Who knows the public key could otherwise sign with it."""
    known = base64.b64decode(public_key()[5:])
    forged = signed_headers([known], "msg_1", BODY, at=SECONDS)
    with pytest.raises(WebhookError):
        verify(public_key(), forged, BODY, now=NOW)
    with pytest.raises(InvalidRequestError):
        sign(public_key(), "msg_1", SECONDS, BODY)


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        "whsec_",
        "whsec_eA==",
        "x" * 40,
        "whsec_" + base64.b64encode(bytes(23)).decode(),
        "whsec_" + base64.b64encode(bytes(65)).decode(),
        "whsec_" + base64.b64encode(bytes(32)).decode().rstrip("="),
        "whsk_" + base64.b64encode(bytes(31)).decode(),
        "whsk_" + base64.b64encode(bytes(64)).decode(),
        "whpk_" + base64.b64encode(bytes(33)).decode(),
        bytes(23),
        [],
    ],
    ids=range(12),
)
def test_a_weak_or_misspelt_key_is_refused(wrong: Any) -> None:
    """On both sides, by an error of configuration: a one-byte secret is guessed at once."""
    with pytest.raises(InvalidRequestError):
        verify(wrong, headers(), BODY, now=NOW)
    with pytest.raises(InvalidRequestError):
        signed_headers(wrong, "msg_1", BODY, at=SECONDS)


def test_a_wrong_argument_shows_no_secret() -> None:
    """Of a list of secrets with one that is none; and of a body that was parsed."""
    with pytest.raises(InvalidRequestError) as caught:
        verify([secret(), "CANARY"], headers(), BODY, now=NOW)
    assert_no_canary_in(caught.value)
    with pytest.raises(InvalidRequestError, match="raw bytes") as caught:
        verify([secret()], headers(), json.loads(BODY), now=NOW)
    assert_no_canary_in(caught.value)
    with pytest.raises(InvalidRequestError) as caught:
        signed_headers([secret()], "a.b", BODY, at=SECONDS)
    assert_no_canary_in(caught.value)


def test_a_new_secret_is_of_256_bits_and_never_the_same() -> None:
    """As the specification writes it."""
    one, other = new_secret(), new_secret()
    assert one != other
    assert isinstance(one, SecretValue)
    assert len(base64.b64decode(one.reveal_text().removeprefix("whsec_"))) == 32


def test_a_refusal_is_copied_and_pickled_with_its_reason() -> None:
    """Task queues do it."""
    error = WebhookError("time")
    for twin in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert (twin.reason, str(twin)) == ("time", str(error))


def test_nothing_of_a_refused_request_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """A flood of forgeries fills no disk, and writes no line of its own."""
    caplog.set_level(logging.DEBUG)
    with pytest.raises(WebhookError):
        verify(secret(), _with(id="msg_2")[0], BODY, now=NOW)
    assert not caplog.records
