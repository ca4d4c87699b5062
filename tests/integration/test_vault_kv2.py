"""KV version 2 on the real OpenBao, read and written by others too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from hvac.exceptions import InvalidPath

from strongroom import stages
from strongroom.backend import ABSENT, SecretVersion, Stage
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    SecretConflictError,
    SecretNotFoundError,
)
from strongroom.names import Companion, Name
from strongroom.value import SecretValue
from strongroom_vault import layout
from strongroom_vault.kv import VaultKV
from tests.canary import CANARY, CANARY_BYTES, not_ours
from tests.integration.vault_support import DB, PENDING, held_stages, open_store, shown, text
from tests.scale import scaled
from tests.servers.openbao import OpenBao


@pytest.fixture
def mount(openbao_server: OpenBao) -> str:
    return openbao_server.mount_kv(2)


@pytest.fixture
def store(openbao_server: OpenBao, mount: str) -> Iterator[VaultKV]:
    opened = open_store(openbao_server, mount)
    yield opened
    opened.close()


@pytest.fixture
def native(openbao_server: OpenBao, mount: str) -> Iterator[Any]:
    """Another program's view of the same mount: plain hvac."""
    with not_ours():
        yield openbao_server.client().secrets.kv.v2


VALUES = {
    "text": CANARY,
    "empty text": "",
    "empty binary": b"",
    "binary": CANARY_BYTES + bytes(range(256)),
    "json": json.dumps({"key": CANARY, "n": 1.5}),
    "control characters": CANARY + "".join(map(chr, range(0x20))) + "\x7f\x80\x9f",
    "line separators": f"\u2028{CANARY}\u2029\ufeff\ufffe\uffff\ufffd",
    "beyond the BMP": f"{CANARY}\U0001f511\U0010ffff e\u0301\u202e",
    "what looks like our own map": json.dumps({"value": CANARY, "strongroom": {"kind": "binary"}}),
    "what looks like base64": "QUJD",
    "html": "</script>&amp;<>",
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES.keys())
def test_a_value_comes_back_byte_for_byte_with_its_kind(store: VaultKV, value: str | bytes) -> None:
    """Text as text, binary as binary, nothing normalised, nothing lost."""
    written = store.put(DB, SecretValue(value), None)
    read = store.get(DB, Stage.CURRENT)
    assert read.value == SecretValue(value)
    assert (read.value.kind, read.version) == (SecretValue(value).kind, written.id)
    assert (written.created_at, written.stages) == (read.created_at, frozenset({Stage.CURRENT}))


