"""One SecretClient for one vault: what it may talk to, with whose credentials, how often it asks again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

from strongroom.errors import ProviderFault, SecretStoreError
from strongroom.retry import attempts

from ._credentials import check_auth, credential
from ._errors import READS, fault_of, garbage, translate
from ._transport import Transport

if TYPE_CHECKING:
    from azure.keyvault.secrets import SecretClient

    from strongroom.backend import Settings

    from ._vault import Vault

T = TypeVar("T")
LOGGERS = ("azure", "msal", "msal_extensions", "requests", "urllib3")


class Client:
    """The secrets of one vault.

    The SDK's own retries and redirects are off: `read` repeats under ``strongroom.retry``, on the injected
    clock; nothing else is repeated here. Every call is given as a function of the SDK's client that returns
    what no longer holds a raw value, and the SDK's exception and its frames end in `_attempt`.
    """

    def __init__(self, vault: Vault, settings: Settings):
        check_auth(settings, vault)
        self._vault = vault
        self._settings = settings
        self.after_fork()

    def read(self, action: str, call: Callable[[SecretClient], T]) -> T:
        """Do a read, again where it fails for the moment."""
        return attempts(self._settings, lambda: self._attempt(action, "get", call), again=True)

    def once(self, action: str, call: Callable[[SecretClient], T], *, operation: str = "put") -> T:
        """One attempt, for a write or for what stands under a lease.

        Raises:
            UnavailableError: ``performed`` is None if the answer of a write was lost.
        """
        outcome = self._attempt(action, operation, call)
        if isinstance(outcome, SecretStoreError):
            raise outcome
        return outcome

    def pages(
        self, action: str, listing: Callable[[SecretClient], Any], item: Callable[[Any], T]
    ) -> Iterator[list[T]]:
        """Every page of a listing, each read again where it fails for the moment."""
        more: str | None = None
        while True:
            page, more = self.read(action, lambda sdk, at=more: _page(listing(sdk), at, item))  # type: ignore[misc]
            yield page
            if not more:
                return

    def after_fork(self) -> None:
        """Forget the parent's connections and tokens without closing anything."""
        self._first, self._making = threading.Lock(), threading.Lock()
        self._sdk: SecretClient | None = None
        self._credential: Any = None
        self._authenticated = False

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        with self._making:
            sdk, asked, self._sdk, self._credential = self._sdk, self._credential, None, None
            self._authenticated = False
        if sdk is not None:
            sdk.close()
            asked.close()

    def _attempt(
        self, action: str, operation: str, call: Callable[[SecretClient], T]
    ) -> T | SecretStoreError:
        try:
            return self._authenticated_call(call)
        except SecretStoreError as exc:
            error, fault = exc.with_traceback(None), fault_of(exc)
        except Exception as exc:  # noqa: BLE001  (whatever the SDK raises)
            error, fault = translate(exc, operation, action) or _unexpected(exc), fault_of(exc)
        if operation in READS:
            error.performed = False
        error.__cause__ = fault
        return error

    def _authenticated_call(self, call: Callable[[SecretClient], T]) -> T:
        """The first call alone: the SDK keeps one token, and drops it whenever any thread is challenged.

        Who has waited for one timeout goes ahead, or a vault that is down would be asked by one at a time.
        """
        if self._authenticated:
            return call(self._connected())
        alone = self._first.acquire(timeout=self._settings.timeout)
        try:
            answer = call(self._connected())
            self._authenticated = True
            return answer
        finally:
            if alone:
                self._first.release()

    def _connected(self) -> SecretClient:
        if self._sdk is None:
            with self._making:
                if self._sdk is None:
                    self._sdk = self._make()
                return self._sdk
        return self._sdk

    def _make(self) -> SecretClient:
        from azure.keyvault.secrets import SecretClient

        return self._open(SecretClient)

    def _open(self, kind: Callable[..., T]) -> T:
        """A client of the SDK, of this kind, under our rules."""
        from azure.core.pipeline.policies import RedirectPolicy, RetryPolicy

        transport = Transport(self._vault, self._settings)
        self._credential = credential(self._settings, self._vault)
        return kind(
            self._vault.endpoint,
            self._credential,
            transport=transport,
            retry_policy=RetryPolicy.no_retries(),
            redirect_policy=RedirectPolicy.no_redirects(),
            # A double's certificate and credential are its own; a vault's challenge must name its own domain.
            verify_challenge_resource=not self._vault.loopback,
            user_agent="strongroom",
        )


def outcome(call: Callable[[], T]) -> T | SecretStoreError:
    """What Key Vault made of a call, for `attempts`; whatever else failed, such as a lease, is raised."""
    try:
        return call()
    except SecretStoreError as error:
        if not isinstance(error.__cause__, ProviderFault):
            raise  # whoever waited for a lease does not wait for it again
        return error.with_traceback(None)


def _unexpected(exc: Exception) -> SecretStoreError:
    """What the SDK raises where it stumbles over JSON of another shape, or anything else."""
    if isinstance(exc, AttributeError | KeyError | TypeError | ValueError):
        return garbage()
    return SecretStoreError("the Azure SDK failed unexpectedly", performed=None)


def _page(listing: Any, more: str | None, item: Callable[[Any], T]) -> tuple[list[T], str | None]:
    pages = listing.by_page(continuation_token=more)
    found = [item(one) for one in next(pages, ())]
    return found, pages.continuation_token
