"""Sessions of a real token: threads, forks, PINs, errors of the device, and what is left after close.

What could abort the process runs in one of its own, so that an abort is a failed test and not a lost run.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pkcs11
import pytest

from strongroom.errors import InvalidRequestError, PermissionDeniedError, UnavailableError
from strongroom.keys import KeyWrapper
from strongroom.names import StoreURL
from strongroom.registry import open_key
from strongroom.testing.clock import FakeClock
from strongroom.value import SecretValue
from strongroom_pkcs11.create import create_key
from strongroom_pkcs11.module import module_of
from strongroom_pkcs11.sessions import Pool, Token
from strongroom_pkcs11.uri import TokenURI
from tests.canary import CANARY, assert_no_canary_in
from tests.scale import scaled
from tests.servers.softhsm import TestToken

CONTEXT = {"name": "db/password"}
WRONG = {"pin": SecretValue(f"{CANARY}-wrong")}


@pytest.fixture
def counted(softhsm_tokens: list[TestToken]) -> TestToken:
    """A token that no other test has sessions with."""
    return softhsm_tokens[2]


@pytest.fixture
def refusing(softhsm_tokens: list[TestToken]) -> TestToken:
    """A token that nobody is logged in to."""
    return softhsm_tokens[3]


@pytest.fixture
def clock() -> FakeClock:
    """So that nothing waits between attempts."""
    return FakeClock()


@pytest.fixture
def url(counted: TestToken) -> str:
    """A KEK in the token."""
    return create_key(counted.url(counted.unique("kek")), counted.settings(), "aes-256")


@pytest.fixture
def key(url: str, counted: TestToken, clock: FakeClock) -> Iterator[KeyWrapper]:
    """The KEK, opened."""
    opened = open_key(url, counted.settings(clock=clock))
    assert works(opened)
    yield opened
    opened.close()


def works(key: KeyWrapper) -> bool:
    made = key.generate_data_key(CONTEXT)
    return key.unwrap(made.wrapped, CONTEXT) == made.plaintext


def token_of(token: TestToken, **changes: Any) -> Token:
    return Token(TokenURI.parse(StoreURL.parse(token.url())), token.settings(**changes))


def use(token: Token) -> bytes:
    with token.session() as session:
        return bytes(session.generate_random(64))


def slot_of(token: TestToken) -> ctypes.c_ulong:
    return ctypes.c_ulong(pkcs11.lib(token.module).get_token(token_label=token.label).slot.slot_id)


def sessions_of(token: TestToken) -> int:
    """How many sessions this process has with the token.

    SoftHSM does not tell (CK_UNAVAILABLE_INFORMATION), but it numbers its handles upwards: each is asked.
    """
    library, info, slot = ctypes.CDLL(token.module), (ctypes.c_ulong * 4)(), slot_of(token)
    probe: Any = pkcs11.lib(token.module).get_token(token_label=token.label).open()
    handles = range(1, probe.handle)
    probe.close()
    found = [library.C_GetSessionInfo(ctypes.c_ulong(handle), info) == 0 and info[0] for handle in handles]
    return found.count(slot.value)


def run_apart(code: str, url: str, token: TestToken, count: int) -> None:
    """Run `code` in an interpreter of its own, with `key`, `threads`, `work` and `children` at hand."""
    program = _PROGRAM.format(url=url, module=token.module, count=count) + code
    env = {**os.environ, "PIN": token.pin, "PYTHONFAULTHANDLER": "1"}
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, env=env, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, f"exit {done.returncode}: {done.stderr[-2000:]}"
    assert done.stdout == "done\n"


_PROGRAM = """
import os, sys, threading
from strongroom.backend import Settings
from strongroom.registry import open_key
from strongroom.value import SecretValue

pin = SecretValue(os.environ["PIN"])
settings = Settings(options={{"module": {module!r}}}, auth={{"pin": pin}}, timeout=60)
key, failed = open_key({url!r}, settings), []

