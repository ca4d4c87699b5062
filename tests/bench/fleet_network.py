"""A provider's service in simulated time: limits, outages, and what each request came to.

A few instances stand for all: each of their requests counts as many times as its instance stands for others.
Where a limit has room for a part of such a bundle, that part is let through: the one request is among it with
that chance, so that what is let through is right on average.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar

from strongroom.backend import Backend, Capability, Secret, Settings, Stage
from strongroom.errors import ProviderFault, SecretStoreError, UnavailableError
from strongroom.names import Key
from strongroom.retry import attempts
from strongroom.value import SecretValue

from .fleet_providers import Limit, Provider
from .fleet_world import START, World, WorldClock

T = TypeVar("T")
ROUND_TRIP: Final = 0.02
"""Seconds from a request to its answer, within a region."""
TIMEOUT: Final = 5.0
"""Seconds until a request to a region that is lost is given up: the library's default."""
VALUE: Final = SecretValue("simulated")
"""What every simulated secret is."""


class Bucket:
    """Room for so many requests, filled at the limit's rate, and at most as full as its count."""

    def __init__(self, limit: Limit, share: float = 1.0):
        self._most, self._rate = limit.calls * share, limit.rate * share
        self._room, self._at = self._most, 0.0

    def take(self, now: float, weight: float, chance: Callable[[], float]) -> bool:
        """Whether a request that counts `weight` times gets through."""
        self._room = min(self._most, self._room + (now - self._at) * self._rate)
        self._at = now
        taken = min(self._room, weight)
        self._room -= taken
        return taken == weight or chance() * weight < taken


class Service:
    """One provider in one region.

    Args:
        world: its time.
        provider: its limits.
        weight: how many instances each one here stands for.
        share: of the limits, that these instances have.

    Attributes:
        up: whether it answers at all.
        versions: the current version of each secret that was rotated; 1 of the others.
        let_through: requests that were answered, by their name and second.
        refused: requests that were throttled, by their name and second.
        lost: requests that nobody answered, by their name and second.
    """

    def __init__(self, world: World, provider: Provider, weight: float, share: float = 1.0):
        self.provider, self.up = provider, True
        self.versions: dict[str, int] = {}
        self.let_through: defaultdict[str, Counter[int]] = defaultdict(Counter)
        self.refused: defaultdict[str, Counter[int]] = defaultdict(Counter)
        self.lost: defaultdict[str, Counter[int]] = defaultdict(Counter)
        self._world, self._weight = world, weight
        self.squeeze(share)

    def squeeze(self, share: float) -> None:
        """From now on let only this share of the limits through."""
        self._buckets = {name: Bucket(limit, share) for name, limit in self.provider.limits.items()}

    def asked(self, request: str) -> Counter[int]:
        """How often it was asked for, by second."""
        return self.let_through[request] + self.refused[request] + self.lost[request]

    def answer(self, request: str) -> UnavailableError | None:
        """What comes of a request that is sent now; it takes its time."""
        now = self._world.now
        if not self.up:
            self.lost[request][int(now)] += 1
            self._world.sleep(TIMEOUT)
            return UnavailableError("no answer")
        bucket = self._buckets.get(request)
        passed = bucket is None or bucket.take(now, self._weight, self._world.chance.random)
        (self.let_through if passed else self.refused)[request][int(now)] += 1
        self._world.sleep(ROUND_TRIP)
        return None if passed else _throttled()


class SimulatedBackend(Backend):
    """A store at a `Service`, with as many requests as the provider's own backend makes.

    Batches of AWS go through that backend's own `read_batch`. Retries are the library's.
    """

    scheme = "simulated"

    def __init__(self, world: World, service: Service, region: str = "a", *, records: bool = False):
        self._service, self._provider, self._records = service, service.provider, records
        self._settings = Settings(clock=WorldClock(world))
        self._met: set[tuple[str, int]] = set()
        self.origin = f"simulated://{region}"
        self.capabilities = Capability.BATCH_GET if self._provider.batch else Capability(0)

    def get(self, key: Key, version: str | Stage) -> Secret:
        """One request; and one more for a version that is met for the first time, where that is so."""
        name = str(key)
        current = self.ask(self._provider.read, lambda: self.current(name))
        if self._provider.facts and (name, current) not in self._met:
            self.ask(self._provider.facts, lambda: 0)
            self._met.add((name, current))
        return self._secret(name, current)

    def meet(self, names: Sequence[str]) -> None:
        """As if the first version of each had been read before."""
        self._met.update((name, 1) for name in names)

    def get_many(self, keys: Sequence[Key]) -> Mapping[Key, Secret | SecretStoreError]:
        """In batches of twenty, and one by one what they leave out."""
        from strongroom_aws._batch import read_batch

        client: Any = _BatchClient(self)
        answers = read_batch(client, [str(key) for key in keys])
        return {key: self._batched(key, answers.get(str(key))) for key in keys}

    def _batched(self, key: Key, answer: Any) -> Secret | SecretStoreError:
        if isinstance(answer, SecretStoreError):
            return answer
        if answer is not None:
            return self._secret(str(key), answer["Version"])
        try:
            return self.get(key, Stage.CURRENT)
        except SecretStoreError as error:
            return error.with_traceback(None)

    def ask(self, request: str, look: Callable[[], T]) -> T:
        """One request, with the library's attempts; what it finds is what is there when it is sent."""

        def attempt() -> T | SecretStoreError:
            found = look()
            return self._service.answer(request) or found

        return attempts(self._settings, attempt, again=True)

    def current(self, name: str) -> int:
        """The version that a request sent now finds."""
        return self._service.versions.get(name, 1)

    def _secret(self, name: str, version: int) -> Secret:
        record = record_of(version) if self._records else None
        return Secret(
            name,
            VALUE,
            str(version),
            origin=self.origin,
            created_at=START,
            confirmed_at=START,
            record=record,
        )


class _BatchClient:
    """The AWS backend's client, as far as `read_batch` goes."""

    def __init__(self, backend: SimulatedBackend):
        self._backend = backend

    def read(self, action: str, *, SecretIdList: Sequence[str]) -> dict[str, Any]:  # noqa: N803
        found = self._backend.ask(
            action, lambda: [(name, self._backend.current(name)) for name in SecretIdList]
        )
        return {
            "SecretValues": [
                {"Name": name, "VersionStages": ["AWSCURRENT"], "Value": VALUE, "Version": version}
                for name, version in found
            ]
        }


def record_of(version: int) -> str:
    """What replication keeps of a version, the same in each region."""
    return f"v1.1.{version}.{version:032x}.{version:032x}"


def _throttled() -> UnavailableError:
    error = UnavailableError("throttled")
    error.__cause__ = ProviderFault("ClientError", code="ThrottlingException")
    return error
