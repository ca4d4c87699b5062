"""strongroom.toml: which stores there are, and how to reach them.

Looked up by ``--config``, ``STRONGROOM_CONFIG``, ``./strongroom.toml``; never in parent folders, where
somebody else's file could name other stores. Errors give file, line, key and the nearest right name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from .backend import Settings
from .cache import CachePolicy
from .configentries import KeyEntry, KeyringEntry, StoreEntry
from .configreader import Place, Reader, Table, near
from .errors import InvalidRequestError
from .layers.breaker import BreakerPolicy
from .names import StoreURL, is_loopback
from .registry import is_scheme, key_schemes, schemes

FILE_NAME = "strongroom.toml"
_HTTPS = re.compile(r"https://[^\s/@?#\\%]+(?:/[^\s@?#\\%]*)?")
_WORLD_WRITABLE = 0o002
_REACH_KEYS = ("endpoint", "ca", "timeout", "attempts", "auth", "options", "module", "pin")
_FAILOVER_KEYS = ("failover", "cache", "names", "hedge", "breaker")
_STORE_KEYS = ("url", "encrypt", *_FAILOVER_KEYS, *_REACH_KEYS)
_ENCRYPT_KEYS = (
    "keys", "keyring", "old_keys", "domain", "forgeable", "allow_plaintext", "data_key_cache",
)  # fmt: skip
_LONGEST_DATA_KEY_CACHE = 300.0
"""Seconds: as `strongroom.envelope.datakeys` allows; a KEK that was disabled serves for so long."""
_COORDINATORS = "sqlite:///path of a file, or strongroom://ALIAS of a store with compare-and-set"


@dataclass(frozen=True, slots=True)
class Config:
    """A strongroom.toml that was read and checked.

    Attributes:
        path: the file, or None if there is none.
        default: the alias that ``open()`` takes.
        stores: every store by alias.
        keys: every key by alias.
        keyrings: every keyring by alias; none is a key's.
        coordinator: what guards conditional writes where a provider has none: a URL, or empty.
    """

    path: Path | None = None
    default: str | None = None
    stores: Mapping[str, StoreEntry] = field(default_factory=dict)
    keys: Mapping[str, KeyEntry] = field(default_factory=dict)
    coordinator: str = ""
    keyrings: Mapping[str, KeyringEntry] = field(default_factory=dict)

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None) -> Config:
        """Read the file given, the one ``STRONGROOM_CONFIG`` names, or ``./strongroom.toml``.

        Raises:
            InvalidRequestError: a file that was named is missing, or a line of it is wrong.
        """
        named = path or os.environ.get("STRONGROOM_CONFIG")
        file = Path(named) if named else Path(FILE_NAME)
        if not named and not file.exists():
            return cls()
        config = _read(file)
        if isinstance(config, InvalidRequestError):
            raise config
        return config

    def entry(self, target: str | None) -> StoreEntry:
        """The store an alias or a URL means; without either, the default one.

        Raises:
            InvalidRequestError: nothing of that name; the hint has the nearest one.
        """
        if target is None:
            target = self.default or (next(iter(self.stores)) if len(self.stores) == 1 else None)
        if target is None:
            raise InvalidRequestError("no store was named", hint=f"name one, or set default in {FILE_NAME}")
        if target in self.stores:
            return self.stores[target]
        if ":" in target:
            return StoreEntry(target, StoreURL.parse(target).text)
        raise InvalidRequestError(
            f"no store is called {target!r}",
            hint=near(target, self.stores, f" in {self.path}" if self.path else ""),
        )

    def key(self, target: str) -> KeyEntry:
        """The key an alias or a URL means; a keyring is not among them.

        Raises:
            InvalidRequestError: nothing of that name; the hint has the nearest one.
        """
        if target in self.keys:
            return self.keys[target]
        if target in self.keyrings:
            raise InvalidRequestError(f"{target!r} is a keyring", hint="name a key: it has roots of its own")
        if ":" in target:
            return KeyEntry(target, StoreURL.parse(target).text)
        raise InvalidRequestError(
            f"no key is called {target!r}", hint=near(target, [*self.keys, *self.keyrings])
        )

    def keyring(self, target: str) -> KeyringEntry:
        """The keyring of an alias.

        Raises:
            InvalidRequestError: nothing of that name; the hint has the nearest one.
        """
        if target in self.keyrings:
            return self.keyrings[target]
        raise InvalidRequestError(f"no keyring is called {target!r}", hint=near(target, self.keyrings))


def _read(path: Path) -> Config | InvalidRequestError:
    """Return what is wrong, never raise it: the frames below hold the file, and whoever wrote a credential
    into it must not find it in a traceback's locals too.
    """
    try:
        return _Reader(path, _text_of(path)).config()
    except InvalidRequestError as error:
        return error.with_traceback(None)


def _text_of(path: Path) -> str:
    problem = None
    try:
        if path.stat().st_mode & _WORLD_WRITABLE:
            problem = "anybody may write it, and it decides where secrets go"
        else:
            return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        problem = exc.strerror if isinstance(exc, OSError) else "not UTF-8"
    raise InvalidRequestError(f"{path}: {problem}", hint="pass --config, or set STRONGROOM_CONFIG")


class _Reader(Reader):
    """Turns the file's tables into entries."""

    def config(self) -> Config:
        document = self.document()
        self.known((), document, ("default", "store", "key", "keyring", "coordinator"))
        keys = {alias: self._key(("key", alias), table) for alias, table in self.tables(document, "key")}
        keyrings = {
            alias: self._keyring(("keyring", alias), table, keys)
            for alias, table in self.tables(document, "keyring")
        }
        stores = {
            alias: self._store(("store", alias), table, keys, keyrings)
            for alias, table in self.tables(document, "store")
        }
        for alias, entry in stores.items():
            self._check_members(("store", alias), entry, stores)
        for alias, ring in keyrings.items():
            self._check_place(("keyring", alias), ring, stores)
        default = self.string((), document, "default") or None
        if default is not None and default not in stores:
            self.fail((), "default", f"no store is called {default!r}", near(default, stores))
        return Config(self.path, default, stores, keys, self._coordinator(document, stores), keyrings)

    def _coordinator(self, document: Table, stores: Mapping[str, StoreEntry]) -> str:
        at, table = ("coordinator",), self.table((), document, "coordinator")
        self.known(at, table, ("url",))
        if not table:
            return ""
        text, scheme = self._url(at, table)
        if scheme not in ("sqlite", "strongroom"):
            self.fail(at, "url", f"{scheme!r} coordinates nothing", f"write {_COORDINATORS}")
        url = StoreURL.parse(text)
        alone = not url.query and (not url.path if scheme == "strongroom" else not url.host)
        # A path that depended on the working folder would be another coordinator in each.
        if not alone or (scheme == "sqlite" and not url.path.startswith("/")):
            self.fail(at, "url", "is not where a coordinator is", f"write {_COORDINATORS}")
        if scheme == "strongroom":
            self._check_coordinating(at, url.host, stores)
        return text

    def _check_coordinating(self, at: Place, alias: str, stores: Mapping[str, StoreEntry]) -> None:
        if alias not in stores:
            self.fail(at, "url", f"no store is called {alias!r}", near(alias, stores))
        if stores[alias].failover:  # an answer of another member is not what the first one compares with
            self.fail(at, "url", f"{alias!r} is a failover", "name a store that is one place")

    def _key(self, at: Place, table: Table) -> KeyEntry:
        self.known(at, table, ("url", *_REACH_KEYS))
        text, scheme = self._url(at, table)
        if scheme not in key_schemes():
            self.fail(at, "url", f"unknown key scheme {scheme!r}", near(scheme, key_schemes()))
        return KeyEntry(at[1], text, self._settings(at, table))

    def _keyring(self, at: Place, table: Table, keys: Mapping[str, KeyEntry]) -> KeyringEntry:
        self.known(at, table, ("roots", "store", "file", "forgeable"))
        if at[1] in keys:
            self.fail(at[:1], at[1], "a key has this name already")
        roots = self._known_aliases(at, table, "roots", keys)
        if not roots:
            self.fail(at[:1], at[1], "needs roots, the keys that it is encrypted under")
        store, file = self.string(at, table, "store"), self.string(at, table, "file")
        if bool(store) == bool(file):
            self.fail(at[:1], at[1], "needs either store or file, where it is kept")
        # A path that depended on the working folder would be another keyring in each.
        if file and not file.startswith("/"):
            self.fail(at, "file", "is no absolute path", "write /path of the file")
        return KeyringEntry(at[1], roots, store, file, self._flag(at, table, "forgeable"))

    def _check_place(self, at: Place, entry: KeyringEntry, stores: Mapping[str, StoreEntry]) -> None:
        if entry.store and entry.store not in stores:
            self.fail(at, "store", f"no store is called {entry.store!r}", near(entry.store, stores))
        if entry.store and stores[entry.store].failover:  # its members would come to hold different keyrings
            self.fail(at, "store", f"{entry.store!r} is a failover", "name a store that is one place")

    def _known_aliases(
        self, at: Place, table: Table, name: str, known: Mapping[str, object]
    ) -> tuple[str, ...]:
        aliases = self.strings(at, table, name)
        for alias in aliases:
            if alias not in known:
                self.fail(at, name, f"no key is called {alias!r}", near(alias, known))
        if len(set(aliases)) < len(aliases):
            self.fail(at, name, "names a key twice")
        return aliases

    def _flag(self, at: Place, table: Table, name: str) -> bool:
        if type(flag := table.get(name, False)) is not bool:
            self.fail(at, name, "is true or false")
        return flag

    def _store(
        self,
        at: Place,
        table: Table,
        keys: Mapping[str, KeyEntry],
        keyrings: Mapping[str, KeyringEntry],
    ) -> StoreEntry:
        self.known(at, table, _STORE_KEYS)
        if ("url" in table) == ("failover" in table):
            self.fail(at[:1], at[1], "needs either url or failover")
        failover = self.strings(at, table, "failover")
        if failover and (more := sorted(table.keys() - set(_FAILOVER_KEYS))):
            self.fail(at, more[0], "does not stand with failover: its members have the rest")
        url, scheme = self._url(at, table) if "url" in table else ("", "")
        if url and not is_scheme(scheme):
            self.fail(at, "url", f"unknown scheme {scheme!r}", near(scheme, schemes()))
        entry = StoreEntry(at[1], url, self._settings(at, table), failover=failover)
        entry = self._failing_over(at, entry, table)
        return self._encrypted(at, replace(entry, cache=self._cache(at, table)), table, keys, keyrings)

    def _failing_over(self, at: Place, entry: StoreEntry, table: Table) -> StoreEntry:
        if not entry.failover and (more := [name for name in ("hedge", "breaker") if name in table]):
            self.fail(at, more[0], "stands with failover only")
        hedge = self.seconds(at, table, "hedge", 0.0)
        if "hedge" in table and hedge <= 0:
            self.fail(at, "hedge", "is more than nothing")
        breaker, inside, default = self.table(at, table, "breaker"), (*at, "breaker"), entry.breaker
        self.known(inside, breaker, ("failures", "pause"))
        failures = breaker.get("failures", default.failures)
        if type(failures) is not int or not 1 <= failures <= 1000:
            self.fail(inside, "failures", "is a whole number from 1 to 1000")
        pause = self.seconds(inside, breaker, "pause", default.pause)
        if pause <= 0:
            self.fail(inside, "pause", "is more than nothing")
        return replace(entry, hedge=hedge, breaker=BreakerPolicy(failures, pause))

    def _url(self, at: Place, table: Table) -> tuple[str, str]:
        text = self.string(at, table, "url", required=True)
        try:
            return text, StoreURL.parse(text).scheme
        except InvalidRequestError as error:
            problem = error
        return self.fail(at, "url", problem.message, problem.hint)

    def _settings(self, at: Place, table: Table) -> Settings:
        names = table.get("names", "portable")
        if names not in ("portable", "native"):
            self.fail(at, "names", "is 'portable' or 'native'")
        attempts = table.get("attempts", 3)
        if type(attempts) is not int or not 1 <= attempts <= 10:
            self.fail(at, "attempts", "is a whole number from 1 to 10")
        timeout = self.seconds(at, table, "timeout", 5.0)
        if timeout <= 0:
            self.fail(at, "timeout", "is more than nothing")
        auth = self.table(at, table, "auth")
        credentials = {name: self.credential((*at, "auth"), auth, name) for name in auth}
        if "pin" in table:
            credentials["pin"] = self.credential(at, table, "pin")
        options = self.table(at, table, "options")
        if "module" in table:
            options = {**options, "module": self.string(at, table, "module", required=True)}
        return Settings(
            names=names,
            endpoint=self._endpoint(at, table),
            ca=self.string(at, table, "ca") or None,
            timeout=timeout,
            attempts=attempts,
            auth=credentials,
            options=options,
        )

    def _endpoint(self, at: Place, table: Table) -> str | None:
        endpoint = self.string(at, table, "endpoint") or None
        if endpoint and not is_loopback(endpoint) and not _HTTPS.fullmatch(endpoint):
            self.fail(at, "endpoint", "is https://HOST:PORT (plain http only on 127.0.0.0/8 or [::1])")
        return endpoint

    def _encrypted(
        self,
        at: Place,
        entry: StoreEntry,
        table: Table,
        keys: Mapping[str, KeyEntry],
        keyrings: Mapping[str, KeyringEntry],
    ) -> StoreEntry:
        if "encrypt" not in table:
            return entry
        encrypt, inside = self.table(at, table, "encrypt"), (*at, "encrypt")
        self.known(inside, encrypt, _ENCRYPT_KEYS)
        keyring, domain = self.string(inside, encrypt, "keyring"), self.string(inside, encrypt, "domain")
        if keyring and keyring not in keyrings:
            self.fail(inside, "keyring", f"no keyring is called {keyring!r}", near(keyring, keyrings))
        both = {**keys, **keyrings}
        named = tuple(filter(None, (keyring, *self._known_aliases(inside, encrypt, "keys", both))))
        if not named or not domain:
            self.fail(at, "encrypt", "needs keys or a keyring, and a domain")
        if len(set(named)) < len(named):
            self.fail(inside, "keys", "names the keyring again")
        return replace(
            entry,
            keys=named,
            domain=domain,
            old_keys=self._known_aliases(inside, encrypt, "old_keys", both),
            forgeable=self._flag(inside, encrypt, "forgeable"),
            allow_plaintext=self._flag(inside, encrypt, "allow_plaintext"),
            data_key_cache=self._data_key_cache(inside, encrypt),
        )

    def _data_key_cache(self, at: Place, table: Table) -> float:
        seconds = self.seconds(at, table, "data_key_cache", 0.0)
        if "data_key_cache" in table and not 0 < seconds <= _LONGEST_DATA_KEY_CACHE:
            self.fail(at, "data_key_cache", "is more than nothing and at most 5m")
        return seconds

    def _cache(self, at: Place, table: Table) -> CachePolicy | None:
        if table.get("cache") is False:
            return None
        cache, inside, default = self.table(at, table, "cache"), (*at, "cache"), CachePolicy()
        self.known(inside, cache, ("fresh", "stale"))
        fresh = self.seconds(inside, cache, "fresh", default.fresh)
        return CachePolicy(fresh, self.seconds(inside, cache, "stale", default.stale))

    def _check_members(self, at: Place, entry: StoreEntry, stores: Mapping[str, StoreEntry]) -> None:
        for member in entry.failover:
            if member not in stores:
                self.fail(at, "failover", f"no store is called {member!r}", near(member, stores))
            if stores[member].failover:
                self.fail(at, "failover", f"{member!r} is itself a failover")
        if len(set(entry.failover)) < len(entry.failover):
            self.fail(at, "failover", "names a store twice")
