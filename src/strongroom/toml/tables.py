"""The keys of strongroom.toml: the reader, the JSON Schema and the documentation follow from these tables."""

from __future__ import annotations

from typing import Final

from strongroom.registry import queue_schemes

from .containers import Deferred, Entries, Table, Tables, Written
from .kinds import Choice, Duration, Flag, Kind, Secret, Text, Texts, Whole
from .reach import COORDINATORS, URL, Endpoint, Group, Reached, StoreLocation, key_location
from .takes import KEYS, QUEUES, STORES

_ALIAS: Final = "[a-z0-9]+(?:[._-][a-z0-9]+)*"
_ALIAS_RULE: Final = "an alias is lower-case letters and digits with . _ - between"
_PATTERN: Final = r"[^*]+(?:/\*\*)?"

_REACH: Final[dict[str, Kind]] = {
    "endpoint": Endpoint("another server than the provider's own", limits="https, or loopback"),
    "ca": Text("the path of a PEM file with the authorities to trust instead of the system's"),
    "timeout": Duration("how long one attempt may take", "5s"),
    "attempts": Whole("how often a call is tried", 1, 10, 3),
    "auth": Group("credentials; without it the SDK's own chain"),
    "options": Group("what the scheme alone knows"),
    "module": Text("of a PKCS#11 token: the absolute path of its library"),
    "pin": Secret("of a PKCS#11 token: the user's PIN"),
}


def _bounds(fresh: str = "", stale: str = "") -> dict[str, Kind]:
    late = "how long beyond `fresh` the last value is served, marked, while the provider is down"
    return {
        "fresh": Duration("how long a value is served without asking", fresh, nothing=True),
        "stale": Duration(late, stale, nothing=True),
    }


