"""Rotates API keys that an HTTP service makes, lists and deletes on request, such as an exchange's."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote

from strongroom.clock import Clock
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.rotation.fields import field, identifier, renewed
from strongroom.rotation.rotator import Credential, TwoSlot
from strongroom.rotation.slots import make_room
from strongroom.value import SecretValue

from .signing import Ask, Style, signed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from strongroom.rotation.rotator import Rotation, Source

    _Parameters = Mapping[str, str | SecretValue]

_ENDPOINT: Final = re.compile(r"(GET|POST|PUT|DELETE) (/[!-~]*)")
_LABEL: Final = re.compile(
    r"strongroom-([0-9a-f]{8})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{12})-(\d{1,9})"
)
_REFUSED: Final = (400, 401, 403)
"""What services answer to a bad key, signature, clock or address: Binance with 400 too."""
_STYLES: Final = ("binance", "coinbase", "headers")


class HTTPKeyRotator(TwoSlot):
    """Renews an API key that an HTTP service, such as an exchange, makes, lists and deletes on request.

    The secret is JSON, ``{"key": …, "secret": …}``, with ``passphrase`` where there is one. A key is labelled
    with the rotation and its epoch: what a crashed attempt left is found by that.

    Args:
        clock: for tests.
        url: of the service, ``https://HOST``; plain HTTP on loopback alone.
        style: how requests are signed: ``binance``, ``coinbase`` or ``headers``, see
            `strongroom.rotation.rotators.signing`.
        create: makes a key, such as ``"POST /v1/keys"``. Its parameters are the label and `parameters`.
        keys: lists them all in one answer, such as ``"GET /v1/keys"``.
        delete: deletes one, such as ``"DELETE /v1/keys/{id}"``.
        probe: does what the key is for and changes nothing, such as ``"GET /v1/account"``.
        parameters: further ones of `create`, such as permissions and the addresses that may use the key.
        admin: a key that may do this, as JSON like the secret. Without, the keys manage themselves.
        at_most: how many keys the service takes; that of `admin` is not counted.
        id_field: what the service calls a key's id.
        secret_field: what the service calls a key's secret.
        label_field: what the service calls a key's label.
        passphrase_field: of the passphrase that a new key is given, where the service wants one, as Coinbase
            Exchange does.
        list_field: which of the answer's fields has the list; empty if the answer is the list.
        ca: path of a PEM file with the authorities to trust instead of the system's.
        private: whether the service may have an address that is not public.
        timeout: seconds for one request.

    Raises:
        InvalidRequestError: an option cannot be.
    """

    def __init__(  # noqa: PLR0913  (options by keyword)
        self,
        clock: Clock | None = None,
        *,
        url: str,
        create: str,
        keys: str,
        delete: str,
        probe: str,
        style: Style = "headers",
        parameters: Mapping[str, str] | None = None,
        admin: Source | None = None,
        at_most: int = 2,
        id_field: str = "key",
        secret_field: str = "secret",  # noqa: S107  (the name of a field)
        passphrase_field: str = "",
        label_field: str = "label",
        list_field: str = "",
        ca: str | None = None,
        private: bool = False,
        timeout: float = 5.0,
    ):
        if style not in _STYLES:
            raise InvalidRequestError(f"no style of signing: {style!r}", hint=f"one of {', '.join(_STYLES)}")
        if "{id}" not in delete:
            raise InvalidRequestError("`delete` names no key", hint='such as "DELETE /v1/keys/{id}"')
        self._create, self._keys, self._delete, self._probe = map(_endpoint, (create, keys, delete, probe))
        self._fields = _Fields(id_field, secret_field, passphrase_field, label_field, list_field)
        self._admin, self._at_most, self._parameters = admin, at_most, dict(parameters or {})
        self._service = _Service(url.rstrip("/"), style, clock or Clock(), ca, private, timeout)

    def issue(self, r: Rotation) -> SecretValue:
        live = [found.id for found in self.listed(r)]
        make_room(self, r, live, self._at_most)
        label, own = f"strongroom-{r.id.replace('-', '')}-{r.epoch}", self._passphrase()
        given: _Parameters = {**self._parameters, self._fields.label: label}
        r.check()
        sent = {**given, self._fields.passphrase: own} if own else given
        made = self._managed(r, self._create, sent).checked().body
        if not all(identifier(made, name) for name in self._fields.of_key):
            raise IntegrityError("the service's answer holds no key", hint="check id_field and secret_field")
        key, secret = (SecretValue(field(made, name)) for name in self._fields.of_key)
        return renewed(r.current, key=key, secret=secret, **({"passphrase": own} if own else {}))

    def listed(self, r: Rotation) -> Sequence[Credential]:
        own = field(self._admin(), "key") if self._admin else None
        found = self._managed(r, self._keys).items(self._fields.listing)
        return [one for one in map(self._attributed, found) if one.id != own]

    def withdraw(self, r: Rotation, credential: str) -> None:
        if not credential:
            return
        method, target = self._delete
        endpoint = _Endpoint(method, target.replace("{id}", quote(credential, safe="")))
        answer = self._managed(r, endpoint, victim=credential)
        if answer.status not in (404, 410):
            answer.checked()

    def credential(self, value: SecretValue) -> str:
        return identifier(value, "key") or ""

    def test_secret(self, r: Rotation, value: SecretValue) -> None:
        """Return if the service takes a request that the value has signed.

        What it answers to a bad key, clock or address is each service's own: a value counts as refused only
        if its key is not on the list any more.
        """
        if not self.credential(value):  # what stood there before the first rotation
            raise PermissionDeniedError("the value holds no key")
        answer = self._service.send(r, value, self._probe)
        if answer.status not in _REFUSED:
            answer.checked()
            return
        if self._is_listed(r, value):
            raise UnavailableError(
                "the service refuses a key that it lists", hint="its permissions, our clock?"
            )
        raise PermissionDeniedError("the service refuses the key")

    def _is_listed(self, r: Rotation, value: SecretValue) -> bool:
        """A refusal of the manager must not pass for a refusal of the value."""
        victim = self.credential(value)
        answer = self._managed(r, self._keys, victim=victim)
        if answer.status in _REFUSED:
            raise UnavailableError("the rotator may not list the keys", hint="check `admin`")
        return victim in [self._attributed(item).id for item in answer.items(self._fields.listing)]

    def _passphrase(self) -> SecretValue | None:
        return SecretValue(secrets.token_urlsafe(24)) if self._fields.passphrase else None

    def _managed(
        self, r: Rotation, endpoint: _Endpoint, parameters: _Parameters | None = None, victim: str = ""
    ) -> _Answer:
        """Have a manager's key sign; without one the keys in turn, of which some may be revoked by now."""
        managers = [self._admin()] if self._admin else self._own(r, victim)
        for manager in managers[:-1]:
            answer = self._service.send(r, manager, endpoint, parameters)
            if answer.status not in (401, 403):
                return answer
        return self._service.send(r, managers[-1], endpoint, parameters)

    def _own(self, r: Rotation, victim: str) -> list[SecretValue]:
        """The keys that may manage; none deletes itself."""
        values = [value for value in (r.pending, r.current, r.previous) if value is not None]
        found = [value for value in values if self.credential(value) not in ("", victim)]
        if not found:
            raise UnavailableError("there is no key that could manage the others", hint="give `admin`")
        return found

    def _attributed(self, item: Mapping[str, Any]) -> Credential:
        name, label = item.get(self._fields.id), _LABEL.fullmatch(str(item.get(self._fields.label)))
        if not isinstance(name, str) or not name:
            raise IntegrityError("the service's list holds no keys", hint="check id_field and list_field")
        if label is None:
            return Credential(name)
        *parts, epoch = label.groups()
        return Credential(name, "-".join(parts), int(epoch))


