"""Leases of the real OpenBao, for users of the real PostgreSQL, on a clock that tests move."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from strongroom.backend import Capability, Settings, Stage
from strongroom.errors import (
    InvalidRequestError,
    PermissionDeniedError,
    SecretNotFoundError,
    UnavailableError,
    UnsupportedOperationError,
)
from strongroom.names import Name
from strongroom.registry import open_backend
from strongroom.store import SecretStore
from strongroom.testing.conformance_safety import at_once
from strongroom_vault.leased import GRACE, REISSUE_INTERVAL
from tests.canary import not_ours
from tests.integration.vault_leased_support import FULL, HOUR, Engine, Scene
from tests.integration.vault_support import CuttingProxy, cutting_proxy, policy_token, token_auth
from tests.servers.openbao import OpenBao
from tests.servers.postgres import Postgres
from tests.servers.relay import Relay


@pytest.fixture(scope="module")
def shared_engine(openbao_server: OpenBao, postgres_server: Postgres) -> Engine:
    return Engine(openbao_server, postgres_server)


@pytest.fixture
def engine(shared_engine: Engine) -> Iterator[Engine]:
    yield shared_engine
    shared_engine.revoke_leases()
    shared_engine.until(set())
    shared_engine.role()
    shared_engine.user()


@pytest.fixture
def proxy(engine: Engine) -> Iterator[CuttingProxy]:
    """What stands before the server: it tells what was asked, and can keep requests from it."""
    with cutting_proxy(engine.bao.address) as proxy:
        yield proxy


@pytest.fixture
def scene(engine: Engine, proxy: CuttingProxy) -> Iterator[Scene]:
    scene = Scene(engine, proxy)
    yield scene
    scene.come_back()
    scene.store.close()


class TestLife:
    """Of one lease, from its making to its end."""

    def test_a_credential_is_made_on_first_use_and_then_served_from_memory(self, scene: Scene) -> None:
        """A warm read asks nobody."""
        first = scene.store.get("app")
        assert set(json.loads(first.value.reveal())) == {"username", "password"}
        assert scene.engine.leases() == {first.version}
        assert scene.asked(lambda: scene.store.get("app")) == []
        assert scene.store.get("app") == first

    def test_it_is_renewed_at_two_thirds_of_its_life(self, scene: Scene) -> None:
        """The version stays: nobody has to log in anew."""
        first = scene.store.get("app")
        scene.clock.advance(0.66 * HOUR)
        assert scene.asked(scene.version) == []
        scene.clock.advance(0.01 * HOUR)
        assert scene.asked(scene.version) == ["sys/leases/renew"]
        again = scene.store.get("app")
        assert again.version == first.version
        assert again.confirmed_at == scene.clock.now()
        assert not again.stale

    def test_a_fleets_renewals_are_spread(self, scene: Scene) -> None:
        """By up to a tenth of the life, earlier and never later."""
        scene.clock.spread = 1.0
        scene.version()
        scene.clock.advance(0.57 * HOUR)
        assert scene.asked(scene.version) == ["sys/leases/renew"]

    def test_near_its_maximum_a_successor_is_made_and_the_old_one_has_its_grace(self, scene: Scene) -> None:
        """Sessions under it have time to end."""
        first = scene.version()
        scene.engine.role(60, 60)
        scene.clock.advance(0.7 * HOUR)
        second = scene.version()
        assert second != first
        assert scene.engine.leases() == {first, second}
        assert scene.backend.get(Name("app"), first).version == first
        scene.engine.role()
        scene.clock.advance(GRACE)
        third = scene.version()  # the second lived a minute
        scene.engine.until({second, third})
        with pytest.raises(SecretNotFoundError):
            scene.backend.get(Name("app"), first)

    def test_grace_can_be_set(self, engine: Engine, proxy: CuttingProxy) -> None:
        """To nothing, say, where sessions do not need the lease."""
        scene = Scene(engine, proxy, grace=0)
        with scene.store:
            first = scene.version()
            second = scene.store.refresh("app", rejected=first).version
            assert scene.version() == second
            engine.until({second})

    def test_what_may_not_be_renewed_is_replaced_ahead(self, engine: Engine, proxy: CuttingProxy) -> None:
        """A policy without sys/leases costs new users, and no outage; lookup is not needed either."""
        policy = f'path "{engine.mount}/creds/*" {{ capabilities = ["read"] }}'
        scene = Scene(engine, proxy, token_auth(engine.bare_token(policy)))
        with scene.store:
            first = scene.version()
            scene.clock.advance(0.7 * HOUR)
            second = scene.version()
            assert second != first
            assert scene.store.refresh("app", rejected=second).version not in (first, second)

    def test_watchers_are_told_of_a_successor(self, scene: Scene) -> None:
        """As of any new version."""
        told: list[str] = []
        stop = scene.store.on_change("app", lambda old, new: told.append(new))
        first = scene.version()
        second = scene.store.refresh("app", rejected=first).version
        deadline = time.monotonic() + 10
        while second not in told and time.monotonic() < deadline:
            time.sleep(0.005)
        stop()
        assert told[-1] == second


class TestLogin:
    """What is made under a login ends with it."""

    def test_after_a_revoked_login_a_refused_credential_is_made_anew_at_once(self, scene: Scene) -> None:
        """Again and again: no interval stands against it."""
        version = scene.version()
        for _ in range(4):
            scene.engine.revoke_logins()
            new = scene.store.refresh("app", rejected=version).version
            assert new != version
            assert new in scene.engine.leases()
            version = new

    def test_a_login_that_another_name_found_dead_ends_all_that_it_made(self, scene: Scene) -> None:
        """Before anybody is refused."""
        scene.engine.role(name="other")
        first, other = scene.version(), scene.version("other")
        scene.engine.revoke_logins()
        assert scene.store.refresh("other", rejected=other).version != other
        assert scene.version() != first

    def test_a_login_that_cannot_be_renewed_is_replaced_and_its_leases_with_it_while_they_live(
        self, scene: Scene
    ) -> None:
        """A batch token is such a one."""
        scene.engine.user(token_type="batch", token_ttl="30m")
        first = scene.version()
        scene.clock.advance(0.49 * HOUR)
        second = scene.version()
        assert second != first
        assert scene.engine.leases() == {first, second}

    def test_nothing_is_served_past_the_end_of_its_login(self, scene: Scene) -> None:
        """However long the lease itself would be good."""
        scene.engine.user(token_ttl="30m")
        first = scene.version()
        scene.go_down()
        scene.clock.advance(0.49 * HOUR)
        assert scene.version() == first
        scene.clock.advance(0.02 * HOUR)
        with pytest.raises(UnavailableError):
            scene.store.get("app")

    def test_a_given_token_that_is_revoked_ends_in_an_error(
        self, engine: Engine, proxy: CuttingProxy
    ) -> None:
        """There is no way to another."""
        token = policy_token(engine.bao, FULL.format(mount=engine.mount))
        scene = Scene(engine, proxy, token_auth(token))
        with scene.store:
            version = scene.version()
            with not_ours():
                engine.root.auth.token.revoke(token)
            with pytest.raises(PermissionDeniedError):
                scene.store.refresh("app", rejected=version)


class TestRefusal:
    """A target that does not take what is served."""

    def test_a_dead_lease_is_made_anew_at_once(self, scene: Scene) -> None:
        """An operator revoked it; the login lives."""
        version = scene.version()
        for _ in range(3):
            scene.engine.revoke_leases()
            new = scene.store.refresh("app", rejected=version).version
            assert new != version
            version = new

    def test_a_lease_that_lives_is_replaced_once_in_half_a_minute(self, scene: Scene) -> None:
        """A target that refuses everybody is not filled with users."""
        first = scene.version()
        second = scene.store.refresh("app", rejected=first).version
        assert second != first
        assert scene.store.refresh("app", rejected=second).version == second
        scene.clock.advance(REISSUE_INTERVAL)
        assert scene.store.refresh("app", rejected=second).version not in (first, second)

    def test_fifty_refusals_of_a_lease_that_lives_ask_a_few_times(self, scene: Scene) -> None:
        """Who waited while another asked has the answer."""
        second = scene.store.refresh("app", rejected=scene.version()).version
        refused = [lambda: scene.store.refresh("app", rejected=second).version] * 50
        versions: list[object] = []
        asked = scene.asked(lambda: versions.extend(at_once(refused)))
        assert set(versions) == {second}
        assert len(asked) < 25, len(asked)

    def test_what_was_replaced_already_is_not_replaced_again(self, scene: Scene) -> None:
        """Of fifty threads that were refused one makes a new one."""
        first = scene.version()
        scene.engine.revoke_logins()
        versions = at_once([lambda: scene.store.refresh("app", rejected=first).version] * 50)
        assert len(set(map(str, versions))) == 1
        assert first not in versions
        scene.engine.until({scene.version()})

    def test_a_revoked_lease_is_found_at_its_renewal(self, scene: Scene) -> None:
        """By who has no target to refuse it."""
        first = scene.version()
        scene.engine.revoke_leases()
        scene.clock.advance(0.7 * HOUR)
        assert scene.version() != first


class TestOutage:
    """Vault does not answer."""

    def test_a_lease_is_served_to_its_end_and_not_past_it(self, scene: Scene) -> None:
        """Stale, and asked for seldom."""
        first = scene.version()
        scene.go_down()
        scene.clock.advance(0.7 * HOUR)
        assert scene.store.get("app").version == first
        assert scene.store.get("app").stale
        assert scene.asked(scene.version) == []
        scene.clock.advance(0.31 * HOUR)
        with pytest.raises(UnavailableError):
            scene.store.get("app")

    def test_it_is_renewed_once_vault_is_back(self, scene: Scene) -> None:
        """And is stale no more."""
        first = scene.version()
        scene.go_down()
        scene.clock.advance(0.7 * HOUR)
        assert scene.store.get("app").stale
        scene.come_back()
        scene.clock.advance(0.1 * HOUR)
        again = scene.store.get("app")
        assert (again.version, again.stale) == (first, False)

    def test_fifty_threads_share_one_failure(self, scene: Scene) -> None:
        """Each would wait for the timeout of all before it."""
        scene.go_down()
        outcomes: list[object] = []
        asked = scene.asked(lambda: outcomes.extend(at_once([lambda: scene.store.get("app")] * 50)))
        assert all(isinstance(outcome, UnavailableError) for outcome in outcomes)
        assert len(asked) == 1
        scene.come_back()
        scene.clock.advance(1.0)
        assert scene.version()

    def test_a_refusal_during_an_outage_is_told(self, scene: Scene) -> None:
        """What was refused is not handed out as an answer to it."""
        version = scene.version()
        scene.go_down()
        with pytest.raises(UnavailableError):
            scene.store.refresh("app", rejected=version)
        assert scene.version() == version

    def test_a_lost_answer_costs_one_user_who_ends_by_himself(self, scene: Scene) -> None:
        """It was made all the same, and cannot be found again."""
        scene.proxy.cut_once("answer", "GET", "/creds/")
        with pytest.raises(UnavailableError):
            scene.store.get("app")
        scene.clock.advance(1.0)
        assert len(scene.engine.leases() - {scene.version()}) == 1


class TestSharing:
    """Threads, children, and the end."""

    def test_fifty_threads_ask_once(self, scene: Scene) -> None:
        """And get the same."""
        versions = at_once([scene.version] * 50)
        assert len(set(map(str, versions))) == 1
        assert scene.engine.leases() == set(versions)

    def test_who_reads_while_another_renews_does_not_wait(self, scene: Scene) -> None:
        """What lives is served."""
        first = scene.version()
        scene.clock.advance(0.7 * HOUR)
        read: list[object] = []

        def meanwhile(method: str, path: str) -> str:
            read.extend(at_once([scene.version]))
            return ""

        scene.proxy.cut = meanwhile
        assert scene.version() == first
        assert read == [first]

    def test_a_child_has_its_own_and_leaves_the_parents_alone(self, scene: Scene) -> None:
        """What a child revokes at its end is what it had made."""
        first = scene.version()
        child = Scene(scene.engine, scene.proxy)
        child.version()
        child.backend.after_fork()
        second = child.version()
        child.store.close()
        left = scene.engine.leases()
        assert first in left
        assert second not in left
        assert len(left) == 2

    def test_close_revokes_what_a_given_token_made(self, engine: Engine, proxy: CuttingProxy) -> None:
        """And those that had been replaced; the token lives on."""
        token = policy_token(engine.bao, FULL.format(mount=engine.mount))
        scene = Scene(engine, proxy, token_auth(token))
        first = scene.version()
        scene.store.refresh("app", rejected=first)
        scene.store.close()
        engine.until(set())

    def test_a_lease_that_is_to_outlive_its_store_does(self, engine: Engine) -> None:
        """So that `strongroom run` can hand it to a program: nor is the login revoked on which it hangs."""
        url = f"vault-leased:///{engine.mount}?endpoint={engine.bao.address}"
        settings = Settings(auth=engine.auth, options={"at_close": "leave"})
        with SecretStore(open_backend(url, settings)) as store:
            left = store.get("app").version
        assert left in engine.leases()
        with pytest.raises(InvalidRequestError, match="at_close is revoke or leave"):
            open_backend(url, Settings(auth=engine.auth, options={"at_close": "keep"}))
        with SecretStore(open_backend(url, Settings(auth=engine.auth))) as store:
            other = store.get("app").version
        engine.until({left})
        assert other not in engine.leases()

    def test_close_does_not_wait_for_a_server_that_is_down(self, engine: Engine) -> None:
        """A timeout for the leases, one for the login."""
        with Relay(int(engine.bao.address.rpartition(":")[2])) as relay:
            url = f"vault-leased:///{engine.mount}?endpoint=http://127.0.0.1:{relay.port}"
            store = SecretStore(open_backend(url, Settings(auth=engine.auth, timeout=1.0, attempts=1)))
            for name in ("app", "app2", "app3"):
                engine.role(name=name)
                store.get(name)
            relay.sever()
            began = time.monotonic()
            store.close()
            assert time.monotonic() - began < 4


class TestNames:
    """What there is and what there is not."""

    @pytest.mark.parametrize("name", ["nobody", "app/deeper"])
    def test_a_role_that_is_not_there_is_not_found(self, scene: Scene, name: str) -> None:
        """Denied would be something else."""
        with pytest.raises(SecretNotFoundError):
            scene.store.get(name)

    def test_another_stage_or_version_is_not_found(self, scene: Scene) -> None:
        """Only what is held now can be read."""
        scene.version()
        for version in ("of-another", Stage.PREVIOUS):
            with pytest.raises(SecretNotFoundError):
                scene.backend.get(Name("app"), version)

    def test_nothing_is_written(self, scene: Scene) -> None:
        """The engine makes what it gives."""
        assert scene.store.capabilities == Capability(0)
        with pytest.raises(UnsupportedOperationError):
            scene.store.put("app", "other")

    def test_a_mount_that_is_not_there_is_told_as_such(self, scene: Scene, engine: Engine) -> None:
        """It is no missing secret."""
        url = f"vault-leased:///nowhere?endpoint={engine.bao.address}"
        with (
            SecretStore(open_backend(url, Settings(auth=token_auth(engine.bao.token)))) as store,
            pytest.raises(InvalidRequestError, match="no engine is mounted"),
        ):
            store.get("app")

    @pytest.mark.parametrize("grace", ["-1", "soon", "nan"])
    def test_grace_is_a_time(self, engine: Engine, proxy: CuttingProxy, grace: str) -> None:
        """Told when the store is opened."""
        with pytest.raises(InvalidRequestError, match="grace is seconds"):
            Scene(engine, proxy, grace=grace)

    def test_the_url_names_a_mount(self) -> None:
        """Of any number of segments."""
        with pytest.raises(InvalidRequestError, match="names no mount"):
            open_backend("vault-leased:///?endpoint=http://127.0.0.1:8200")
        store = open_backend("vault-leased://vault.example.net:8200/team/database")
        assert store.origin == "vault-leased:vault.example.net:8200/team/database"
