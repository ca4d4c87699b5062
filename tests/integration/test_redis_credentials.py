"""A Redis password is rotated under load: nobody restarts, and no command fails."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Iterator

import pytest
import redis
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.retry import Retry

from strongroom.errors import PermissionDeniedError
from strongroom.integrations.database_login import user_and_password
from strongroom.integrations.redis_credentials import AGAIN, Hidden, SecretCredentials
from strongroom.testing.clock import FakeClock
from tests.canary import CANARY, assert_no_canary, assert_no_canary_in
from tests.integration.data_seams import NAME, Cache
from tests.integration.test_database_recipes import Load
from tests.scale import scaled
from tests.servers.redis import Redis

ONCE = Retry(NoBackoff(), 0)


@pytest.fixture
def cache(redis_server: Redis) -> Iterator[Cache]:
    cache = Cache(redis_server)
    with cache.store:
        yield cache


def client(
    cache: Cache, provider: CredentialProvider | None = None, retry: Retry | None = None
) -> redis.Redis:
    given = provider or SecretCredentials(cache.store, NAME, username=cache.user)
    more = {"retry": retry} if retry else {}
    return redis.Redis(port=cache.server.port, credential_provider=given, **more)  # type: ignore[arg-type]


class TestUnderLoad:
    """Connections come and go while the password changes."""

    def test_a_client_fails_no_command(self, cache: Cache) -> None:
        """Those connected go on; those that connect in the gap are refused, and wait it out."""
        shared = SecretCredentials(cache.store, NAME, username=cache.user)

        def command() -> None:
            with client(cache, shared) as one:
                assert one.ping()

        with Load(command, threads=2) as load:
            for number in range(1, 1 + scaled(30, "Redis passwords rotated under load")):
                load.wait(5)
                cache.rotate(number, between=cache.refused_once_more)
            load.wait(5)

    def test_a_pool_fails_no_command_while_its_connections_are_cut(self, cache: Cache) -> None:
        """The server ends every connection after each rotation, as a failover does."""
        with client(cache) as pooled, Load(pooled.ping, threads=2) as load:
            for number in range(1, 1 + scaled(30, "Redis connections cut after a rotation")):
                load.wait(5)
                cache.rotated_elsewhere(number)
                cache.server.disconnect(cache.user)
                cache.server.wait_for_sessions(cache.user, 2)
            load.wait(5)

    def test_asyncio_fails_no_command(self, cache: Cache) -> None:
        """The event loop goes on while one of its tasks waits."""
        shared = SecretCredentials(cache.store, NAME, username=cache.user)
        done = asyncio.Semaphore(0)
        ended = False

        async def commands() -> None:
            while not ended:
                async with redis.asyncio.Redis(port=cache.server.port, credential_provider=shared) as one:
                    assert await one.ping()
                    done.release()

        async def main() -> None:
            nonlocal ended
            async with asyncio.TaskGroup() as group:
                for _ in range(2):
                    group.create_task(commands())
                for number in range(1, 1 + scaled(20, "Redis passwords rotated under asyncio's load")):
                    for _ in range(5):
                        await done.acquire()
                    await asyncio.to_thread(cache.rotate, number, cache.refused_once_more)
                ended = True

        asyncio.run(main())

    def test_users_that_take_turns_fail_no_command(self, cache: Cache) -> None:
        """The next user is current, and the one before is removed: Redis ends that one's connections."""
        fields = {"username": cache.user, "password": f"{CANARY}-0"}
        cache.store.put("redis/login", fields)
        provider = SecretCredentials(cache.store, "redis/login", parts=user_and_password)
        with client(cache, provider) as pooled, Load(pooled.ping, threads=2) as load:
            load.wait(5)
            following = cache.server.new_user(f"{CANARY}-1")
            cache.store.put("redis/login", {"username": following, "password": f"{CANARY}-1"})
            cache.server.remove_user(cache.user)
            load.wait(5)
            assert pooled.acl_whoami() in (following, following.encode())


