"""The conformance suites of key services: a KEK, or a signing key, is right when its suite passes.

::

    import pytest
    from strongroom.testing import KeyWrapperConformance

    class TestConsulKey(KeyWrapperConformance):
        @pytest.fixture
        def wrapper(self):
            return ConsulKey(..., "one")

        @pytest.fixture
        def other(self):
            return ConsulKey(..., "two")

As in the backends' suite, a case that a provider cannot pass is overridden with
``@pytest.mark.xfail(reason=…)``.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from functools import partial

import pytest

from strongroom.backend import Stage
from strongroom.envelope.cipher import decrypt, encrypt
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.keys import DATA_KEY_LENGTH, MAX_CONTEXT_LENGTH, KeyWrapper
from strongroom.layers.encrypted import Encrypted
from strongroom.memory import MemoryBackend
from strongroom.names import Name
from strongroom.value import SecretValue

from .conformance import lost_cases
from .conformance_key_base import CONTEXT, Broken, KeyHarness, error_of, in_child
from .conformance_safety import at_once
from .conformance_signers import SignerConformance
from .leaks import leaks_in, leaks_of

__all__ = ["KeyWrapperConformance", "SignerConformance"]

_CONTEXTS: Mapping[str, Mapping[str, str]] = {
    "empty": {},
    "ascii": CONTEXT,
    "unicode": {"Ort": "Zürich", "鍵": "🔑 ", "empty": "", "a b": "\n"},
    "large": {f"pair-{number}": "x" * 500 for number in range(6)},
}
_WRONG: Mapping[str, Mapping[str, str]] = {
    "another value": {"domain": "prod", "name": "db/passwore"},
    "a pair too many": {**CONTEXT, "more": ""},
    "a pair too few": {"domain": "prod"},
    "none": {},
    "values swapped": {"domain": "db/password", "name": "prod"},
    "pairs run together": {"domainprod": "", "name": "db/password"},
}

OPERATIONS = ("wrap", "unwrap", "generate_data_key")
_RESIZED: Mapping[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut": lambda whole: whole[:-1],
    "beheaded": lambda whole: whole[1:],
    "half": lambda whole: whole[: len(whole) // 2],
    "extended": lambda whole: whole + b"\0",
    "shifted": lambda whole: b"\0" + whole,
    "doubled": lambda whole: whole * 2,
    "zeros": lambda whole: bytes(len(whole)),
    "huge": lambda whole: whole * 400,
}


class Contexts(KeyHarness):
    """What a data key is bound to."""

    @pytest.mark.parametrize("context", _CONTEXTS.values(), ids=_CONTEXTS)
    def test_a_wrapped_key_opens(self, wrapper: KeyWrapper, context: Mapping[str, str]) -> None:
        """Under the same context, in whatever order its pairs stand."""
        wrapped = wrapper.wrap(self.data_key, context)
        assert wrapper.matches(wrapped)
        assert wrapper.unwrap(wrapped, dict(reversed(list(context.items())))) == self.data_key

    @pytest.mark.parametrize("context", _CONTEXTS.values(), ids=_CONTEXTS)
    def test_a_generated_key_opens(self, wrapper: KeyWrapper, context: Mapping[str, str]) -> None:
        """32 bytes, which its wrapped form gives again."""
        made = wrapper.generate_data_key(context)
        assert len(made.plaintext) == DATA_KEY_LENGTH
        assert wrapper.matches(made.wrapped)
        assert wrapper.unwrap(made.wrapped, context) == made.plaintext

    def test_every_generated_key_is_another(self, wrapper: KeyWrapper) -> None:
        """No key and no ciphertext comes twice, and none is all zeros."""
        made = [wrapper.generate_data_key(CONTEXT) for _ in range(self.count(200))]
        assert len({key.plaintext for key in made} | {bytes(DATA_KEY_LENGTH)}) == len(made) + 1
        assert len({key.wrapped for key in made}) == len(made)

    @pytest.mark.parametrize("context", _WRONG.values(), ids=_WRONG)
    def test_another_context_is_refused(self, wrapper: KeyWrapper, context: Mapping[str, str]) -> None:
        """Whatever differs is IntegrityError: keys of one secret do not open another's messages."""
        for wrapped in (wrapper.wrap(self.data_key, CONTEXT), wrapper.generate_data_key(CONTEXT).wrapped):
            with pytest.raises(IntegrityError):
                wrapper.unwrap(wrapped, context)

    def test_a_context_where_none_was_is_refused(self, wrapper: KeyWrapper) -> None:
        """A key wrapped without context opens without context only."""
        with pytest.raises(IntegrityError):
            wrapper.unwrap(wrapper.wrap(self.data_key, {}), CONTEXT)

    @pytest.mark.parametrize(
        "context", [{"a": "x" * MAX_CONTEXT_LENGTH}, {"a": "\ud800"}], ids=["long", "surrogate"]
    )
    def test_a_context_that_no_message_can_hold_is_refused(
        self, wrapper: KeyWrapper, unreachable: KeyWrapper, context: Mapping[str, str]
    ) -> None:
        """Before any request: InvalidRequestError even where the provider does not answer."""
        key = wrapper if isinstance(unreachable, Broken) else unreachable
        for call in (partial(key.wrap, self.data_key), key.generate_data_key):
            with pytest.raises(InvalidRequestError):
                call(context)


