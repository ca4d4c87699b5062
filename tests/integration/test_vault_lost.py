"""Lost answers: a proxy swallows a request, or its answer after the server has done it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from strongroom.backend import ABSENT, SecretVersion, Stage
from strongroom.errors import SecretNotFoundError, SecretStoreError, UnavailableError
from strongroom.value import SecretValue
from strongroom_vault.kv import VaultKV
from strongroom_vault.kv1 import VaultKV1
from tests.integration.vault_support import (
    DB,
    CuttingProxy,
    TurnedClock,
    cutting_proxy,
    open_kv1,
    open_store,
    text,
)
from tests.servers.openbao import OpenBao


@pytest.fixture
def proxy(openbao_server: OpenBao) -> Iterator[CuttingProxy]:
    with cutting_proxy(openbao_server.address) as running:
        yield running


@pytest.fixture
def mount(openbao_server: OpenBao) -> str:
    return openbao_server.mount_kv(2)


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


@pytest.fixture
def store(openbao_server: OpenBao, mount: str, proxy: CuttingProxy, clock: TurnedClock) -> VaultKV:
    return open_store(openbao_server, mount, address=proxy.address, clock=clock)


@pytest.fixture
def witness(openbao_server: OpenBao, mount: str) -> VaultKV:
    """Looks at the server past the proxy."""
    return open_store(openbao_server, mount)


Write = Callable[[VaultKV, SecretVersion], Any]
WRITES: dict[str, tuple[str, str, Write, Callable[[VaultKV, SecretVersion], bool]]] = {
    "put": (
        "POST",
        "/data/",
        lambda store, _: store.put(DB, text("2"), None),
        lambda store, _: store.get(DB, Stage.CURRENT).value == text("2"),
    ),
    "put if_version": (
        "POST",
        "/data/",
        lambda store, base: store.put(DB, text("2"), base.id),
        lambda store, _: store.get(DB, Stage.CURRENT).value == text("2"),
    ),
    "delete": (
        "POST",
        "/delete/",
        lambda store, _: store.delete(DB),
        lambda store, _: not list(store.list_info("")),
    ),
    "purge": (
        "DELETE",
        "/metadata/",
        lambda store, _: store.purge(DB),
        lambda store, _: _is_gone(store),
    ),
    "retire": (
        "POST",
        "/destroy/",
        lambda store, base: store.retire(DB, base.id),
        lambda store, base: not store.versions(DB),
    ),
    "set_tags": (
        "PATCH",
        "/metadata/",
        lambda store, _: store.set_tags(DB, {"a": "b"}),
        lambda store, _: store.describe(DB).tags == {"a": "b"},
    ),
}


def _is_gone(store: VaultKV) -> bool:
    try:
        store.purge(DB)
    except SecretNotFoundError:
        return True
    return False


@pytest.mark.parametrize("write", WRITES)
def test_a_write_whose_answer_was_lost_is_found_done_and_not_repeated(
    store: VaultKV, witness: VaultKV, proxy: CuttingProxy, write: str
) -> None:
    """It succeeds, and the server saw it once."""
    method, part, call, done = WRITES[write]
    base = store.put(DB, text("1"), ABSENT)
    proxy.seen.clear()
    proxy.cut_once("answer", method, part)
    call(store, base)
    assert sum(asked == method and part in path for asked, path in proxy.seen) == 1
    assert done(witness, base)


@pytest.mark.parametrize("write", WRITES)
def test_a_write_that_was_lost_on_its_way_is_reported_as_unknown(
    store: VaultKV, witness: VaultKV, proxy: CuttingProxy, write: str
) -> None:
    """Nothing tells it from one that is merely late, so it is neither repeated nor called a conflict."""
    method, part, call, done = WRITES[write]
    base = store.put(DB, text("1"), ABSENT)
    proxy.cut_once("request", method, part)
    with pytest.raises(UnavailableError) as caught:
        call(store, base)
    assert caught.value.performed is None
    assert witness.get(DB, Stage.CURRENT).version == base.id
    assert not done(witness, base)


def test_a_lost_restore_is_found_done(store: VaultKV, proxy: CuttingProxy) -> None:
    """Or reported as unknown, when it never arrived."""
    base = store.put(DB, text(), None)
    store.delete(DB)
    proxy.cut_once("request", "POST", "/undelete/")
    with pytest.raises(UnavailableError) as caught:
        store.restore(DB)
    assert caught.value.performed is None
    proxy.cut_once("answer", "POST", "/undelete/")
    store.restore(DB)
    assert store.get(DB, Stage.CURRENT).version == base.id


def test_the_version_of_a_put_that_was_read_back_is_the_one_written(
    store: VaultKV, witness: VaultKV, proxy: CuttingProxy
) -> None:
    """Also when another writer has put a version on top since; the write id tells ours from theirs."""
    base = store.put(DB, text("1"), None)
    _after_the_cut(proxy, lambda: witness.put(DB, text("3"), None))
    written = store.put(DB, text("2"), base.id)
    assert witness.versions_after(DB, base.id)[0].id == written.id
    assert witness.get(DB, written.id).value == text("2")
    assert witness.get(DB, Stage.CURRENT).value == text("3")


def _after_the_cut(proxy: CuttingProxy, act: Callable[[], object]) -> None:
    """Drop the answer of the next put, and let somebody else act before it is read back."""
    left = [act]

    def cut(method: str, path: str) -> str:
        if method == "POST" and "/data/" in path and left:
            return "answer"
        if "version=2" in path and left:
            left.pop()()
        return ""

    proxy.cut = cut


def test_the_same_value_written_by_another_is_not_taken_for_ours(
    store: VaultKV, witness: VaultKV, proxy: CuttingProxy
) -> None:
    """Equal values are no proof: only the write id is."""
    base = store.put(DB, text("1"), None)
    cut = [True]

    def swallow(method: str, path: str) -> str:
        if method == "POST" and "/data/" in path and cut:
            cut.clear()
            witness.put(DB, text("2"), None)
            return "request"
        return ""

    proxy.cut = swallow
    with pytest.raises(UnavailableError) as caught:
        store.put(DB, text("2"), base.id)
    assert caught.value.performed is None


def test_a_write_whose_answer_and_reading_back_are_lost_is_unknown(
    store: VaultKV, witness: VaultKV, proxy: CuttingProxy
) -> None:
    """It happened, and nobody could tell."""
    base = store.put(DB, text("1"), None)
    written = [False]

    def cut(method: str, path: str) -> str:
        written[0] = written[0] or (method == "POST" and "/data/" in path)
        return "answer" if written[0] else ""

    proxy.cut = cut
    with pytest.raises(UnavailableError) as caught:
        store.put(DB, text("2"), base.id)
    assert caught.value.performed is None
    assert witness.get(DB, Stage.CURRENT).value == text("2")


def test_reads_are_tried_again_as_often_as_settings_say(
    store: VaultKV, proxy: CuttingProxy, clock: TurnedClock
) -> None:
    """Three times by default, with growing waits on the injected clock; then the error is the last one."""
    store.put(DB, text(), None)
    proxy.seen.clear()
    failures = ["answer", "request"]
    proxy.cut = lambda method, path: failures.pop() if failures else ""
    assert store.get(DB, Stage.CURRENT).value == text()
    assert len(proxy.seen) == 3
    assert len(clock.slept) == 2
    assert 0.05 <= clock.slept[0] <= 0.1 <= clock.slept[1] <= 0.2
    proxy.seen.clear()
    proxy.cut = lambda method, path: "request"
    with pytest.raises(UnavailableError) as caught:
        store.get(DB, Stage.CURRENT)
    assert (len(proxy.seen), caught.value.performed) == (3, False)


def test_a_server_that_is_not_there_performed_nothing(openbao_server: OpenBao, mount: str) -> None:
    """A refused connection cannot have written."""
    with cutting_proxy(openbao_server.address) as closed:
        address = closed.address
    store = open_store(openbao_server, mount, address=address, clock=TurnedClock())
    for call in (
        lambda: store.get(DB, Stage.CURRENT),
        lambda: store.put(DB, text(), None),
        lambda: store.delete(DB),
        lambda: list(store.list_info("")),
    ):
        with pytest.raises(UnavailableError) as caught:
            call()
        assert caught.value.performed is False
        assert "reached" in caught.value.message


def test_a_write_refused_at_the_door_performed_nothing(store: VaultKV, proxy: CuttingProxy) -> None:
    """Reads before it worked, then the server went away: `performed` still says False."""
    store.put(DB, text(), None)
    error = _put_to_nowhere(store)
    assert (type(error), error.performed) == (UnavailableError, False)


def _put_to_nowhere(store: VaultKV) -> SecretStoreError:
    from strongroom_vault.transport import Request, json_body

    store._client._transport._adapter.base_uri = "http://127.0.0.1:1"
    with pytest.raises(UnavailableError) as caught:
        store._client.write(Request("put", "POST", "x", json_body({})))
    return caught.value


class TestKV1:
    """No versions there, but the write id still tells what happened."""

    @pytest.fixture
    def kv1(self, openbao_server: OpenBao, kv1_mount: str, proxy: CuttingProxy) -> VaultKV1:
        return open_kv1(openbao_server, kv1_mount, address=proxy.address, clock=TurnedClock())

    def test_a_lost_put_is_found(self, kv1: VaultKV1, proxy: CuttingProxy) -> None:
        """And only ours: an equal value from before is not."""
        kv1.put(DB, SecretValue("x"), None)
        proxy.cut_once("answer", "POST", DB.text)
        written = kv1.put(DB, SecretValue("x"), None)
        assert kv1.get(DB, Stage.CURRENT).version == written.id
        proxy.cut_once("request", "POST", DB.text)
        with pytest.raises(UnavailableError) as caught:
            kv1.put(DB, SecretValue("x"), None)
        assert caught.value.performed is None

    def test_a_lost_purge_is_found(self, kv1: VaultKV1, proxy: CuttingProxy) -> None:
        """Gone is gone."""
        kv1.put(DB, text(), None)
        proxy.cut_once("answer", "DELETE", DB.text)
        kv1.purge(DB)
        with pytest.raises(SecretNotFoundError):
            kv1.get(DB, Stage.CURRENT)
