"""AWS: what our code asks for under each role is what its policy grants; nothing is missing or unused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from strongroom.errors import PermissionDeniedError
from strongroom.rotation.functions.aws_lambda import Function
from strongroom.testing.aws import StrictServer
from strongroom.testing.clock import FakeClock

from . import roles
from .aws_calls import ACCOUNT, Recorder, arn
from .aws_roles import ACTS, AWAY, DIGEST_KEY, HOME, KEYS, PREFIX, Scene, key_of
from .iam import Policy, Request
from .rendering import rendered
from .tools import TerraformFailedError

MODULE = "aws-secret-store/modules/policies"
ALONE: dict[str, Any] = {"name": PREFIX, "account_id": ACCOUNT, "region": HOME}
SHAPES: dict[str, dict[str, Any]] = {
    "alone": {**ALONE, "kms_key_arns": {HOME: KEYS[HOME]}},
    "copied": {**ALONE, "kms_key_arns": KEYS, "replicas": [AWAY], "ledger": "elsewhere"},
    "region": {**ALONE, "kms_key_arns": {HOME: KEYS[HOME]}, "ledger": "region"},
}

BUILT: dict[str, dict[str, bool]] = {"alone": {}, "copied": {"replicated": True, "books": False}}


@dataclass
class Run:
    """One role's work in one shape of the module, and the policy that it was done under."""

    shape: str
    role: str
    policy: Policy
    recorder: Recorder


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Mapping[str, Policy]]:
    """By shape and role, as Terraform renders them."""
    outputs = rendered(tmp_path_factory.mktemp("policies"), MODULE, SHAPES)
    return {shape: by_role(found) for shape, found in outputs.items()}


def by_role(outputs: Mapping[str, str]) -> dict[str, Policy]:
    return {name.removesuffix("_policy"): Policy(document) for name, document in outputs.items()}


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials that nobody looks at."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")


