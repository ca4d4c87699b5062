"""A PKCS#11 module, loaded once per process, and the one lock that every call into it is made under.

python-pkcs11 initialises modules with ``C_Initialize(NULL)``, which tells them that only one thread will
call, and then lets go of Python's lock during each call. SoftHSM under two threads corrupts its heap and
aborts the process; a hardware module has the same right to. So one lock belongs to each module and process,
whatever number of stores, keys and threads use it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pkcs11

from strongroom.errors import InvalidRequestError, UnavailableError

if TYPE_CHECKING:
    from strongroom.backend import Settings
    from strongroom.value import SecretValue

    from .sessions import Pool

_FORK_SECONDS: Final = 5.0

Identity = tuple[str, bytes, str, str]
"""What tells one token from another in a module: label, serial number, manufacturer, model."""


class Module:
    """One loaded library.

    Attributes:
        path: where it is, as first written: python-pkcs11 shares it with whoever writes the same path.
        pools: the open tokens.
        refused: the PIN that each token did not accept. It is not tried again in this process: tokens lock
            themselves after a few wrong ones, and a retry loop would use them up.
    """

    def __init__(self, path: str):
        self.path = path
        self.pools: dict[Identity, Pool] = {}
        self.refused: dict[Identity, SecretValue] = {}
        self._lib: Any = None
        self._lock = threading.RLock()
        self._at_fork: dict[int, bool] = {}
        self._stale = False

    @contextmanager
    def held(self, seconds: float) -> Iterator[None]:
        """Hold the module's lock; the same thread may hold it again.

        Raises:
            UnavailableError: another thread's call took longer than `seconds`; such a call cannot be cut off.
        """
        lock = self._lock
        if not lock.acquire(timeout=seconds):
            raise UnavailableError("the token is busy with another call", hint="does the token hang?")
        try:
            yield
        finally:
            lock.release()

    def tokens(self) -> list[Any]:
        """Every token present, asked for anew. Call it with the lock held."""
        if self._stale:
            self.reinitialize()
        if self._lib is None:
            self._lib = _loaded(self.path)
        return list(self._lib.get_tokens())

    @property
    def loaded(self) -> bool:
        """Whether the library was loaded and initialised in this process."""
        return self._lib is not None

    def reinitialize(self) -> None:
        """Finalise the module and initialise it again; every session in it ends. Call it with the lock held.

        Some modules answer DEVICE_ERROR for ever until that is done.
        """
        self.abandon()
        self._stale = True
        if self._lib is not None:
            with suppress(pkcs11.PKCS11Error):  # p11-kit finalises itself in a forked child, and then says so
                self._lib.finalize()
            self._lib.initialize()
        self._stale = False

    def abandon(self) -> None:
        """Forget every session without closing it."""
        for pool in self.pools.values():
            pool.abandon()
        self.pools.clear()

    def before_fork(self) -> None:
        """No call is under way while the process forks: the child would inherit the module in mid-air.

        A call that hangs does not hang the fork for ever.
        """
        self._at_fork[threading.get_ident()] = self._lock.acquire(timeout=_FORK_SECONDS)

    def after_fork_in_parent(self) -> None:
        """Go on."""
        if self._at_fork.pop(threading.get_ident(), False):
            self._lock.release()

    def after_fork_in_child(self) -> None:
        """The sessions are the parent's; the lock may be held by a thread that does not exist here.

        The standard (2.40, section 6.6.1) asks a child to initialise the module again; it is done on first
        use, so that a child that needs no token does not touch it.
        """
        self._at_fork.clear()
        self._lock = threading.RLock()
        self._stale = self._lib is not None
        self.abandon()


_modules: dict[str, Module] = {}


def module_of(settings: Settings) -> Module:
    """The module that the option ``module`` names. It is loaded on first use, not here.

    Raises:
        InvalidRequestError: none is named, or not by the absolute path of a file: a bare name would be looked
            up where the loader looks, which others may write to.
    """
    path = settings.options.get("module")
    if not isinstance(path, str | os.PathLike):
        raise InvalidRequestError(
            "no PKCS#11 module is named", hint='set module = "/usr/lib/…/module.so" in strongroom.toml'
        )
    found = Path(path).expanduser()
    if not found.is_absolute() or not found.is_file():
        raise InvalidRequestError(
            "the option module is the absolute path of a library", hint="check that the file exists"
        )
    # One library under two names would be initialised twice, which it refuses.
    return _modules.setdefault(str(found.resolve()), Module(str(found)))


def _loaded(path: str) -> Any:
    try:
        return pkcs11.lib(path)
    except pkcs11.PKCS11Error as exc:
        if type(exc) is not pkcs11.PKCS11Error:
            raise  # the module loads; its device has trouble
    raise InvalidRequestError(
        "the PKCS#11 module cannot be loaded",
        hint="is it a PKCS#11 library, and initialised by nothing else in this process?",
    )


def _each(action: str) -> None:
    for module in list(_modules.values()):
        getattr(module, action)()


os.register_at_fork(
    before=lambda: _each("before_fork"),
    after_in_parent=lambda: _each("after_fork_in_parent"),
    after_in_child=lambda: _each("after_fork_in_child"),
)
