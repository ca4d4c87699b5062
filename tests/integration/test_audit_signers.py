"""Checkpoints signed by keys that never leave their provider: AWS KMS, Vault transit, an HSM."""

from __future__ import annotations

from pathlib import Path

import pytest

from strongroom.audit.checkpoint import Checkpointer
from strongroom.audit.journal import Journal
from strongroom.audit.verify import verify
from strongroom.errors import InvalidRequestError
from strongroom.keys import Signer
from strongroom.registry import create_key, open_signer
from tests.integration.transit_support import made
from tests.servers.boto import REGION
from tests.servers.moto import Moto
from tests.servers.openbao import OpenBao
from tests.servers.softhsm import TestToken
from tests.unit.audit_log import ORIGIN


def assert_signs(folder: Path, signer: Signer) -> None:
    """Two checkpoints by this key; the verifier, who has the public half alone, finds them right."""
    journal = Journal.open(folder / "journal", origin=ORIGIN)
    checkpointer = Checkpointer(folder / "journal", signer)
    for size in (2, 3):
        journal.append({"kind": "event", "phase": "intent", "op": "get"})
        signed = checkpointer.checkpoint()
        assert signed is not None
        assert signed.size == size
        (folder / "anchor").write_text(signed.note)
    report = verify(folder / "journal", [str(checkpointer.key)], [folder / "anchor"])
    assert (report.status, report.checkpoints) == ("ok", 2)


def test_a_key_of_aws_kms(kms: Moto, tmp_path: Path) -> None:
    """ECDSA P-256, signed as a digest, named by its alias or id."""
    key = kms.client("kms").create_key(KeyUsage="SIGN_VERIFY", KeySpec="ECC_NIST_P256")["KeyMetadata"][
        "KeyId"
    ]
    assert_signs(tmp_path, open_signer(f"aws-kms://{REGION}/{key}?endpoint={kms.url}"))


@pytest.mark.parametrize("kind", ["ecdsa-p256", "ed25519"])
def test_a_key_of_vault_transit(openbao_server: OpenBao, tmp_path: Path, kind: str) -> None:
    """Both kinds that sign checkpoints."""
    key = made(openbao_server, type=kind)
    with key.signing() as signer:
        assert_signs(tmp_path, signer)


def test_a_key_of_an_hsm(softhsm_token: TestToken, tmp_path: Path) -> None:
    """ECDSA P-256 behind PKCS#11."""
    url = create_key(softhsm_token.url(softhsm_token.unique("audit")), softhsm_token.settings(), "p256")
    signer = open_signer(url, softhsm_token.settings())
    assert_signs(tmp_path, signer)
    signer.close()


def test_a_key_of_another_kind_is_refused_before_it_signs(kms: Moto, tmp_path: Path) -> None:
    """Verifiers of notes know Ed25519 and ECDSA P-256 alone."""
    key = kms.client("kms").create_key(KeyUsage="SIGN_VERIFY", KeySpec="RSA_2048")["KeyMetadata"]["KeyId"]
    with pytest.raises(InvalidRequestError, match="PS256 key signs no checkpoints"):
        assert_signs(tmp_path, open_signer(f"aws-kms://{REGION}/{key}?endpoint={kms.url}"))