@pytest.fixture(scope="module", params=[(shape, role) for shape in BUILT for role in ACTS], ids=" ".join)
def run(
    request: pytest.FixtureRequest,
    policies: Mapping[str, Mapping[str, Policy]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Run:
    """Each role at its work, which its policy is asked about call by call."""
    shape, role = request.param
    recorder, policy = Recorder(key_of), policies[shape][role]
    with pytest.MonkeyPatch.context() as patch, StrictServer() as server:
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        recorder.install(patch)
        scene = Scene(tmp_path_factory.mktemp("scene"), recorder, server, **BUILT[shape])
        if scene.replicated and role != "administrator":
            scene.command("replica", "sync")
        with recorder.under(policy):
            ACTS[role](scene)
    return Run(shape, role, policy, recorder)


def test_nothing_is_missing(run: Run) -> None:
    """Every call was allowed: also those that our code would go on without."""
    assert run.recorder.requests
    assert run.recorder.refused == []


def test_nothing_is_unused(run: Run) -> None:
    """Each pair of an action and a resource was needed by a call that our code made."""
    assert run.recorder.unused(run.policy) == []


def test_each_action_that_is_taken_out_is_missed(run: Run) -> None:
    """No statement gives again what another gives: without any one action some call is refused."""
    for action in sorted({grant.action for grant in run.policy.grants}):
        less = run.policy.without(action)
        assert not all(map(less.allows, run.recorder.requests)), action


def test_what_is_not_the_stores_is_refused(run: Run) -> None:
    """Neither another store's names, nor another region's or account's, or other secrets of Strongroom."""
    for request in set(run.recorder.requests):
        for other in strangers(request):
            assert not run.policy.allows(other), other


def strangers(request: Request) -> Iterator[Request]:
    """The same action elsewhere."""
    if request.resource == "*":
        yield Request(request.action, "*", {**request.context, "aws:requestedregion": "eu-south-2"})
        return
    if request.action.startswith("kms:"):
        yield Request(request.action, f"{request.resource}0", request.context)
        for key, text in (
            ("kms:viaservice", f"s3.{HOME}.amazonaws.com"),
            ("kms:encryptioncontext:secretarn", arn(HOME, "other/db")),
            ("kms:encryptioncontext:secretarn", arn(HOME, f"{PREFIX}-evil/db")),
        ):
            yield Request(request.action, request.resource, {**request.context, key: text})
            yield Request(
                request.action, request.resource, {k: v for k, v in request.context.items() if k != key}
            )
        return
    for region in (HOME, AWAY):
        for name in (
            PREFIX,
            f"{PREFIX}-evil/db",
            f"other/{PREFIX}/db",
            "_strongroom/lease/x",
            f"_strongroom/keyring/{PREFIX}/x",
        ):
            yield Request(request.action, arn(region, name), request.context)
    yield Request(request.action, request.resource.replace(ACCOUNT, "210987654321"), request.context)
    yield Request(request.action, arn("eu-south-2", f"{PREFIX}/db"), request.context)


def test_a_reader_gets_no_value_that_waits_for_its_rotation(
    policies: Mapping[str, Mapping[str, Policy]],
) -> None:
    """AWS keeps it beside the current one, so that the policy names the label; the others may ask for it."""
    pending = {"secretsmanager:versionstage": "AWSPENDING"}
    for role, allowed in (("reader", False), ("rotator", True), ("administrator", True)):
        request = Request("secretsmanager:GetSecretValue", arn(HOME, f"{PREFIX}/db"), pending)
        assert policies["alone"][role].allows(request) is allowed


def test_a_copy_is_read_and_written_only_where_copies_are(
    policies: Mapping[str, Mapping[str, Policy]],
) -> None:
    """Without replicas a policy names one region, and no record of their order."""
    for policy in policies["alone"].values():
        for name in (f"{PREFIX}/db", DIGEST_KEY):
            for region in (HOME, AWAY):
                asked = Request("secretsmanager:GetSecretValue", arn(region, name))
                assert policy.allows(asked) is ((region, name) == (HOME, f"{PREFIX}/db"))


def test_a_policy_that_aws_would_not_take_is_refused_when_it_is_planned(tmp_path: Path) -> None:
    """A managed policy has 6,144 characters; each region that has copies takes about a thousand."""
    regions = [f"eu-north-{number}" for number in range(1, 9)]
    keys = {region: KEYS[HOME].replace(HOME, region) for region in (HOME, *regions)}
    with pytest.raises(TerraformFailedError, match=r"replicate\s+to\s+fewer"):
        rendered(tmp_path, MODULE, {"many": {**ALONE, "replicas": regions, "kms_key_arns": keys}})


def test_a_function_packed_without_a_configuration_keeps_its_ledger_in_the_region(
    policies: Mapping[str, Mapping[str, Policy]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: None
) -> None:
    """It knows of no store and no prefix."""
    policy, recorder = policies["region"]["rotator"], Recorder(key_of)
    recorder.install(monkeypatch)
    with StrictServer() as server:
        scene = Scene(tmp_path, recorder, server, books=False)
        with recorder.under(policy):
            rotates_without_a_configuration(scene, monkeypatch)
    assert recorder.refused == []
    assert recorder.unused(policy) == []


def rotates_without_a_configuration(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each secret once: what its function is packed with is a rotator and nothing else."""
    monkeypatch.setenv("STRONGROOM_TEST_TARGET", str(scene.target.path))
    monkeypatch.chdir(scene.folder)
    scene.file.unlink()
    function = Function(rotator="tests.function_support:TwoAt", endpoint=scene.server.url, clock=FakeClock())
    for name in ("svc/one", "svc/two"):
        scene.rotate(function, name)


def test_who_may_do_less_than_the_work_is_refused(
    policies: Mapping[str, Mapping[str, Policy]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: None
) -> None:
    """The double of IAM says no, and our code tells it as such: a reader writes nothing."""
    recorder = Recorder(key_of)
    recorder.install(monkeypatch)
    with StrictServer() as server:
        scene = Scene(tmp_path, recorder, server)
        with recorder.under(policies["alone"]["reader"]), scene.store() as store:
            for call in (
                lambda: store.put(roles.DB, "x"),
                lambda: store.set_tags(roles.DB, {"a": "b"}),
                lambda: store.delete(roles.DB),
                lambda: store.purge(roles.DB),
            ):
                with pytest.raises(PermissionDeniedError):
                    call()
