"""How often AWS KMS is asked for a thousand encryptions: counted, not timed, on moto."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import strongroom
from strongroom.backend import Settings
from strongroom.envelope.keyring import FilePlace
from strongroom.keys import KeyWrapper
from strongroom.registry import open_key
from strongroom.value import SecretValue
from tests.bench.envelope_peers import CONTEXT
from tests.bench.harness import Bar, Row
from tests.servers import moto_kms
from tests.servers.boto import REGION
from tests.servers.moto import Moto

MESSAGES = 1000
BAR = Bar(at_most=1, unit="calls")
ALONE = "each by itself"


def rows() -> Iterator[Row]:
    """Through a keyring, whose opening is what is counted, and through the data-key cache."""
    with moto_kms.server() as moto:
        arn = moto.client("kms").create_key()["KeyMetadata"]["Arn"]
        key, cache = _key(moto, arn), strongroom.DataKeyCache()
        alone = _calls(lambda: _encrypt(key))
        cached = _calls(lambda: _encrypt(key, cache))
        key.close()
        with tempfile.TemporaryDirectory() as folder:
            place = FilePlace(Path(folder, "keyring"))
            strongroom.Keyring.create(place, [_key(moto, arn)], name="main").close()
            through_keyring = _calls(lambda: _encrypt_through_keyring(place, _key(moto, arn)))
    what = f"KMS, {MESSAGES:,} encryptions"
    yield BAR.row(f"{what}, keyring", through_keyring, alone, ALONE)
    yield BAR.row(f"{what}, cache", cached, alone, ALONE)


def _key(moto: Moto, arn: str) -> KeyWrapper:
    auth: dict[str, str | SecretValue] = {"access_key_id": "test", "secret_access_key": SecretValue("test")}
    return open_key(f"aws-kms://{REGION}/{arn}?endpoint={moto.url}", Settings(auth=auth))


def _encrypt_through_keyring(place: FilePlace, root: KeyWrapper) -> None:
    keyring = strongroom.Keyring.open(place, [root], name="main")
    _encrypt(keyring)
    keyring.close()


def _encrypt(key: KeyWrapper, cache: strongroom.DataKeyCache | None = None) -> None:
    for _ in range(MESSAGES):
        strongroom.encrypt(b"value", keys=[key], context=CONTEXT, data_keys=cache)


def _calls(run: Callable[[], object]) -> int:
    """Requests that boto3 sends meanwhile, repeats included."""
    from botocore.httpsession import URLLib3Session

    send = URLLib3Session.send
    with mock.patch.object(URLLib3Session, "send", autospec=True, side_effect=send) as sent:
        run()
    return sent.call_count
