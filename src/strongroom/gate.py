"""The gate of a store: what is wrong or unsupported is refused here, before any request is sent."""

from __future__ import annotations

from typing import final

from .backend import ABSENT, ANY_CAS, READ_FLAGS, Absent, Backend, Capability
from .errors import InvalidRequestError, UnsupportedOperationError
from .names import Name, NameMode, check_beginning

NOTHING = Capability(0)


@final
class Gate:
    """Checks names and capabilities for one store, until it is closed.

    Args:
        backend: the outermost one, whose capabilities count.
        names: ``portable`` or ``native``.
        alias: what the configuration calls the store; its errors name it, or the origin.
    """

    def __init__(self, backend: Backend, names: NameMode, alias: str):
        self._backend, self.names, self._alias = backend, names, alias
        self.closed = False

    def key(self, name: str, operation: str) -> Name:
        """The name, checked; refused once the store is closed."""
        self.usable(operation)
        try:
            return Name.parse(name, self.names)
        except InvalidRequestError as error:
            error.operation = operation
            raise

    def usable(self, operation: str) -> None:
        """Refuse whatever comes after `close`."""
        if self.closed:
            raise InvalidRequestError("the store is closed", operation=operation)

    def beginning(self, prefix: str) -> str:
        """What a listing is asked for, checked; refused where nothing can be listed."""
        self.usable("list")
        self.need(Capability.LIST, "list", None)
        return check_beginning(prefix, self.names)

    def need(self, wanted: Capability, operation: str, name: str | None, of: Backend | None = None) -> None:
        """Refuse what the backend does not declare; CAS and CAS_GUARDED stand for each other.

        ``of``: a layer of it, for what goes past the layers above.
        """
        backend = of or self._backend
        has = backend.capabilities
        missing = wanted & ~has
        if wanted & ANY_CAS and has & ANY_CAS:
            missing &= ~ANY_CAS
        if missing & ~READ_FLAGS and (why := backend.read_only):
            raise UnsupportedOperationError(why, operation=operation, name=name, backend=backend.origin)
        if missing:
            raise self.unsupported(f"{operation} with {', '.join(missing.names).lower()}", operation, name)

    def unsupported(
        self, what: str, operation: str, name: str | None, hint: str | None = None
    ) -> UnsupportedOperationError:
        """The error for what this store cannot do."""
        at = self._backend.origin
        what = f"{self._alias or at} cannot {what}"
        return UnsupportedOperationError(what, operation=operation, name=name, backend=at, hint=hint)


def needed_to_put(if_version: str | Absent | None) -> Capability:
    """What a put needs, by what it compares with."""
    if if_version is ABSENT:
        return Capability.PUT | Capability.CREATE_ONLY
    return Capability.PUT | (ANY_CAS if isinstance(if_version, str) else NOTHING)
