"""Credentials that Vault or OpenBao makes on demand and that end: ``vault-leased://HOST:PORT/MOUNT``.

The name ``app`` stands for ``MOUNT/creds/app``. One lease is shared by all threads. It is renewed on use,
ahead of its end, as a login is (`auth`): a background thread would keep credentials alive in programs that
need them no more. Where it cannot be renewed for long enough, a successor is made while it still lives, and
it lives on for `GRACE`, so that sessions under it need not end at once. A lease ends with the login that it
was made with: under a new login it is made anew.

The store over it caches nothing: what is held here is the cache, and it never serves past a lease's end.
"""

from __future__ import annotations

import json
import math
from abc import abstractmethod
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Self

from strongroom.backend import Backend, Secret, Stage
from strongroom.errors import (
    InvalidRequestError,
    PermissionDeniedError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.names import Key, Name
from strongroom.value import SecretValue

from . import _errors
from .address import Address
from .client import VaultClient
from .leases import Issued, Lease, Slot
from .place import whoami
from .transport import Answer, Request, json_body

if TYPE_CHECKING:
    from strongroom.backend import Settings
    from strongroom.names import StoreURL

__all__ = ["Issued", "LeasedCredentials", "Leases", "leased"]

GRACE = 600.0
"""Seconds for which a replaced lease is left to its sessions; the option ``grace`` says otherwise."""
REISSUE_INTERVAL = 30.0
"""Seconds between two leases made for the same name because a target refused one that Vault says is alive: a
target that refuses everybody would otherwise be filled with roles."""
CLOSE_SECONDS = 5.0
"""For how long close goes on to begin revocations; what is left ends by itself."""
_PAUSE = 1.0
"""Seconds for which nobody asks again after Vault did not answer and there was no lease to serve."""
_JITTER = 0.1
"""The part of a lease's life by which its renewal may come earlier, so that a fleet's are spread."""


class Leases(Backend):
    """Keeps one lease for each name; a subclass says how the engine makes one.

    Args:
        address: the server and where its engine is mounted.
        settings: how to get there. Options: ``grace``, see `GRACE`; ``at_close``: ``revoke`` (the default) or
            ``leave``, for a program that hands a lease to one that outlives it.

    Raises:
        InvalidRequestError: a credential is missing, a PEM file cannot be read, or an option is not of these.
    """

    leases = True
    read_only = "the engine makes what it gives; nothing is written to it"
    loggers = ("hvac", "requests", "urllib3")
    option_keys: ClassVar[tuple[str, ...] | None] = ("at_close", "grace", "namespace")
    default_grace: ClassVar[float] = GRACE

    def __init__(self, address: Address, settings: Settings):
        self.origin = f"{self.scheme}:{address.origin.partition(':')[2]}"
        self._address = address
        self._clock = settings.clock
        self._client = VaultClient(address, settings)
        self._grace = _seconds(settings.options.get("grace", self.default_grace))
        self._leaves = _leaves(settings.options.get("at_close", "revoke"))
        self._principal: str | None = None
        self._slots: dict[str, Slot] = {}

    @classmethod
    def from_url(cls, url: StoreURL, settings: Settings) -> Self:
        return cls(Address.of_engine(url, settings), settings)

    @staticmethod
    def error_for(exc: Exception, operation: str) -> SecretStoreError | None:
        return _errors.error_for(exc, operation)

    @abstractmethod
    def issue(self, name: Name) -> Issued:
        """Have the engine make one: its one request.

        Raises:
            SecretNotFoundError: the engine knows no such role.
            SecretStoreError: as `VaultClient.read`.
        """

    def lives(self, issued: Issued) -> bool:
        """Whether Vault says that it is still good. What cannot be told counts as good.

        Raises:
            UnavailableError: Vault does not answer.
        """
        if not issued.lease_id:
            return True
        body = json_body({"lease_id": issued.lease_id})
        try:
            answer = self._client.read(Request("refresh", "POST", "sys/leases/lookup", body))
        except PermissionDeniedError:  # the policy does not let us ask
            return True
        except InvalidRequestError:
            return False
        left = answer.data.get("ttl")
        return (
            isinstance(left, int | float) and left > 0
        )  # while it is being revoked it is still listed, at 0

    def revoke(self, issued: Issued) -> None:
        """End it before its time.

        Raises:
            SecretStoreError: as `VaultClient.write`.
        """
        if issued.lease_id:
            body = json_body({"lease_id": issued.lease_id})
            self._client.write(Request("close", "POST", "sys/leases/revoke", body))

    def get(self, key: Key, version: str | Stage) -> Secret:
        if not isinstance(key, Name):
            raise SecretNotFoundError("the engine holds nothing but what it makes")
        if version is not Stage.CURRENT:
            return self._held(key, version)
        slot = self._slots.get(key.text) or self._slots.setdefault(key.text, Slot(key))
        lease = slot.lease
        if lease is None or not self._is_warm(slot, lease):
            lease = self._attended(slot)
        return lease.secret

    def refused(self, key: Key, version: str) -> None:
        slot = self._slots.get(str(key))
        if slot is None:
            return
        tries = slot.tries
        with slot.lock:
            lease = slot.lease
            if lease is None or lease.issued.version != version:
                return  # another thread was faster
            if slot.tries != tries:  # another thread asked meanwhile, and this is what came of it
                if slot.failure is not None:
                    raise slot.failure.with_traceback(None)
                return
            slot.tries += 1
            try:
                slot.failure = None
                self._replace(slot, lease)
            except SecretStoreError as error:
                slot.failure = error
                raise

    def principal(self) -> str | None:
        if self._principal is None:
            self._principal = whoami(self._client)
        return self._principal

    def after_fork(self) -> None:
        """Forget the parent's leases without revoking them; the child has its own made."""
        self._slots = {}
        self._client.after_fork()

    def close(self) -> None:
        """Revoke what is held, unless it is to be left. Best effort: it would end by itself."""
        slots, self._slots = self._slots, {}
        if self._leaves:
            self._client.leave()
            return
        until = self._clock.monotonic() + CLOSE_SECONDS
        with suppress(SecretStoreError):  # what fails once fails again
            for lease in (lease for slot in slots.values() for lease in slot.held()):
                if self._clock.monotonic() < min(until, lease.ends_at):
                    self.revoke(lease.issued)
        self._client.close()

    def _replace(self, slot: Slot, lease: Lease) -> None:
        """Another in place of a refused lease: at once if it is dead, within bounds if it is not."""
        # Asking may have shown that the login is dead, and all that was made with it.
        alive, now = self.lives(lease.issued) and self._is_bound(lease), self._clock.monotonic()
        if not alive:
            slot.lease = None
        elif now - slot.reissued_at < REISSUE_INTERVAL:
            return
        self._succeed(slot, self._made(slot.name), lease if alive else None)
        if alive:
            slot.reissued_at = now

    def _held(self, key: Name, version: str | Stage) -> Secret:
        """A version by its id, as long as it lives."""
        slot, now = self._slots.get(key.text), self._clock.monotonic()
        for lease in slot.held() if slot else ():
            if lease.issued.version == version and now < lease.ends_at:
                return replace(lease.secret, stage=None)
        raise SecretNotFoundError("no such version", hint="leased credentials are read as they are now")

    def _is_warm(self, slot: Slot, lease: Lease) -> bool:
        """Whether there is nothing to do before this is served. Without I/O."""
        now = self._clock.monotonic()
        if now < slot.pause:
            return self._lives_on(lease, now)
        return now < self._due(slot, lease) and self._is_bound(lease)

    def _due(self, slot: Slot, lease: Lease) -> float:
        return min((lease.renew_at, self._client.login_due, *(at for _, at in tuple(slot.former))))

    def _is_bound(self, lease: Lease) -> bool:
        """Whether the login that it ends with is the one in use."""
        return not lease.issued.lease_id or lease.token is self._client.login

    def _lives_on(self, lease: Lease, now: float) -> bool:
        """Whether it may still be served."""
        if lease.issued.lease_id and lease.token is self._client.login:
            return now < min(lease.ends_at, self._client.login_end)
        return now < lease.ends_at

    def _attended(self, slot: Slot) -> Lease:
        """The lease to serve, after what was due. One thread does it; others get what still lives."""
        lease, tries = slot.lease, slot.tries
        waits = lease is None or not self._lives_on(lease, self._clock.monotonic())
        if not slot.lock.acquire(blocking=waits):
            assert lease is not None
            return lease
        try:
            return self._ahead(slot, tries)
        finally:
            slot.lock.release()

    def _ahead(self, slot: Slot, tries: int) -> Lease:
        lease, now = slot.lease, self._clock.monotonic()
        living = lease if lease is not None and self._lives_on(lease, now) else None
        if living is None and slot.failure is not None and (slot.tries != tries or now < slot.pause):
            raise slot.failure.with_traceback(None)
        if living is not None and self._is_warm(slot, living):
            return living
        slot.tries += 1
        try:
            slot.failure = None
            return self._kept(slot, living)
        except SecretStoreError as error:
            failure = error.with_traceback(None)
        return self._after(failure, slot, living)

    def _kept(self, slot: Slot, lease: Lease | None) -> Lease:
        """The lease renewed where that is due, or its successor."""
        self._client.token()
        self._end_former(slot)
        if lease is None:
            return self._succeed(slot, self._made(slot.name), None)
        if not self._is_bound(lease):
            return self._succeed(slot, self._made(slot.name), lease)
        if self._clock.monotonic() < lease.renew_at:
            return lease
        renewed = self._renewed(lease)
        if renewed is None:
            return self._succeed(slot, self._made(slot.name), lease)
        slot.lease, slot.pause = renewed, -math.inf
        return renewed

    def _after(self, failure: SecretStoreError, slot: Slot, living: Lease | None) -> Lease:
        """What is served though nothing could be made: what still lives, to its end."""
        now = self._clock.monotonic()
        if living is None or not self._lives_on(living, now):
            slot.failure = failure
            if isinstance(failure, UnavailableError):
                slot.pause = now + _PAUSE
            elif slot.lease is None:
                self._slots.pop(slot.name.text, None)  # names that nobody knows take no memory
            raise failure
        slot.pause = now + max(_PAUSE, (living.ends_at - now) / 4)
        slot.lease = replace(living, secret=replace(living.secret, stale=True))
        return slot.lease

    def _made(self, name: Name) -> Lease:
        began = self._clock.monotonic()
        issued = self.issue(name)
        created = issued.created_at or self._clock.now()
        secret = Secret(name.text, issued.value, issued.version, Stage.CURRENT, self.origin, created)
        return self._timed(Lease(issued, secret, self._client.used, began, began), began, issued.seconds)

    def _timed(self, lease: Lease, began: float, seconds: float) -> Lease:
        early = 2 / 3 - _JITTER * self._clock.chance()
        secret = replace(lease.secret, confirmed_at=self._clock.now(), stale=False)
        return replace(lease, secret=secret, renew_at=began + seconds * early, ends_at=began + seconds)

    def _succeed(self, slot: Slot, lease: Lease, former: Lease | None) -> Lease:
        """The lease becomes what is served; the former one, if it lives, lives out its grace."""
        now = self._clock.monotonic()
        if former is not None and now < former.ends_at:
            slot.former.append((former, min(now + self._grace, former.ends_at)))
        slot.lease, slot.pause, slot.failure = lease, -math.inf, None
        self._slots.setdefault(slot.name.text, slot)  # it may have been dropped while we waited
        return lease

    def _end_former(self, slot: Slot) -> None:
        """Revoke what was replaced long enough ago; what Vault does not take now ends by itself."""
        now = self._clock.monotonic()
        due = [lease for lease, at in slot.former if at <= now]
        slot.former = [(lease, at) for lease, at in slot.former if at > now]
        with suppress(SecretStoreError):
            for lease in due:
                if now < lease.ends_at:
                    self.revoke(lease.issued)

    def _renewed(self, lease: Lease) -> Lease | None:
        """The lease renewed; None if it ends soon all the same, is gone, or may not be renewed.

        Raises:
            UnavailableError: Vault does not answer.
        """
        if not lease.issued.renewable or not lease.issued.lease_id:
            return None
        began, full = self._clock.monotonic(), lease.issued.seconds
        body = json_body({"lease_id": lease.issued.lease_id, "increment": math.ceil(full)})
        try:
            answer = self._client.write(Request("get", "POST", "sys/leases/renew", body))
        except UnavailableError:
            raise
        except SecretStoreError:  # gone, or the policy forbids it: a successor needs neither
            return None
        if self._client.used is not lease.token:  # which the request showed to be dead, and the lease with it
            return None
        seconds = answer.lease["lease_duration"] if answer else None
        if not isinstance(seconds, int | float) or seconds < full / 2:  # its maximum is near
            return None
        return self._timed(lease, began, seconds)


class LeasedCredentials(Leases):
    """What ``MOUNT/creds/NAME`` gives, as JSON: of the database engine a ``username`` and a ``password``."""

    scheme = "vault-leased"

    def issue(self, name: Name) -> Issued:
        path = f"{self._address.mount}/creds/{name.text}"
        request = Request("get", "GET", path, grant=path)
        return leased(self._client.read(request))


def leased(answer: Answer) -> Issued:
    """What an answer with a lease holds, as JSON.

    Raises:
        UnavailableError: it holds no lease.
    """
    id_, seconds = answer.lease["lease_id"], answer.lease["lease_duration"]
    if not isinstance(id_, str) or not id_ or not answer.data:
        raise _errors.garbage("get")
    if not isinstance(seconds, int | float) or seconds <= 0:
        raise _errors.garbage("get")
    value = SecretValue(json.dumps(dict(answer.data), ensure_ascii=False, separators=(",", ":")))
    renewable = answer.lease["renewable"] is True
    return Issued(value, id_.rpartition("/")[2], float(seconds), id_, renewable)


def _leaves(at_close: object) -> bool:
    if at_close not in ("revoke", "leave"):
        raise InvalidRequestError("at_close is revoke or leave")
    return at_close == "leave"


def _seconds(text: object) -> float:
    try:
        seconds = float(str(text))
    except ValueError:
        seconds = -1.0
    if seconds >= 0:  # not a number is neither
        return seconds
    raise InvalidRequestError("grace is seconds, zero or more")
