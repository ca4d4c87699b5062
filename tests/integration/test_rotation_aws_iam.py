"""The rotator of IAM access keys, against moto with signatures verified and policies enforced."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from strongroom.errors import (
    IntegrityError,
    PermissionDeniedError,
    SecretConflictError,
    SecretNotFoundError,
    UnavailableError,
)
from strongroom.rotation.fields import identifier
from strongroom.rotation.rotator import Rotation
from strongroom.testing.clock import FakeClock
from strongroom.value import SecretValue
from strongroom_aws.access_keys import AccessKeyRotator
from tests.canary import assert_no_canary_in
from tests.integration.rotation_targets import Account, account_on
from tests.servers.boto import REGION
from tests.servers.moto import Moto


@pytest.fixture(scope="module")
def _account(_moto: Moto) -> Iterator[Account]:
    with account_on(_moto) as made:
        yield made


@pytest.fixture
def account(_account: Account) -> Account:
    return _account.another_user()


def _rotation(account: Account, **facts: Any) -> Rotation:
    return Rotation(**{"id": str(uuid.uuid4()), "name": "aws/bot", "current": account.current, **facts})


def _made(rotator: AccessKeyRotator, r: Rotation) -> SecretValue:
    return SecretValue.of(rotator.create_secret(r))


def _id(value: SecretValue | None) -> str:
    found = identifier(value, "access_key_id")
    assert found
    return found


def test_a_rotation_from_create_to_revoke_leaves_one_key(account: Account) -> None:
    """Both keys work until the old one is revoked, then AWS refuses it; a repeated revoke is a success."""
    rotator, r = account.rotator(), _rotation(account)
    assert rotator.reclaim(r) == ()
    r = replace(r, pending=_made(rotator, r))
    assert r.pending
    assert account.keys() == {_id(account.current), _id(r.pending)}
    rotator.test_secret(r, r.pending)
    rotator.test_secret(r, account.current)
    for _ in range(2):
        rotator.revoke_secret(r, account.current)
    assert account.keys() == {_id(r.pending)}
    assert rotator.refuses(r, account.current)
    assert not rotator.refuses(r, r.pending)
    made = r.pending.reveal_json()
    assert made["region"] == REGION
    assert made.keys() == account.current.reveal_json().keys()


def test_a_rotation_on_another_day_removes_the_marks_of_the_last(account: Account) -> None:
    """Until then they tell whose a key is that a paused worker makes late; a user has room for 50 tags."""
    rotator, r = account.rotator(), _rotation(account)
    first = _made(rotator, r)
    rotator.revoke_secret(replace(r, pending=first), account.current)
    second, third = _rotation(account, current=first), _rotation(account, current=first, epoch=7)
    rotator.revoke_secret(replace(second, pending=first), _made(rotator, second))
    assert set(account.marks()) == {f"strongroom/{r.id}/1", f"strongroom/{second.id}/1"}
    tomorrow = FakeClock(datetime.now(UTC) + timedelta(days=1, minutes=1))
    rotator._settings = replace(rotator._settings, clock=tomorrow)
    rotator.create_secret(third)
    assert account.marks() == [f"strongroom/{third.id}/7"]


def test_a_key_that_two_attempts_may_have_made_is_the_later_ones(account: Account) -> None:
    """A paused worker marks late: by the time of its mark it would seem to have made the other's key."""
    rotator, r = account.rotator(), _rotation(account, epoch=3)
    made = _made(rotator, r)
    late = {"Key": f"strongroom/{r.id}/1", "Value": f"{int(time.time()) + 1}/{_id(account.current)}"}
    account.iam.tag_user(UserName=account.user, Tags=[late])
    assert rotator.reclaim(replace(r, epoch=2)) == ()
    assert account.keys() == {_id(account.current), _id(made)}


def test_a_key_whose_answer_was_lost_is_reclaimed_by_the_next_attempt(account: Account) -> None:
    """The user's tag tells which keys were there before: the one that came then is the lost one."""
    rotator, r = account.rotator(), _rotation(account)
    rotator.create_secret(r)
    second = replace(r, epoch=2)
    assert rotator.reclaim(second) == ()
    assert account.keys() == {_id(account.current)}
    made = _made(rotator, second)
    assert account.keys() == {_id(account.current), _id(made)}


def test_an_overtaken_worker_reclaims_nothing(account: Account) -> None:
    """The key of a higher epoch is the one that the rotation goes on with."""
    rotator, r = account.rotator(), _rotation(account)
    rotator.create_secret(replace(r, epoch=1))
    rotator.reclaim(replace(r, epoch=3))
    made = _made(rotator, replace(r, epoch=3))
    assert rotator.reclaim(replace(r, epoch=2)) == ()
    assert rotator.reclaim(replace(r, epoch=3)) == ()
    assert account.keys() == {_id(account.current), _id(made)}