@pytest.mark.parametrize("char", ["x", "\x01", "<", "\u2028", '"', "\n"])
def test_the_largest_value_fits(store: VaultKV, char: str) -> None:
    """A value whose `size` is the limit is taken, whatever its characters cost."""
    limit = store.limit(DB)
    assert limit
    value = SecretValue(char * (limit // store.size(SecretValue(char))))
    assert limit - 6 <= store.size(value) <= limit < layout.ENTRY_BYTES
    store.put(DB, value, None)
    assert store.get(DB, Stage.CURRENT).value == value


def test_the_largest_value_fits_in_a_companion_too(store: VaultKV) -> None:
    """Its frame is binary, with facts around the value: so a value at the limit stays rotatable."""
    limit, room = store.limit(DB), store.limit(PENDING)
    assert limit
    assert room
    assert store.size(SecretValue(b"x" * (limit + stages.FRAME_BYTES))) <= room


def test_bao_kv_get_shows_a_text_as_it_is(store: VaultKV, openbao_server: OpenBao, mount: str) -> None:
    """The plain command line reads what Strongroom wrote."""
    store.put(DB, text("!"), None)
    got = openbao_server.cli("kv", "get", "-field=value", f"-mount={mount}", "prod/db/password")
    assert got.strip() == f"{CANARY}!"


def test_plain_hvac_reads_what_we_wrote(store: VaultKV, native: Any, mount: str) -> None:
    """The value under `value`; what is ours under `strongroom`."""
    version = store.put(DB, text(), None, record="v1.1.1.w.d")
    answer = native.read_secret_version("prod/db/password", mount_point=mount, raise_on_deleted_version=True)
    data = answer["data"]["data"]
    assert data["value"] == CANARY
    assert data["strongroom"].keys() == {"kind", "write", "record", "of"}
    assert version.id.startswith(f"{answer['data']['metadata']['version']}.")


def test_the_record_comes_back_with_its_value(store: VaultKV) -> None:
    """In reading, in describing and in a detailed list."""
    store.put(DB, text(), None, record="v1.1.1.w.d")
    assert store.get(DB, Stage.CURRENT).record == "v1.1.1.w.d"
    assert store.describe(DB).record == "v1.1.1.w.d"
    assert [info.record for info in store.list_info("", detail=True)] == ["v1.1.1.w.d"]
    store.put(DB, text("2"), None)
    assert store.get(DB, Stage.CURRENT).record is None


def test_what_plain_hvac_wrote_is_read_as_json_text(store: VaultKV, native: Any, mount: str) -> None:
    """A map without our mark is somebody else's, whatever its keys."""
    for data in ({"user": "ann", "password": CANARY}, {"value": CANARY}, {"strongroom": CANARY}, {}):
        native.create_or_update_secret("prod/db/password", data, mount_point=mount)
        read = store.get(DB, Stage.CURRENT)
        assert (read.value.kind, read.value.reveal_json()) == ("text", data)


def test_a_binary_value_that_was_patched_to_text_is_an_integrity_error(
    store: VaultKV, native: Any, mount: str
) -> None:
    """Decoding something else's text would hand out bytes nobody wrote."""
    store.put(DB, SecretValue(b"\xff"), None)
    ours = native.read_secret_version("prod/db/password", mount_point=mount, raise_on_deleted_version=True)
    patched = {**ours["data"]["data"], "value": "not base64!"}
    native.create_or_update_secret("prod/db/password", patched, mount_point=mount)
    with pytest.raises(IntegrityError):
        store.get(DB, Stage.CURRENT)


def test_previous_is_the_version_before_current(store: VaultKV) -> None:
    """And once it is retired there is none: an older one was never asked for."""
    first, second = store.put(DB, text("1"), None), store.put(DB, text("2"), None)
    store.put(DB, text("3"), None)
    assert store.get(DB, Stage.PREVIOUS).version == second.id
    assert held_stages(list(store.versions(DB))) == [{Stage.CURRENT}, {Stage.PREVIOUS}, set()]
    store.retire(DB, second.id)
    with pytest.raises(SecretNotFoundError):
        store.get(DB, Stage.PREVIOUS)
    assert store.get(DB, first.id).value == text("1")


def test_versions_after_tells_what_followed_even_if_destroyed(store: VaultKV) -> None:
    """Whoever promotes asks what came right after the base."""
    ids = [store.put(DB, text(str(n)), None).id for n in range(4)]
    store.retire(DB, ids[1])
    assert [version.id for version in store.versions_after(DB, ids[0])] == ids[1:]
    assert store.versions_after(DB, ids[-1]) == []
    with pytest.raises(SecretNotFoundError):
        store.versions_after(DB, "1.2020-01-01T00:00:00Z")


def test_a_base_that_the_engine_forgot_is_not_found(store: VaultKV, native: Any, mount: str) -> None:
    """`max_versions` drops the oldest: what came after it can no longer be told."""
    native.update_metadata("prod/db/password", max_versions=2, mount_point=mount)
    first = store.put(DB, text(), None).id
    for n in range(3):
        store.put(DB, text(str(n)), None)
    with pytest.raises(SecretNotFoundError):
        store.versions_after(DB, first)
    assert len(store.versions(DB)) == 2


@pytest.mark.parametrize(
    "version", ["7.2026-01-01T00:00:00Z", "1.2026-01-01T00:00:00Z", "1", "", "x", "../x", Stage.PENDING]
)
def test_a_version_that_never_was_is_not_found(store: VaultKV, version: Any) -> None:
    """Also a number of ours with another time: that is another life of the name."""
    store.put(DB, text(), None)
    with pytest.raises(SecretNotFoundError):
        store.get(DB, version)


def test_absent_writes_only_where_nothing_is(store: VaultKV) -> None:
    """A name never written, purged, or whose newest is destroyed."""
    first = store.put(DB, text("1"), ABSENT)
    with pytest.raises(SecretConflictError):
        store.put(DB, text("2"), ABSENT)
    store.retire(DB, first.id)
    again = store.put(DB, text("3"), ABSENT)
    store.purge(DB)
    assert store.put(DB, text("4"), ABSENT).id not in (first.id, again.id)


def test_if_version_writes_only_over_the_current_version(store: VaultKV) -> None:
    """Neither an older version nor a destroyed one will do."""
    first = store.put(DB, text("1"), None)
    second = store.put(DB, text("2"), first.id)
    with pytest.raises(SecretConflictError) as caught:
        store.put(DB, text("3"), first.id)
    assert caught.value.performed is False
    store.retire(DB, second.id)
    with pytest.raises(SecretConflictError):
        store.put(DB, text("3"), second.id)
    assert store.versions_after(DB, second.id) == []


def test_an_if_version_from_before_a_purge_is_a_conflict(store: VaultKV) -> None:
    """KV2 numbers restart: by number alone a leftover 1 would overwrite the new life's first value."""
    stale = store.put(DB, text("old"), None)
    store.purge(DB)
    fresh = store.put(DB, text("new"), ABSENT)
    assert stale.id.split(".")[0] == fresh.id.split(".")[0] == "1"
    with pytest.raises(SecretConflictError):
        store.put(DB, text("stale"), stale.id)
    assert store.get(DB, Stage.CURRENT).value == text("new")
    with pytest.raises(SecretNotFoundError):
        store.get(DB, stale.id)
    store.retire(DB, stale.id)
    assert store.get(DB, Stage.CURRENT).version == fresh.id


def test_a_deleted_secret_is_in_the_bin_whole_and_comes_back_whole(store: VaultKV) -> None:
    """All versions that are not destroyed go, and come back; the destroyed one does not."""
    ids = [store.put(DB, text(str(n)), None).id for n in range(3)]
    store.retire(DB, ids[0])
    store.delete(DB)
    versions: list[str | Stage] = [Stage.CURRENT, Stage.PREVIOUS, *ids]
    for version in versions:
        with pytest.raises(SecretNotFoundError):
            store.get(DB, version)
    for call in (store.versions, store.describe, store.delete, lambda key: store.versions_after(key, ids[0])):
        with pytest.raises(SecretNotFoundError):
            call(DB)
    assert list(store.list_info("")) == []
    store.restore(DB)
    assert [version.id for version in store.versions(DB)] == [ids[2], ids[1]]
    with pytest.raises(SecretNotFoundError):
        store.get(DB, ids[0])


@pytest.mark.parametrize("if_version", [None, ABSENT, "current"])
def test_any_put_on_a_name_in_the_bin_is_a_conflict(store: VaultKV, if_version: Any) -> None:
    """KV2 would take it, and the secret would be back without anybody restoring it."""
    current = store.put(DB, text(), None)
    store.delete(DB)
    with pytest.raises(SecretConflictError, match="bin") as caught:
        store.put(DB, text("2"), current.id if if_version == "current" else if_version)
    assert "restore" in str(caught.value.hint)
    store.restore(DB)
    assert store.get(DB, Stage.CURRENT).version == current.id


def test_what_the_command_line_deleted_is_in_the_bin_too(
    store: VaultKV, openbao_server: OpenBao, mount: str
) -> None:
    """`bao kv delete` deletes the newest version only; the secret is gone for every reader of current."""
    first = store.put(DB, text("1"), None)
    store.put(DB, text("2"), None)
    openbao_server.cli("kv", "delete", f"-mount={mount}", "prod/db/password")
    with pytest.raises(SecretNotFoundError, match="restore"):
        store.get(DB, Stage.CURRENT)
    with pytest.raises(SecretConflictError):
        store.put(DB, text("3"), first.id)
    store.restore(DB)
    assert store.get(DB, Stage.CURRENT).value == text("2")


def test_a_version_that_is_to_be_deleted_later_is_not_deleted(
    store: VaultKV, native: Any, mount: str
) -> None:
    """`delete_version_after` writes a deletion time in the future."""
    native.update_metadata("prod/db/password", delete_version_after="1h", mount_point=mount)
    written = store.put(DB, text(), None)
    assert [version.id for version in store.versions(DB)] == [written.id]
    store.put(DB, text("2"), written.id)


def test_restore_of_what_was_never_deleted_is_not_found(store: VaultKV) -> None:
    """Also of what never was."""
    store.put(DB, text(), None)
    for name in (DB, Name("never")):
        with pytest.raises(SecretNotFoundError):
            store.restore(name)


def test_purge_leaves_nothing_also_from_the_bin(store: VaultKV, native: Any, mount: str) -> None:
    """Values and metadata are gone; a second purge finds nothing."""
    store.put(DB, text(), None)
    store.delete(DB)
    store.purge(DB)
    with pytest.raises(SecretNotFoundError):
        store.purge(DB)
    with pytest.raises(InvalidPath):
        native.read_secret_metadata("prod/db/password", mount_point=mount)


def test_a_companion_lives_at_the_mounts_root_and_survives_its_secrets_delete(
    store: VaultKV, openbao_server: OpenBao, mount: str, native: Any
) -> None:
    """A native reader of the name, and of everything below the prefix, never meets it."""
    store.put(DB, text("current"), None)
    first = store.put(PENDING, SecretValue(CANARY_BYTES), ABSENT)
    second = store.put(PENDING, SecretValue(b"done"), first.id)
    store.retire(PENDING, first.id)
    store.delete(DB)
    assert store.get(PENDING, Stage.CURRENT).version == second.id
    with pytest.raises(SecretNotFoundError):
        store.get(PENDING, first.id)
    store.restore(DB)
    assert openbao_server.cli("kv", "get", "-field=value", f"-mount={mount}", "prod/db/password").strip() == (
        f"{CANARY}current"
    )
    keys = native.list_secrets("_strongroom/pending/prod/db", mount_point=mount)["data"]["keys"]
    assert keys == ["password"]


def test_the_list_is_whole_and_shows_only_what_is_ours(store: VaultKV, native: Any, mount: str) -> None:
    """Names below the prefix, in order, and companions; nothing binned, foreign or of another prefix."""
    names = [Name(text) for text in ("a", "a-b", "a/b", "a/b/c", "b", "db/password")]
    for name in (*names, Name("binned")):
        store.put(name, text(), None)
    store.delete(Name("binned"))
    store.put(PENDING, SecretValue(b"x"), None)
    for path in ("produce/x", "prod/NOT portable", "prod/UPPER", "other"):
        native.create_or_update_secret(path, {"value": "x"}, mount_point=mount)
    native.update_metadata("prod/only-metadata", custom_metadata={"a": "b"}, mount_point=mount)
    assert [info.key for info in store.list_info("")] == [*names, PENDING]
    assert [info.key for info in store.list_info("a/")] == names[2:4]
    assert [info.key for info in store.list_info("a")] == names[:4]
    assert [info.key for info in store.list_info("db/pass")] == [DB, PENDING]
    assert list(store.list_info("nothing/here")) == []


def test_a_store_without_a_prefix_hides_reserved_keys_among_names(
    openbao_server: OpenBao, mount: str
) -> None:
    """The reserved name space stands beside the names there."""
    store = open_store(openbao_server, mount, prefix="")
    store.put(DB, text(), None)
    store.put(PENDING, SecretValue(b"x"), None)
    assert [info.key for info in store.list_info("")] == [DB, PENDING]
    assert store.locate(DB).endswith(f"/{mount}/db/password")


def test_native_names_are_taken_as_they_are(openbao_server: OpenBao, mount: str) -> None:
    """Blanks, signs that mean something in URLs, and letters of any script."""
    store = open_store(openbao_server, mount, names="native")
    names = [Name(text) for text in ("A b", "a%41?x=1#y", "ключ/Ω", "q&a+b;c", "~tilde")]
    for name in names:
        store.put(name, text(name.text), None)
    assert {info.key for info in store.list_info("")} == set(names)
    assert all(store.get(name, Stage.CURRENT).value == text(name.text) for name in names)


def test_tags_are_merged_and_foreign_ones_kept(store: VaultKV, native: Any, mount: str) -> None:
    """None removes; two who set different tags both succeed."""
    store.put(DB, text(), None)
    native.update_metadata("prod/db/password", custom_metadata={"owner": "ops"}, mount_point=mount)
    store.set_tags(DB, {"env": "prod", "team": "a"})
    store.set_tags(DB, {"team": None, "never": None})
    info = store.describe(DB)
    assert info.tags == {"owner": "ops", "env": "prod"}
    assert info.newest is not None
    assert info.created_at is not None
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: store.set_tags(DB, {f"t{n}": str(n)}), range(16)))
    assert len(store.describe(DB).tags) == 18


