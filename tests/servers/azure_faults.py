"""What a test makes of the Azure double: slow, deaf, throttled, denied, behind, hostile."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Final

from strongroom.backend import Clock
from tests.servers.azure_wire import RefusedError, answer
from tests.servers.https import NO_ANSWER, Response

# "Secrets [...] 300 transactions collectively": secret create, certificate import and key import share it.
# learn.microsoft.com/azure/key-vault/general/service-limits
CREATES: Final = frozenset({"secrets.set", "keys.import"})
CREATES_PER_WINDOW: Final = 300
WINDOW_SECONDS: Final = 10

Plan = tuple[str, Response | None, bool]


def throttled(retry_after: int) -> Response:
    """429, "Too many requests"; learn.microsoft.com/azure/key-vault/general/overview-throttling."""
    error = {
        "code": "Throttled",
        "message": "Request was not processed because too many requests were received. "
        "Reason: VaultRequestTypeLimitReached",
    }
    return answer({"error": error}, 429, {"Retry-After": str(retry_after)})


class Faults:
    """Operations are named as in `Vault.calls` ("secrets.set"); a pattern ("secrets.*", "*") means several.

    Attributes:
        calls: how often each operation was asked for, refused and throttled ones included.
    """

    def __init__(self, clock: Clock) -> None:
        self.calls: Counter[str] = Counter()
        self._clock = clock
        self._plans: deque[Plan] = deque()
        self._denied: set[str] = set()
        self._gate = threading.Event()
        self._gate.set()
        self._held: tuple[str, float | None] = ("", None)
        self._creates: deque[float] = deque()
        self._limit: int | None = None
        self._waiting = 0
        self._lock = threading.Condition()

    def drop_requests(self, operation: str = "*", times: int = 1) -> None:
        """The next `times` connections end before anything is done."""
        self._plan(operation, NO_ANSWER, times, performed=False)

    def drop_answers(self, operation: str = "*", times: int = 1) -> None:
        """The next `times` requests are carried out, then their connections end without an answer."""
        self._plan(operation, NO_ANSWER, times, performed=True)

    def answer_with(self, operation: str, response: Response, times: int = 1) -> None:
        """The next `times` requests get this instead of being carried out: a 503, a redirect, nonsense."""
        self._plan(operation, response, times, performed=False)

    def throttle(self, operation: str = "*", times: int = 1, retry_after: int = 1) -> None:
        """The next `times` requests get 429."""
        self._plan(operation, throttled(retry_after), times, performed=False)

    def redirect(self, url: str, operation: str = "*", times: int = 1) -> None:
        """The next `times` requests get 307 to `url`, an origin without a path."""
        self._plan(operation, Response(307, b"", {"Location": url}), times, performed=False)

    def deny(self, operation: str) -> None:
        """403 from now on, until `allow`."""
        self._denied.add(operation)

    def allow(self, operation: str) -> None:
        """Take back a `deny`."""
        self._denied.discard(operation)

    def limit_creates(self, limit: int = CREATES_PER_WINDOW) -> None:
        """Refuse more than `limit` creates in any 10 s of the double's clock with 429."""
        self._limit = limit

    @contextmanager
    def holding(self, operation: str = "*", seconds: float | None = None) -> Iterator[None]:
        """Requests of `operation` wait, unperformed, until the block ends or `seconds` have passed."""
        self._held = operation, seconds
        self._gate.clear()
        try:
            yield
        finally:
            self._gate.set()
            with self._lock:  # or one that its client left would meet the next test's faults
                self._lock.wait_for(lambda: not self._waiting, timeout=10)

    def clear(self) -> None:
        """Forget faults and counts."""
        with self._lock:
            self._plans.clear()
            self._denied.clear()
            self._creates.clear()
            self._limit = None
        self._gate.set()
        self.calls.clear()

    def before(self, operation: str) -> tuple[Response | None, bool]:
        """Count the call; what to answer instead of the truth (None: nothing), and whether to perform it."""
        held, seconds = self._held
        with self._lock:
            self.calls[operation] += 1
            waits = not self._gate.is_set() and fnmatchcase(operation, held)
            self._waiting += waits
        if waits:
            self._gate.wait(seconds)
        with self._lock:
            self._waiting -= waits
            self._lock.notify_all()
            self._check_denied(operation)
            planned = self._planned(operation)
            return planned or (self._over_limit(operation), False)

    def _plan(self, operation: str, response: Response, times: int, *, performed: bool) -> None:
        with self._lock:
            self._plans.extend([(operation, response, performed)] * times)

    def _planned(self, operation: str) -> tuple[Response | None, bool] | None:
        for plan in self._plans:
            if fnmatchcase(operation, plan[0]):
                self._plans.remove(plan)
                return plan[1], plan[2]
        return None

    def _check_denied(self, operation: str) -> None:
        if not any(fnmatchcase(operation, pattern) for pattern in self._denied):
            return
        kind, _, action = operation.partition(".")
        # As github.com/hashicorp/terraform-provider-azurerm's users quote it: it names the caller.
        message = (
            "Caller is not authorized to perform action on resource.\r\nIf role assignments, deny "
            "assignments or role definitions were changed recently, please observe propagation time.\r\n"
            "Caller: appid=00000000-0000-0000-0000-000000000000;oid=00000000-0000-0000-0000-000000000000\r\n"
            f"Action: 'Microsoft.KeyVault/vaults/{kind}/{action}/action'\r\nAssignment: (not found)\r\n"
        )
        raise RefusedError(403, "Forbidden", message, "ForbiddenByRbac")

    def _over_limit(self, operation: str) -> Response | None:
        if self._limit is None or operation not in CREATES:
            return None
        now = self._clock.monotonic()
        while self._creates and self._creates[0] <= now - WINDOW_SECONDS:
            self._creates.popleft()
        if len(self._creates) >= self._limit:
            # "Failed requests that return a 429 do not count" (overview-throttling)
            return throttled(max(1, round(self._creates[0] + WINDOW_SECONDS - now)))
        self._creates.append(now)
        return None
