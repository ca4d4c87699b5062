"""strongroom.toml, and ``strongroom.open``: from an alias or a URL to a store.

Looked up by ``--config``, ``STRONGROOM_CONFIG``, ``./strongroom.toml``; never in parent folders, where
somebody else's file could name other stores. Errors give file, line, key and the nearest right name.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from .backend import Backend, Capability, Clock, Settings
from .cache import CachePolicy
from .errors import InvalidRequestError
from .layers.encrypted import Encrypted
from .layers.failover import Failover
from .names import StoreURL, is_loopback
from .registry import open_backend, open_key
from .store import NOTHING, SecretStore
from .value import SecretValue

if TYPE_CHECKING:
    from .audit.event import AuditHook
    from .keys import KeyWrapper

FILE_NAME = "strongroom.toml"
_ALIAS = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_DURATION = re.compile(r"(\d+)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SECRET_KEYS = frozenset(("token", "secret_id", "password", "passphrase", "jwt", "pin"))
_WORLD_WRITABLE = 0o002
_STORE_KEYS = (
    *("url", "failover", "names", "endpoint", "ca", "timeout"),
    *("attempts", "auth", "options", "encrypt", "cache"),
)


@dataclass(frozen=True, slots=True)
class StoreEntry:
    """One ``[store.ALIAS]``: a URL, or the members of a failover.

    Attributes:
        alias: what the file calls it; a URL given directly is its own alias.
        url: which resource; empty for failover.
        settings: how to reach it.
        keys: aliases of the keys that values are encrypted under.
        domain: the logical id that encrypted values are bound to.
        forgeable: asymmetric keys are accepted.
        failover: the members' aliases, the first takes the writes.
        cache: how long values may be served; None for no cache.
    """

    alias: str
    url: str = ""
    settings: Settings = field(default_factory=Settings)
    keys: tuple[str, ...] = ()
    domain: str = ""
    forgeable: bool = False
    failover: tuple[str, ...] = ()
    cache: CachePolicy | None = field(default_factory=CachePolicy)


@dataclass(frozen=True, slots=True)
class Config:
    """A strongroom.toml that was read and checked.

    Attributes:
        path: the file, or None if there is none.
        default: the alias that ``open()`` takes.
        stores: every store by alias.
        keys: the URL of every key by alias.
    """

    path: Path | None = None
    default: str | None = None
    stores: Mapping[str, StoreEntry] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)

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
        return _Reader(file, _read(file)).config()

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
            f"no store is called {target!r}", hint=_near(target, self.stores, self.path)
        )


def open(  # noqa: A001  (the module's main verb, as in gzip.open)
    target: str | None = None,
    *,
    require: Capability = NOTHING,
    config: str | os.PathLike[str] | Config | None = None,
    hooks: Sequence[AuditHook] = (),
    auth: Mapping[str, str | SecretValue] | None = None,
    clock: Clock | None = None,
) -> SecretStore:
    """Open a store by its alias in strongroom.toml or by URL; without either, the default store.

    Args:
        target: such as ``"prod"`` or ``"aws-sm://eu-west-1/prod"``.
        require: capabilities without which opening fails.
        config: a file to read instead of looking one up, or one already read.
        hooks: called before and after every operation.
        auth: credentials that are not in the file, such as a passphrase that was asked for.
        clock: injected in tests.

    Raises:
        InvalidRequestError: the configuration or the URL is wrong.
        BackendNotInstalledError: an SDK is missing.
        UnsupportedOperationError: a required capability is missing.
    """
    loaded = config if isinstance(config, Config) else Config.load(config)
    entry = loaded.entry(target)
    settings = replace(entry.settings, auth={**entry.settings.auth, **(auth or {})}, clock=clock or Clock())
    backend = _backend(loaded, replace(entry, settings=settings))
    try:
        return SecretStore(
            backend,
            hooks=hooks,
            cache=entry.cache,
            names=settings.names,
            alias=entry.alias,
            clock=settings.clock,
            require=require,
        )
    except BaseException:
        backend.close()
        raise


def _backend(config: Config, entry: StoreEntry) -> Backend:
    if entry.failover:
        return Failover({alias: _member(config, alias, entry.settings.clock) for alias in entry.failover})
    keys = [_key(config, alias, entry.settings) for alias in entry.keys]
    backend = open_backend(entry.url, entry.settings)
    try:
        own = backend.own_key()
        stored: Backend = Encrypted(backend, [own], backend.domain) if own else backend
        return Encrypted(stored, keys, entry.domain, forgeable=entry.forgeable) if keys else stored
    except BaseException:
        backend.close()
        raise


def _member(config: Config, alias: str, clock: Clock) -> Backend:
    entry = config.stores[alias]
    return _backend(config, replace(entry, settings=replace(entry.settings, clock=clock)))


def _key(config: Config, alias: str, settings: Settings) -> KeyWrapper:
    return open_key(config.keys[alias], settings)


def _read(path: Path) -> str:
    problem = None
    try:
        if path.stat().st_mode & _WORLD_WRITABLE:
            problem = "anybody may write it, and it decides where secrets go"
        else:
            return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        problem = exc.strerror if isinstance(exc, OSError) else "not UTF-8"
    raise InvalidRequestError(f"{path}: {problem}", hint="pass --config, or set STRONGROOM_CONFIG")


@dataclass(slots=True)
class _Reader:
    """Turns the file's tables into entries, and remembers where it is for the errors."""

    path: Path
    text: str

    def config(self) -> Config:
        document = self._document()
        self._known("", document, ("default", "store", "key"))
        tables = self._tables(document, "store")
        keys = {alias: self._key(alias, table) for alias, table in self._tables(document, "key").items()}
        stores = {alias: self._store(alias, table, keys) for alias, table in tables.items()}
        for alias, entry in stores.items():
            self._members(alias, entry, stores)
        default = document.get("default")
        if default is not None and default not in stores:
            self._fail("default", f"no store is called {default!r}", _near(str(default), stores, self.path))
        return Config(self.path, default, stores, keys)

    def _document(self) -> dict[str, Any]:
        try:
            return tomllib.loads(self.text)
        except tomllib.TOMLDecodeError as exc:
            at = re.search(r"at line (\d+)", str(exc))
            end = self.text.count("\n") + 1
            line = int(at[1]) if at else end
        raise InvalidRequestError(
            f"{self.path}:{line}: not valid TOML", hint="check quotes and brackets there"
        )

    def _tables(self, document: Mapping[str, Any], group: str) -> Mapping[str, Mapping[str, Any]]:
        tables = document.get(group, {})
        for alias, table in tables.items() if isinstance(tables, dict) else [(group, None)]:
            if not isinstance(table, dict) or not _ALIAS.fullmatch(alias):
                self._fail(alias, f"[{group}.{alias}] must be a table with a lower-case alias")
        return dict(tables)

    def _key(self, alias: str, table: Mapping[str, Any]) -> str:
        self._known(f"key.{alias}", table, ("url",))
        return self._text(f"key.{alias}", table, "url", required=True)

    def _store(self, alias: str, table: Mapping[str, Any], keys: Mapping[str, str]) -> StoreEntry:
        where = f"store.{alias}"
        self._known(where, table, _STORE_KEYS)
        if ("url" in table) == ("failover" in table):
            self._fail(alias, f"[{where}] needs either url or failover")
        failover = tuple(table.get("failover", ()))
        if failover and table.keys() - {"failover", "cache", "names"}:
            self._fail(
                alias, f"[{where}] with failover takes only cache and names: its members have the rest"
            )
        entry = StoreEntry(alias, table.get("url", ""), self._settings(where, table), failover=failover)
        return self._encrypted(where, replace(entry, cache=self._cache(where, table)), table, keys)

    def _settings(self, where: str, table: Mapping[str, Any]) -> Settings:
        names = table.get("names", "portable")
        if names not in ("portable", "native"):
            self._fail("names", f"{where}.names is 'portable' or 'native'")
        endpoint = self._text(where, table, "endpoint") or None
        if endpoint and not endpoint.startswith("https://") and not is_loopback(endpoint):
            self._fail(
                "endpoint", f"{where}.endpoint must be https (plain http only on 127.0.0.0/8 or [::1])"
            )
        attempts = table.get("attempts", 3)
        if not isinstance(attempts, int) or not 1 <= attempts <= 10:
            self._fail("attempts", f"{where}.attempts is a whole number from 1 to 10")
        return Settings(
            names=names,
            endpoint=endpoint,
            ca=self._text(where, table, "ca") or None,
            timeout=self._seconds(where, table, "timeout", 5.0),
            attempts=attempts,
            auth={name: self._credential(where, name, text) for name, text in table.get("auth", {}).items()},
            options=table.get("options", {}),
        )

    def _credential(self, where: str, name: str, text: Any) -> str | SecretValue:
        if not isinstance(text, str):
            self._fail(name, f"{where}.auth.{name} must be a string")
        if text.startswith("env://"):
            variable = text.removeprefix("env://")
            if variable not in os.environ:
                self._fail(name, f"{where}.auth.{name}: the environment has no {variable}")
            return SecretValue(os.environ[variable])
        if text.startswith("file:///"):
            return self._from_file(where, name, Path(text.removeprefix("file://")))
        if name in _SECRET_KEYS:
            self._fail(
                name, f"{where}.auth.{name} must not stand in the file", "write env://VAR or file:///path"
            )
        return text

    def _from_file(self, where: str, name: str, path: Path) -> SecretValue:
        try:
            return SecretValue(path.read_bytes().removesuffix(b"\n").decode())
        except OSError as exc:
            problem = exc.strerror
        except UnicodeDecodeError:
            problem = "not UTF-8 text"
        return self._fail(name, f"{where}.auth.{name}: {path}: {problem}")

    def _encrypted(
        self, where: str, entry: StoreEntry, table: Mapping[str, Any], keys: Mapping[str, str]
    ) -> StoreEntry:
        encrypt = table.get("encrypt")
        if encrypt is None:
            return entry
        self._known(f"{where}.encrypt", encrypt, ("keys", "domain", "forgeable"))
        names = tuple(encrypt.get("keys", ()))
        for name in names:
            if name not in keys:
                self._fail(
                    "encrypt", f"{where}.encrypt: no key is called {name!r}", _near(name, keys, self.path)
                )
        if not names or not encrypt.get("domain"):
            self._fail("encrypt", f"{where}.encrypt needs keys and a domain")
        return replace(
            entry, keys=names, domain=str(encrypt["domain"]), forgeable=encrypt.get("forgeable") is True
        )

    def _cache(self, where: str, table: Mapping[str, Any]) -> CachePolicy | None:
        cache = table.get("cache", {})
        if cache is False:
            return None
        if not isinstance(cache, dict):
            self._fail("cache", f"{where}.cache is false, or a table with fresh and stale")
        self._known(f"{where}.cache", cache, tuple(field.name for field in fields(CachePolicy)))
        default = CachePolicy()
        return CachePolicy(
            self._seconds(f"{where}.cache", cache, "fresh", default.fresh),
            self._seconds(f"{where}.cache", cache, "stale", default.stale),
        )

    def _members(self, alias: str, entry: StoreEntry, stores: Mapping[str, StoreEntry]) -> None:
        for member in entry.failover:
            if member not in stores:
                near = _near(str(member), stores, self.path)
                self._fail("failover", f"store.{alias}.failover: no store is called {member!r}", near)
            if stores[member].failover:
                self._fail("failover", f"store.{alias}.failover: {member!r} is itself a failover")

    def _text(self, where: str, table: Mapping[str, Any], name: str, *, required: bool = False) -> str:
        text = table.get(name, "")
        if not isinstance(text, str) or (required and not text):
            self._fail(name, f"{where}.{name} must be a string")
        return text

    def _seconds(self, where: str, table: Mapping[str, Any], name: str, default: float) -> float:
        given = table.get(name)
        match = _DURATION.fullmatch(given) if isinstance(given, str) else None
        if given is not None and not match:
            self._fail(name, f"{where}.{name} is a duration", 'write "30s", "5m" or "1h"')
        return int(match[1]) * _SECONDS[match[2]] if match else default

    def _known(self, where: str, table: Any, known: Sequence[str]) -> None:
        if not isinstance(table, dict):
            self._fail(where.rpartition(".")[2], f"{where} must be a table")
        for name in table:
            if name not in known:
                self._fail(name, f"{where or 'the file'} has no key {name!r}", _near(name, known, None))

    def _fail(self, key: str, problem: str, hint: str | None = None) -> NoReturn:
        spelled = re.compile(rf"(?:^|[\s\[.{{,\"']){re.escape(key)}(?:[\s\].=\"']|$)")
        lines = enumerate(self.text.splitlines(), 1)
        line = next((number for number, text in lines if spelled.search(text.partition("#")[0])), 1)
        raise InvalidRequestError(f"{self.path}:{line}: {problem}", hint=hint)


def _near(name: str, known: Mapping[str, Any] | Sequence[str], path: Path | None) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, list(known), n=1, cutoff=0.5)
    if near:
        return f"did you mean {near[0]!r}?"
    listed = ", ".join(known)
    place = f" in {path}" if path else ""
    return f"known{place}: {listed}" if listed else f"there are none{place}; run: strongroom init"
