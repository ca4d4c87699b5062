"""Keys in tokens, key services and keyrings, killed before and after every effect of their rotation."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pkcs11 import Attribute, ObjectClass

import strongroom_aws._client
import strongroom_pkcs11.key_versions
import strongroom_vault.transport
from strongroom.envelope.keyring import Keyring
from strongroom.envelope.keyring_file import FilePlace
from strongroom.rotation.rotator import Rotation
from strongroom.rotation.rotators.keyring_rewrap import KeyringRotator
from strongroom.value import SecretValue
from strongroom_aws.key_versions import KMSKeyRotator
from strongroom_pkcs11.key_versions import TokenKeyRotator
from strongroom_vault.key_versions import TransitKeyRotator
from tests.integration import transit_support
from tests.rotation_killing import Case, Effect, Killed
from tests.scale import NIGHTLY, scaled
from tests.servers import moto_kms
from tests.servers.boto import REGION
from tests.servers.openbao import OpenBao
from tests.servers.softhsm import TestToken
from tests.unit.keyring_support import NAME, Root

pytestmark = pytest.mark.timeout(3600 if NIGHTLY else 120)

Cases = Iterator[Callable[[], Case]]
_WRITES = ("CreateKey", "DisableKey", "ScheduleKeyDeletion")


def _of_vault(_transport: Any, request: Any, *_: Any) -> str | None:
    return str(request.path).rpartition("/")[2] if request.operation == "put" else None


def _of_kms(_client: Any, action: str, *_: Any) -> str | None:
    return action if action in _WRITES else None


def _always(name: str, *_: Any, **__: Any) -> str:
    return name


VAULT = Effect(strongroom_vault.transport.Transport, "_exchange", _of_vault)
KMS = Effect(strongroom_aws._client.Client, "_call", _of_kms)
TOKEN = [
    Effect(strongroom_pkcs11.key_versions, name, partial(_always, name))
    for name in ("make_version", "_destroy", "_end")
]
KEYRING = Effect(FilePlace, "write", partial(_always, "keyring"))


def _first(rotator: Any) -> SecretValue:
    return SecretValue.of(rotator.create_secret(Rotation(str(uuid.uuid4()), "target/credential")))


@contextmanager
def _transit(request: pytest.FixtureRequest) -> Cases:
    """A version is live if Vault signs with it."""
    server: OpenBao = request.getfixturevalue("openbao_server")

    def case() -> Case:
        key = transit_support.made(server, type="ecdsa-p256")
        token = SecretValue(server.token)
        rotator = TransitKeyRotator(address=server.address, key=key.name, credential=lambda: token)

        def live() -> set[str]:
            answer: Any = server.client().read(f"{transit_support.MOUNT}/keys/{key.name}")
            facts = answer["data"]
            least = max(1, facts["min_encryption_version"])
            return {str(version) for version in range(least, facts["latest_version"] + 1)}

        first = SecretValue.of(
            {"key": f"{transit_support.MOUNT}/{key.name}", "version": 1, "type": "ecdsa-p256"}
        )
        return Case(rotator, first, [VAULT], live, lambda value: str(value.reveal_json("/version")))

    yield case


@contextmanager
def _kms(_request: pytest.FixtureRequest) -> Cases:
    """A key is live if it is enabled."""
    admin = SecretValue.of({"access_key_id": "test", "secret_access_key": "test"})
    with moto_kms.server() as moto:

        def live() -> set[str]:
            client = moto.client("kms")
            keys = [str(key["KeyId"]) for key in client.list_keys()["Keys"]]
            return {key for key in keys if client.describe_key(KeyId=key)["KeyMetadata"]["Enabled"]}

        def case() -> Case:
            moto.reset()
            rotator = KMSKeyRotator(region=REGION, endpoint=moto.url, admin=lambda: admin)
            return Case(rotator, _first(rotator), [KMS], live, _key)

        yield case


def _key(value: SecretValue) -> str:
    return str(value.reveal_json("/key")).rpartition("/")[2]


@contextmanager
def _token(request: pytest.FixtureRequest) -> Cases:
    """A key is live if the token lets it sign."""
    token: TestToken = request.getfixturevalue("softhsm_token")
    pin = SecretValue(token.pin)

    def case() -> Case:
        label = token.unique("killed")
        rotator = TokenKeyRotator(token=token.url(label), module=token.module, pin=lambda: pin)

        def live() -> set[str]:
            with token.native() as session:
                found = session.get_objects({Attribute.CLASS: ObjectClass.PRIVATE_KEY, Attribute.SIGN: True})
                return {key.label for key in found if key.label.startswith(label)}

        return Case(rotator, _first(rotator), TOKEN, live, _label)

    yield case


def _label(value: SecretValue) -> str:
    return str(value.reveal_json("/key")).partition("object=")[2].partition(";")[0]


@contextmanager
def _keyring(request: pytest.FixtureRequest) -> Cases:
    """A version is live if it wraps; more than one may never be added."""
    folder: Path = request.getfixturevalue("tmp_path")
    count = iter(range(10_000))

    def case() -> Case:
        path, root = folder / f"{next(count)}.keyring", Root()
        Keyring.create(FilePlace(path), [root], name=NAME).close()

        def opened() -> Keyring:
            return Keyring.open(FilePlace(path), [root], name=NAME)

        def live() -> set[str]:
            versions = opened().versions
            assert len(versions) <= 2
            return {version.name for version in versions if version.primary}

        made = opened()
        facts = {"id": made.key_id, "version": made.versions[0].name, "generation": made.generation}
        named = lambda value: str(value.reveal_json("/version"))  # noqa: E731
        return Case(KeyringRotator(keyring=opened), SecretValue.of(facts), [KEYRING], live, named)

    yield case


CASES: dict[str, Callable[[pytest.FixtureRequest], Any]] = {
    "transit": _transit,
    "pkcs11": _token,
    "keyring": _keyring,
    **({"aws-kms": _kms} if NIGHTLY else {}),
}
LOST = {
    "transit": "after rotate",
    "aws-kms": "after CreateKey",
    "pkcs11": "after make_version",
    "keyring": "after keyring",
}
"""The point after which a new key is in use, or could be, and nothing but the target knows of it."""


def _at(number: int) -> Callable[[list[str]], bool]:
    return lambda reached: len(reached) == number


def _survives(case: Case, folder: Path, *deaths: Callable[[list[str]], bool]) -> int:
    folder.mkdir()
    rotation = Killed(case, folder)
    for dies in deaths:
        rotation.work(dies)
        if case.effects != [KEYRING]:  # which wraps under its newest from the first effect on
            rotation.check_readers()
    rotation.points()
    rotation.check_end()
    return rotation.deaths


@pytest.mark.parametrize("kind", CASES)
def test_a_key_whose_workers_die_gets_one_successor(
    request: pytest.FixtureRequest, kind: str, tmp_path: Path
) -> None:
    """One dies when the new key is there and nobody has been told; what the secret names is in use.

    By night at every point: before and after each effect at the target, in the store and in the ledger; and
    again at another while they resume.
    """
    with CASES[kind](request) as new_case:
        lost = lambda reached: reached[-1].startswith(LOST[kind])  # noqa: E731
        assert _survives(new_case(), tmp_path / "lost", lost) == 1
        if scaled(40, f"crash points of {kind}", share=40) == 1:
            return
        (tmp_path / "points").mkdir()
        points = Killed(new_case(), tmp_path / "points").points()
        for number in range(1, len(points) + 1):
            again = 1 + number * 7 % len(points)
            assert _survives(new_case(), tmp_path / str(number), _at(number), _at(again))