@pytest.mark.parametrize(
    "tags",
    [{"k" * 129: "v"}, {"k": "v" * 513}, {f"k{n}": "v" for n in range(65)}, {"": "v"}, {"k": "\ud800"}],
)
def test_tags_over_vaults_limits_are_refused(store: VaultKV, tags: dict[str, str]) -> None:
    """And nothing is set."""
    store.put(DB, text(), None)
    with pytest.raises(InvalidRequestError):
        store.set_tags(DB, tags)
    assert store.describe(DB).tags == {}


def test_tags_within_vaults_limits_are_taken(store: VaultKV) -> None:
    """64 of them, at full length."""
    store.put(DB, text(), None)
    tags = {f"{n:0128}": "v" * 512 for n in range(64)}
    store.set_tags(DB, dict(tags))
    assert store.describe(DB).tags == tags


def test_every_operation_on_a_missing_name_is_not_found(store: VaultKV) -> None:
    """But retiring, which has nothing left to do."""
    calls = (
        lambda: store.get(DB, Stage.CURRENT),
        lambda: store.get(DB, Stage.PREVIOUS),
        lambda: store.versions(DB),
        lambda: store.describe(DB),
        lambda: store.delete(DB),
        lambda: store.purge(DB),
        lambda: store.set_tags(DB, {"a": "b"}),
    )
    for call in calls:
        with pytest.raises(SecretNotFoundError):
            call()
    store.retire(DB, "1.2026-01-01T00:00:00Z")