CACHE: Final = Table(
    "how long values may be served from memory; `false` for no cache",
    {
        **_bounds("5m", "55m"),
        "absent": Duration("how long a name that was not found is remembered as such", "1s", nothing=True),
        "size": Whole("how many names are kept at most", 1, 10_000_000, 10_000),
        "poll": Duration("how long between two looks at a name that is watched", "30s"),
        "spread": Duration("over how long the reads after a change notice are spread", "1s", nothing=True),
        "names": Entries(
            "other bounds for some names; of several that match the first counts",
            Written("for a name, or for all below a prefix; what is missing is as above", _bounds()),
            form=_PATTERN,
            problem='is a name, or a prefix such as "exchange/**"',
        ),
    },
    off=True,
)
ENCRYPT: Final = Table(
    "the envelope encryption of the store's values",
    {
        "keys": Texts("keys and keyrings; a value is encrypted under all of them, and each opens it", "key"),
        "keyring": Text("a keyring, which comes before `keys`"),
        "old_keys": Texts("keys and keyrings that open values still, and encrypt nothing", "key"),
        "domain": Text("the logical id that values are bound to, the same for a store and its replicas"),
        "forgeable": Flag("asymmetric keys are accepted, with which anybody can make values"),
        "allow_plaintext": Flag("values from before the store was encrypted are read; for a transition"),
        "data_key_cache": Duration(
            "how long a remote key's answer serves repeated reads; without it not at all",
            most="5m",
        ),
    },
    needs={"keys or a keyring, and a domain": (("keys", "keyring"), ("domain",))},
)
BREAKER: Final = Table(
    "when a member that fails is passed over",
    {
        "failures": Whole("how many in a row open it", 1, 1000, 5),
        "pause": Duration("how long until it is tried again", "30s"),
    },
)
_FAILOVER: Final[dict[str, Kind]] = {
    "failover": Texts("stores that are read in this order; the first takes the writes", "store"),
    "hedge": Duration("after how long the next member is asked as well; without it one at a time"),
    "breaker": BREAKER,
}
NOTICE: Final = Reached(
    "one queue of change notices; no other process may take from it",
    {
        "url": URL("which queue", "queue scheme", queue_schemes, "`SCHEME://PLACE`"),
        **{key: _REACH[key] for key in ("endpoint", "ca", "timeout", "auth")},
    },
    QUEUES,
    needs={"a url": (("url",),)},
)
STORE: Final = Reached(
    "one store",
    {
        "url": StoreLocation("which store", "`SCHEME://PLACE`"),
        **_FAILOVER,
        "names": Choice(
            "which names the store has: those of every provider, or its own",
            ("portable", "native"),
            "portable",
        ),
        "cache": CACHE,
        "encrypt": ENCRYPT,
        "audit": Choice(
            "whether warm reads are counted, or each is recorded with its actor before it is answered",
            ("counted", "strict"),
            "counted",
        ),
        "notices": Tables("queues that tell when a secret was changed, beside polling", NOTICE),
        **_REACH,
    },
    STORES,
    either=("url", "failover"),
    beside={"failover": ("names", "cache", "audit", "notices", *_FAILOVER)},
    only_with={"hedge": "failover", "breaker": "failover"},
)
KEY: Final = Reached(
    "one key",
    {"url": key_location("which key", "`SCHEME://PLACE`"), **_REACH},
    KEYS,
    needs={"a url": (("url",),)},
)
KEYRING: Final = Table(
    "one keyring: versioned local keys, kept encrypted under root keys",
    {
        "roots": Texts("keys that it is encrypted under; any one of them opens it", "key"),
        "store": Text("the store that keeps it"),
        "file": Text("the file that keeps it", form="/.*", problem="is no absolute path",
                     hint="write /path of the file", limits="an absolute path"),
        "forgeable": Flag("asymmetric roots are accepted"),
    },
    needs={"roots, the keys that it is encrypted under": (("roots",),)},
    either=("store", "file"),
)  # fmt: skip
POSTGRESQL: Final[dict[str, Kind]] = {
    "user": Text("of PostgreSQL: who logs in"),
    "password": Secret("of PostgreSQL: that user's"),
    "ca": Text("of PostgreSQL: a PEM file with the authorities to trust instead of the system's"),
}
COORDINATOR: Final = Table(
    "what guards conditional writes where a provider has none",
    {
        "url": URL(
            "which coordinator",
            "coordinator",
            lambda: ("sqlite", "postgresql", "strongroom"),
            COORDINATORS,
            f"write {COORDINATORS}",
        ),
        **POSTGRESQL,
    },
    needs={"a url": (("url",),)},
)  # fmt: skip


def _named(meaning: str, each: Kind) -> Entries:
    return Entries(meaning, each, form=_ALIAS, problem=_ALIAS_RULE)


def _audit() -> Table:
    from .audit import AUDIT

    return AUDIT


def _rotation() -> Table:
    from .rotation import ROTATION

    return ROTATION


def _ledger() -> Table:
    from .rotation import LEDGER

    return LEDGER


def _replica() -> Table:
    from .replicas import REPLICA

    return REPLICA


def _revocations() -> Table:
    from .revocations import REVOCATIONS

    return REVOCATIONS


_PARTS: Final[dict[str, Kind]] = {
    "default": Text("the store that is opened when none is named"),
    "store": _named("stores by alias", STORE),
    "key": _named("keys that encrypt or sign, by alias", KEY),
    "keyring": _named("keyrings by alias", KEYRING),
    "coordinator": COORDINATOR,
    "audit": Deferred("the audit trail; without this table only a program's own hooks run", _audit),
    "replica": _named("stores that are replicas of others, by alias", Deferred("", _replica)),
    "rotation": _named("secrets that are rotated, by label", Deferred("", _rotation)),
    "ledger": Deferred("how far each rotation has come; without it where `[coordinator]` is", _ledger),
    "revocations": Deferred("the signed list of versions that nobody may use any more", _revocations),
}


PROFILE: Final = Table("what replaces or adds to the entries above, each as a whole", _PARTS)
DOCUMENT: Final = Table(
    "strongroom.toml",
    {
        **_PARTS,
        "profile": _named(
            "environments by name; `--profile` or `STRONGROOM_PROFILE` chooses one",
            PROFILE,
        ),
    },
)