class Tampering(KeyHarness):
    """Wrapped keys are authenticated to the last byte."""

    def test_a_ciphertext_changed_anywhere_is_refused(self, wrapper: KeyWrapper) -> None:
        """One bit of any byte: IntegrityError."""
        wrapped = wrapper.wrap(self.data_key, CONTEXT)
        for position in range(len(wrapped.ciphertext)):
            changed = bytearray(wrapped.ciphertext)
            changed[position] ^= 1 << position % 8
            with pytest.raises(IntegrityError):
                wrapper.unwrap(wrapped._replace(ciphertext=bytes(changed)), CONTEXT)

    @pytest.mark.parametrize("change", _RESIZED.values(), ids=_RESIZED)
    def test_a_ciphertext_of_another_length_is_refused(
        self, wrapper: KeyWrapper, change: Callable[[bytes], bytes]
    ) -> None:
        """Truncated, extended or replaced: IntegrityError, never the provider's own opinion of it."""
        wrapped = wrapper.wrap(self.data_key, CONTEXT)
        with pytest.raises(IntegrityError):
            wrapper.unwrap(wrapped._replace(ciphertext=change(wrapped.ciphertext)), CONTEXT)

    def test_identifiers_changed_anywhere_are_refused(self, wrapper: KeyWrapper) -> None:
        """Another provider id or key info does not match, or does not open."""
        wrapped = wrapper.wrap(self.data_key, CONTEXT)
        infos = [wrapped.key_info[:-1], wrapped.key_info + b"\0", b"", b"\xff" * 8]
        infos += [_flipped(wrapped.key_info, position) for position in range(len(wrapped.key_info))]
        changed = [wrapped._replace(key_info=info) for info in infos]
        changed += [wrapped._replace(provider_id=text) for text in ("", "aws-kmx", wrapped.provider_id + "x")]
        for candidate in changed:
            assert self.is_refused(wrapper, candidate)

    def test_another_key_opens_nothing(self, wrapper: KeyWrapper, other: KeyWrapper) -> None:
        """What one key wrapped the other does not open, under its own identifiers or the other's."""
        theirs = other.wrap(self.data_key, CONTEXT)
        assert self.is_refused(wrapper, theirs)
        ours = wrapper.wrap(self.data_key, CONTEXT)
        with pytest.raises(IntegrityError):
            wrapper.unwrap(ours._replace(ciphertext=theirs.ciphertext), CONTEXT)


class Identifiers(KeyHarness):
    """Which key is meant is known from what stands in a message, and from nothing else."""

    def test_matching_asks_nobody(self, wrapper: KeyWrapper, unreachable: KeyWrapper) -> None:
        """A message names keys; which of ours is meant is known without a request."""
        wrapped = wrapper.wrap(self.data_key, CONTEXT)
        assert unreachable.matches(wrapped)
        assert not unreachable.matches(wrapped._replace(provider_id=f"not-{wrapped.provider_id}"))

    def test_identifiers_fit_a_message(self, wrapper: KeyWrapper) -> None:
        """Each field takes two bytes for its length; the key says of itself what it must."""
        wrapped = wrapper.wrap(self.data_key, CONTEXT)
        assert wrapped.provider_id == wrapper.provider_id
        assert all(len(field) < 65_536 for field in (wrapped.provider_id.encode(), *wrapped[1:]))
        assert wrapper.symmetric is self.symmetric
        assert wrapper.key_id in repr(wrapper)

    def test_a_wrapped_key_takes_no_more_room_than_is_said(self, wrapper: KeyWrapper) -> None:
        """`room` is told before anything is wrapped, and an encrypted store's limit depends on it."""
        room = wrapper.room()
        wrapped = wrapper.wrap(self.data_key, {**CONTEXT, "more": "x" * 1000})
        assert sum(2 + len(field) for field in (wrapped.provider_id.encode(), *wrapped[1:])) <= room
        assert len(wrapped.ciphertext) <= wrapper.longest
        assert wrapper.is_primary(wrapped)


