"""Secrets Manager calls a Lambda four times for each rotation; these calls are its schedule.

The ClientRequestToken is the rotation id, and the id of the version that waits under AWSPENDING: Secrets
Manager made it, without a value, before it called. Each call goes as far as its step says, from wherever the
ledger says that the rotation is; so one that comes twice, late or out of order does what is left to do of
its own part, and nothing of a rotation that Secrets Manager does not run.
https://docs.aws.amazon.com/secretsmanager/latest/userguide/rotate-secrets_lambda-functions.html
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from strongroom import retry
from strongroom.clock import Clock
from strongroom.companion import check_rotation_id
from strongroom.errors import InvalidRequestError, SecretConflictError, SecretNotFoundError, UnavailableError
from strongroom.rotation.ledger import State
from strongroom.rotation.policy import secret_of
from strongroom.rotation.rotator import Rotation
from strongroom.value import SecretValue

from . import ages
from .hints import LIMIT
from .opening import Opened, bearing, configuration, location, of_one_secret, opened

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from contextlib import AbstractContextManager
    from os import PathLike

    from strongroom.audit.event import AuditHook
    from strongroom.config import Config
    from strongroom.rotation.ledger import Entry
    from strongroom.rotation.policy import Policy

GRACE: Final = timedelta(hours=2)
"""Longer than the hour for which AWS's own caching clients keep a value (SecretCacheConfig)."""
VISIBLE: Final = 30.0
"""Seconds after which a label that was set is seen in reads, or is not there."""
_ARN: Final = re.compile(r"arn:aws[\w-]*:secretsmanager:(?P<region>[\w-]+):\d{12}:secret:(?P<name>.+)-\w{6}")
_LOCATION: Final = re.compile(r"arn:aws[\w-]*:secretsmanager:(?P<region>[\w-]+)::secret:(?P<name>.+)")
_PROVED: Final = {
    "createSecret": State.CREATED,
    "setSecret": State.SET,
    "testSecret": State.TESTED,
    "finishSecret": State.PROMOTED,
}
_ORDER: Final = [*_PROVED.values(), State.GRACE, State.REVOKING, State.DONE]


@dataclass(frozen=True)
class Call:
    """One event of Secrets Manager.

    Attributes:
        region: from the ARN; empty if the event has a bare name.
        name: the secret's whole name.
        token: the ClientRequestToken.
        step: which of the four.
        rotation_token: what proves across accounts that Secrets Manager asked.
    """

    region: str
    name: str
    token: str
    step: str
    rotation_token: SecretValue | None = field(default=None, repr=False)

    @classmethod
    def taken(cls, event: dict[str, Any]) -> Call:
        """Read an event, and take the RotationToken out of it: what logs the event later has none to show.

        Raises:
            InvalidRequestError: it is not Secrets Manager's.
        """
        given = event.pop("RotationToken", None)
        proof = SecretValue(given) if isinstance(given, str) and given else None
        given = None
        texts = [event.get(key) for key in ("SecretId", "ClientRequestToken", "Step")]
        if not all(isinstance(text, str) and text for text in texts):
            hint = "it has SecretId, ClientRequestToken and Step"
            raise InvalidRequestError("not an event of Secrets Manager's rotation", hint=hint)
        secret, token, step = map(str, texts)
        if step not in _PROVED:
            raise InvalidRequestError("not a step of Secrets Manager's rotation", hint=", ".join(_PROVED))
        if not _is_rotation_id(token):
            hint = "Secrets Manager makes one; a token of one's own must be a UUID in lower case"
            raise InvalidRequestError("the ClientRequestToken is no UUID", hint=hint)
        found = _ARN.fullmatch(secret)
        return cls(found["region"] if found else "", found["name"] if found else secret, token, step, proof)


