"""Areas of the conformance suite: names, values and their sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from strongroom.backend import Backend, Capability, Stage
from strongroom.errors import InvalidRequestError, SecretNotFoundError
from strongroom.names import NAME_UNITS, Name
from strongroom.value import SecretValue

from .conformance_base import Harness, NativeReader, Plant, needs

if TYPE_CHECKING:
    from strongroom.store import SecretStore

    from .faults import FaultyBackend

ILLEGAL = (
    "", ".", "..", "a/../b", "../a", "./a", "/a", "a/", "a//b", "A", "a b", "ä", "a\x00b", "a\nb", "a\\b",
    "a%2fb", "%2e%2e/a", "a..b", "a-", "-a", "a?b", "a#b", "_strongroom/pending/a", "arn:aws:x", "x" * 81,
)  # fmt: skip
HOSTILE_TEXTS = {
    "a space at both ends": " {} ",
    "newlines": "\n{}\r\n",
    "letters of many scripts": "{} ä 秘密 🔐 \u202e",
    "a composed and a decomposed letter": "{} \u00e9 e\u0301",
    "a NUL": "{}\x00",
    "a JSON document": '{{"value": "{}", "strongroom": {{"kind": "binary"}}}}',
    "a JSON array": '["{}"]',
    "base64": "e30{}",
    "a marked base64": "base64:{}",
    "a mark of ours": "strongroom:binary:{}",
    "a reference": "strongroom://other/{}",
    "a template": "{{{{ {} }}}} ${{HOME}} %s",
}


class Names(Harness):
    """A name is checked before any request, fits every provider, and never leaves its prefix."""

    @pytest.mark.parametrize("illegal", ILLEGAL)
    def test_an_illegal_name_is_refused_before_any_request(
        self, store: SecretStore, faulty: FaultyBackend, illegal: str
    ) -> None:
        """Empty, climbing, encoded, upper-case, control and reserved names are InvalidRequestError."""
        calls: list[Callable[[], object]] = [
            lambda: store.get(illegal),
            lambda: store.put(illegal, self.text("x")),
            lambda: store.delete(illegal),
            lambda: store.purge(illegal),
            lambda: store.versions(illegal),
            lambda: store.get_many([illegal]),
            lambda: store.pending(illegal, self.rotation()).get(),
        ]
        for call in calls:
            with pytest.raises(InvalidRequestError):
                call()
        assert not faulty.calls

    @pytest.mark.parametrize("prefix", ["..", "../", "a/../", "/", "a//", "A"])
    @needs(Capability.LIST)
    def test_a_prefix_that_could_climb_is_refused(self, store: SecretStore, prefix: str) -> None:
        """A listing never leaves the prefix of the store's URL."""
        with pytest.raises(InvalidRequestError):
            list(store.list_names(prefix))

    def test_names_that_differ_in_one_mark_are_different_secrets(
        self, store: SecretStore, plant: Plant
    ) -> None:
        """The encoding of names is injective: `a-b`, `a.b`, `a_b`, `a/b` and `ab` never meet."""
        names = [self.name(f"a{mark}b") for mark in ("-", ".", "_", "/", "")]
        for name in names:
            plant(name, self.text(name))
        for name in names:
            assert store.get(name).value == self.value(name)

    @pytest.mark.parametrize("unit", ["x", "x/", "x.", "x_", "x-"])
    def test_the_longest_legal_names_can_be_used(self, store: SecretStore, plant: Plant, unit: str) -> None:
        """A name of 80 units, whatever it is made of, is written and read."""
        cost = sum({"/": 2, ".": 3, "_": 4}.get(char, 1) for char in unit)
        room = NAME_UNITS - 2 - len(self.name("").rstrip("/"))
        times, rest = divmod(room - 1, cost)
        name = self.name(unit * times + "y" * (rest + 1))
        plant(name, self.text("long"))
        assert store.get(name).value == self.value("long")
        with pytest.raises(InvalidRequestError):
            store.get(name + "y")

    @needs(Capability.PUT)
    def test_a_name_and_a_folder_may_have_the_same_name(self, store: SecretStore) -> None:
        """`db` and `db/password` are two secrets."""
        store.put(self.name("db"), self.text("folder"))
        store.put(self.name("db/password"), self.text("leaf"))
        assert store.get(self.name("db")).value == self.value("folder")
        assert store.get(self.name("db/password")).value == self.value("leaf")


