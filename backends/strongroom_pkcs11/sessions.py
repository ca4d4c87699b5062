"""Sessions: opened once per token and process, logged in once, made anew after errors and forks.

Since all calls into a module are made under its lock (see `module`), one session per token does all the work.
A second one, the anchor, only keeps the login: a login belongs to all sessions of a token in a process and
ends with the last of them, so that the working session can be replaced without giving the PIN again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pkcs11

from strongroom.errors import InvalidRequestError, PermissionDeniedError, SecretStoreError
from strongroom.value import SecretValue

from ._errors import ENDS_LOGIN
from ._login import is_logged_in
from .module import Identity, Module, module_of

if TYPE_CHECKING:
    from strongroom.backend import Settings

    from .uri import TokenURI

_INITIALISATIONS = 3
"""How often a module is initialised anew in search of a token: other processes may start just then."""


class Token:
    """A token as one store, key or signer uses it. Opened on first use; safe across threads and forks.

    Args:
        uri: which token.
        settings: the option ``module``, ``auth.pin`` and the timeout.

    Raises:
        InvalidRequestError: the module is not named, or the PIN is not a SecretValue.
    """

    def __init__(self, uri: TokenURI, settings: Settings):
        self.uri = uri
        self._module = module_of(settings)
        self._pin = _pin_of(settings)
        self._timeout = settings.timeout
        self._pool: Pool | None = None
        self._closed = False

    @contextmanager
    def session(self) -> Iterator[Any]:
        """A `pkcs11.Session`, logged in, able to write where the token can be written.

        The module's lock is held until the block ends: do nothing slow in it, read iterators to their end,
        keep no object of the session beyond it. Blocks may nest in a thread, on the same session, but not
        survive an error of an inner one: after an error the session is closed, with its session objects and
        unfinished operations, and the next block has a new one. If the token or the login is gone, all are.

        Raises:
            UnavailableError: the token is busy beyond the timeout.
            PermissionDeniedError: no PIN is given, or the token has refused this one before.
            pkcs11.PKCS11Error: as python-pkcs11 says; `_errors.error_for` translates it.
        """
        with self._module.held(self._timeout):
            pool = self._joined()
            try:
                yield pool.session()
            except SecretStoreError:
                raise
            except BaseException as exc:
                pool.hurt(exc)
                raise

    def close(self) -> None:
        """Leave the token; the last to leave closes its sessions and logs out. Safe to repeat."""
        with self._module.held(self._timeout):
            self._closed = True
            pool, self._pool = self._pool, None
            if pool is not None:
                pool.leave(self)

    def _joined(self) -> Pool:
        if self._closed:
            raise InvalidRequestError("the token was closed")
        if self._pool is None or not self._pool.check():
            self._pool = self._open()
            self._pool.join(self)
        return self._pool

    def _open(self) -> Pool:
        for _ in range(_INITIALISATIONS):
            try:
                return self._admitted()
            except pkcs11.PKCS11Error as exc:
                if not self._may_help(exc):
                    raise
            self._module.reinitialize()
        return self._admitted()

    def _may_help(self, exc: pkcs11.PKCS11Error) -> bool:
        """Whether initialising the module anew may bring the token back.

        SoftHSM loses tokens, or fails, if another process logs in while this one initialises: a login writes
        the token's file, and the PIN in it is read only now. Some modules show what was plugged in since only
        then. Working sessions are not given up in search of a token.
        """
        if isinstance(exc, pkcs11.NoSuchToken):
            return not self._module.pools
        failing = pkcs11.GeneralError | pkcs11.FunctionFailed | pkcs11.UserPinNotInitialized
        return self._module.loaded and (_is_lost(exc) or isinstance(exc, failing))

    def _admitted(self) -> Pool:
        found = self._found()
        identity = (found.label, found.serial, found.manufacturer_id, found.model)
        pool = self._module.pools.get(identity) or Pool(self._module, identity)
        pool.admit(found, self._pin)
        self._module.pools[identity] = pool
        return pool

    def _found(self) -> Any:
        matching = [token for token in self._module.tokens() if self.uri.picks(token)]
        if not matching:
            raise pkcs11.NoSuchToken
        if len(matching) > 1:
            raise pkcs11.MultipleTokensReturned
        return matching[0]


class Pool:
    """The sessions of one token in this process, and who uses them. Every method needs the module's lock."""

    def __init__(self, module: Module, identity: Identity):
        self.usable = True
        self._module, self._identity = module, identity
        self._users: set[int] = set()
        self._token: Any = None
        self._pin: SecretValue | None = None
        self._anchor: Any = None
        self._worker: Any = None
        self._borrowed = False

    def join(self, user: object) -> None:
        """Count a user."""
        self._users.add(id(user))

    def leave(self, user: object) -> None:
        """Forget a user, and close everything after the last one."""
        self._users.discard(id(user))
        if not self._users and self.usable:
            self._close()

    def admit(self, token: Any, pin: SecretValue | None) -> None:
        """Log in, or check the PIN against the one that did: whoever has a wrong one is not let in with it.

        Raises:
            PermissionDeniedError: the PIN is missing, or is not the one the token accepted.
        """
        if pin is None and token.flags & pkcs11.TokenFlag.LOGIN_REQUIRED:
            raise PermissionDeniedError("the token wants a PIN", hint="set pin in strongroom.toml")
        if pin is not None and self._pin is not None and pin != self._pin:
            raise PermissionDeniedError(
                "the PIN is not the one this process is logged in with", hint="correct pin in strongroom.toml"
            )
        self._token = token
        if self._anchor is None or (pin is not None and self._pin is None):
            self._log_in(pin)

    def check(self) -> bool:
        """Whether it can still be used. A token that was logged out hides its objects and says nothing."""
        if self.usable and self._borrowed and not is_logged_in(self._module.path, self._anchor):
            self._close()
        return self.usable

    def session(self) -> Any:
        """The working session."""
        if self._worker is None:
            try:
                self._worker = self._opened()
            except pkcs11.SessionCount:
                return self._anchor  # with a single session, the one that keeps the login does the work
        return self._worker

    def hurt(self, exc: BaseException) -> None:
        """An error came out of a session: drop what it makes doubtful.

        An operation that failed midway stays active on some tokens, and every later one is then refused.
        """
        if not self.usable:
            return
        if self._worker is None or _is_lost(exc):
            self._close()
        else:
            worker, self._worker = self._worker, None
            _close(worker)

    def abandon(self) -> None:
        """Forget the sessions without closing them: they are gone, or another process's."""
        self.usable = False
        self._anchor = self._worker = self._token = None

    def _log_in(self, pin: SecretValue | None) -> None:
        if pin is not None and self._module.refused.get(self._identity) == pin:
            raise PermissionDeniedError(
                "the token has refused this PIN; it is not tried again, lest the token lock itself",
                hint="correct pin in strongroom.toml and start anew",
            )
        before = self._anchor
        try:
            self._anchor = self._opened(pin)
        except pkcs11.UserAlreadyLoggedIn:  # other code of this process did, and may log out at any time
            self._anchor, self._borrowed = self._opened(), True
        except (pkcs11.PinIncorrect, pkcs11.PinLenRange, pkcs11.PinInvalid):
            # python-pkcs11 has lost the handle of the session it had opened: one such per refused PIN.
            if pin is not None:
                self._module.refused[self._identity] = pin
            raise
        self._pin = pin
        if before is not None:
            _close(before)

    def _opened(self, pin: SecretValue | None = None) -> Any:
        writable = not self._token.flags & pkcs11.TokenFlag.WRITE_PROTECTED
        return self._token.open(rw=writable, user_pin=None if pin is None else pin.reveal_text())

    def _close(self) -> None:
        """The anchor goes last: closing it logs out, if it was we who logged in."""
        worker, anchor = self._worker, self._anchor
        self.abandon()
        self._module.pools.pop(self._identity, None)
        for session in (worker, anchor):
            if session is not None:
                _close(session)


def _is_lost(exc: BaseException) -> bool:
    """Whether nothing that is open can be relied on; "not initialised" has no class of its own."""
    return isinstance(exc, ENDS_LOGIN) or type(exc) is pkcs11.PKCS11Error


def _close(session: Any) -> None:
    with suppress(pkcs11.PKCS11Error):  # a session that cannot be closed has ended
        session.close()


def _pin_of(settings: Settings) -> SecretValue | None:
    pin = settings.auth.get("pin")
    if pin is not None and not isinstance(pin, SecretValue):
        raise InvalidRequestError(
            "the PIN stands in the configuration in clear", hint='pin = "env://…" or "file:///…"'
        )
    return pin