def test_a_key_that_nobody_knows_is_reported_and_stays(account: Account) -> None:
    """Somebody made it by hand before the rotation began."""
    foreign = account.new_key()
    rotator, r = account.rotator(), _rotation(account)
    assert rotator.reclaim(r) == (_id(foreign),)
    with pytest.raises(SecretConflictError, match=_id(foreign)):
        rotator.create_secret(r)
    assert account.keys() == {_id(account.current), _id(foreign)}


def test_a_key_of_another_rotation_is_reported_and_stays(account: Account) -> None:
    """It may be another secret's; who knows which is asked."""
    rotator = account.rotator()
    made = _made(rotator, _rotation(account))
    assert rotator.reclaim(_rotation(account, epoch=9)) == (_id(made),)
    assert {_id(made)} <= account.keys()


def test_the_slot_of_the_value_before_is_used_again(account: Account) -> None:
    """After a rollback the bad value is the previous one, and its key would block every later rotation."""
    bad = account.new_key()
    made = _made(account.rotator(), _rotation(account, previous=bad))
    assert account.keys() == {_id(account.current), _id(made)}


def test_the_current_key_of_another_user_is_refused(account: Account) -> None:
    """A rotator set up for another user would promote a key of the wrong principal."""
    theirs = account.another_user().current
    with pytest.raises(IntegrityError, match="another user's"):
        account.rotator().create_secret(_rotation(account, current=theirs))
    with pytest.raises(SecretConflictError, match="another principal's"):
        account.rotator().test_secret(_rotation(account), theirs)
    assert len(account.keys()) == 1


def test_a_current_key_that_is_gone_does_not_stop_the_rotation(account: Account) -> None:
    """A compromised key may be deleted before there is another."""
    rotator, r = account.rotator(), _rotation(account)
    rotator.withdraw(r, _id(account.current))
    made = _made(rotator, r)
    assert account.keys() == {_id(made)}


def test_the_first_key_replaces_whatever_stood_there(account: Account) -> None:
    """A secret may be made with nothing in it, and rotated: nothing is revoked, and it counts as refused."""
    rotator, nothing = account.rotator(), SecretValue("to be rotated")
    rotator.withdraw(_rotation(account), _id(account.current))
    r = _rotation(account, current=nothing)
    assert rotator.reclaim(r) == ()
    r = replace(r, pending=_made(rotator, r))
    rotator.revoke_secret(r, nothing)
    assert rotator.refuses(r, nothing)
    assert account.keys() == {_id(r.pending)}


def test_no_logger_prints_the_new_key(account: Account, caplog: pytest.LogCaptureFixture) -> None:
    """At DEBUG botocore logs what AWS answers, the secret in it."""
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, logger="botocore")
    made = _made(account.rotator(), _rotation(account))
    assert made.reveal_json("/secret_access_key") not in caplog.text


def test_an_admin_that_may_not_list_is_no_proof_of_a_revoke(account: Account) -> None:
    """The rotator's own refusal must never pass for the refusal of a value."""
    gone = account.new_key()
    r = _rotation(account)
    account.rotator().withdraw(r, _id(gone))
    weak = account.rotator(admin=lambda: account.current)
    with pytest.raises(UnavailableError, match="may not list"):
        weak.refuses(r, gone)
    assert account.rotator().refuses(r, gone)


def test_a_refused_key_that_is_active_still_counts_as_accepted(account: Account) -> None:
    """IAM is eventually consistent: what STS refuses now it may take in a second."""
    wrong = SecretValue.of({"access_key_id": _id(account.current), "secret_access_key": "x" * 40})
    with pytest.raises(UnavailableError, match="active"):
        account.rotator().refuses(_rotation(account), wrong)


def test_moto_takes_an_inactive_key(account: Account) -> None:
    """A lie of the double: AWS refuses it with InvalidClientTokenId, and it counts as refused."""
    key = _id(account.current)
    account.iam.update_access_key(UserName=account.user, AccessKeyId=key, Status="Inactive")
    assert not account.rotator().refuses(_rotation(account), account.current)


def test_refusals_of_the_rotator_itself_name_what_is_lacking(account: Account) -> None:
    """An operator reads which action to allow, or which user is not there; no error holds a key."""
    weak = account.rotator(admin=lambda: account.current)
    with pytest.raises(PermissionDeniedError, match="iam:ListAccessKeys") as denied:
        weak.create_secret(_rotation(account))
    with pytest.raises(SecretNotFoundError, match="no such user") as missing:
        account.rotator(user="nobody").listed(_rotation(account))
    for error in (denied.value, missing.value):
        assert_no_canary_in(error)
