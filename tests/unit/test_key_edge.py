"""The edge of key services: nothing of an SDK's exception passes, and nothing of a data key either."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from strongroom import registry
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    ProviderFault,
    SecretStoreError,
    UnavailableError,
)
from strongroom.keys import DataKey, KeyWrapper, ProviderKey, Signer, WrappedKey
from strongroom.layers.key_edge import KeyEdge, SignerEdge
from strongroom.localkey import LocalKey
from strongroom.names import StoreURL
from tests.canary import CANARY, CANARY_BYTES, assert_no_canary_in
from tests.unit.test_edge import SDKError, fail

WRAPPED = WrappedKey("acme", b"key-1", b"ciphertext")
SDK = logging.getLogger("acme_keys")


class Service:
    """What both kinds of key do here: fail inside their SDK until told otherwise."""

    provider_id, key_id = "acme", "key-1"

    def __init__(self, fails: Callable[[], Any] | None = fail):
        self.fails, self.told = fails, list[str]()

    @staticmethod
    def error_for(exc: Exception, operation: str) -> SecretStoreError | None:
        return None

    def _answer(self, operation: str, answer: Any) -> Any:
        sent = f"{operation} {CANARY}"
        self.told.append(operation)
        return (self.fails() or sent) if self.fails else answer

    def after_fork(self) -> None:
        self.told.append("after_fork")

    def close(self) -> None:
        self._answer("close", None)


class Key(Service, KeyWrapper):
    """A KEK at the service."""

    def wrap(self, data_key: bytes, context: Mapping[str, str]) -> WrappedKey:
        return self._answer("wrap", WRAPPED)  # type: ignore[no-any-return]

    def unwrap(self, wrapped: WrappedKey, context: Mapping[str, str]) -> bytes:
        return self._answer("unwrap", b"data key")  # type: ignore[no-any-return]

    def generate_data_key(self, context: Mapping[str, str]) -> DataKey:
        return self._answer("generate_data_key", DataKey(b"data key", WRAPPED))  # type: ignore[no-any-return]

    def matches(self, wrapped: WrappedKey) -> bool:
        return self._answer("matches", True)  # type: ignore[no-any-return]

    @property
    def symmetric(self) -> bool:  # type: ignore[override]
        return self._answer("open", False)  # type: ignore[no-any-return]


class Digesting(Key):
    """A KEK whose service takes no additional data."""

    algorithm, context, largest = "RSA-OAEP-256", "bound by digest", 190


class Pen(Service, Signer):
    """A signing key at the service."""

    def sign(self, message: bytes) -> bytes:
        return self._answer("sign", b"signature")  # type: ignore[no-any-return]

    def sign_digest(self, digest: bytes) -> bytes:
        return self._answer("sign", b"signature of digest")  # type: ignore[no-any-return]

    def public_key(self) -> bytes | None:
        return self._answer("public_key", b"public")  # type: ignore[no-any-return]

    @property
    def algorithm(self) -> str:  # type: ignore[override]
        return self._answer("open", "ES256")  # type: ignore[no-any-return]


CALLS: dict[str, tuple[str, Callable[[Any], object], object]] = {
    "wrap": ("wrap", lambda key: key.wrap(CANARY_BYTES, {}), WRAPPED),
    "unwrap": ("unwrap", lambda key: key.unwrap(WRAPPED, {}), b"data key"),
    "generate": ("generate_data_key", lambda key: key.generate_data_key({}).wrapped, WRAPPED),
    "matches": ("matches", lambda key: key.matches(WRAPPED), True),
    "symmetric": ("open", lambda key: key.symmetric, False),
    "sign": ("sign", lambda key: key.sign(b"message"), b"signature"),
    "sign_digest": ("sign", lambda key: key.sign_digest(bytes(32)), b"signature of digest"),
    "public_key": ("public_key", lambda key: key.public_key(), b"public"),
    "algorithm": ("open", lambda key: key.algorithm, "ES256"),
}
OF_SIGNERS = {"sign", "sign_digest", "public_key", "algorithm"}


def edged(call: str, fails: Callable[[], Any] | None = fail) -> KeyEdge | SignerEdge:
    return SignerEdge(Pen(fails)) if call in OF_SIGNERS else KeyEdge(Key(fails))


@pytest.fixture
def debugging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Somebody looks for a fault: the SDK logs at DEBUG."""
    for kind in (Key, Pen):
        monkeypatch.setattr(kind, "loggers", ("acme_keys",))
    before = logging.root.level
    logging.root.setLevel(logging.DEBUG)
    yield
    logging.root.setLevel(before)