class TestPeers:
    """What redis-py does with a password that it was given once."""

    def test_a_provider_that_remembers_is_refused_until_it_forgets(self, cache: Cache) -> None:
        """The habit of providers that keep their answer for a while: redis-py never tells them."""

        class Remembering(CredentialProvider):
            known: tuple[str, str] | None = None

            def get_credentials(self) -> tuple[str, str]:
                self.known = self.known or (cache.user, cache.store.get(NAME).value.reveal_text())
                return self.known

        quick = Retry(NoBackoff(), 3)
        with client(cache, Remembering(), quick) as peer, client(cache, retry=quick) as ours:
            assert peer.ping()
            assert ours.ping()
            cache.rotated_elsewhere(1)
            cache.server.disconnect(cache.user)
            assert ours.ping()
            with pytest.raises(redis.AuthenticationError):
                peer.ping()

    def test_a_refusals_frames_show_no_password(self, cache: Cache) -> None:
        """redis-py keeps what it sends in the frames of its error, which crash reporters print."""
        cache.server.set_password(cache.user, "another")
        peer = redis.Redis(port=cache.server.port, username=cache.user, password=f"{CANARY}-0", retry=ONCE)
        with peer, pytest.raises(redis.AuthenticationError) as leaking:
            peer.ping()
        with pytest.raises(AssertionError, match="the canary stands in"):
            assert_no_canary_in(leaking.value)
        with client(cache, retry=ONCE) as ours, pytest.raises(redis.AuthenticationError) as caught:
            ours.ping()
        assert_no_canary_in(caught.value)


class TestLogins:
    """What a new connection does, and what it does not."""

    def test_another_programs_rotation_is_met_by_one_question(self, cache: Cache) -> None:
        """Threads and connections share it."""
        with client(cache) as one:
            one.ping()
            cache.rotated_elsewhere(1)
            cache.backend.calls.clear()
            cache.server.disconnect(cache.user)
            one.ping()
            one.ping()
        assert cache.backend.calls == {"get": 1}

    def test_one_that_asks_again_later_was_not_refused(self, cache: Cache) -> None:
        """A thread that opens a connection now and then costs the provider nothing."""
        clock = FakeClock()
        provider = SecretCredentials(cache.store, NAME, clock=clock)
        provider.get_credentials()
        cache.backend.calls.clear()
        clock.advance(AGAIN + 1)
        provider.get_credentials()
        SecretCredentials(cache.store, NAME, clock=clock).get_credentials()
        assert not cache.backend.calls
        provider.get_credentials()
        provider.get_credentials()
        assert cache.backend.calls == {"get": 1}

    @pytest.mark.parametrize("waits", [False, True], ids=["sync", "async"])
    def test_a_provider_that_is_down_leaves_the_cached_password(self, cache: Cache, waits: bool) -> None:
        """What looks like a refusal may be another reason, and must not end what works."""
        provider = SecretCredentials(cache.store, NAME, username=cache.user)

        def ask() -> tuple[str, ...]:
            return asyncio.run(provider.get_credentials_async()) if waits else provider.get_credentials()

        before = ask()
        cache.backend.unreachable()
        assert ask() == before == (cache.user, f"{CANARY}-0")

    def test_a_store_that_says_no_is_heard(self, cache: Cache) -> None:
        """Its error reaches whoever wants a connection, at once."""
        with client(cache) as one:
            one.ping()
            cache.backend.deny()
            cache.server.set_password(cache.user, "another")
            cache.server.disconnect(cache.user)
            with pytest.raises(PermissionDeniedError):
                one.ping()

    def test_the_default_user_needs_no_name(self, cache: Cache) -> None:
        """As redis-py wants it: the password alone."""
        cache.store.put("redis/default", cache.server.password)
        with client(cache, SecretCredentials(cache.store, "redis/default")) as one:
            assert one.acl_whoami() in ("default", b"default")


def test_a_hidden_password_shows_itself_to_its_encoder_only() -> None:
    """In whatever way a program prints."""
    hidden = Hidden(CANARY)
    assert hidden.encode() == CANARY.encode()
    assert_no_canary(repr(hidden), str(hidden), f"{hidden}", f"{(hidden,)}")
    with pytest.raises(TypeError, match="cannot be pickled") as caught:
        pickle.dumps(hidden)
    assert_no_canary(str(caught.value))
