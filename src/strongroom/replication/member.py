"""Member: one store that takes part in replication."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from strongroom.backend import Backend
    from strongroom.names import NameMode


@dataclass(frozen=True, slots=True)
class Member:
    """A store as replication sees it.

    Attributes:
        alias: what strongroom.toml calls it.
        backend: with its own encryption, and never a failover: what one member holds is not another's.
        domain: the logical id that source and replicas share, to which their values are bound.
        names: how its secrets are named; a source and its replica alike.
    """

    alias: str
    backend: Backend
    domain: str
    names: NameMode = "portable"