def raised(call: str, fails: Callable[[], Any] = fail) -> SecretStoreError:
    with pytest.raises(SecretStoreError) as caught:
        CALLS[call][1](edged(call, fails))
    return caught.value


@pytest.mark.parametrize("call", CALLS)
def test_nothing_of_an_sdk_exception_passes(call: str) -> None:
    """Text, attributes, notes, causes and frames hold requests, and those hold data keys ▲."""
    error = raised(call)
    assert_no_canary_in(error)
    assert error.__context__ is None
    assert isinstance(error.__cause__, ProviderFault)
    assert error.__cause__.__traceback__ is None
    assert (error.__cause__.kind, error.__cause__.code) == ("SDKError", "ThrottlingException")
    assert (error.operation, error.backend) == (CALLS[call][0], "acme")


@pytest.mark.parametrize("call", CALLS)
def test_the_same_holds_for_what_the_table_knows(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if the table chained the exception it was given."""

    def table(exc: Exception, operation: str) -> SecretStoreError:
        error = UnavailableError("throttled", performed=False)
        error.__cause__ = error.__context__ = exc
        return error

    monkeypatch.setattr(Service, "error_for", staticmethod(table))
    error = raised(call)
    assert type(error) is UnavailableError
    assert_no_canary_in(error)


@pytest.mark.parametrize("cls", [IntegrityError, PermissionDeniedError, UnavailableError])
@pytest.mark.parametrize("call", ["unwrap", "sign"])
def test_our_own_errors_keep_their_type_and_lose_what_they_were_raised_from(
    call: str, cls: type[SecretStoreError]
) -> None:
    """A wrapper that translates by itself may still raise within its `except`."""

    def error() -> None:
        try:
            fail()
        except SDKError as exc:
            raise cls("why", hint="what to do") from exc

    caught = raised(call, error)
    assert type(caught) is cls
    assert (caught.message, caught.hint) == ("why", "what to do")
    assert caught.__cause__ is caught.__context__ is None
    assert_no_canary_in(caught)


def test_what_stops_a_program_passes_without_the_data_key() -> None:
    """Ctrl-C is no provider's failure; its traceback is printed all the same."""

    def stop() -> None:
        raise KeyboardInterrupt

    for call in CALLS:
        with pytest.raises(KeyboardInterrupt):
            CALLS[call][1](edged(call, stop))


@pytest.mark.parametrize("call", CALLS)
def test_answers_pass_as_they_are(call: str) -> None:
    """Both kinds are forwarded whole."""
    assert CALLS[call][1](edged(call, None)) == CALLS[call][2]


@pytest.mark.parametrize(("edge", "inner"), [(KeyEdge, Key), (SignerEdge, Pen)])
def test_facts_are_the_inner_keys(edge: Any, inner: Any) -> None:
    """An alias is known by its key once it answered; the repr names it, and holds no more."""
    key = inner(None)
    around = edge(key)
    key.key_id = "key-2"
    assert (around.key_id, around.provider_id) == ("key-2", "acme")
    assert repr(around) == repr(key)
    around.after_fork()
    assert key.told == ["after_fork"]


OF_CLASSES = {"ALGORITHMS", "algorithms", "wrapping", "wrappings"}


def test_how_a_key_wraps_is_told_as_it_is() -> None:
    """Not as the default of all keys."""
    key = KeyEdge(Digesting(None))
    assert (key.algorithm, key.context, key.largest) == ("RSA-OAEP-256", "bound by digest", 190)


@pytest.mark.parametrize("kind", [KeyWrapper, Signer])
def test_every_method_that_may_do_io_is_forwarded(kind: type) -> None:
    """A method added later must be translated too."""
    edge = KeyEdge(Key(None)) if kind is KeyWrapper else SignerEdge(Pen(None))
    own = {name for cls in type(edge).__mro__[:2] for name in vars(cls)} | vars(edge).keys()
    local = {"wrapped", "check_digest", "from_url", "error_for", "loggers", *OF_CLASSES}
    public = {name for cls in (kind, ProviderKey) for name in vars(cls) if not name.startswith("_")}
    public |= {name for name in kind.__annotations__ if name != "provider_id"}
    assert public - own - local == set()


@pytest.mark.usefixtures("debugging")
@pytest.mark.parametrize("call", ["wrap", "sign"])
def test_requests_are_not_logged_while_a_key_is_open(call: str) -> None:
    """At DEBUG SDKs print what they send, and that is a data key; afterwards all is as before ▲."""
    assert SDK.isEnabledFor(logging.DEBUG)
    key = edged(call, None)
    assert not SDK.isEnabledFor(logging.DEBUG)
    key.close()
    key.close()
    assert SDK.isEnabledFor(logging.DEBUG)


@pytest.mark.parametrize("call", CALLS)
def test_a_closed_key_refuses_and_asks_nobody(call: str) -> None:
    """Its SDK would connect again, and its loggers are free by now."""
    key = edged(call, None)
    key.close()
    with pytest.raises(InvalidRequestError, match="closed"):
        CALLS[call][1](key)
    assert isinstance(key.inner, Service)
    assert key.inner.told == ["close"]


@pytest.mark.usefixtures("debugging")
def test_a_close_that_fails_gives_the_loggers_back() -> None:
    """And is translated."""
    key = edged("wrap")
    with pytest.raises(SecretStoreError) as caught:
        key.close()
    assert_no_canary_in(caught.value)
    assert SDK.isEnabledFor(logging.DEBUG)


@pytest.mark.parametrize("opens", [registry.open_key, registry.open_signer])
def test_a_key_that_fails_to_open_is_translated(
    opens: Callable[[str], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the table of its own class."""

    class Failing(Key):
        @classmethod
        def from_url(cls, url: StoreURL, settings: object) -> Any:
            fail()

        @staticmethod
        def error_for(exc: Exception, operation: str) -> SecretStoreError | None:
            return PermissionDeniedError(f"{operation}: no")

    monkeypatch.setattr(registry, "_load", lambda home, extra: Failing)
    with pytest.raises(PermissionDeniedError, match="open: no") as caught:
        opens("aws-kms://eu-west-1/alias/x")
    assert_no_canary_in(caught.value)
    assert caught.value.backend == "aws-kms"


def test_what_is_opened_by_url_stands_behind_the_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    """But for keys of this process, which raise nothing foreign and are asked in every message."""
    opened: list[Any] = [Key(None), Pen(None), own := object.__new__(LocalKey)]
    monkeypatch.setattr(registry, "_load", lambda home, extra: lambda url, settings: opened.pop(0))
    assert isinstance(registry.open_key("aws-kms://eu-west-1/alias/x"), KeyEdge)
    assert isinstance(registry.open_signer("aws-kms://eu-west-1/alias/x"), SignerEdge)
    assert registry.open_key("local-key:///k") is own


@pytest.mark.parametrize(
    ("opens", "known"), [(registry.open_key, "vault-transit"), (registry.open_signer, "vault-transit")]
)
def test_an_unknown_scheme_is_refused_with_those_that_there_are(
    opens: Callable[[str], object], known: str
) -> None:
    """A store's scheme is none of a key's."""
    with pytest.raises(InvalidRequestError, match=known):
        opens("aws-sm://eu-west-1/x")


@pytest.mark.parametrize("scheme", sorted(registry._SIGNERS))
def test_every_service_names_its_loggers_and_translates(scheme: str) -> None:
    """Both of its classes, since each is opened alone; a token's module logs nothing in this process."""
    for found in (registry.key_class(scheme), registry.signer_class(scheme)):
        assert found
        assert found.error_for is not ProviderKey.error_for
        assert found.loggers or scheme == "pkcs11"