class Basics(Harness):
    """What was put is what is read, byte for byte, with its kind."""

    def test_what_was_put_is_read_back(self, store: SecretStore, plant: Plant) -> None:
        """`get` returns the value, its kind, the name as given, and says who answered."""
        plant(self.name(), self.text("one"))
        secret = store.get(self.name())
        assert (secret.value, secret.value.kind) == (self.value("one"), "text")
        assert (secret.name, secret.stage) == (self.name(), Stage.CURRENT)
        assert secret.version
        assert secret.origin
        assert not secret.stale

    @needs(Capability.PUT)
    def test_put_returns_the_version_that_get_reads(self, store: SecretStore) -> None:
        """The id of the write's own answer is the id that `get` gives, for the first write and the next."""
        for label in ("one", "two"):
            written = store.put(self.name(), self.text(label))
            assert store.get(self.name()).version == written.id

    @needs(Capability.PUT)
    def test_put_over_a_value_replaces_it(self, store: SecretStore, native_reader: NativeReader) -> None:
        """After an acknowledged put every reader sees the new value, a native one too."""
        store.put(self.name(), self.text("old"))
        store.put(self.name(), self.text("new"))
        assert store.get(self.name()).value == self.value("new")
        assert native_reader(self.name()) == self.value("new")

    @pytest.mark.parametrize("template", HOSTILE_TEXTS.values(), ids=HOSTILE_TEXTS.keys())
    @needs(Capability.PUT)
    def test_text_is_kept_as_it_is(self, store: SecretStore, template: str) -> None:
        """No text can pretend to be an encoding, a frame or a reference; nothing is stripped."""
        text = template.format(self.marker)
        store.put(self.name(), text)
        value = store.get(self.name()).value
        assert value.matches(text)
        assert value.kind == "text"

    @pytest.mark.parametrize("data", [b"\xff\xfe\x00", bytes(range(256)), b"looks like text", b"{}"])
    @needs(Capability.PUT)
    def test_bytes_are_kept_as_they_are(self, store: SecretStore, data: bytes) -> None:
        """Bytes that are no UTF-8 come back whole, and bytes that look like text stay binary."""
        store.put(self.name(), data)
        value = store.get(self.name()).value
        assert value.matches(data)
        assert value.kind == "binary"

    @pytest.mark.parametrize("empty", ["", b""], ids=["text", "binary"])
    @needs(Capability.PUT)
    def test_an_empty_value_is_kept_or_refused(self, store: SecretStore, empty: str | bytes) -> None:
        """An empty value is read back empty, or is InvalidRequestError and nothing was written."""
        try:
            store.put(self.name(), empty)
        except InvalidRequestError:
            with pytest.raises(SecretNotFoundError):
                store.get(self.name())
            return
        assert store.get(self.name()).value == SecretValue(empty)

    @needs(Capability.PUT)
    def test_a_mapping_is_kept_as_json(self, store: SecretStore) -> None:
        """A mapping is written as JSON text that `reveal_json` parses."""
        store.put(self.name(), {"user": "app", "password": self.text("ä")})
        read = store.get(self.name()).value
        assert read == SecretValue.of({"user": "app", "password": self.text("ä")})
        assert read.kind == "text"

    @needs(Capability.PUT)
    def test_kinds_may_change_from_version_to_version(self, store: SecretStore) -> None:
        """Text over binary is text, binary over text is binary."""
        for value, kind in ((b"\xff", "binary"), (self.text("t"), "text"), (b"\xfe", "binary")):
            store.put(self.name(), value)
            assert store.get(self.name()).value.kind == kind


class Sizes(Harness):
    """A limit is stated, kept before any request, and leaves room for rotation."""

    @needs(Capability.PUT)
    def test_a_value_at_the_limit_fits(self, store: SecretStore, backend: Backend) -> None:
        """The largest value that `limit` allows (1 MiB where there is none) is written and read."""
        value = SecretValue("x" * self._largest(backend))
        store.put(self.name(), value)
        assert store.get(self.name()).value == value

    @needs(Capability.PUT)
    def test_a_value_over_the_limit_is_refused(
        self, store: SecretStore, backend: Backend, faulty: FaultyBackend
    ) -> None:
        """One byte more is InvalidRequestError, before any request; it is never split and never cut."""
        over = SecretValue("x" * (self._largest(backend) + 1))
        limit = backend.limit(Name(self.name()))
        if limit is None or backend.size(over) <= limit:
            store.put(self.name(), over)
            assert store.get(self.name()).value == over
            return
        with pytest.raises(InvalidRequestError):
            store.put(self.name(), over)
        assert not faulty.calls["put"]
        with pytest.raises(SecretNotFoundError):
            store.get(self.name())

    @needs(Capability.PUT, pending=True)
    def test_a_value_at_the_limit_can_be_rotated(self, store: SecretStore, backend: Backend) -> None:
        """`limit` leaves room for what a pending value needs besides."""
        base = store.put(self.name(), self.text("old"))
        value = SecretValue("x" * self._largest(backend))
        pending = store.pending(self.name(), self.rotation())
        pending.put(value, base_version=base.id)
        pending.promote()
        assert store.get(self.name()).value == value

    def _largest(self, backend: Backend) -> int:
        limit = backend.limit(Name(self.name()))
        low, high = 1, (1 << 20) if limit is None else limit
        while low < high:
            middle = (low + high + 1) // 2
            fits = limit is None or backend.size(SecretValue("x" * middle)) <= limit
            low, high = (middle, high) if fits else (low, middle - 1)
        return low
