"""The kill matrix: an exception, a kill and a lost answer between every two backend calls of every write.

FaultyBackend stands where the provider's requests leave: under Encrypted, and as failover's first member.
What breaks between two requests that a backend itself sends is played at the wire, beside that backend.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from strongroom import pairs, stages
from strongroom.backend import Backend, Capability, SecretVersion, Settings, Stage
from strongroom.errors import SecretConflictError, SecretNotFoundError, SecretStoreError
from strongroom.layers.edge import edge
from strongroom.layers.encrypted import Encrypted
from strongroom.layers.failover import Failover
from strongroom.memory import ALL, MemoryBackend
from strongroom.names import Name
from strongroom.registry import open_backend
from strongroom.stages import supports_pending
from strongroom.store import SecretStore
from strongroom.testing.aws import StrictServer
from strongroom.testing.faults import FaultyBackend, Killed, Raised, kill, lost_answer, unavailable
from strongroom.value import SecretValue
from tests.conformance.aws import aws
from tests.conformance.scenes import SCENES, Place, PromoteAfterPut, PurgeThenReuse, PutIf, Scene
from tests.conformance.support import encrypted
from tests.conformance.test_vault import vault
from tests.scale import NIGHTLY, stride
from tests.servers.openbao import OpenBao

Arrange = Callable[[Backend], Backend]
BREAKS: dict[str, tuple[Raised, bool]] = {
    "exception before": (unavailable, False),
    "kill before": (kill, False),
    "lost answer": (lost_answer, True),
    "kill after": (kill, True),
}
ARRANGEMENTS: dict[str, Callable[[Arrange], Arrange]] = {
    "bare": lambda arrange: arrange,
    "behind failover": lambda arrange: lambda raw: Failover({"one": arrange(raw), "two": MemoryBackend()}),
}


def play(raw: Backend, arrange: Arrange, scene_type: type[Scene], *, every: int = 1) -> int:
    """Play a scene whole, then broken at every call in every way (or in one of `every`, in turn); the number
    of times it was broken."""
    place = _place(raw, arrange)
    if not _possible(scene_type, place.capabilities):
        pytest.skip(f"{raw.origin} does not declare what {scene_type.__name__} needs")
    calls = sum(_broken(raw, arrange, scene_type(place), None, 0, after=False).values())
    ways = [(number, way) for number in range(calls) for way in range(len(BREAKS))]
    chosen = [(number, way) for number, way in ways if (number + way) % every == 0]
    for number, way in chosen:
        raises, after = list(BREAKS.values())[way]
        _broken(raw, arrange, scene_type(place), raises, number, after=after)
    return len(chosen)


def _broken(
    raw: Backend, arrange: Arrange, scene: Scene, raises: Raised | None, skip: int, *, after: bool
) -> dict[str, int]:
    scene.prepare()
    faulty = FaultyBackend(edge(raw))
    if raises:
        faulty.fault("*", raises, after=after, skip=skip)
    error: BaseException | None = None
    try:
        scene.act(SecretStore(arrange(faulty), cache=None))
    except (SecretStoreError, Killed) as broke:
        error = broke
    assert raises or error is None, f"unbroken, it failed: {error}"
    scene.judge(error)
    scene.finish(scene.place.fresh())
    return faulty.calls


def _place(raw: Backend, arrange: Arrange) -> Place:
    def native(name: str) -> SecretValue | None:
        with suppress(SecretNotFoundError):
            return edge(arrange(raw)).get(Name(name), Stage.CURRENT).value
        return None

    capabilities = edge(arrange(raw)).capabilities
    return Place(lambda: SecretStore(arrange(edge(raw)), cache=None), native, capabilities)


def _possible(scene: type[Scene], capabilities: Capability) -> bool:
    return scene.needs in capabilities and (not scene.pends or supports_pending(capabilities))


@pytest.fixture(params=SCENES, ids=lambda scene: scene.__name__)
def scene(request: pytest.FixtureRequest) -> type[Scene]:
    found: type[Scene] = request.param
    return found


@pytest.fixture(params=ARRANGEMENTS.values(), ids=list(ARRANGEMENTS))
def arrangement(request: pytest.FixtureRequest) -> Callable[[Arrange], Arrange]:
    found: Callable[[Arrange], Arrange] = request.param
    return found


@pytest.fixture(params=[lambda raw: raw, encrypted], ids=["bare", "encrypted"])
def inner(request: pytest.FixtureRequest) -> Arrange:
    found: Arrange = request.param
    return found


def _bare(raw: Backend) -> Backend:
    return raw


def _every(layers: Arrange) -> int:
    """Over a server by day each call is broken in two ways of the four, in turn; under all layers in one."""
    if layers is _bare:
        return stride(2, "ways of four to break a call over a server")
    return stride(4, "ways of four to break a call over a server, under all layers")


def _both_ways() -> dict[str, Arrange]:
    """For servers, whose calls take time: by day bare and with all layers, at night every combination."""
    failover = ARRANGEMENTS["behind failover"]
    by_day = {"bare": _bare, "encrypted behind failover": failover(encrypted)}
    at_night = {"encrypted": encrypted, "behind failover": failover(lambda raw: raw)}
    return by_day | (at_night if NIGHTLY else {})


@pytest.fixture(params=_both_ways().values(), ids=list(_both_ways()))
def layers(request: pytest.FixtureRequest) -> Arrange:
    found: Arrange = request.param
    return found


def test_memory(scene: type[Scene], arrangement: Callable[[Arrange], Arrange], inner: Arrange) -> None:
    """Native pending values."""
    assert play(MemoryBackend(), arrangement(inner), scene)


def test_memory_with_a_companion(
    scene: type[Scene], arrangement: Callable[[Arrange], Arrange], inner: Arrange
) -> None:
    """Every step of a pending value is a call of its own."""
    assert play(MemoryBackend(ALL & ~Capability.NATIVE_PENDING), arrangement(inner), scene)


def _purges_the_secret_first(monkeypatch: pytest.MonkeyPatch) -> None:
    act = pairs.delete.__globals__["_both"]
    pair = pairs.delete.__globals__["_pair"]
    monkeypatch.setattr(pairs, "purge", lambda backend, name: act(backend.purge, *pair(backend, name)))


def _promotes_over_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    def blindly(pending: Any, held: Any) -> SecretVersion:
        version: SecretVersion = pending._backend.put(pending._name, held.value, None)
        return version

    monkeypatch.setattr(stages.Pending, "_make_current", blindly)
    monkeypatch.setattr(stages.Pending, "_promoted", lambda *_: None)


def _calls_a_lost_answer_a_conflict(monkeypatch: pytest.MonkeyPatch) -> None:
    conflict = (lambda: SecretConflictError("lost"), True)
    monkeypatch.setitem(BREAKS, "lost answer", conflict)


@pytest.mark.parametrize(
    ("breakage", "scene_type"),
    [
        (_purges_the_secret_first, PurgeThenReuse),
        (_promotes_over_anything, PromoteAfterPut),
        (_calls_a_lost_answer_a_conflict, PutIf),
    ],
)
def test_the_matrix_catches_a_broken_order(
    monkeypatch: pytest.MonkeyPatch,
    breakage: Callable[[pytest.MonkeyPatch], None],
    scene_type: type[Scene],
) -> None:
    """Each of these more obvious designs fails its scene."""
    breakage(monkeypatch)
    with pytest.raises((AssertionError, SecretStoreError, pytest.fail.Exception)):
        play(MemoryBackend(ALL & ~Capability.NATIVE_PENDING), lambda raw: raw, scene_type)


def test_local(scene: type[Scene], arrangement: Callable[[Arrange], Arrange], tmp_path: Path) -> None:
    """The embedded store, which exists only encrypted."""
    (tmp_path / "db").mkdir(mode=0o700)
    settings = Settings(options={"keyset": str(tmp_path / "keyset.json")})
    raw = open_backend(f"local://{tmp_path}/db/secrets.db?create=keyset", settings)
    key, domain = raw.own_key(), raw.domain
    assert key is not None
    assert domain is not None
    assert play(raw, arrangement(lambda backend: Encrypted(backend, [key], domain)), scene)


@pytest.fixture(scope="module")
def strict() -> Iterator[str]:
    with StrictServer() as server:
        yield server.url


@pytest.fixture(scope="module")
def secrets_manager(strict: str) -> Backend:
    return aws(strict)


def test_aws(secrets_manager: Backend, scene: type[Scene], layers: Arrange) -> None:
    """Secrets Manager by the strict double's rules."""
    assert play(secrets_manager, layers, scene, every=_every(layers))


def test_vault(
    openbao_server: OpenBao,
    kv2_mount: str,
    scene: type[Scene],
    layers: Arrange,
) -> None:
    """A companion on the real OpenBao."""
    assert play(vault(openbao_server, kv2_mount), layers, scene, every=_every(layers))
