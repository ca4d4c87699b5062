"""What every area of the conformance suite stands on: fixtures, facts of the backend, helpers."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import pytest

from strongroom.backend import ANY_CAS, Backend, Capability, Stage
from strongroom.errors import SecretNotFoundError, SecretStoreError
from strongroom.layers.edge import edge
from strongroom.names import Name
from strongroom.stages import supports_pending
from strongroom.value import SecretValue

from .faults import FaultyBackend

if TYPE_CHECKING:
    from strongroom.store import SecretStore

Test = TypeVar("Test", bound=Callable[..., object])
Plant = Callable[[str, str], object]
NativeReader = Callable[[str], "SecretValue | None"]


def needs(*flags: Capability, cas: bool = False, pending: bool = False) -> Callable[[Test], Test]:
    """Say what a test needs of the backend; without it the test is skipped, and for no other reason."""
    needed = Capability(0)
    for flag in flags:
        needed |= flag

    def lacking(capabilities: Capability, **_parameters: object) -> list[str]:
        missing = list((needed & ~capabilities).names)
        missing += ["CAS or CAS_GUARDED"] * (cas and not capabilities & ANY_CAS)
        return missing + ["pending values"] * (pending and not supports_pending(capabilities))

    def mark(test: Test) -> Test:
        test.lacking = lacking  # type: ignore[attr-defined]
        return test

    return mark


def lacks(item: pytest.Item, capabilities: Capability) -> list[str]:
    """What a case needs that is not among ``capabilities``."""
    check = getattr(getattr(item, "function", None), "lacking", None)
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    return list(check(capabilities, **parameters)) if check else []


class Harness:
    """Fixtures and facts. A subclass gives ``backend``; the rest has defaults that fit most backends.

    Attributes:
        marker: stands in every secret value; what the redaction cases search for.
        many: how many names the listing case writes; choose more than one page of the provider.
        undeclared: what the backend does not declare, so that cases about it are not even collected
            where the plugin is loaded; they are skipped otherwise.
    """

    marker: ClassVar[str] = f"conformance-{secrets.token_hex(12)}"
    many: ClassVar[int] = 12
    undeclared: ClassVar[Capability] = Capability(0)

    @pytest.fixture
    def backend(self) -> Iterator[Backend] | Backend:
        """The backend under test; it need not be empty, since every test makes names of its own."""
        raise NotImplementedError("give a fixture `backend` that returns an open Backend")

    @pytest.fixture
    def disposable(self, backend: Backend) -> Backend:
        """The backend for cases that close it; give another one where ``backend`` is shared by a class."""
        return backend

    @pytest.fixture
    def native_reader(self, backend: Backend) -> NativeReader:
        """What another program sees that asks the provider for "the secret"; None if it sees none.

        Override it with the provider's plain SDK where that is possible.
        """
        return lambda name: self.read_by_backend(backend, name)

    @pytest.fixture
    def plant(self, store: SecretStore) -> Plant:
        """Puts a text value under a name; override it for a read-only backend."""
        if Capability.PUT not in store.capabilities:
            pytest.skip(f"{store.origin} does not declare PUT, and nothing else plants a secret")
        return store.put

    @pytest.fixture
    def refused(self, backend: Backend) -> Backend:
        """The same place, seen by an identity that has no rights there; override it with a real one."""
        faulty = FaultyBackend(edge(backend))
        faulty.deny()
        return faulty

    @pytest.fixture(autouse=True)
    def _capable(self, request: pytest.FixtureRequest, backend: Backend) -> None:
        if lacking := lacks(request.node, backend.capabilities):
            pytest.skip(f"{backend.origin} does not declare {', '.join(lacking)}")

    @pytest.fixture
    def faulty(self, backend: Backend) -> FaultyBackend:
        """The backend behind a layer that counts calls and plays faults."""
        return FaultyBackend(edge(backend))

    @pytest.fixture
    def store(self, backend: Backend, faulty: FaultyBackend) -> Iterator[SecretStore]:
        """The store that users see, without its cache, over ``faulty``."""
        yield self.open(faulty)
        self._clean_up(backend)

    def open(self, backend: Backend, **options: Any) -> SecretStore:
        """A store without a cache over ``backend``."""
        from strongroom.store import SecretStore

        return SecretStore(edge(backend), cache=None, **options)

    def count(self, nightly: int) -> int:
        """How often to repeat what a nightly run repeats so often."""
        return max(1, nightly // 10)

    def name(self, text: str = "db/password") -> str:
        """A name that no other test uses."""
        if not hasattr(self, "_space"):
            self._space = f"t{uuid.uuid4().hex[:8]}"
            self._names: set[str] = set()
        self._names.add(f"{self._space}/{text}")
        return f"{self._space}/{text}"

    def text(self, label: str) -> str:
        """A secret text value, the same for the same label."""
        return f"{self.marker}-{label}"

    def value(self, label: str) -> SecretValue:
        """The same as a SecretValue."""
        return SecretValue(self.text(label))

    def version_id(self, text: str) -> str:
        """``text`` as a version id; override it where ids have a form, to still reach the backend."""
        return text

    @staticmethod
    def rotation() -> str:
        """A new rotation id."""
        return str(uuid.uuid4())

    @staticmethod
    def read_by_backend(backend: Backend, name: str) -> SecretValue | None:
        """What ``backend`` says is current."""
        with suppress(SecretNotFoundError):
            return edge(backend).get(Name(name), Stage.CURRENT).value
        return None

    def _clean_up(self, backend: Backend) -> None:
        """Leave nothing behind, as far as the backend can remove things."""
        flags = backend.capabilities
        if not flags & (Capability.PURGE | Capability.DELETE):
            return
        store = self.open(backend)
        for name in sorted(getattr(self, "_names", ())):
            with suppress(SecretStoreError):
                (store.purge if Capability.PURGE in flags else store.delete)(name)