class Uses(KeyHarness):
    """Messages and encrypted stores."""

    def test_messages_open(self, wrapper: KeyWrapper, other: KeyWrapper) -> None:
        """A message under two keys opens with either, and with neither for another context."""
        message = encrypt(b"value", keys=[wrapper, other], context=CONTEXT)
        for key in (wrapper, other):
            assert decrypt(message, keys=[key], context=CONTEXT).value == b"value"
        with pytest.raises(IntegrityError):
            decrypt(message, keys=[wrapper], context={**CONTEXT, "name": "other"})

    @pytest.mark.parametrize("fault", ["refused", "unreachable"])
    def test_a_key_out_of_use_is_passed_over(
        self, request: pytest.FixtureRequest, wrapper: KeyWrapper, other: KeyWrapper, fault: str
    ) -> None:
        """A message under two keys opens with the one that answers; which one did not is told."""
        message = encrypt(b"value", keys=[wrapper, other], context=CONTEXT)
        broken = request.getfixturevalue(fault)
        opened = decrypt(message, keys=[broken, other], context=CONTEXT)
        over = set() if "unwrap" in self.offline else {broken.key_id}
        assert (opened.value, set(opened.passed_over)) == (b"value", over)

    def test_an_encrypted_store_works_under_a_symmetric_key_alone(self, wrapper: KeyWrapper) -> None:
        """Who has a public key could forge secrets: such a key is refused unless `forgeable` is written."""
        inner, value, key = MemoryBackend(), SecretValue(self.marker), Name("db/password")
        if not self.symmetric:
            with pytest.raises(InvalidRequestError, match="asymmetric"):
                Encrypted(inner, [wrapper], "prod")
        store = Encrypted(inner, [wrapper], "prod", forgeable=not self.symmetric)
        store.put(key, value, None)
        assert store.get(key, Stage.CURRENT).value == value
        assert not inner.get(key, Stage.CURRENT).value.matches(self.marker)


class KeyRedaction(KeyHarness):
    """No data key shows in anything but what a caller asked for."""

    def test_nothing_that_is_returned_shows_a_key(self, wrapper: KeyWrapper) -> None:
        """repr and str of the KEK and of what it returns hold no data key, whatever it did last."""
        wrapped = wrapper.wrap(self.data_key, CONTEXT)
        shown = [repr(wrapped), repr(wrapper)]
        wrapper.unwrap(wrapped, CONTEXT)
        shown += [repr(wrapper), str(wrapper)]
        assert not [text for text in shown if leaks_in(text, self.marker)]
        made = wrapper.generate_data_key(CONTEXT)
        plain = repr(made.plaintext)[2:-1]
        assert not [text for text in (repr(made), str(made), repr(wrapper)) if plain in text]

    def test_no_error_shows_a_key(
        self, wrapper: KeyWrapper, refused: KeyWrapper, unreachable: KeyWrapper
    ) -> None:
        """Messages, attributes, causes and the locals of our frames hold no data key."""
        wrapped = wrapper.wrap(self.data_key, CONTEXT)
        calls: list[Callable[[], object]] = [
            partial(wrapper.wrap, self.data_key, {"a": "\ud800"}),
            partial(wrapper.unwrap, wrapped, {}),
            partial(wrapper.unwrap, wrapped._replace(ciphertext=wrapped.ciphertext[1:]), CONTEXT),
            *(partial(key.wrap, self.data_key, CONTEXT) for key in (refused, unreachable)),
        ]
        found = [error for call in calls if (error := error_of(call))]
        assert len(found) >= 3
        for error in found:
            assert leaks_of(error, self.marker, type(self).__module__) == []
            assert error.__context__ is None

    def test_no_log_shows_a_key(self, wrapper: KeyWrapper, caplog: pytest.LogCaptureFixture) -> None:
        """Not at DEBUG of any logger, our own or the SDK's."""
        with caplog.at_level(0):
            wrapper.unwrap(wrapper.wrap(self.data_key, CONTEXT), CONTEXT)
        shown = [f"{record.getMessage()} {vars(record)!r}" for record in caplog.records]
        assert not [text for text in shown if leaks_in(text, self.marker)]


