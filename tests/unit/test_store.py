"""SecretStore: what is refused before a request is sent, and what its errors and results carry."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest

from strongroom.backend import ABSENT, Backend, Capability, Secret, SecretInfo, Stage
from strongroom.cache import CachePolicy
from strongroom.errors import (
    InvalidRequestError,
    PartialFailureError,
    SecretConflictError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
    UnsupportedOperationError,
)
from strongroom.layers.failover import Failover
from strongroom.memory import ALL, MemoryBackend
from strongroom.names import Companion, Key, Name, Reserved
from strongroom.store import SecretStore
from strongroom.testing.faults import FaultyBackend, denied, unavailable
from strongroom.value import SecretValue
from tests.canary import CANARY, assert_no_canary_in
from tests.unit.core_support import COMPANION, KEY, NAME, memory, overwrite, text

C = Capability
ROTATION = str(uuid.uuid4())


@pytest.fixture
def backend() -> FaultyBackend:
    return memory()


@pytest.fixture
def store(backend: FaultyBackend) -> SecretStore:
    return SecretStore(backend, alias="prod")


NEEDS: dict[str, tuple[Capability, Callable[[SecretStore], object]]] = {
    "get by version": (C.VERSIONS, lambda store: store.get(NAME, version="1")),
    "get previous": (C.VERSIONS, lambda store: store.get(NAME, stage=Stage.PREVIOUS)),
    "put": (C.PUT, lambda store: store.put(NAME, text("x"))),
    "put absent": (C.CREATE_ONLY, lambda store: store.put(NAME, text("x"), if_version=ABSENT)),
    "put if_version": (C.CAS, lambda store: store.put(NAME, text("x"), if_version="1")),
    "list": (C.LIST, lambda store: store.list_names()),
    "versions": (C.VERSIONS, lambda store: store.versions(NAME)),
    "describe": (C.DESCRIBE, lambda store: store.describe(NAME)),
    "set_tags": (C.TAGS, lambda store: store.set_tags(NAME, {"a": "b"})),
    "delete": (C.DELETE, lambda store: store.delete(NAME)),
    "restore": (C.DELETE, lambda store: store.restore(NAME)),
    "purge": (C.PURGE, lambda store: store.purge(NAME)),
    "rollback without versions": (C.VERSIONS, lambda store: store.rollback(NAME, if_version="1")),
    "rollback without cas": (C.CAS, lambda store: store.rollback(NAME, if_version="1")),
    "rollback without put": (C.PUT, lambda store: store.rollback(NAME, if_version="1")),
}


class TestCapabilityGate:
    """One gate, over the outermost capabilities, before any request."""

    @pytest.mark.parametrize("what", NEEDS)
    def test_what_the_backend_lacks_is_refused_unsent(self, what: str) -> None:
        """UnsupportedOperationError that names the operation and the store; the backend was not called."""
        flag, call = NEEDS[what]
        backend = memory(ALL & ~flag)
        store = SecretStore(backend, alias="prod", cache=None)
        with pytest.raises(UnsupportedOperationError) as caught:
            call(store)
        assert not backend.calls
        assert caught.value.operation == what.split(maxsplit=1)[0]
        assert caught.value.performed is False
        assert "prod" in str(caught.value)

    @pytest.mark.parametrize(
        "lacking", [C.NATIVE_PENDING | C.VERSIONS, C.NATIVE_PENDING | C.CAS | C.CAS_GUARDED]
    )
    def test_no_pending_where_it_cannot_be_safe(self, lacking: Capability) -> None:
        """Neither native nor a companion: a pending value would be the secret, or race."""
        backend = memory(ALL & ~lacking)
        with pytest.raises(UnsupportedOperationError):
            SecretStore(backend).pending(NAME, ROTATION)
        assert not backend.calls

    def test_guarded_compare_and_set_is_compare_and_set(self) -> None:
        """Under a coordinator ``if_version`` is allowed."""
        flags = (ALL & ~C.CAS) | C.CAS_GUARDED
        store = SecretStore(memory(flags))
        first = store.put(NAME, text("1"))
        store.put(NAME, text("2"), if_version=first.id)
        with pytest.raises(SecretConflictError):
            store.put(NAME, text("3"), if_version=first.id)

    def test_without_a_batch_many_are_read_one_by_one(self) -> None:
        """BATCH_GET saves requests; it is not needed."""
        backend = memory(ALL & ~C.BATCH_GET)
        store = SecretStore(backend, cache=None)
        store.put("a", text("a"))
        store.put("b", text("b"))
        assert store.get_many(["a", "b"])["b"].value.matches(text("b"))
        assert backend.calls["get_many"] == 0

    @pytest.mark.parametrize("flag", [C.CAS, C.NATIVE_PENDING, C.DELETE | C.LIST])
    def test_open_fails_at_start(self, flag: Capability) -> None:
        """What a program cannot do without is known before its first secret, not at the first use."""
        backend = memory(ALL & ~flag)
        with pytest.raises(UnsupportedOperationError) as caught:
            SecretStore(backend, require=flag)
        assert not backend.calls
        assert caught.value.operation == "open"
        SecretStore(backend, require=C.PUT)

    @pytest.mark.parametrize(("has", "wants"), [(C.CAS, C.CAS_GUARDED), (C.CAS_GUARDED, C.CAS)])
    def test_either_compare_and_set_will_do(self, has: Capability, wants: Capability) -> None:
        """Who requires compare-and-set says nothing of how."""
        SecretStore(memory((ALL & ~(C.CAS | C.CAS_GUARDED)) | has), require=wants)


class TestRefusedUnsent:
    """The caller's faults."""

    BY_NAME: tuple[Callable[[SecretStore, str], object], ...] = (
        lambda store, name: store.get(name),
        lambda store, name: store.get_many(["ok", name]),
        lambda store, name: store.put(name, text("x")),
        lambda store, name: store.versions(name),
        lambda store, name: store.describe(name),
        lambda store, name: store.set_tags(name, {}),
        lambda store, name: store.delete(name),
        lambda store, name: store.restore(name),
        lambda store, name: store.purge(name),
        lambda store, name: store.rollback(name, if_version="1"),
        lambda store, name: store.refresh(name, rejected="1"),
        lambda store, name: store.pending(name, ROTATION),
        lambda store, name: list(store.list_names(f"{name}/")),
    )

    @pytest.mark.parametrize(
        "name", ["..", "a/../b", "/a", "", "a//b", "a\n", "A", "_strongroom", "arn:aws:x"]
    )
    @pytest.mark.parametrize("call", range(len(BY_NAME)))
    def test_a_name_that_climbs_or_is_not_portable(
        self, store: SecretStore, backend: FaultyBackend, call: int, name: str
    ) -> None:
        """Every method refuses it before any request: a name never escapes its prefix."""
        with pytest.raises(InvalidRequestError):
            self.BY_NAME[call](store, name)
        assert not backend.calls

    @pytest.mark.parametrize(
        "name", ["..", "a/../b", "arn:aws:secretsmanager:x", "projects/p/secrets/s", "_strongroom/x"]
    )
    def test_native_names_do_not_climb_either(self, backend: FaultyBackend, name: str) -> None:
        """Nor do they name another resource."""
        store = SecretStore(backend, names="native")
        for call in self.BY_NAME:
            with pytest.raises(InvalidRequestError):
                call(store, name)
        assert not backend.calls

    def test_a_value_over_the_limit(self, store: SecretStore, backend: FaultyBackend) -> None:
        """One byte too much is refused, the limit itself is not; nothing is cut."""
        limit = backend.limit(KEY)
        assert limit is not None
        store.put(NAME, b"x" * limit)
        assert len(store.get(NAME).value.reveal()) == limit
        backend.calls.clear()
        with pytest.raises(InvalidRequestError) as caught:
            store.put(NAME, b"x" * (limit + 1))
        assert (caught.value.operation, caught.value.name) == ("put", NAME)
        with pytest.raises(InvalidRequestError) as caught:
            store.pending(NAME, ROTATION).put(b"x" * (limit + 1), base_version="1")
        assert (caught.value.operation, caught.value.name) == ("pending.put", NAME)
        assert not backend.calls

    def test_the_limit_counts_what_the_provider_stores(self) -> None:
        """A backend that writes base64 is full at three quarters."""

        class Base64(MemoryBackend):
            def size(self, value: SecretValue) -> int:
                return -(-len(value.reveal()) // 3) * 4

        store = SecretStore(Base64())
        limit = Base64().limit(KEY)
        assert limit is not None
        store.put(NAME, b"x" * (limit // 4 * 3))
        with pytest.raises(InvalidRequestError):
            store.put(NAME, b"x" * (limit // 4 * 3 + 1))

    @pytest.mark.parametrize("rotation", ["", "1", "x" * 36, CANARY, None, 7, uuid.uuid4()])
    def test_a_rotation_id_that_is_no_uuid(
        self, store: SecretStore, backend: FaultyBackend, rotation: Any
    ) -> None:
        """A guessable id could meet another rotation's value."""
        with pytest.raises(InvalidRequestError) as caught:
            store.pending(NAME, rotation)
        assert not backend.calls
        assert caught.value.operation == "pending"

    def test_a_rotation_id_has_one_form(self, store: SecretStore) -> None:
        """Braces and upper case name the same rotation."""
        assert store.pending(NAME, "{" + ROTATION.upper() + "}").rotation_id == ROTATION

    def test_the_pending_stage(self, store: SecretStore, backend: FaultyBackend) -> None:
        """Whose would it be? It says what to use instead."""
        with pytest.raises(UnsupportedOperationError, match="pending") as caught:
            store.get(NAME, stage=Stage.PENDING)
        assert (caught.value.operation, caught.value.name) == ("get", NAME)
        assert caught.value.hint
        assert not backend.calls


BAD_VALUES: dict[str, Any] = {
    "number": 1,
    "none": None,
    "surrogate": CANARY + "\ud800",
    "unserialisable": {"password": CANARY, "cannot": object()},
    "nan": {"password": CANARY, "cannot": float("nan")},
    "surrogate inside": {"password": CANARY + "\ud800"},
    "too large": CANARY.encode() * 100_000,
    "list": [CANARY],
}


class TestNoLeaks:
    """No value in an error: its message, attributes, causes, or the locals of our frames."""

    @pytest.mark.parametrize("bad", BAD_VALUES)
    @pytest.mark.parametrize("native", [True, False])
    def test_a_bad_value(self, bad: str, native: bool) -> None:
        """Refused by put and by pending.put, which name themselves and the secret."""
        store = SecretStore(memory(ALL if native else COMPANION))
        puts: dict[str, Callable[[], object]] = {
            "put": lambda: store.put(NAME, BAD_VALUES[bad]),
            "pending.put": lambda: store.pending(NAME, ROTATION).put(BAD_VALUES[bad], base_version="1"),
        }
        for operation, put in puts.items():
            with pytest.raises(InvalidRequestError) as caught:
                put()
            assert_no_canary_in(caught.value)
            assert (caught.value.operation, caught.value.name) == (operation, NAME)

    @pytest.mark.parametrize("fault", ["quoting", "denied", "unavailable"])
    @pytest.mark.parametrize("after", [False, True])
    @pytest.mark.parametrize("native", [True, False])
    def test_a_put_that_fails_in_the_backend(self, native: bool, after: bool, fault: str) -> None:
        """Denied, unavailable, or an SDK's exception that quotes the request."""
        backend = memory(ALL if native else COMPANION)
        store = SecretStore(backend)
        base = store.put(NAME, {"password": CANARY}).id
        faults = {"quoting": _quoting, "denied": denied, "unavailable": unavailable}
        for name in ("put", "put_pending", "promote_pending"):
            backend.fault(name, faults[fault], after=after, times=9)
        pending = store.pending(NAME, ROTATION)
        calls: list[Callable[[], object]] = [
            lambda: store.put(NAME, text("n")),
            lambda: pending.put(text("p"), base_version=base),
            pending.promote,
            lambda: store.rollback(NAME, if_version=base),
        ]
        for call in calls:
            with pytest.raises(SecretStoreError) as caught:
                call()
            assert_no_canary_in(caught.value)

    def test_reprs_show_nothing(self, store: SecretStore) -> None:
        """Of secrets, stores and pending values."""
        store.put(NAME, text("x"))
        pending = store.pending(NAME, ROTATION)
        shown = f"{store.get(NAME)} {store!r} {pending!r} {store.get_many([NAME])}"
        assert CANARY not in shown


def _quoting() -> BaseException:
    error = ValueError(f"Parameter validation failed: {text('quoted')}")
    error.request = {"SecretString": text("quoted")}  # type: ignore[attr-defined]
    return error


class TestErrors:
    """What an error tells."""

    def test_operation_and_name(self, store: SecretStore) -> None:
        """As the caller called it, whatever the backend was asked beneath."""
        store.put(NAME, text("x"))
        pending = store.pending(NAME, ROTATION)
        for operation, call in {
            "get": lambda: store.get(NAME, version="none"),
            "put": lambda: store.put(NAME, text("x"), if_version="none"),
            "restore": lambda: store.restore(NAME),
            "rollback": lambda: store.rollback(NAME, if_version="none"),
            "pending.get": pending.get,
            "pending.promote": pending.promote,
        }.items():
            with pytest.raises(SecretStoreError) as caught:
                call()
            assert (caught.value.operation, caught.value.name) == (operation, NAME)
            assert str(caught.value).startswith(f"{operation} {NAME}: ")

    @pytest.mark.parametrize(("after", "performed"), [(False, False), (True, None)])
    def test_whether_a_write_happened(
        self, store: SecretStore, backend: FaultyBackend, after: bool, performed: bool | None
    ) -> None:
        """False only if it cannot have; a lost answer is unknown."""
        if after:
            backend.timeout("put", after=True)
        else:
            backend.unreachable("put")
        with pytest.raises(UnavailableError) as caught:
            store.put(NAME, text("x"))
        assert caught.value.performed is performed

    def test_a_rollback_on_another_members_version_is_a_conflict(self) -> None:
        """Versions of failover's members do not compare."""
        store = SecretStore(Failover({"a": memory(), "b": memory()}))
        store.put(NAME, text("x"))
        with pytest.raises(SecretConflictError) as caught:
            store.rollback(NAME, if_version="b:1")
        assert (caught.value.operation, caught.value.name) == ("rollback", NAME)


class TestMany:
    """get_many answers for every name."""

    @pytest.mark.parametrize("batch", [True, False])
    def test_what_worked_is_in_the_error(self, batch: bool) -> None:
        """A missing name does not take the others with it; each error names its secret."""
        store = SecretStore(memory(ALL if batch else ALL & ~C.BATCH_GET))
        store.put("a", text("a"))
        store.put("c", text("c"))
        with pytest.raises(PartialFailureError) as caught:
            store.get_many(["a", "b", "c"])
        assert set(caught.value.results) == {"a", "c"}
        assert isinstance(caught.value.errors["b"], SecretNotFoundError)
        assert caught.value.errors["b"].name == "b"
        assert_no_canary_in(caught.value.errors["b"])

    def test_warm_names_are_not_asked_for(self, store: SecretStore, backend: FaultyBackend) -> None:
        """The cache serves a batch as it serves a read; each name once, in the caller's order."""
        for name in ("a", "b", "c"):
            store.put(name, text(name))
        store.get("b")
        asked: list[Sequence[Key]] = []
        backend.run("get_many", lambda: None)
        original = backend.inner.get_many

        def get_many(keys: Sequence[Key]) -> Mapping[Key, Secret | SecretStoreError]:
            asked.append(keys)
            return original(keys)

        backend.inner.get_many = get_many  # type: ignore[method-assign]
        assert list(store.get_many(["c", "b", "a", "c"])) == ["c", "b", "a"]
        assert asked == [[Name("c"), Name("a")]]

    def test_a_denial_in_a_batch_evicts(self, backend: FaultyBackend) -> None:
        """What a single read would drop at once, a batch drops too."""
        store = SecretStore(backend, cache=CachePolicy(0, 3600, absent=0))
        store.put(NAME, text("x"))
        store.get(NAME)
        backend.inner.delete(KEY)
        with pytest.raises(PartialFailureError):
            store.get_many([NAME])
        backend.unreachable()
        with pytest.raises(UnavailableError):
            store.get(NAME)

    def test_a_backend_that_forgets_a_name_in_its_batch(
        self, store: SecretStore, backend: FaultyBackend
    ) -> None:
        """AWS's batch leaves out what it does not find: the name is read by itself."""
        store.put(NAME, text("x"))
        backend.inner.get_many = lambda keys: {}  # type: ignore[method-assign]
        store.put("other", text("y"))
        found = store.get_many([NAME, "other"])
        assert found[NAME].value.matches(text("x"))
        assert found["other"].value.matches(text("y"))

    def test_none_is_nothing(self, store: SecretStore, backend: FaultyBackend) -> None:
        """No names, no request."""
        assert store.get_many([]) == {}
        assert not backend.calls


class TestList:
    """Names, all of them, and nothing else."""

    def test_it_is_never_truncated(self, store: SecretStore) -> None:
        """Five thousand names come back as five thousand names."""
        names = {f"n{number}" for number in range(5000)}
        for name in names:
            store._backend.put(Name(name), SecretValue(text("x")), None)
        assert set(store.list_names()) == names

    def test_half_a_listing_is_an_error(self, store: SecretStore, backend: FaultyBackend) -> None:
        """A broken page is not the end of the list."""
        for number in range(4):
            store.put(f"n{number}", text("x"))
        backend.half_page()
        with pytest.raises(UnavailableError):
            list(store.list_names())

    def test_companions_and_reserved_keys_are_hidden(self) -> None:
        """A program that lists names does not meet our own records."""

        class Telling(MemoryBackend):
            def list_info(self, prefix: str, detail: bool = False) -> Any:
                yield from super().list_info(prefix, detail)
                yield SecretInfo(Reserved("lease", KEY))

        backend = Telling(COMPANION)
        store = SecretStore(backend)
        base = overwrite(backend, "x").id
        store.pending(NAME, ROTATION).put(text("p"), base_version=base)
        assert Companion(KEY) in {info.key for info in backend.list_info("")}
        assert list(store.list_names()) == [NAME]

    def test_a_prefix_is_any_beginning(self, store: SecretStore) -> None:
        """``db`` finds ``db2`` too, ``db/`` does not."""
        for name in ("db/a", "db2", "other"):
            store.put(name, text("x"))
        assert set(store.list_names("db")) == {"db/a", "db2"}
        assert set(store.list_names("db/")) == {"db/a"}

    @pytest.mark.parametrize("telling", [True, False])
    def test_versions_are_listed_where_that_costs_nothing(
        self, store: SecretStore, backend: FaultyBackend, monkeypatch: pytest.MonkeyPatch, telling: bool
    ) -> None:
        """Where the provider's listing tells no more than names, `list_info` asks no further."""
        monkeypatch.setattr(type(backend.inner), "lists_records", telling)
        written = store.put(NAME, "a").id
        backend.calls.clear()
        [info] = store.list_info()
        assert (str(info.key), info.newest and info.newest.id) == (NAME, written if telling else None)
        assert backend.calls == {"list_info": 1}


class TestLifecycle:
    """Open, use, close."""

    def test_a_closed_store_refuses_everything(self, backend: FaultyBackend) -> None:
        """InvalidRequestError, and nothing is sent; a pending value and a listing made before too."""
        store = SecretStore(backend)
        store.put(NAME, text("x"))
        pending, names = store.pending(NAME, ROTATION), store.list_names()
        store.close()
        backend.calls.clear()
        calls: list[Callable[[], object]] = [
            *(lambda call=call: call(store, NAME) for call in TestRefusedUnsent.BY_NAME),
            pending.get,
            pending.promote,
            pending.discard,
            lambda: pending.put(text("x"), base_version="1"),
            lambda: next(names),
            lambda: store.is_warm(NAME),
        ]
        for call in calls:
            with pytest.raises(InvalidRequestError, match="closed"):
                call()
        assert not backend.calls

    def test_it_is_closed_once(self) -> None:
        """However often ``close`` is called."""
        closed: list[int] = []

        class Closing(MemoryBackend):
            def close(self) -> None:
                closed.append(1)

        with SecretStore(Closing()) as store:
            store.close()
        store.close()
        assert closed == [1]

    def test_a_block_closes_after_an_error(self, backend: FaultyBackend) -> None:
        """The exception goes on."""
        with pytest.raises(ZeroDivisionError), SecretStore(backend) as store:
            raise ZeroDivisionError
        with pytest.raises(InvalidRequestError):
            store.get(NAME)

    def test_a_backend_that_fails_to_close_leaves_a_closed_store(self) -> None:
        """Its error is ours, and the values are gone."""

        class Stuck(MemoryBackend):
            def close(self) -> None:
                raise OSError(CANARY)

        store = SecretStore(Stuck())
        store.put(NAME, text("x"))
        store.get(NAME)
        with pytest.raises(SecretStoreError) as caught:
            store.close()
        assert_no_canary_in(caught.value)
        with pytest.raises(InvalidRequestError):
            store.get(NAME)
        store.close()


class TestValues:
    """What goes in comes out."""

    @pytest.mark.parametrize(
        ("value", "kind", "stored"),
        [
            (text("ü"), "text", text("ü").encode()),
            ("", "text", b""),
            (b"\x00\xff", "binary", b"\x00\xff"),
            (bytearray(b"ab"), "binary", b"ab"),
            ({"user": "u", "password": CANARY}, "text", None),
            (SecretValue(b"ab", "text"), "text", b"ab"),
        ],
    )
    def test_kinds(self, store: SecretStore, value: Any, kind: str, stored: bytes | None) -> None:
        """str and mappings are text, bytes are binary, an empty value is a value."""
        store.put(NAME, value)
        got = store.get(NAME).value
        assert got.kind == kind
        assert got.reveal() == (
            json.dumps(value, separators=(",", ":")).encode() if stored is None else stored
        )

    def test_a_later_change_of_the_callers_buffer_changes_nothing(self, store: SecretStore) -> None:
        """Bytes are taken, not referred to."""
        buffer = bytearray(b"secret")
        store.put(NAME, buffer)  # type: ignore[arg-type]
        buffer[:] = b"000000"
        assert store.get(NAME).value.matches(b"secret")


class TestContract:
    """A third party's backend."""

    def test_get_alone_is_enough(self) -> None:
        """A read-only backend has one method, and everything else is refused by the gate."""

        class ReadOnly(Backend):
            origin = "read-only"

            def get(self, key: Key, version: str | Stage) -> Secret:
                return Secret(str(key), SecretValue(text("x")), "1")

        store = SecretStore(ReadOnly())
        assert store.get(NAME).value.matches(text("x"))
        for what, (_, call) in NEEDS.items():
            with pytest.raises(UnsupportedOperationError, match="read-only"):
                call(store)
            assert what

    def test_a_flag_without_its_method(self) -> None:
        """A backend that promises too much is told off by a typed error, not by NotImplementedError."""

        class Boasting(Backend):
            capabilities = ALL

            def get(self, key: Key, version: str | Stage) -> Secret:
                raise SecretNotFoundError("none")

        store = SecretStore(Boasting())
        for _, call in NEEDS.values():
            with pytest.raises(SecretStoreError):
                _used_up(call(store))


def _used_up(result: object) -> None:
    """A listing fails when it is read."""
    assert isinstance(result, Iterator)
    list(result)
