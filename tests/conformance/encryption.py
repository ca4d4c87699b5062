"""What every encrypted run shares: the whole suite, and what only an encrypted store promises."""

from __future__ import annotations

import pytest

from strongroom.backend import Backend, Capability, Stage
from strongroom.errors import IntegrityError, SecretConflictError, SecretNotFoundError
from strongroom.layers.encrypted import Encrypted
from strongroom.layers.reencrypting import Outcome
from strongroom.localkey import LocalKey
from strongroom.names import Companion, Key, Name
from strongroom.store import SecretStore
from strongroom.testing.conformance_base import needs
from strongroom.value import SecretValue
from tests.canary import holds_canary
from tests.conformance.support import Counter, Suite

PUT = Capability.PUT


class EncryptedSuite(Suite):
    """The public suite, and the cases of an encrypted store. `backend` is one `Encrypted` layer."""

    def layer(self, backend: Backend) -> Encrypted:
        """The layer under test."""
        assert isinstance(backend, Encrypted)
        return backend

    def moved(self, layer: Encrypted, source: Key, target: Key) -> None:
        """Somebody with access to the provider copies a message."""
        layer.inner.put(target, layer.inner.get(source, Stage.CURRENT).value, None)

    def refuses(self, layer: Encrypted, key: Key) -> None:
        """It does not open there, alone or in a batch, and shows nothing."""
        with pytest.raises(IntegrityError):
            layer.get(key, Stage.CURRENT)
        if Capability.BATCH_GET in layer.capabilities:
            assert isinstance(layer.get_many([key])[key], IntegrityError)

    @needs(PUT)
    def test_messages_of_two_names_cannot_be_swapped(self, store: SecretStore, backend: Backend) -> None:
        """Whoever may write the provider could else give the reader's password to the admin's name ▲."""
        layer, keys = self.layer(backend), [Name(self.name("a")), Name(self.name("b"))]
        for key in keys:
            store.put(key.text, self.text(key.text))
        messages = [layer.inner.get(key, Stage.CURRENT).value for key in keys]
        assert not any(holds_canary(message.reveal()) for message in messages)
        for key, message in zip(keys, reversed(messages), strict=True):
            layer.inner.put(key, message, None)
            self.refuses(layer, key)
        for key, message in zip(keys, messages, strict=True):
            layer.inner.put(key, message, None)
            assert layer.get(key, Stage.CURRENT).value == self.value(key.text)

    @needs(PUT)
    def test_a_message_of_another_domain_does_not_open(self, backend: Backend) -> None:
        """The same name and the same key, in test and in production ▲."""
        layer, key = self.layer(backend), Name(self.name())
        other = Encrypted(layer.inner, layer.keys, f"{layer.domain}-test")
        other.put(key, self.value("other"), None)
        self.refuses(layer, key)
        layer.put(key, self.value("ours"), None)
        self.refuses(other, key)

    @needs(PUT, Capability.VERSIONS, pending=True)
    def test_a_companions_message_is_not_the_secrets_nor_the_reverse(
        self, store: SecretStore, backend: Backend
    ) -> None:
        """A pending value copied over the secret would promote it without compare-and-set ▲."""
        layer, name = self.layer(backend), Name(self.name())
        base = store.put(name.text, self.text("current")).id
        companion = Companion(name)
        if Capability.NATIVE_PENDING in layer.capabilities:  # none is made, and somebody may
            layer.put(companion, self.value("held"), None)
        else:
            store.pending(name.text, self.rotation()).put(self.text("held"), base_version=base)
        current = layer.inner.get(name, Stage.CURRENT).value
        self.moved(layer, companion, name)
        self.refuses(layer, name)
        layer.inner.put(companion, current, None)
        self.refuses(layer, companion)
        layer.inner.purge(companion)

    @needs(PUT)
    def test_a_changed_message_does_not_open(self, store: SecretStore, backend: Backend) -> None:
        """A bit of the header, of the value, of the tag; its end cut off."""
        layer, key = self.layer(backend), Name(self.name())
        store.put(key.text, self.text("whole"))
        message = layer.inner.get(key, Stage.CURRENT).value.reveal()
        for position in (5, 60, len(message) // 2, len(message) - 1):
            changed = bytes(byte ^ (at == position) for at, byte in enumerate(message))
            layer.inner.put(key, SecretValue(changed), None)
            self.refuses(layer, key)
        layer.inner.put(key, SecretValue(message[:-1]), None)
        self.refuses(layer, key)

    def moving(self, backend: Backend) -> tuple[SecretStore, SecretStore]:
        """The same place, as it is configured while it moves to another key, and afterwards."""
        layer = self.layer(backend)
        new = [LocalKey(b"new".ljust(32), name="new", counter=Counter())]
        return (
            self.open(Encrypted(layer.inner, new, layer.domain, old_keys=layer.keys)),
            self.open(Encrypted(layer.inner, new, layer.domain)),
        )

    @needs(PUT, cas=True)
    def test_a_secret_is_put_under_other_keys(self, store: SecretStore, backend: Backend) -> None:
        """By the provider's own compare-and-set, once; who writes meanwhile is not written over."""
        moving, after = self.moving(backend)
        name = self.name()
        for value in (self.value("text"), SecretValue(b"\xff" + self.text("binary").encode())):
            before = store.put(name, value)
            done = moving.reencrypt(name)
            assert (done.outcome, done.pending) == (Outcome.DONE, ())
            assert done.version == after.get(name).version != before.id
            assert (after.get(name).value, after.get(name).value.kind) == (value, value.kind)
            assert moving.reencrypt(name).outcome is Outcome.ALREADY
            with pytest.raises(SecretConflictError):
                after.put(name, self.text("late"), if_version=before.id)
        with pytest.raises(SecretNotFoundError):
            moving.reencrypt(self.name("missing"))

    @needs(PUT, cas=True, pending=True)
    def test_a_rotation_under_way_is_left_alone_and_ends_as_it_would(
        self, store: SecretStore, backend: Backend
    ) -> None:
        """Neither the value that waits nor its base is touched; afterwards everything is, and rotates."""
        moving, after = self.moving(backend)
        name, rotation = self.name(), self.rotation()
        base = store.put(name, self.text("old")).id
        store.pending(name, rotation).put(self.text("new"), base_version=base)
        waiting = moving.reencrypt(name)
        assert (waiting.outcome, waiting.pending) == (Outcome.PENDING, (rotation,))
        assert moving.reencrypt(name, dry_run=True).outcome is Outcome.PENDING
        promoted = moving.pending(name, rotation).promote()
        assert moving.get(name).version == promoted.id
        # Natively the very message that waited became current; a companion's value is encrypted anew.
        native = Capability.NATIVE_PENDING in moving.capabilities
        assert moving.reencrypt(name).outcome is (Outcome.DONE if native else Outcome.ALREADY)
        assert moving.reencrypt(name).outcome is Outcome.ALREADY
        assert after.get(name).value == self.value("new")
        again = after.pending(name, self.rotation())
        again.put(self.text("next"), base_version=after.get(name).version)
        again.promote()
        assert after.get(name).value == self.value("next")

    @needs(PUT)
    def test_the_kind_is_the_messages_own(self, backend: Backend) -> None:
        """Whatever the provider says of the value: text stays text, bytes stay bytes."""
        layer, key = self.layer(backend), Name(self.name())
        for value in (self.value("text"), SecretValue(b"\xff\x00" + self.text("binary").encode())):
            layer.put(key, value, None)
            found = layer.get(key, Stage.CURRENT).value
            assert (found, found.kind) == (value, value.kind)
            assert layer.inner.get(key, Stage.CURRENT).value.kind == "binary"
