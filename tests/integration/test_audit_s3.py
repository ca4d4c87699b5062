"""Checkpoints in a bucket: each object once, kept by Object Lock, and what the bucket refuses."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from strongroom.audit.anchors import folder_name
from strongroom.audit.exporting import Exporter
from strongroom.audit.head import Checkpoint
from strongroom.auditing import exports_of
from strongroom.backend import Settings
from strongroom.clock import Clock
from strongroom.errors import IntegrityError, InvalidRequestError, UnavailableError
from strongroom.registry import open_export
from strongroom.testing.clock import FakeClock
from strongroom.toml.file import read_text
from tests.canary import CANARY
from tests.servers.boto import REGION
from tests.servers.moto import Moto
from tests.unit.audit_log import ORIGIN, Log

BUCKET = "audit"
FOLDER = f"strongroom/{folder_name(ORIGIN)}"


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path)


@pytest.fixture
def bucket(moto_server: Moto) -> Any:
    """Object Lock needs versions, so that a delete hides and destroys nothing."""
    client = moto_server.client("s3")
    client.create_bucket(
        Bucket=BUCKET,
        CreateBucketConfiguration={"LocationConstraint": REGION},
        ObjectLockEnabledForBucket=True,
    )
    return client


def url(moto: Moto, options: str = "", bucket: str = BUCKET) -> str:
    return f"s3://{bucket}/strongroom/?region={REGION}&endpoint={moto.url}{options}"


def signed(log: Log) -> Checkpoint:
    log.write()
    return log.sign()


def test_each_checkpoint_is_an_object_that_is_written_once(moto_server: Moto, bucket: Any, log: Log) -> None:
    """By origin and size; a second attempt finds the first, and replaces nothing."""
    anchor = open_export(url(moto_server))
    for _ in range(2):
        made = signed(log)
        anchor.put(made, log.path)
        anchor.put(made, log.path)
    found = bucket.list_object_versions(Bucket=BUCKET)["Versions"]
    assert [each["Key"] for each in found] == [f"{FOLDER}/{size:020d}.note" for size in (6, 11)]
    assert bucket.get_object(Bucket=BUCKET, Key=found[-1]["Key"])["Body"].read().decode() == made.note


def test_what_was_downloaded_anchors_the_journal(
    moto_server: Moto, bucket: Any, log: Log, tmp_path: Path
) -> None:
    """An auditor's copy of the folder is what `audit verify --anchor` takes."""
    exporter = Exporter(log.path, open_export(url(moto_server)), FakeClock())
    signed(log)
    exporter.step()
    kept = tmp_path / "download"
    kept.mkdir()
    for each in bucket.list_objects_v2(Bucket=BUCKET)["Contents"]:
        bucket.download_file(BUCKET, each["Key"], str(kept / Path(each["Key"]).name))
    assert exporter.status()["behind"] == 0
    assert log.verified(kept).anchors == 2


def test_object_lock_keeps_it_for_its_days(moto_server: Moto, bucket: Any, log: Log) -> None:
    """In compliance mode nobody, the account's root neither, deletes it before."""
    clock = FakeClock(datetime(2036, 1, 1, tzinfo=UTC))
    open_export(url(moto_server, "&retain=365"), Settings(clock=clock)).put(signed(log), log.path)
    head = bucket.head_object(Bucket=BUCKET, Key=f"{FOLDER}/{6:020d}.note")
    assert head["ObjectLockMode"] == "COMPLIANCE"
    assert head["ObjectLockRetainUntilDate"] == datetime(2036, 12, 31, tzinfo=UTC)


def test_another_tree_of_one_size_is_found_out(moto_server: Moto, bucket: Any, log: Log) -> None:
    """The object that is there is read and compared, and stays."""
    anchor, made = open_export(url(moto_server)), signed(log)
    anchor.put(made, log.path)
    with pytest.raises(IntegrityError, match="one of the two is a forgery"):
        anchor.put(replace(made, root=bytes(32)), log.path)
    assert len(bucket.list_object_versions(Bucket=BUCKET)["Versions"]) == 1


def test_a_journal_that_was_set_back_is_found_out(
    moto_server: Moto, bucket: Any, log: Log, tmp_path: Path
) -> None:
    """The bucket has a later checkpoint of this origin that the restored journal does not know."""
    (tmp_path / "twin").mkdir()
    twin = Log(tmp_path / "twin")
    anchor = open_export(url(moto_server))
    signed(twin)
    anchor.put(signed(twin), twin.path)
    exporter = Exporter(log.path, anchor, FakeClock())
    signed(log)
    assert exporter.step()
    assert isinstance(exporter.conflict(0), IntegrityError)
    assert len(bucket.list_objects_v2(Bucket=BUCKET)["Contents"]) == 1


def test_a_bucket_that_is_not_there_is_the_configurations_fault(
    moto_server: Moto, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So is a region or number of days that is none, and a bucket without Object Lock."""
    with pytest.raises(InvalidRequestError, match="no such bucket"):
        open_export(url(moto_server, bucket="absent")).put(signed(log), log.path)
    for wrong in ("&retain=x", "&retain=0", "&color=red"):
        with pytest.raises(InvalidRequestError):
            open_export(url(moto_server, wrong))
    with pytest.raises(InvalidRequestError, match="not an AWS region"):
        open_export(f"s3://{BUCKET}/?region=nowhere")
    for variable in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "/dev/null")
    with pytest.raises(InvalidRequestError, match="region is not known"):
        open_export(f"s3://{BUCKET}/")


def test_a_server_that_does_not_answer_is_unavailable(moto_server: Moto, log: Log) -> None:
    """And is tried again; the checkpoint may have arrived or not."""
    anchor = open_export(
        f"s3://{BUCKET}/?region={REGION}&endpoint=http://127.0.0.1:9", Settings(attempts=1, timeout=1)
    )
    with pytest.raises(UnavailableError):
        anchor.put(signed(log), log.path)


def test_the_configuration_names_another_server_and_its_credentials(
    moto_server: Moto, bucket: Any, log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a URL may not say stands beside it: endpoint, region, and credentials by reference."""
    monkeypatch.setenv("AUDIT_SECRET", CANARY)
    text = f"""
        [store.app]
        url = "memory:"
        [audit]
        journal = {{ path = "{log.path}" }}
        [audit.checkpoint]
        signer = "{tmp_path / "audit.key"}"
        export = ["file://{tmp_path}/kept/"]
        [[audit.checkpoint.anchors]]
        url = "s3://{BUCKET}/"
        endpoint = "{moto_server.url}"
        region = "{REGION}"
        access_key_id = "writer"
        secret_access_key = "env://AUDIT_SECRET"
    """
    (tmp_path / "kept").mkdir()
    entry = read_text(tmp_path / "strongroom.toml", text, "").audit
    assert entry is not None
    assert entry.checkpoint is not None
    made = signed(log)
    for export in exports_of(entry.checkpoint, Clock()):
        export.put(made, log.path)
        export.close()
    assert len(list(tmp_path.glob("kept/*/*.note"))) == 1
    found = bucket.list_objects_v2(Bucket=BUCKET)["Contents"]
    assert [each["Size"] for each in found] == [len(made.note.encode())]
