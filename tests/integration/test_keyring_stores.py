"""Keyrings in the stores that people keep them in, under AWS KMS, and opened by AWS's own SDK."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from unittest import mock

import pytest

from strongroom.backend import Backend, Settings, Stage
from strongroom.coordinator import SQLiteCoordinator
from strongroom.envelope.cipher import decrypt, encrypt
from strongroom.envelope.keyring import FilePlace, Keyring, StorePlace
from strongroom.errors import IntegrityError, SecretConflictError, SecretNotFoundError, SecretStoreError
from strongroom.keys import KeyWrapper
from strongroom.localkey import FIRST_BLOCK
from strongroom.names import Name, Reserved
from strongroom.registry import open_key
from strongroom.testing.aws import StrictServer
from strongroom.testing.conformance_safety import at_once
from tests.canary import CANARY_BYTES
from tests.conformance.aws import aws
from tests.conformance.azure import azure
from tests.conformance.test_vault import vault
from tests.scale import scaled
from tests.servers.azure import Vault
from tests.servers.boto import REGION
from tests.servers.moto import Moto
from tests.servers.openbao import OpenBao
from tests.unit.keyring_support import CONTEXT, MESSAGE, NAME, Root, opens, round_trips, sealed


@pytest.fixture
def aws_store() -> Iterator[Backend]:
    with StrictServer() as server:
        backend = aws(server.url)
        yield backend
        backend.close()


@pytest.fixture
def vault_store(openbao_server: OpenBao, kv2_mount: str) -> Iterator[Backend]:
    backend = vault(openbao_server, kv2_mount)
    yield backend
    backend.close()


@pytest.fixture
def azure_store(azure_server: Vault, tmp_path: Path) -> Iterator[Backend]:
    """Guarded: Key Vault has no compare-and-set of its own."""
    coordinator = SQLiteCoordinator(tmp_path / "leases.db")
    backend = azure(azure_server, coordinator=coordinator)
    yield backend
    backend.close()
    coordinator.close()


@pytest.fixture(params=["aws_store", "vault_store", "azure_store"])
def store(request: pytest.FixtureRequest) -> Backend:
    found: Backend = request.getfixturevalue(request.param)
    return found


def test_a_keyring_lives_in_a_store(store: Backend) -> None:
    """Made once, rotated and rewrapped, opened by another process by the new root alone."""
    place, old, new = StorePlace(store, NAME), Root("old"), Root("new")
    with pytest.raises(SecretNotFoundError):
        Keyring.open(place, [old], name=NAME)
    writer = Keyring.create(place, [old], name=NAME)
    message = sealed(keys=[writer])
    with pytest.raises(SecretConflictError):
        Keyring.create(place, [old], name=NAME)
    writer.rotate()
    assert Keyring.open(place, [old, new], name=NAME).rewrap() == (("new",), ())
    reader = Keyring.open(place, [new], name=NAME)
    assert opens(reader, message)
    assert round_trips(writer, reader)
    assert len(reader.versions) == 2


def test_two_processes_rotate_a_keyring_in_a_store(store: Backend) -> None:
    """Both versions stay, whoever was first."""
    place, root = StorePlace(store, NAME), Root()
    Keyring.create(place, [root], name=NAME)
    keyrings = [Keyring.open(place, [root], name=NAME) for _ in range(2)]
    names = at_once([one.rotate for one in keyrings])
    assert not [name for name in names if isinstance(name, SecretStoreError)]
    assert set(names) < {version.name for version in Keyring.open(place, [root], name=NAME).versions}


def test_blocks_of_wraps_are_taken_once_in_a_store(store: Backend) -> None:
    """Two processes wrap: each has numbers of its own, and a counter that is purged is not made anew."""
    place, root = StorePlace(store, NAME), Root()
    keyring = Keyring.create(place, [root], name=NAME)
    others = [keyring, Keyring.open(place, [root], name=NAME)]
    assert at_once([partial(round_trips, one) for one in others]) == [True, True]
    assert keyring.wraps == 2 * FIRST_BLOCK
    counter = Reserved("keyring-wraps", Name(f"{keyring.key_id}/{keyring.versions[0].name}"))
    store.purge(counter)
    again = Keyring.open(place, [root], name=NAME)
    with pytest.raises(IntegrityError, match="missing"):
        sealed(keys=[again])
    with pytest.raises(SecretNotFoundError):
        store.get(counter, Stage.CURRENT)


def test_a_keyring_is_no_name_of_its_store(store: Backend) -> None:
    """It stands in the reserved name space, before the prefix; its message holds no key in clear."""
    Keyring.create(StorePlace(store, NAME), [Root()], name=NAME)
    assert list(store.list_info("")) == []
    assert b"AES-256-GCM" not in store.get(MESSAGE, Stage.CURRENT).value.reveal()


def _root(kms: Moto) -> KeyWrapper:
    key_id = kms.client("kms").create_key()["KeyMetadata"]["KeyId"]
    return _at(kms, key_id)


def _at(kms: Moto, key_id: str) -> KeyWrapper:
    return open_key(f"aws-kms://{REGION}/{key_id}?endpoint={kms.url}", Settings())


def _calls(run: Callable[[], object]) -> int:
    """Requests that boto3 sends meanwhile, repeats included."""
    from botocore.httpsession import URLLib3Session

    send = URLLib3Session.send
    with mock.patch.object(URLLib3Session, "send", autospec=True, side_effect=send) as sent:
        run()
    return sent.call_count


def test_a_thousand_encryptions_under_kms_cost_one_call(kms: Moto, tmp_path: Path) -> None:
    """Through a keyring: opening it is the call, and reading everything back costs none."""
    place, root = FilePlace(tmp_path / "k"), _root(kms)
    made = Keyring.create(place, [root], name=NAME)
    messages: list[bytes] = []

    def encrypt_all() -> None:
        keyring = Keyring.open(place, [root], name=NAME)
        messages.extend(sealed(keys=[keyring]) for _ in range(scaled(1000)))
        assert all(opens(keyring, message) for message in messages)

    assert _calls(encrypt_all) == 1
    assert opens(made, messages[-1])
    made.close()


def test_a_keyring_spans_two_keys_of_kms_and_a_local_one(kms: Moto, tmp_path: Path) -> None:
    """Each opens it alone; one that KMS has disabled is passed over, and named when all must answer."""
    place, roots = FilePlace(tmp_path / "k"), [_root(kms), _root(kms), Root("recovery")]
    keyring = Keyring.create(place, roots, name=NAME)
    for root in roots:
        assert round_trips(keyring, Keyring.open(place, [root], name=NAME))
    kms.client("kms").disable_key(KeyId=roots[0].key_id.rpartition("/")[2])
    opened = Keyring.open(place, roots, name=NAME)
    assert opened.passed_over == (roots[0].key_id,)
    with pytest.raises(SecretStoreError, match=roots[0].key_id):
        opened.rotate()
    assert len(Keyring.open(place, roots, name=NAME).versions) == 1
    assert Keyring.open(place, roots[1:], name=NAME).rewrap(drop_roots=True).removed == (roots[0].key_id,)
    opened.close()


def test_an_alias_that_means_another_key_now_is_noticed(kms: Moto, tmp_path: Path) -> None:
    """The old key is no configured root any more: it is not dropped in silence, and opens as long as it is
    named."""
    client, place = kms.client("kms"), FilePlace(tmp_path / "k")
    keys = [client.create_key()["KeyMetadata"]["KeyId"] for _ in range(2)]
    client.create_alias(AliasName="alias/root", TargetKeyId=keys[0])
    Keyring.create(place, [_at(kms, "alias/root")], name=NAME)
    client.update_alias(AliasName="alias/root", TargetKeyId=keys[1])
    with pytest.raises(IntegrityError):
        Keyring.open(place, [_at(kms, "alias/root")], name=NAME)
    both = Keyring.open(place, [_at(kms, "alias/root"), _at(kms, keys[0])], name=NAME)
    assert [keys[1] in added for added in both.rewrap().added] == [True]
    assert round_trips(both, Keyring.open(place, [_at(kms, "alias/root")], name=NAME))


def test_awss_sdk_opens_a_keyring_and_what_it_wrapped(tmp_path: Path) -> None:
    """Without Strongroom: the root's raw AES keyring opens the keyring, and a version's opens the value."""
    from tests.integration.interop_support import PythonSDK, Raw

    place, sdk = FilePlace(tmp_path / "k"), PythonSDK()
    keyring = Keyring.create(place, [Root()], name=NAME)
    keyring.rotate()
    message = sealed(keys=[keyring])
    document, said = sdk.decrypt(place.path.read_bytes(), [Raw("one", b"one".ljust(32, b"."))])
    assert {"strongroom-kind": "keyring", "strongroom-name": NAME}.items() <= said.items()
    facts = json.loads(document)
    [version] = [key for key in facts["keys"] if key["name"] == facts["primary"]]
    kek = Raw(f"{facts['id']}/{version['name']}", base64.b64decode(version["key"]), "strongroom-keyring")
    assert sdk.decrypt(message, [kek])[0] == CANARY_BYTES
    theirs = sdk.encrypt(CANARY_BYTES, [kek], CONTEXT, 4096, signed=False)
    assert opens(keyring, theirs)


def test_a_message_under_a_keyring_and_a_root_opens_with_either(tmp_path: Path) -> None:
    """A keyring is a KEK among others."""
    root = Root("recovery")
    keyring = Keyring.create(FilePlace(tmp_path / "k"), [Root()], name=NAME)
    message = encrypt(CANARY_BYTES, keys=[keyring, root], context=CONTEXT)
    for keys in ([keyring], [root], [root, keyring]):
        assert decrypt(message, keys=keys, context=CONTEXT).value == CANARY_BYTES
