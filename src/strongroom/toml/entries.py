"""What the tables of a strongroom.toml are: keys, keyrings and stores, read and checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from strongroom.backend import Settings
from strongroom.cachepolicy import CachePolicy
from strongroom.layers.breaker import BreakerPolicy

if TYPE_CHECKING:
    from .credentials import Credential


@dataclass(frozen=True)
class KeyEntry:
    """One ``[key.ALIAS]``: a key encryption key or a signing key, and how to reach it."""

    alias: str
    url: str
    settings: Settings = field(default_factory=Settings)


@dataclass(frozen=True)
class NoticeEntry:
    """One of a store's `notices`: a queue, and how to reach it."""

    url: str
    settings: Settings = field(default_factory=Settings)


@dataclass(frozen=True)
class CoordinatorEntry:
    """``[coordinator]``: a URL, and of PostgreSQL how to log in."""

    url: str
    user: str = ""
    password: Credential | None = None
    ca: str = ""


@dataclass(frozen=True)
class KeyringEntry:
    """One ``[keyring.ALIAS]``: versioned local keys, kept encrypted under root keys.

    Attributes:
        alias: what the file calls it, and what its message is bound to.
        roots: aliases of the keys that it is encrypted under; any one opens it.
        store: alias of the store that keeps it, below that store's own encryption; or empty.
        file: the path of the file that keeps it; or empty.
        forgeable: asymmetric roots are accepted.
    """

    alias: str
    roots: tuple[str, ...]
    store: str = ""
    file: str = ""
    forgeable: bool = False


@dataclass(frozen=True)
class StoreEntry:
    """One ``[store.ALIAS]``: a URL, or the members of a failover.

    Attributes:
        alias: what the file calls it; a URL given directly is its own alias.
        url: which resource; empty for failover.
        settings: how to reach it.
        keys: aliases of the keys and keyrings that values are encrypted under.
        domain: the logical id that encrypted values are bound to.
        old_keys: aliases of those that open values too, and encrypt nothing.
        forgeable: asymmetric keys are accepted.
        allow_plaintext: values of before the store was encrypted are read; for a transition.
        data_key_cache: seconds for which a remote key's answer serves repeated reads; 0 for no cache.
        failover: the members' aliases, the first takes the writes.
        hedge: seconds after which a failover asks a second member as well; 0 for never.
        breaker: when a failover passes a member over.
        cache: how long values may be served; None for no cache.
        strict: with an audit trail, each warm read is recorded, not counted.
        notices: queues that tell of changes while it is open.
    """

    alias: str
    url: str = ""
    settings: Settings = field(default_factory=Settings)
    keys: tuple[str, ...] = ()
    domain: str = ""
    old_keys: tuple[str, ...] = ()
    forgeable: bool = False
    allow_plaintext: bool = False
    data_key_cache: float = 0.0
    failover: tuple[str, ...] = ()
    hedge: float = 0.0
    breaker: BreakerPolicy = field(default_factory=BreakerPolicy)
    cache: CachePolicy | None = field(default_factory=CachePolicy)
    strict: bool = False
    notices: tuple[NoticeEntry, ...] = ()