class Function:
    """A Lambda's handler: ``handler = Function(rotator="acme.rotators:Ledger")``.

    Args:
        rotator: ``package.module:Class``, for every secret that the configuration does not name; it is made
            without arguments.
        config: a strongroom.toml; without one, ``STRONGROOM_CONFIG`` names it, or it lies in the folder that
            the function starts in.
        grace: how long the previous value of a secret that the configuration does not name goes on working.
        endpoint: of Secrets Manager, for such a secret, where it is not AWS's own.
        hooks: called before and after every operation.
        clock: injected in tests.
    """

    def __init__(
        self,
        rotator: str | None = None,
        *,
        config: str | PathLike[str] | Config | None = None,
        grace: timedelta = GRACE,
        endpoint: str | None = None,
        hooks: Sequence[AuditHook] = (),
        clock: Clock | None = None,
    ):
        self._rotator, self._config, self._grace, self._endpoint = rotator, config, grace, endpoint
        self._hooks, self._clock = hooks, clock or Clock()

    def __call__(self, event: dict[str, Any], context: object = None) -> dict[str, str]:
        """Do what one event asks for: a step of Secrets Manager's, or of a timer's all that is due.

        Returns:
            the rotation's state, by its id.

        Raises:
            InvalidRequestError: no such event, or no rotation of this secret.
            SecretConflictError: Secrets Manager does not run this rotation, or another is open.
            UnavailableError: the step is not done; Secrets Manager calls again.
        """
        if event.get("source") in ("aws.events", "aws.scheduler"):
            return self._tick()
        call = Call.taken(event)
        with self._opened(call) as found:
            policy = _policy(found.policies, call)
            if policy is None:
                raise InvalidRequestError("no rotation is configured for this secret", hint="see --rotator")
            return _answer(_Steps(found, policy, call, self._clock, _seconds(context)).run(), call)

    def _opened(self, call: Call) -> AbstractContextManager[Opened]:
        """A value that the target rejects is not replaced: a version's value is for ever, and AWS wants this
        version; the rotation ends, and the next has a token of its own.
        """
        config = bearing(self._configuration(call), call.rotation_token)
        return opened(
            config, hooks=self._hooks, clock=self._clock, each=lambda policy: replace(policy, replaces=0)
        )

    def _configuration(self, call: Call) -> Config:
        config = configuration(self._config)
        if self._rotator is None or (config.rotations and self._names(config, call)):
            return config
        if not call.region:
            hint = "SecretId is not an ARN"
            raise InvalidRequestError("the event does not say in which region the secret is", hint=hint)
        url = f"aws-sm://{call.region}"
        return of_one_secret(url, call.name, self._rotator, grace=self._grace, endpoint=self._endpoint)

    def _names(self, config: Config, call: Call) -> bool:
        with opened(config, hooks=self._hooks, clock=self._clock) as found:
            return _policy(found.policies, call) is not None

    def _tick(self) -> dict[str, str]:
        with opened(configuration(self._config), hooks=self._hooks, clock=self._clock) as found:
            states = found.engine.tick(LIMIT).states
            ages.tell(found, self._clock.now())
            return states


