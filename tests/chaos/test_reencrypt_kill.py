"""Re-encryption of a store under SIGKILL, beside a writer that never stops: resumed, and nothing is lost."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from strongroom.backend import Backend
from strongroom.errors import SecretConflictError
from strongroom.layers.encrypted import Encrypted
from strongroom.localkey import LocalKey
from strongroom.reencryption import reencrypt_store
from strongroom.store import SecretStore
from tests.canary import CANARY
from tests.chaos.forked import Forked, Say
from tests.conformance.support import Counter
from tests.conformance.test_vault import vault
from tests.scale import NIGHTLY, scaled
from tests.servers.openbao import OpenBao
from tests.unit.local_support import encrypted, local

pytestmark = pytest.mark.timeout(600)

NAMES = 8
Opens = Callable[[], Backend]


def key(name: str) -> LocalKey:
    return LocalKey(name.encode().ljust(32), name=name, counter=Counter())


def store(opens: Opens, *keys: str, old: tuple[str, ...] = ()) -> SecretStore:
    layer = Encrypted(opens(), [key(name) for name in keys], "prod", old_keys=[key(name) for name in old])
    return SecretStore(layer, cache=None)


def run(opens: Opens, prefix: str, say: Say) -> None:
    """The run that is killed."""
    with store(opens, "new", old=("old",)) as moving:
        say(0)
        reencrypt_store(moving, prefix, progress=lambda count, _: say(count))


def write(opens: Opens, name: str, say: Say) -> None:
    """An application that counts up by compare-and-set, and is not configured with the new key."""
    with store(opens, "old", old=("new",)) as mine:
        number = 0
        while True:
            seen = mine.get(name)
            with suppress(SecretConflictError):  # the run was faster: read what it wrote
                mine.put(name, f"{CANARY}-{number + 1}", if_version=seen.version)
                number += 1
                say(number)


def play(opens: Opens, prefix: str, dice: random.Random) -> int:
    """One run that is killed, and one that finishes it; how many secrets the first one had done."""
    names = [f"{prefix}n{number}" for number in range(NAMES)]
    busy = f"{prefix}busy"
    with store(opens, "old") as before:
        for name in names:
            before.put(name, f"{CANARY}-{name}")
        before.put(busy, f"{CANARY}-0")
    children = [Forked(partial(run, opens, prefix)), Forked(partial(write, opens, busy))]
    for _ in range(dice.randrange(NAMES)):
        children[0].hear()
    children[0].hear(dice.random() / 100)  # an instant that no step of the run determines
    children[0].kill()
    said = children[1].hear()
    children[1].kill()
    said = max([said or 0, *children[1].rest()])
    assert [child.wait() for child in children][1] == -9
    return finished(opens, prefix, names, (busy, said))


def finished(opens: Opens, prefix: str, names: list[str], counted: tuple[str, int]) -> int:
    busy, said = counted
    with store(opens, "new", old=("old",)) as moving:
        assert all(moving.get(name).value.matches(f"{CANARY}-{name}") for name in names)
        report = reencrypt_store(moving, prefix)
        assert (report.left, len(report.done) + report.already) == ([], NAMES + 1)
        assert {len(moving.versions(name)) for name in names} == {2}, "none was written anew twice"
        assert any(moving.get(busy).value.matches(f"{CANARY}-{number}") for number in (said, said + 1))
    with store(opens, "new") as after:
        assert all(after.get(name).value.matches(f"{CANARY}-{name}") for name in names)
    return NAMES - len(set(report.done) - {busy})


def test_a_killed_run_over_the_embedded_store_is_resumed(tmp_path: Path) -> None:
    """At whatever instant: every value is whole, none is written twice, and the writer lost nothing."""
    local(tmp_path).close()
    dice, opens = random.Random(4), lambda: encrypted(local(tmp_path, None, timeout=60))
    counts = [play(opens, f"r{number}/", dice) for number in range(scaled(40, "kills of a run, embedded"))]
    assert len(set(counts)) > 1 or not NIGHTLY, "the kills came at different points"


def test_a_killed_run_over_vault_is_resumed(openbao_server: OpenBao, kv2_mount: str) -> None:
    """The same, each step a request."""
    dice, opens = random.Random(5), lambda: vault(openbao_server, kv2_mount)
    counts = [play(opens, f"r{number}/", dice) for number in range(scaled(30, "kills of a run, Vault"))]
    assert len(set(counts)) > 1 or not NIGHTLY, "the kills came at different points"
