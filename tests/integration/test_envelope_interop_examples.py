"""The examples that open a message without Strongroom, as their readers run them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from strongroom.envelope.cipher import encrypt
from strongroom.envelope.keyring import FilePlace, Keyring
from strongroom.keys import KeyWrapper
from strongroom_local.keyset import KeysetFile
from tests.canary import CANARY_BYTES, plaintext
from tests.integration.interop_support import Kms, Ours
from tests.servers import node
from tests.servers.boto import REGION
from tests.servers.moto import Moto

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
CONTEXT = {"tenant": "acme", "\U0001f511": "a=b"}
PAIRS = [f"{name}={value}" for name, value in CONTEXT.items()]

Open = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture(scope="module")
def multi_region_key(kms: Moto) -> Kms:
    made = kms.client("kms", REGION).create_key(MultiRegion=True)
    return Kms(made["KeyMetadata"]["Arn"], kms.url)


@pytest.fixture(scope="module")
def kms_key(multi_region_key: Kms) -> Iterator[KeyWrapper]:
    ours = Ours()
    yield ours.key(multi_region_key)
    ours.close()


@pytest.fixture(params=["py", "mjs"])
def open_with_sdk(request: pytest.FixtureRequest, tmp_path: Path, multi_region_key: Kms) -> Open:
    """Runs the example in a folder of its own; Node looks for packages from a script's own folder upwards."""
    example = EXAMPLES / f"open_with_aws_sdk.{request.param}"
    program = [sys.executable, str(example)]
    if request.param == "mjs":
        assert not node.missing(), node.missing()
        copied = tmp_path / example.name
        copied.write_bytes(example.read_bytes())
        (tmp_path / "node_modules").symlink_to(node.FOLDER / "node_modules")
        program = ["node", str(copied)]
    credentials = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    env = {**os.environ, **credentials, "AWS_ENDPOINT_URL_KMS": multi_region_key.endpoint}

    def run(message: Path, key: str, pairs: Sequence[str] = ()) -> subprocess.CompletedProcess[bytes]:
        argv = [*program, str(message), key, *pairs]
        return subprocess.run(argv, capture_output=True, env=env, check=False)

    return run


def _written(tmp_path: Path, key: KeyWrapper) -> Path:
    message = tmp_path / "message"
    message.write_bytes(encrypt(CANARY_BYTES, keys=[key], context=CONTEXT, signed=True))
    return message


def test_a_message_under_a_keyset_opens_for_what_it_was_written_for(
    tmp_path: Path, open_with_sdk: Open
) -> None:
    """By the file in which the local key lies; not given out to a reader who expects something else."""
    keyset = KeysetFile(tmp_path / "keyset.json")
    done = open_with_sdk(_written(tmp_path, keyset.create()), str(keyset.path), ["tenant=other"])
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"authentic, but says of itself" in done.stderr


def test_a_message_under_a_keyring_opens(
    tmp_path: Path, multi_region_key: Kms, kms_key: KeyWrapper, open_with_sdk: Open
) -> None:
    """In two steps, from the keyring's root in KMS; the keyring was rotated since."""
    place = FilePlace(tmp_path / "app.keyring")
    keyring = Keyring.create(place, [kms_key], name="app")
    message = _written(tmp_path, keyring)
    keyring.rotate()
    done = open_with_sdk(tmp_path / "app.keyring", multi_region_key.arn, ["strongroom-name=app"])
    assert done.returncode == 0, done.stderr
    keys = plaintext(tmp_path / "keys.json", "the keyring's keys, as the example gives them out")
    keys.write_bytes(done.stdout)
    done = open_with_sdk(message, str(keys), PAIRS)
    assert (done.returncode, done.stdout) == (0, CANARY_BYTES), done.stderr
