"""How a store or a key is reached: its URL, its endpoint, and what the URL's scheme adds."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from strongroom.errors import InvalidRequestError
from strongroom.names import StoreURL, is_loopback
from strongroom.registry import is_scheme, key_schemes, schemes

from .containers import Table
from .credentials import Credential
from .kinds import Kind, Plain, Schema, Secret, described
from .spot import Spot, near
from .takes import PLAIN, Takes

_HTTPS: Final = r"https://[^\s/@?#\\%]+(?:/[^\s@?#\\%]*)?"
_SHORT: Final = {"pin": "auth", "module": "options"}
"""What a token needs beside its URL stands at the top; it means the same in its group."""
COORDINATORS: Final = "sqlite:///path of a file, postgresql://HOST/DATABASE, or strongroom://ALIAS"


class URL(Kind):
    """The URL of a store, a key or a coordinator, by the schemes that may stand there."""

    def __init__(
        self, meaning: str, what: str, known: Callable[[], tuple[str, ...]], limits: str, hint: str = ""
    ):
        super().__init__(meaning, limits=limits)
        self._what, self._known, self._hint = what, known, hint

    def read(self, spot: Spot, value: Any) -> str:
        if not isinstance(value, str) or not value:
            spot.fail("must be a string that is not empty")
        scheme = _parsed(spot, value).scheme
        if not self.accepts(scheme):
            spot.fail(f"unknown {self._what} {scheme!r}", self._hint or near(scheme, self._known()))
        return value

    def accepts(self, scheme: str) -> bool:
        """Whether the URL may have this scheme."""
        return scheme in self._known()

    def schema(self) -> Schema:
        return {"type": "string", "pattern": f"^(?:{'|'.join(self._known())}):"}


class StoreLocation(URL):
    """The URL of a store, whose scheme may be another package's."""

    def __init__(self, meaning: str, limits: str):
        super().__init__(meaning, "scheme", schemes, limits)

    def accepts(self, scheme: str) -> bool:
        return is_scheme(scheme)  # packages are searched only if need be

    def schema(self) -> Schema:
        return {"type": "string", "pattern": "^[a-z][a-z0-9-]*:"}


def key_location(meaning: str, limits: str) -> URL:
    """The URL of a key."""
    return URL(meaning, "key scheme", key_schemes, limits)


def _parsed(spot: Spot, text: str) -> StoreURL:
    try:
        return StoreURL.parse(text)
    except InvalidRequestError as error:
        problem = error
    raise spot.error(problem.message, problem.hint)


class Endpoint(Kind):
    """Another server than the provider's own, named where a URL may not name it."""

    def read(self, spot: Spot, value: Any) -> str:
        if not isinstance(value, str) or not (is_loopback(value) or re.fullmatch(_HTTPS, value)):
            spot.fail("is https://HOST:PORT (plain http only on 127.0.0.0/8 or [::1])")
        return value

    def schema(self) -> Schema:
        return {"type": "string", "pattern": "^https?://."}


class Group(Kind):
    """``auth`` or ``options``, which the URL's scheme decides; see `Reached`."""

    word = "table"

    def read(self, spot: Spot, value: Any) -> Any:
        if not isinstance(value, dict):
            spot.fail("must be a table")
        return value

    def absent(self) -> dict[str, Any]:
        return {}

    def schema(self) -> Schema:
        return {"type": "object"}


class ForeignAuth(Kind):
    """``auth`` of a scheme whose keys are not known here: references, but for what is plain everywhere."""

    def given(self, spot: Spot, value: Mapping[str, Any]) -> dict[str, str | Credential]:
        """Each of them."""
        return {name: self._kind(name).read(spot / name, inner) for name, inner in value.items()}

    def _kind(self, name: str) -> Plain | Secret:
        return Plain("") if name in PLAIN else Secret("")


class Reached(Table):
    """A table with a URL, and the groups that its scheme decides.

    Args:
        takes: what the schemes of this kind of place take.
    """

    def __init__(self, meaning: str, keys: Mapping[str, Kind], takes: Mapping[str, Takes], **rules: Any):
        super().__init__(meaning, keys, **rules)
        self._takes = {
            scheme: {"auth": Table("", takes.auth), "options": Table("", takes.options)}
            for scheme, takes in takes.items()
        }

    def given(self, spot: Spot, value: Any) -> dict[str, Any]:
        found = super().given(spot, value)
        scheme = found.get("url", "").partition(":")[0]
        if scheme in self._takes:
            for group, table in self._takes[scheme].items():
                if group in found:
                    found[group] = table.given(spot / group, value[group])
            self._spread(spot, found, scheme)
        elif "auth" in found:
            found["auth"] = ForeignAuth("").given(spot / "auth", value["auth"])
        return found

    def _spread(self, spot: Spot, found: dict[str, Any], scheme: str) -> None:
        for short, group in _SHORT.items():
            if short in found and short not in self._takes[scheme][group].keys:
                (spot / short).fail(f"{scheme} takes none: it is a PKCS#11 token's")

    def schema(self) -> Schema:
        found = super().schema()
        rules = [self._rule(scheme, groups) for scheme, groups in self._takes.items()]
        return {**found, "allOf": [*found.get("allOf", ()), *rules]}

    def _rule(self, scheme: str, groups: Mapping[str, Table]) -> Schema:
        unknown = {short: False for short, group in _SHORT.items() if short not in groups[group].keys}
        properties = {name: described(table) for name, table in groups.items()} | unknown
        return {
            "if": {"properties": {"url": {"pattern": f"^{scheme}:"}}, "required": ["url"]},
            "then": {"properties": properties},
        }
