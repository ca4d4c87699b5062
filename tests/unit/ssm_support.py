"""Parameter Store in memory under the real backend: the models' provider as its boto3 client, with faults."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Hashable
from typing import Any

from strongroom.backend import Backend, Settings, Stage
from strongroom.layers.edge import edge
from strongroom.names import Name, StoreURL
from strongroom.testing.clock import FakeClock
from strongroom.value import SecretValue
from strongroom_aws.parameter_store import ParameterStore
from tests.canary import CANARY
from tests.models.replay import Call, Lost, Refused
from tests.models.ssm import PortClient, Version, World, apply

KEY = Name("db/password")
FULL = "/prod/db/password"
Fault = Callable[[Callable[[], Hashable]], Hashable]


def value(label: str) -> SecretValue:
    """A secret text value."""
    return SecretValue(f"{CANARY} {label}")


class Account:
    """The model as a provider that answers at once.

    Attributes:
        calls: how often each call of the model was made.
    """

    def __init__(self, most: int = 100) -> None:
        self.world = World(most=most)
        self.calls: Counter[str] = Counter()
        self._faults: dict[str, deque[Fault]] = defaultdict(deque)

    def call(self, name: str, *args: Hashable) -> Any:
        """As `Port.call`."""
        self.calls[name] += 1
        faults = self._faults[name]
        perform = lambda: self.perform(name, *args)  # noqa: E731
        return faults.popleft()(perform) if faults else perform()

    def perform(self, name: str, *args: Hashable) -> Any:
        """A call that no fault meets and nobody counts: another program's."""
        self.world, answer = apply(self.world, Call(name, args))
        return answer

    def fault(self, name: str, *faults: Fault) -> None:
        """What the next calls of this name meet, one each."""
        self._faults[name].extend(faults)

    def versions(self, name: str = FULL) -> tuple[Version, ...]:
        """What is there."""
        return self.world.of(name)

    def texts(self, name: str = FULL) -> list[str]:
        """The labels of the values there, oldest first."""
        return [version.text.removeprefix(f"{CANARY} ") for version in self.versions(name)]


def performed(call: Callable[[], Hashable]) -> Hashable:
    """No fault."""
    return call()


def lost(call: Callable[[], Hashable]) -> Hashable:
    """It happened, and the answer did not arrive."""
    call()
    return Lost()


def dropped(_: Callable[[], Hashable]) -> Hashable:
    """It never arrived."""
    return Lost()


def refused(why: str) -> Fault:
    """AWS said no."""
    return lambda _: Refused(why)


def first(act: Callable[[], object]) -> Fault:
    """Something else happens right before it."""

    def fault(call: Callable[[], Hashable]) -> Hashable:
        act()
        return call()

    return fault


def store(account: Account, **settings: Any) -> Backend:
    """A process's backend in front of the account."""
    settings.setdefault("clock", FakeClock())
    opened = ParameterStore(StoreURL.parse("aws-ssm://eu-west-1/prod"), Settings(**settings))
    opened._client._sdk = PortClient(account)  # type: ignore[arg-type]
    return edge(opened)


def shown(backend: Backend) -> str:
    """The label of what is current."""
    return backend.get(KEY, Stage.CURRENT).value.reveal_text().removeprefix(f"{CANARY} ")