def test_locate_names_the_resource(store: VaultKV, openbao_server: OpenBao, mount: str) -> None:
    """Host, mount and path, as an audit or a lease needs it."""
    host = openbao_server.address.removeprefix("http://")
    assert store.locate(DB) == f"vault:{host}/{mount}/prod/db/password"
    assert store.locate(Companion(DB)) == f"vault:{host}/{mount}/_strongroom/pending/prod/db/password"


def test_a_namespace_is_a_vault_of_its_own(openbao_server: OpenBao, mount: str) -> None:
    """What is written in one is not seen from another."""
    with not_ours():
        root = openbao_server.client()
        root.sys.create_namespace("team")
        openbao_server.client(namespace="team").sys.enable_secrets_engine(
            "kv", "shared", options={"version": "2"}
        )
    store = open_store(openbao_server, "shared", query="&namespace=team")
    store.put(DB, text(), None)
    assert store.get(DB, Stage.CURRENT).value == text()
    assert "/team/shared/prod/db/password" in store.locate(DB)
    with pytest.raises(InvalidRequestError, match="mount"):
        open_store(openbao_server, "shared").get(DB, Stage.CURRENT)


@pytest.mark.parametrize("operation", ["get", "put", "list"])
def test_a_mount_that_does_not_exist_is_an_invalid_request(openbao_server: OpenBao, operation: str) -> None:
    """A typo in the URL is not a missing secret."""
    store = open_store(openbao_server, "no-such-mount")
    calls = {
        "get": lambda: store.get(DB, Stage.CURRENT),
        "put": lambda: store.put(DB, text(), None),
        "list": lambda: list(store.list_info("")),
    }
    with pytest.raises(InvalidRequestError):
        calls[operation]()