class _Endpoint(NamedTuple):
    method: str
    target: str


def _endpoint(text: str) -> _Endpoint:
    match = _ENDPOINT.fullmatch(text)
    if match is None:
        raise InvalidRequestError(f"no endpoint: {text[:80]!r}", hint='write "GET /path"')
    return _Endpoint(match[1], match[2])


class _Fields(NamedTuple):
    id: str
    secret: str
    passphrase: str
    label: str
    listing: str

    @property
    def of_key(self) -> tuple[str, str]:
        return self.id, self.secret


class _Answer(NamedTuple):
    """What the service said; it may hold a new key's secret, so it stays sealed."""

    status: int
    body: SecretValue

    def checked(self) -> _Answer:
        problem = _problem(self.status)
        if problem is not None:
            raise problem
        return self

    def items(self, listing: str) -> Sequence[Mapping[str, Any]]:
        found = self.checked().body.reveal_json(f"/{listing}" if listing else "")
        if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
            raise IntegrityError("the service's answer is no list of keys", hint="check list_field")
        return found


def _problem(status: int) -> SecretStoreError | None:
    if 200 <= status < 300:
        return None
    if status in (401, 403):
        return PermissionDeniedError("the service refuses the rotator's own key", hint="check `admin`")
    if status in (418, 429):  # 418 is Binance's ban of who goes on after 429
        return UnavailableError("the service limits the rate of requests", performed=False)
    if status >= 500:
        return UnavailableError("the service has a fault", performed=None)
    if 300 <= status < 400:
        return UnavailableError("the service redirects, which is not followed", retryable=False)
    return UnavailableError(f"the service answered {status}", performed=False, hint="check the endpoints")


class _Service(NamedTuple):
    url: str
    style: Style
    clock: Clock
    ca: str | None
    private: bool
    timeout: float

    def send(
        self, r: Rotation, value: SecretValue, endpoint: _Endpoint, parameters: _Parameters | None = None
    ) -> _Answer:
        ask = Ask(*endpoint, parameters or {}, self.clock.now())
        outcome = self._sent(value, ask, min(self.timeout, max(0.5, r.remaining() / 4)))
        if isinstance(outcome, SecretStoreError):
            raise outcome
        return outcome

    def _sent(self, value: SecretValue, ask: Ask, timeout: float) -> _Answer | SecretStoreError:
        """An error is returned: this frame holds what was sent, which may have secrets in it."""
        from strongroom.audit.https import post

        try:
            call = signed(self.style, value, ask)
            status, body = post(
                self.url + call.target, call.body, call.headers, ca=self.ca, timeout=timeout,
                method=call.method, private=self.private,
            )  # fmt: skip
        except SecretStoreError as error:
            return error.with_traceback(None)
        return _Answer(status, SecretValue(body))