def work(number, count={count}):
    try:
        for n in range(count // 2):
            context = {{"thread": str(number), "n": str(n)}}
            made = key.generate_data_key(context)
            assert key.unwrap(made.wrapped, context) == made.plaintext
    except BaseException as exc:
        failed.append(exc)
        raise

def threads(number):
    return [threading.Thread(target=work, args=(n,)) for n in range(number)]

def all_of(started):
    for thread in started: thread.start()
    for thread in started: thread.join()
    return not failed

def child(run):
    pid = os.fork()
    if not pid:
        code = 3
        try:
            code = 0 if run() else 4
        except BaseException as exc:
            print(repr(exc), file=sys.stderr)
        finally:
            os._exit(code)
    return pid

def join(children):
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
"""


def test_eight_threads_share_a_token(url: str, counted: TestToken) -> None:
    """10,000 operations each, and no crash: SoftHSM without our lock aborts within the first hundred."""
    run_apart("assert all_of(threads(8)); key.close(); print('done')", url, counted, scaled(10_000, share=40))


def test_four_forked_processes_share_a_token(url: str, counted: TestToken) -> None:
    """10,000 operations each, from two threads, with sessions of their own; the parent's go on."""
    code = """
work(0, 10)
pids = [child(lambda: all_of(threads(2))) for _ in range(4)]
work(0)
assert join(pids) == [0] * 4
work(0)
print('done')
"""
    run_apart(code, url, counted, scaled(5_000, share=40))


def test_a_process_may_fork_while_its_threads_use_the_token(url: str, counted: TestToken) -> None:
    """No call is under way when the process is copied: the fork waits for the lock."""
    code = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 on: fork beside threads
busy = threads(4)
for thread in busy: thread.start()
pids = [child(lambda: work(9, 100) is None) for _ in range(8)]
assert join(pids) == [0] * 8
for thread in busy: thread.join()
assert not failed
print('done')
"""
    run_apart(code, url, counted, scaled(10_000, share=40))


class TestPin:
    """Who may enter."""

    def test_a_wrong_pin_is_denied(self, refusing: TestToken) -> None:
        """With the way to mend it, and no PIN in the error."""
        key = open_key(refusing.url("kek"), refusing.settings(auth=WRONG))
        with pytest.raises(PermissionDeniedError, match="PIN") as caught:
            key.generate_data_key(CONTEXT)
        assert "strongroom.toml" in str(caught.value)
        assert_no_canary_in(caught.value)

    def test_a_refused_pin_is_not_tried_again(
        self, refusing: TestToken, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A token locks itself after a few wrong PINs; another PIN is tried."""
        wrong = {"pin": SecretValue(f"{CANARY}-{refusing.unique()}")}
        token, logins = token_of(refusing, auth=wrong), count_logins(monkeypatch)
        with pytest.raises(pkcs11.PinIncorrect):
            use(token)
        for again in (token, token_of(refusing, auth=wrong)):
            with pytest.raises(PermissionDeniedError, match="not tried again"):
                use(again)
        assert logins == [1]
        right = token_of(refusing)
        assert use(right)
        right.close()

    def test_nobody_enters_on_anothers_login(self, counted: TestToken) -> None:
        """A login is the whole process's; a store with a wrong PIN is refused all the same."""
        right = token_of(counted)
        assert use(right)
        with pytest.raises(PermissionDeniedError, match="not the one"):
            use(token_of(counted, auth=WRONG))
        with pytest.raises(PermissionDeniedError, match="wants a PIN"):
            use(token_of(counted, auth={}))
        assert use(right)
        right.close()

    def test_a_token_that_wants_a_pin_is_not_asked_without(self, refusing: TestToken) -> None:
        """PermissionDeniedError says where the PIN goes."""
        with pytest.raises(PermissionDeniedError, match=r"set pin in strongroom\.toml"):
            use(token_of(refusing, auth={}))

    @pytest.mark.parametrize("refusal", [pkcs11.PinLocked, pkcs11.PinExpired, pkcs11.UserPinNotInitialized])
    def test_a_locked_or_expired_pin_is_denied(
        self, refusing: TestToken, monkeypatch: pytest.MonkeyPatch, refusal: type[Exception]
    ) -> None:
        """SoftHSM never locks, so the refusal is put in its mouth."""
        monkeypatch.setattr(Pool, "_opened", raising(refusal))
        with pytest.raises(PermissionDeniedError, match="PIN"):
            works(open_key(refusing.url("kek"), refusing.settings()))

    def test_a_pin_in_clear_is_refused(self, counted: TestToken) -> None:
        """A str could have been written into the configuration itself."""
        with pytest.raises(InvalidRequestError, match="in clear"):
            token_of(counted, auth={"pin": "1234"})


class TestErrors:
    """What a device does to those who use it."""

    def test_sessions_the_token_ended_are_made_anew(self, key: KeyWrapper, counted: TestToken) -> None:
        """SESSION_HANDLE_INVALID, as after a reset of the device; the caller notices nothing."""
        for _ in range(3):
            assert ctypes.CDLL(counted.module).C_CloseAllSessions(slot_of(counted)) == 0
            assert works(key)

    def test_a_module_that_somebody_finalised_is_initialised_again(
        self, key: KeyWrapper, counted: TestToken
    ) -> None:
        """CRYPTOKI_NOT_INITIALIZED: other code of the process said that it was done."""
        assert ctypes.CDLL(counted.module).C_Finalize(None) == 0
        assert works(key)

    def test_a_login_of_other_code_may_end(self, url: str, counted: TestToken) -> None:
        """USER_ALREADY_LOGGED_IN is not an error; when the other logs out, we log in, not go blind."""
        with counted.native():
            key = open_key(url, counted.settings())
            assert works(key)
        assert works(key)
        key.close()
        # python-pkcs11 loses the handle of a session that could not log in.
        assert sessions_of(counted) == 1
        assert ctypes.CDLL(counted.module).C_CloseAllSessions(slot_of(counted)) == 0

    @pytest.mark.parametrize(
        "fault",
        [
            pkcs11.DeviceError, pkcs11.DeviceRemoved, pkcs11.TokenNotPresent, pkcs11.SessionClosed,
            pkcs11.SessionHandleInvalid, pkcs11.UserNotLoggedIn,
        ],
    )  # fmt: skip
    def test_everything_is_opened_again_after_a_fault_of_the_device(
        self, counted: TestToken, monkeypatch: pytest.MonkeyPatch, fault: type[Exception]
    ) -> None:
        """Sessions and login; nothing that came before is used again."""
        token, logins = token_of(counted), count_logins(monkeypatch)
        use(token)
        with pytest.raises(fault), token.session() as first:
            raise fault
        with token.session() as second:
            assert second is not first
        assert logins == [2]
        token.close()

    def test_a_failed_operation_costs_its_session_and_not_the_login(
        self, counted: TestToken, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """On some tokens what failed midway stays active, and everything after it is refused."""
        token, logins = token_of(counted), count_logins(monkeypatch)
        with pytest.raises(pkcs11.GeneralError), token.session() as first:
            raise pkcs11.GeneralError
        with token.session() as second:
            assert second is not first
        assert logins == [1]
        assert sessions_of(counted) == 2
        token.close()

    @pytest.mark.parametrize("needed", [1, 3])
    @pytest.mark.parametrize(
        "fault",
        [pkcs11.DeviceError, pkcs11.GeneralError, pkcs11.TokenNotPresent, pkcs11.UserPinNotInitialized],
    )
    def test_a_device_that_answers_one_error_for_ever_is_initialised_again(
        self, counted: TestToken, monkeypatch: pytest.MonkeyPatch, fault: type[Exception], needed: int
    ) -> None:
        """Some network HSMs recover only after C_Finalize and C_Initialize.

        SoftHSM that was initialised while another process logged in knows no PIN until then, and may meet
        the next such process.
        """
        module, healed = module_of(counted.settings()), list[int]()
        heal, honest = module.reinitialize, Pool._opened

        def healing() -> None:
            healed.append(1)
            heal()

        monkeypatch.setattr(module, "reinitialize", healing)
        monkeypatch.setattr(
            Pool,
            "_opened",
            lambda pool, *pin: honest(pool, *pin) if len(healed) == needed else raising(fault)(),
        )
        token = token_of(counted)
        assert use(token)
        assert len(healed) == needed
        token.close()

    def test_a_token_with_one_session_left_still_works(
        self, counted: TestToken, key: KeyWrapper, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """CKR_SESSION_COUNT: the session that keeps the login does the work."""
        honest = Pool._opened
        monkeypatch.setattr(
            Pool, "_opened", lambda pool, *pin: honest(pool, *pin) if pin else raising(pkcs11.SessionCount)()
        )
        assert ctypes.CDLL(counted.module).C_CloseAllSessions(slot_of(counted)) == 0
        assert works(key)
        assert sessions_of(counted) == 1

    def test_a_token_without_sessions_is_unavailable(
        self, url: str, counted: TestToken, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Tried `attempts` times on the injected clock, then UnavailableError with the reason."""
        monkeypatch.setattr(Pool, "_opened", raising(pkcs11.SessionCount))
        with pytest.raises(UnavailableError, match="no session left"):
            works(open_key(url, counted.settings(clock=clock, attempts=3)))
        assert len(clock.slept) == 2

    def test_a_hanging_token_does_not_hang_everybody(self, key: KeyWrapper, counted: TestToken) -> None:
        """A call cannot be cut off; who waits for it longer than the timeout is told."""
        begun, end = threading.Event(), threading.Event()

        def hang() -> None:
            with module_of(counted.settings()).held(60):
                begun.set()
                end.wait(60)

        hanging = threading.Thread(target=hang)
        hanging.start()
        begun.wait(60)
        with pytest.raises(UnavailableError, match="busy"):
            use(token_of(counted, timeout=0.01))
        end.set()
        hanging.join()
        assert works(key)


class TestClosing:
    """What is left."""

    def test_no_session_is_left_after_close(self, counted: TestToken, url: str) -> None:
        """Two while it is open, whatever the number of threads and keys; none after the last user."""
        keys = [open_key(url, counted.settings()) for _ in range(3)]
        assert sessions_of(counted) == 0
        assert all(works(key) for key in keys)
        assert sessions_of(counted) == 2
        for key in keys:
            assert works(key)
            key.close()
            key.close()
        assert sessions_of(counted) == 0

    def test_no_descriptor_is_left_after_close(self, counted: TestToken, url: str) -> None:
        """Opened and closed many times, the process has what it had after the first."""
        found = []
        for _ in range(scaled(100)):
            key = open_key(url, counted.settings())
            assert works(key)
            key.close()
            found.append(len(list(Path("/proc/self/fd").iterdir())))
        assert max(found) == found[0]  # fewer: those that other tests left to the collector

    def test_closing_logs_out(self, counted: TestToken) -> None:
        """Private objects are hidden from whoever comes next without a PIN."""
        token = token_of(counted)
        use(token)
        token.close()
        session = pkcs11.lib(counted.module).get_token(token_label=counted.label).open()
        assert list(session.get_objects({pkcs11.Attribute.PRIVATE: True})) == []
        session.close()

    def test_a_closed_token_is_not_opened_again(self, counted: TestToken) -> None:
        """Or a thread that is late would leave a session behind."""
        token = token_of(counted)
        token.close()
        with pytest.raises(InvalidRequestError, match="closed"):
            use(token)
        assert sessions_of(counted) == 0


class TestModule:
    """Which library is loaded."""

    @pytest.mark.parametrize("module", [None, "libsofthsm2.so", "./module.so", "/nowhere/module.so", 7])
    def test_a_module_is_an_absolute_path(self, counted: TestToken, module: object) -> None:
        """A bare name would be looked up where others may write; nothing is loaded."""
        with pytest.raises(InvalidRequestError, match="module"):
            open_key(counted.url("kek"), counted.settings(options={"module": module}))

    def test_what_is_no_module_is_refused(self, counted: TestToken, tmp_path: Path) -> None:
        """With the reason, at first use."""
        (tmp_path / "module.so").write_bytes(b"no library")
        key = open_key(counted.url("kek"), counted.settings(options={"module": str(tmp_path / "module.so")}))
        with pytest.raises(InvalidRequestError, match="cannot be loaded"):
            works(key)

    def test_one_library_under_two_names_is_one_module(
        self, key: KeyWrapper, url: str, counted: TestToken, tmp_path: Path
    ) -> None:
        """It can be initialised once in a process, and has one lock."""
        (tmp_path / "alias.so").symlink_to(counted.module)
        other = open_key(url, counted.settings(options={"module": str(tmp_path / "alias.so")}))
        assert works(other)
        other.close()
        assert works(key)

    def test_a_token_that_is_not_there_is_unavailable(self, counted: TestToken, clock: FakeClock) -> None:
        """It may come back; the hint says what to check."""
        key = open_key("pkcs11:token=nowhere;object=kek", counted.settings(clock=clock))
        with pytest.raises(UnavailableError, match="no such token"):
            works(key)


def count_logins(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """From now on the number of logins tried, in a list of one."""
    honest, count = Pool._opened, [0]

    def opened(pool: Pool, *pin: SecretValue) -> Any:
        count[0] += bool(pin and pin[0])
        return honest(pool, *pin)

    monkeypatch.setattr(Pool, "_opened", opened)
    return count


def raising(error: type[Exception]) -> Callable[..., Any]:
    def fail(*_: object) -> Any:
        raise error

    return fail
