"""strongroom.toml: which stores there are, and how to reach them.

Looked up by ``--config``, ``STRONGROOM_CONFIG``, ``./strongroom.toml``; never in parent folders, where
somebody else's file could name other stores. Errors give file, line, key and the nearest right name.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

from .backend import Settings
from .cache import CachePolicy
from .errors import InvalidRequestError
from .names import StoreURL, is_loopback
from .registry import is_scheme, key_schemes, schemes
from .value import SecretValue

FILE_NAME = "strongroom.toml"
_ALIAS = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_DURATION = re.compile(r"(\d{1,9})(ms|s|m|h|d)", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_HTTPS = re.compile(r"https://[^\s/@?#\\%]+(?:/[^\s@?#\\%]*)?")
_PLAIN_AUTH = frozenset(
    ("method", "mount", "role", "role_id", "username", "jwt_file", "cert", "key", "profile", "access_key_id")
)
"""What of ``auth`` may stand in the file. Everything else may be a credential and is named by reference."""
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
            hint=_near(target, self.stores, f" in {self.path}" if self.path else ""),
        )


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


_Table = Mapping[str, Any]
_Place = tuple[str, ...]


@dataclass(slots=True, repr=False)
class _Reader:
    """Turns the file's tables into entries, and finds the line of what is wrong."""

    path: Path
    text: str

    def config(self) -> Config:
        document = self._document()
        self._known((), document, ("default", "store", "key"))
        keys = {alias: self._key(("key", alias), table) for alias, table in self._tables(document, "key")}
        stores = {
            alias: self._store(("store", alias), table, keys)
            for alias, table in self._tables(document, "store")
        }
        for alias, entry in stores.items():
            self._check_members(("store", alias), entry, stores)
        default = self._text((), document, "default") or None
        if default is not None and default not in stores:
            self._fail((), "default", f"no store is called {default!r}", _near(default, stores))
        return Config(self.path, default, stores, keys)

    def _document(self) -> dict[str, Any]:
        try:
            return tomllib.loads(self.text)
        except tomllib.TOMLDecodeError as exc:
            at = re.search(r"at line (\d+)", str(exc))
            line = int(at[1]) if at else self.text.count("\n") + 1
        raise InvalidRequestError(
            f"{self.path}:{line}: not valid TOML", hint="check quotes and brackets there"
        )

    def _tables(self, document: _Table, group: str) -> Iterator[tuple[str, _Table]]:
        for alias in self._table((), document, group):
            if not _ALIAS.fullmatch(alias):
                self._fail((group,), alias, "an alias is lower-case letters and digits with . _ - between")
            yield alias, self._table((group,), document[group], alias)

    def _key(self, at: _Place, table: _Table) -> str:
        self._known(at, table, ("url",))
        text, scheme = self._url(at, table)
        if scheme not in key_schemes():
            self._fail(at, "url", f"unknown key scheme {scheme!r}", _near(scheme, key_schemes()))
        return text

    def _store(self, at: _Place, table: _Table, keys: Mapping[str, str]) -> StoreEntry:
        self._known(at, table, _STORE_KEYS)
        if ("url" in table) == ("failover" in table):
            self._fail(at[:1], at[1], "needs either url or failover")
        failover = self._texts(at, table, "failover")
        if failover and (more := sorted(table.keys() - {"failover", "cache", "names"})):
            self._fail(at, more[0], "with failover stand only cache and names: its members have the rest")
        url, scheme = self._url(at, table) if "url" in table else ("", "")
        if url and not is_scheme(scheme):
            self._fail(at, "url", f"unknown scheme {scheme!r}", _near(scheme, schemes()))
        entry = StoreEntry(at[1], url, self._settings(at, table), failover=failover)
        return self._encrypted(at, replace(entry, cache=self._cache(at, table)), table, keys)

    def _url(self, at: _Place, table: _Table) -> tuple[str, str]:
        text = self._text(at, table, "url", required=True)
        try:
            return text, StoreURL.parse(text).scheme
        except InvalidRequestError as error:
            problem = error
        return self._fail(at, "url", problem.message, problem.hint)

    def _settings(self, at: _Place, table: _Table) -> Settings:
        names = table.get("names", "portable")
        if names not in ("portable", "native"):
            self._fail(at, "names", "is 'portable' or 'native'")
        attempts = table.get("attempts", 3)
        if type(attempts) is not int or not 1 <= attempts <= 10:
            self._fail(at, "attempts", "is a whole number from 1 to 10")
        timeout = self._seconds(at, table, "timeout", 5.0)
        if timeout <= 0:
            self._fail(at, "timeout", "is more than nothing")
        auth = self._table(at, table, "auth")
        return Settings(
            names=names,
            endpoint=self._endpoint(at, table),
            ca=self._text(at, table, "ca") or None,
            timeout=timeout,
            attempts=attempts,
            auth={name: self._credential((*at, "auth"), auth, name) for name in auth},
            options=self._table(at, table, "options"),
        )

    def _endpoint(self, at: _Place, table: _Table) -> str | None:
        endpoint = self._text(at, table, "endpoint") or None
        if endpoint and not is_loopback(endpoint) and not _HTTPS.fullmatch(endpoint):
            self._fail(at, "endpoint", "is https://HOST:PORT (plain http only on 127.0.0.0/8 or [::1])")
        return endpoint

    def _credential(self, at: _Place, auth: _Table, name: str) -> str | SecretValue:
        scheme, _, rest = self._text(at, auth, name).partition("://")
        if scheme == "env" and rest:
            return self._from_environment(at, name, rest)
        if scheme == "file" and rest.startswith("/"):
            return self._from_file(at, name, Path(rest))
        if name not in _PLAIN_AUTH:
            self._fail(at, name, "must not stand in the file", "write env://VAR or file:///path")
        return self._text(at, auth, name, required=True)

    def _from_environment(self, at: _Place, name: str, variable: str) -> SecretValue:
        if not os.environ.get(variable):
            self._fail(at, name, f"the environment has no {variable}, or an empty one")
        return SecretValue(os.fsencode(os.environ[variable]), "text")

    def _from_file(self, at: _Place, name: str, path: Path) -> SecretValue:
        try:
            return SecretValue(path.read_bytes().removesuffix(b"\n"), "text")
        except OSError as exc:
            problem = exc.strerror or "cannot be read"
        except InvalidRequestError:
            problem = "not UTF-8 text"
        return self._fail(at, name, f"{path}: {problem}")

    def _encrypted(self, at: _Place, entry: StoreEntry, table: _Table, keys: Mapping[str, str]) -> StoreEntry:
        if "encrypt" not in table:
            return entry
        encrypt, inside = self._table(at, table, "encrypt"), (*at, "encrypt")
        self._known(inside, encrypt, ("keys", "domain", "forgeable"))
        names, domain = self._texts(inside, encrypt, "keys"), self._text(inside, encrypt, "domain")
        if not names or not domain:
            self._fail(at, "encrypt", "needs keys and a domain")
        for name in names:
            if name not in keys:
                self._fail(inside, "keys", f"no key is called {name!r}", _near(name, keys))
        if type(forgeable := encrypt.get("forgeable", False)) is not bool:
            self._fail(inside, "forgeable", "is true or false")
        return replace(entry, keys=names, domain=domain, forgeable=forgeable)

    def _cache(self, at: _Place, table: _Table) -> CachePolicy | None:
        if table.get("cache") is False:
            return None
        cache, inside, default = self._table(at, table, "cache"), (*at, "cache"), CachePolicy()
        self._known(inside, cache, ("fresh", "stale"))
        fresh = self._seconds(inside, cache, "fresh", default.fresh)
        return CachePolicy(fresh, self._seconds(inside, cache, "stale", default.stale))

    def _check_members(self, at: _Place, entry: StoreEntry, stores: Mapping[str, StoreEntry]) -> None:
        for member in entry.failover:
            if member not in stores:
                self._fail(at, "failover", f"no store is called {member!r}", _near(member, stores))
            if stores[member].failover:
                self._fail(at, "failover", f"{member!r} is itself a failover")
        if len(set(entry.failover)) < len(entry.failover):
            self._fail(at, "failover", "names a store twice")

    def _text(self, at: _Place, table: _Table, name: str, *, required: bool = False) -> str:
        text = table.get(name, "")
        if not isinstance(text, str) or (required and not text):
            self._fail(at, name, "must be a string")
        return text

    def _texts(self, at: _Place, table: _Table, name: str) -> tuple[str, ...]:
        texts = table.get(name, [])
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            self._fail(at, name, "must be a list of strings")
        if name in table and not texts:
            self._fail(at, name, "names nothing")
        return tuple(texts)

    def _table(self, at: _Place, table: _Table, name: str) -> dict[str, Any]:
        inner = table.get(name, {})
        if not isinstance(inner, dict):
            self._fail(at, name, "must be a table")
        return inner

    def _seconds(self, at: _Place, table: _Table, name: str, default: float) -> float:
        if name not in table:
            return default
        match = _DURATION.fullmatch(self._text(at, table, name)) if isinstance(table[name], str) else None
        if not match:
            self._fail(at, name, "is a duration", 'write "30s", "5m" or "1h"')
        return int(match[1]) * _SECONDS[match[2]]

    def _known(self, at: _Place, table: _Table, known: Sequence[str]) -> None:
        for name in table:
            if name not in known:
                self._fail(at, name, "there is no such key", _near(name, known))

    def _fail(self, at: _Place, name: str, problem: str, hint: str | None = None) -> NoReturn:
        where = ".".join((*at, name))
        raise InvalidRequestError(f"{self.path}:{self._line((*at, name))}: {where}: {problem}", hint=hint)

    def _line(self, names: _Place) -> int:
        """The line that spells the last name, looked for from the line of the one before it."""
        lines, found = [line.partition("#")[0] for line in self.text.splitlines()], 0
        for name in names:
            spelled = re.compile(rf"""(?:^\s*\[+[^\]=]*?|[\s{{,.]|^)["']?{re.escape(name)}["']?\s*[\].=]""")
            found = next((n for n in range(found, len(lines)) if spelled.search(lines[n])), found)
        return found + 1


def _near(name: str, known: Iterable[str], place: str = "") -> str:
    from difflib import get_close_matches

    names = list(known)
    near = get_close_matches(name, names, n=1, cutoff=0.5)
    if near:
        return f"did you mean {near[0]!r}?"
    return f"known{place}: {', '.join(names)}" if names else f"there are none{place}; run: strongroom init"
