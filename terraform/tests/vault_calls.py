"""What our code asks of Vault, and which capability each request needs; OpenBao says whether it has it.

https://openbao.org/docs/concepts/policies/: an exact path stands before a pattern, the longer pattern before
the shorter. No path of ours has `+` and `*` in places where more than that decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import requests

_RULE = re.compile(r'path "(?P<path>[^"]+)"\s*\{\s*capabilities = \[(?P<list>[^\]]*)\]\s*\}')
_BY_METHOD = {"GET": "read", "LIST": "list", "DELETE": "delete", "PATCH": "patch"}
_MAKES = ("/data/", "/metadata/")


@dataclass(frozen=True, slots=True)
class Rule:
    """One path of a policy."""

    path: str
    capabilities: tuple[str, ...]

    def covers(self, path: str) -> bool:
        """``*`` at the end is any rest, ``+`` one segment."""
        stem, glob = self.path.removesuffix("*"), ".*" if self.path.endswith("*") else ""
        return re.fullmatch("[^/]+".join(map(re.escape, stem.split("+"))) + glob, path) is not None


def rules(policy: str) -> list[Rule]:
    """The rules of a policy, each on a line of its own.

    Raises:
        ValueError: a line is something else.
    """
    found = [_RULE.fullmatch(line.strip()) for line in policy.splitlines() if line.strip()]
    if not all(found):
        raise ValueError("a line of the policy is no rule")
    return [Rule(m["path"], tuple(re.findall(r'"(\w+)"', m["list"]))) for m in found if m]


def written(rule: Rule) -> str:
    """As a policy has it; nothing for one that allows nothing."""
    allowed = ", ".join(f'"{each}"' for each in rule.capabilities)
    return f'path "{rule.path}" {{ capabilities = [{allowed}] }}\n' if allowed else ""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request: what it needs, and whether it was refused."""

    capability: str
    path: str
    refused: bool


@dataclass
class Recorder:
    """Keeps the requests of one token, and knows from the answers which keys exist.

    Attributes:
        token: whose requests count; those of others tell what exists.
        asked: what it asked for.
    """

    token: str = ""
    asked: list[Asked] = field(default_factory=list)
    _there: set[str] = field(default_factory=set)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """From now on each request that this process sends is seen."""
        send = requests.Session.send

        def sent(
            session: requests.Session, request: requests.PreparedRequest, **how: Any
        ) -> requests.Response:
            answer = send(session, request, **how)
            self._note(request, answer.status_code)
            return answer

        monkeypatch.setattr(requests.Session, "send", sent)

    def _note(self, request: requests.PreparedRequest, status: int) -> None:
        parts = urlsplit(request.url or "")
        path, method = unquote(str(parts.path)).removeprefix("/v1/"), str(request.method)
        key = next((path.replace(part, "/", 1) for part in _MAKES if part in path), "")
        if request.headers.get("X-Vault-Token") == self.token and not path.startswith("auth/"):
            capability = "list" if "list=true" in str(parts.query) else _BY_METHOD.get(method)
            if capability is None:
                capability = "create" if key and key not in self._there else "update"
            # The server itself lists what ends in a slash, and its policies see that.
            asked = f"{path.rstrip('/')}/" if capability == "list" else path
            self.asked.append(Asked(capability, asked, status == 403))
        if key and method in ("POST", "PUT", "PATCH") and status < 300:
            self._there.add(key)
        if "/metadata/" in path and method == "DELETE" and status < 300:
            self._there.discard(key)

    def unused(self, policy: str, twin: str, store: str) -> Iterator[tuple[str, str]]:
        """Each path and capability of a policy that no request needed.

        Args:
            policy: of `store`.
            twin: another store under the same rules; what was asked of it counts as asked of `store`.
            store: its prefix.
        """
        used = set()
        for asked in self.asked:
            path = asked.path.replace(f"/{twin}/", f"/{store}/")
            if rule := _deciding(policy, path):
                used.add((rule.path, asked.capability))
        for rule in rules(policy):
            yield from ((rule.path, each) for each in rule.capabilities if (rule.path, each) not in used)


def _deciding(policy: str, path: str) -> Rule | None:
    covering = [rule for rule in rules(policy) if rule.covers(path)]
    return max(covering, key=_priority, default=None)


def _priority(rule: Rule) -> tuple[bool, int]:
    return not rule.path.endswith("*"), len(rule.path)
