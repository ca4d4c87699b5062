"""The shared login, turn by turn of an injected clock, against a server made of words."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import pytest

from strongroom.errors import PermissionDeniedError, UnavailableError
from strongroom.value import SecretValue
from strongroom_vault.auth import RELOGIN_INTERVAL, AuthManager
from strongroom_vault.login import Login
from strongroom_vault.transport import Answer, Request, Transport, json_body
from tests.canary import CANARY, assert_no_canary_in
from tests.integration.vault_support import TurnedClock


class Words:
    """A transport: answers by the last word of the path, and keeps what was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.logins = 0
        self.ttl = 60
        self.statuses: dict[str, int] = {}
        self.down: set[str] = set()
        self.revoked: list[SecretValue] = []

    def send(self, request: Request, token: SecretValue | None, index: str | None = None) -> Answer:
        what = request.path.rpartition("/")[2]
        self.asked.append(what)
        if what in self.down:
            raise UnavailableError("down")
        if any(token is dead for dead in self.revoked):
            return Answer(403, {}, {})
        return Answer(self.statuses.get(what, 200), self._content(what), {})

    def _content(self, what: str) -> dict[str, Any]:
        if what == "lookup-self":
            return {"data": {"ttl": self.ttl, "renewable": True}}
        self.logins += what == "login"
        lease = {"lease_duration": self.ttl, "renewable": True}
        return {"auth": {"client_token": f"{CANARY}{self.logins}", **lease}}


LOGIN = Login("approle", "auth/approle/login", lambda: json_body({"secret_id": CANARY}))


@pytest.fixture
def words() -> Words:
    return Words()


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


Make = Callable[..., AuthManager]


@pytest.fixture
def make(words: Words, clock: TurnedClock) -> Make:
    def manager(login: Login | None = LOGIN, token: SecretValue | None = None) -> AuthManager:
        return AuthManager(cast("Transport", words), clock, login, token)

    return manager


def test_the_token_is_kept_until_two_thirds_and_then_renewed(
    make: Make, words: Words, clock: TurnedClock
) -> None:
    """Renewed for as long as the server gives the whole time again."""
    auth = make()
    first = auth.token()
    for _ in range(5):
        clock.seconds += 39.9
        assert auth.token() is first
        clock.seconds += 0.2
        assert auth.token() is first
    assert words.asked == ["login"] + ["renew-self"] * 5


def test_when_the_server_grants_less_than_half_the_end_is_near(
    make: Make, words: Words, clock: TurnedClock
) -> None:
    """A login anew, rather than ever shorter renewals."""
    auth = make()
    first = auth.token()
    words.ttl = 29
    clock.seconds += 41
    assert auth.token() is not first
    assert words.asked == ["login", "renew-self", "login"]


@pytest.mark.parametrize("status", [400, 403])
def test_a_refused_renewal_is_a_new_login(make: Make, words: Words, clock: TurnedClock, status: int) -> None:
    """Revoked, or over its maximum."""
    auth = make()
    first = auth.token()
    words.statuses["renew-self"] = status
    clock.seconds += 41
    assert auth.token() is not first


@pytest.mark.parametrize("trouble", ["down", 429, 500, 503])
def test_trouble_while_renewing_is_borne_until_the_token_ends(
    make: Make, words: Words, clock: TurnedClock, trouble: str | int
) -> None:
    """Tried again before the end, but not at each use; past the end a login is tried, and its error told."""
    auth = make()
    first = auth.token()
    words.down |= {"renew-self"} if trouble == "down" else set()
    words.statuses |= {} if trouble == "down" else {"renew-self": int(trouble)}
    clock.seconds += 41
    assert [auth.token() is first for _ in range(3)] == [True] * 3
    assert words.asked.count("renew-self") == 1
    clock.seconds += 10
    assert auth.token() is first
    assert words.asked.count("renew-self") == 2
    clock.seconds += 20
    words.down.add("login")
    with pytest.raises(UnavailableError) as caught:
        auth.token()
    assert caught.value.performed is False


