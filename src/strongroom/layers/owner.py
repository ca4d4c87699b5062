"""Owner: closes, with its backend, what was opened for it: keys, the coordinator, its share of the audit."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Protocol

from .layer import Layer

if TYPE_CHECKING:
    from strongroom.backend import Backend


class Owned(Protocol):
    """A key, a coordinator, a share of the audit."""

    def after_fork(self) -> None:
        """In a forked child: drop what is the parent's."""
        ...

    def close(self) -> None:
        """Release what is held."""
        ...


class Owner(Layer):
    """Forwards everything to ``inner``, and shares its end with what ``inner`` uses.

    Args:
        inner: the backend.
        owned: closed after it, the last first, and told of forks before it.
    """

    def __init__(self, inner: Backend, owned: Sequence[Owned]):
        super().__init__(inner)
        self._owned = tuple(owned)

    def after_fork(self) -> None:
        for one in self._owned:
            one.after_fork()
        self.inner.after_fork()

    def close(self) -> None:
        with ExitStack() as ends:
            for one in self._owned:
                ends.callback(one.close)
            ends.callback(self.inner.close)