def test_the_wrong_kv_version_is_refused_before_anything_is_written(
    openbao_server: OpenBao, kv1_mount: str, mount: str
) -> None:
    """A KV1 engine would keep a KV2 write as a secret named `data/…`, and say 204."""
    for store, hint in (
        (open_store(openbao_server, kv1_mount), "?kv=1"),
        (open_store(openbao_server, mount, query="&kv=1"), "?kv=2"),
    ):
        for _ in range(2):
            with pytest.raises(InvalidRequestError, match="KV version") as caught:
                store.put(DB, text(), None)
            assert hint in str(caught.value.hint)
        with pytest.raises(InvalidRequestError, match="KV version"):
            store.get(DB, Stage.CURRENT)
    with not_ours(), pytest.raises(Exception, match=kv1_mount):
        openbao_server.client().secrets.kv.v1.read_secret("data/prod/db/password", mount_point=kv1_mount)


def test_of_two_writers_with_if_version_exactly_one_wins(store: VaultKV) -> None:
    """Every round; the loser hears of a conflict."""
    base = store.put(DB, text(), None)
    with ThreadPoolExecutor(2) as pool:
        for round_ in range(scaled(500)):
            base = _race(store, pool, base, round_)


def _race(store: VaultKV, pool: ThreadPoolExecutor, base: SecretVersion, round_: int) -> SecretVersion:
    start = Barrier(2)

    def write(who: int) -> SecretVersion | None:
        start.wait()
        try:
            return store.put(DB, text(f"{round_}.{who}"), base.id)
        except SecretConflictError:
            return None

    won = [version for version in pool.map(write, range(2)) if version]
    assert len(won) == 1
    assert store.get(DB, Stage.CURRENT).version == won[0].id
    return won[0]


def test_unconditional_writers_all_succeed(store: VaultKV) -> None:
    """Each gets a version of its own, and none is lost to another."""
    with ThreadPoolExecutor(8) as pool:
        written = list(pool.map(lambda n: store.put(DB, text(str(n)), None), range(8)))
    assert {version.id for version in written} == {version.id for version in store.versions(DB)}
    assert len({version.id for version in written}) == 8


def test_eight_that_create_the_same_name_make_one_secret(store: VaultKV) -> None:
    """ABSENT is decided by the server."""

    def create(n: int) -> bool:
        try:
            store.put(DB, text(str(n)), ABSENT)
        except SecretConflictError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(create, range(8))) == 1
    assert shown(store.get(DB, Stage.CURRENT))[1] == "text"
    assert len(store.versions(DB)) == 1