def test_what_cannot_be_renewed_is_made_anew_before_it_ends(make: Make, clock: TurnedClock) -> None:
    """A batch token."""
    batch = Words()
    batch._content = lambda what: {  # type: ignore[method-assign]
        "auth": {"client_token": "t", "lease_duration": 60, "renewable": False}
    }
    auth = AuthManager(cast("Transport", batch), clock, LOGIN, None)
    first = auth.token()
    clock.seconds += 58
    assert auth.token() is not first
    assert batch.asked == ["login", "login"]


def test_a_root_token_never_ends(make: Make, words: Words, clock: TurnedClock) -> None:
    """Its ttl is 0."""
    words.ttl = 0
    auth = make(None, SecretValue(CANARY))
    auth.token()
    clock.seconds += 1e9
    auth.token()
    assert words.asked == ["lookup-self"]


def test_a_given_token_that_may_not_look_itself_up_is_used_all_the_same(make: Make, words: Words) -> None:
    """The request itself shows what it may do."""
    words.statuses["lookup-self"] = 403
    assert make(None, SecretValue(CANARY)).token() == SecretValue(CANARY)


def test_after_a_denial_a_living_token_stays(make: Make, words: Words) -> None:
    """The policy denied it, not the login."""
    auth = make()
    assert auth.replaced(auth.token()) is False
    assert words.logins == 1


def test_after_a_denial_a_dead_token_is_replaced_once(make: Make, words: Words, clock: TurnedClock) -> None:
    """A second denial within the interval stands; a later one may log in again."""
    auth = make()
    words.statuses["lookup-self"] = 403
    assert auth.replaced(auth.token()) is True
    assert auth.replaced(auth.token()) is False
    assert words.logins == 2
    clock.seconds += RELOGIN_INTERVAL
    assert auth.replaced(auth.token()) is True
    assert words.logins == 3


def test_a_token_revoked_again_and_again_is_replaced_each_time_at_once(make: Make, words: Words) -> None:
    """Its policy lets it look itself up, so that a refusal there can only mean that it is dead."""
    auth = make()
    for logins in range(2, 6):
        dead = auth.token()
        words.revoked.append(dead)
        assert auth.replaced(dead) is True
        assert words.logins == logins
    assert auth.replaced(auth.token()) is False


def test_threads_denied_together_share_one_new_login(make: Make, words: Words) -> None:
    """Who comes late finds another token than the one it was denied with."""
    auth = make()
    dead = auth.token()
    words.statuses["lookup-self"] = 403
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: auth.replaced(dead), range(8)))
    assert words.logins == 2
    assert auth.token() is not dead


def test_whether_a_token_lives_is_unknown_while_the_server_is_in_trouble(make: Make, words: Words) -> None:
    """Then the denial stands: no storm of logins upon a server that struggles."""
    auth = make()
    words.statuses["lookup-self"] = 503
    assert auth.replaced(auth.token()) is False
    assert words.logins == 1


def test_a_dead_given_token_is_named_as_such(make: Make, words: Words) -> None:
    """It is nobody's to replace but its owner's."""
    auth = make(None, SecretValue(CANARY))
    words.statuses["lookup-self"] = 403
    with pytest.raises(PermissionDeniedError, match="does not accept the token") as caught:
        auth.replaced(auth.token())
    assert_no_canary_in(caught.value)


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_a_refused_login_shows_nothing(make: Make, words: Words, status: int) -> None:
    """Neither in the message nor in its frames."""
    words.statuses["login"] = status
    with pytest.raises(PermissionDeniedError) as caught:
        make().token()
    assert_no_canary_in(caught.value)


def test_closing_revokes_our_own_login_only_and_never_fails(make: Make, words: Words) -> None:
    """A store that was never used has nothing to revoke."""
    make().close()
    given = make(None, SecretValue(CANARY))
    given.token()
    given.close()
    assert "revoke-self" not in words.asked
    auth = make()
    auth.token()
    words.down.add("revoke-self")
    auth.close()
    auth.close()
    assert words.asked.count("revoke-self") == 1