class Refusals(KeyHarness):
    """Each error means one thing with every provider."""

    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_who_may_not_use_the_key_is_denied(
        self, wrapper: KeyWrapper, refused: KeyWrapper, operation: str
    ) -> None:
        """PermissionDeniedError, so that another key of the message is tried."""
        self._fails(wrapper, refused, operation, PermissionDeniedError)

    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_no_answer_is_unavailable(
        self, wrapper: KeyWrapper, unreachable: KeyWrapper, operation: str
    ) -> None:
        """UnavailableError, which may pass and did nothing."""
        error = self._fails(wrapper, unreachable, operation, UnavailableError)
        assert error is None or (error.retryable and error.performed is False)

    def _fails(
        self, wrapper: KeyWrapper, broken: KeyWrapper, operation: str, kind: type[SecretStoreError]
    ) -> SecretStoreError | None:
        wrapped = wrapper.wrap(self.data_key, CONTEXT)
        calls: dict[str, Callable[[], object]] = {
            "wrap": partial(broken.wrap, self.data_key, CONTEXT),
            "unwrap": partial(broken.unwrap, wrapped, CONTEXT),
            "generate_data_key": partial(broken.generate_data_key, CONTEXT),
        }
        if operation in self.offline and not isinstance(broken, Broken):
            calls[operation]()
            return None
        with pytest.raises(kind) as caught:
            calls[operation]()
        return caught.value


class Sharing(KeyHarness):
    """Any number of threads, and children, may use a key."""

    def test_eight_threads_share_a_key(self, wrapper: KeyWrapper) -> None:
        """Each gets its own keys back."""
        calls = [partial(self._round_trips, wrapper, number, self.count(50)) for number in range(8)]
        assert at_once(calls) == [True] * 8

    def test_coroutines_share_a_key(self, wrapper: KeyWrapper) -> None:
        """In the threads of an event loop, as `AsyncSecretStore` uses it."""

        async def run() -> list[bool]:
            threads = (asyncio.to_thread(self._round_trips, wrapper, number, 1) for number in range(8))
            return await asyncio.gather(*threads)

        assert asyncio.run(run()) == [True] * 8

    def test_a_forked_child_makes_its_own_sessions(self, wrapper: KeyWrapper) -> None:
        """Child and parent both go on, whatever the parent had open."""
        wrapped = wrapper.wrap(self.data_key, CONTEXT)
        assert in_child(wrapper, lambda: wrapper.unwrap(wrapped, CONTEXT) == self.data_key)
        assert self._round_trips(wrapper, 0, 1)

    def test_closing_twice_is_harmless(self, disposable: KeyWrapper) -> None:
        """Whoever still uses a closed key gets a typed error or an answer, never the SDK's exception."""
        wrapped = disposable.wrap(self.data_key, CONTEXT)
        for _ in range(2):
            disposable.close()
        with contextlib.suppress(SecretStoreError):
            assert disposable.unwrap(wrapped, CONTEXT) == self.data_key

    @staticmethod
    def _round_trips(wrapper: KeyWrapper, number: int, times: int) -> bool:
        context = {"thread": str(number)}
        for _ in range(times):
            made = wrapper.generate_data_key(context)
            if wrapper.unwrap(made.wrapped, context) != made.plaintext:
                return False
        return True


KEY_AREAS: tuple[type, ...] = (Contexts, Tampering, Identifiers, Uses, KeyRedaction, Refusals, Sharing)


class KeyWrapperConformance(
    Contexts, Tampering, Identifiers, Uses, KeyRedaction, Refusals, Sharing,
):  # fmt: skip
    """Every case for a KEK. Subclass it as ``Test…`` and give the fixtures `wrapper` and `other`."""

    def test_no_case_is_lost(self) -> None:
        """A standard case may be overridden only as xfail with a reason, and never skipped or removed."""
        assert lost_cases(type(self), KEY_AREAS) == []


def _flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