class _Steps:
    """One step of one rotation."""

    def __init__(self, found: Opened, policy: Policy, call: Call, clock: Clock, seconds: float):
        self._found, self._policy, self._call = found, policy, call
        self._clock, self._seconds = clock, seconds

    def run(self) -> Entry | None:
        """Do it; None if there was nothing to rotate, but a configuration to try."""
        if self._is_recorded():
            return self._require(self._advanced())
        if self._call.step == "testSecret":
            self._try()
            return None
        self._begin()
        return self._require(self._advanced())

    def _is_recorded(self) -> bool:
        try:
            entry = self._found.ledger.get(self._call.token)
        except SecretNotFoundError:
            return False
        if entry.secret != secret_of(self._policy):
            raise SecretConflictError("this token is another secret's rotation")
        return True

    def _try(self) -> None:
        """RotateSecret with RotateImmediately off runs this step alone, on a version without a value.

        https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_RotateSecret.html
        """
        policy = self._policy
        value = policy.store.get(policy.name).value
        error = None
        try:
            policy.rotator.test_secret(Rotation(self._call.token, policy.name, current=value), value)
        except Exception as exc:  # noqa: BLE001  (a hook is a stranger's code; its text may hold a credential)
            error = type(exc).__name__
        if error:
            raise UnavailableError(f"{error}: the target does not accept the current value")

    def _begin(self) -> None:
        if self._call.step != "createSecret":
            hint = "createSecret comes first"
            raise SecretConflictError("no rotation was begun under this token", hint=hint)
        self._require_awaited()
        secret, engine = secret_of(self._policy), self._found.engine
        for entry in engine.status(secret):
            if entry.state.open:  # its grace may be over: AWS's events are all that wakes this function
                engine.advance(entry.id)
        engine.start(secret, rotation_id=self._call.token)

    def _require_awaited(self) -> None:
        """Secrets Manager has made the version that it wants a value for, though reads may not show it yet.

        Or whoever may invoke the function could rotate, and a call that comes days late would.
        """
        clock, policy = self._clock, self._policy
        until, attempt = clock.monotonic() + min(VISIBLE, self._seconds), 1
        while policy.store.describe(policy.name).foreign != self._call.token:
            if clock.monotonic() >= until:
                hint = "RotateSecret starts one"
                raise SecretConflictError("Secrets Manager awaits no value under this token", hint=hint)
            clock.sleep(retry.pause(attempt))
            attempt += 1

    def _advanced(self) -> Entry:
        """What failed, and not in a hook, is mostly a read that lags behind the step before: it waits."""
        step, clock = self._call.step, self._clock
        until = None if step == "finishSecret" else _PROVED[step]
        end = clock.monotonic() + min(VISIBLE, self._seconds)
        while True:
            entry = self._found.engine.advance(self._call.token, until=until)
            pause = max(1.0, (entry.due - self._found.ledger.now()).total_seconds())
            if self._is_proved(entry) or not _may_lag(entry) or clock.monotonic() + pause > end:
                return entry
            clock.sleep(pause)

    def _is_proved(self, entry: Entry) -> bool:
        wanted = _ORDER.index(_PROVED[self._call.step])
        return entry.state in _ORDER and _ORDER.index(entry.state) >= wanted

    def _require(self, entry: Entry) -> Entry:
        """Secrets Manager takes a return for success, and goes on to the next step."""
        step = self._call.step
        if self._is_proved(entry):
            return entry
        if entry.state.open and entry.state is not State.ORPHANED:
            raise UnavailableError(f"{step} is not done: {entry.error or entry.state.value}")
        hint = "strongroom rotation status" if entry.state.open else "let Secrets Manager begin another"
        raise SecretConflictError(f"the rotation is {entry.state.value}", hint=hint)


def _may_lag(entry: Entry) -> bool:
    failed_in_hook = " in " in (entry.error or "")
    return entry.state.open and entry.state is not State.ORPHANED and not failed_in_hook


def _seconds(context: object) -> float:
    """How long the function may still wait and then do its step, by what Lambda tells of its time-out."""
    left = getattr(context, "get_remaining_time_in_millis", None)
    return left() / 1000 / 2 if left else VISIBLE


def _policy(policies: Iterable[Policy], call: Call) -> Policy | None:
    """The one policy of the secret that is meant.

    Raises:
        InvalidRequestError: a bare name, and it stands in several regions.
    """
    found = [policy for policy in policies if _is_of(policy, call)]
    if len(found) > 1:
        raise InvalidRequestError("several secrets have this name", hint="SecretId must be an ARN")
    return found[0] if found else None


def _is_of(policy: Policy, call: Call) -> bool:
    here = _LOCATION.fullmatch(location(policy))
    return here is not None and here["name"] == call.name and call.region in ("", here["region"])


def _is_rotation_id(token: str) -> bool:
    """In its canonical form: it is a version's id as well, and ids are compared as they stand."""
    with suppress(InvalidRequestError):
        return check_rotation_id(token) == token
    return False


def _answer(entry: Entry | None, call: Call) -> dict[str, str]:
    return {call.token: entry.state.value} if entry else {}
