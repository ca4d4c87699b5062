"""Where a key lives in Parameter Store: ``/PREFIX/NAME``, reserved keys at ``/_strongroom/KIND/PREFIX/NAME``.

Two of the service's rules are narrower than a portable name (the API model, PutParameter: Name). A hierarchy
has at most fifteen levels: what would lie deeper is joined by ``__``, which no portable name holds. And no
name begins with ``aws`` or ``ssm``: such a first segment gets a ``_`` before it, with which no portable name
begins. Native names are the parameters' own, and refused where the service refuses them.
"""

from __future__ import annotations

import re
from typing import Final

from strongroom.errors import InvalidRequestError
from strongroom.names import RESERVED_ROOT, Companion, Key, Name, NameMode, check_prefix, key_path, path_key

LEVELS: Final = 15
_INSIDE: Final = LEVELS - 2  # a reserved key has two levels more, before the prefix
_LENGTH: Final = 1011
"""Characters, the ARN's before the name included (the API model, PutParameter: Name)."""
_ACCOUNT: Final = "0" * 12
_ALLOWED = re.compile(r"[A-Za-z0-9_./-]+")
_TAKEN = re.compile(r"(?:aws|ssm)", re.IGNORECASE)
_COMPANIONS = key_path(Companion(Name("x"))).removesuffix("/x")
_ROOT = re.compile(rf"{RESERVED_ROOT}/[^/]+/")


class Names:
    """A store's keys as parameter names, and back.

    Args:
        region: of the parameters.
        prefix: of every name, or nothing.
        mode: whether names are portable or the parameters' own.
        account: for ARNs; empty where it is not known.

    Raises:
        InvalidRequestError: the prefix is no legal one, or begins with aws or ssm.
    """

    def __init__(self, region: str, prefix: str, mode: NameMode, account: str = ""):
        self.prefix = check_prefix(prefix, mode)
        if _TAKEN.match(prefix):
            raise InvalidRequestError(
                "no parameter's name may begin with aws or ssm", hint="choose another prefix"
            )
        self._region, self._mode, self._account = region, mode, account

    def of(self, key: Key) -> str:
        """The parameter's name.

        Raises:
            InvalidRequestError: a native name that Parameter Store refuses.
        """
        root, inside = _split(key_path(key, self.prefix))
        name = f"/{root}{_folded(inside) if self._mode == 'portable' else inside}"
        if problem := self._problem(name):
            raise InvalidRequestError(f"the name does not fit Parameter Store: {problem}")
        return name

    def key(self, name: str) -> Key | None:
        """The key that lives under a parameter's name, or None for what is not ours to show.

        A name of one level is the same parameter with and without its slash (Parameter Store's name rules).
        """
        root, inside = _split(name.removeprefix("/"))
        if self._mode == "portable":
            inside = _unfolded(inside)
        key = path_key(root + inside, self.prefix, self._mode)
        return key if key is not None and self._lives_at(key, name) else None

    def beginnings(self, prefix: str) -> tuple[str, ...]:
        """With what the parameters begin of every name that begins with `prefix`, and of its companion.

        Empty if nothing tells: a parameter of one level may have been named without its slash.
        """
        inside = f"{self.prefix}/{prefix}" if self.prefix else prefix
        if not self.prefix and "/" not in inside:
            return ()
        cut = _folded(inside) if self._mode == "portable" else inside
        below = "/".join(cut.split("/")[: _INSIDE - 1])
        return f"/{below}", f"/{_COMPANIONS}/{below}"

    def arn(self, key: Key) -> str:
        """The parameter's ARN; without an account as far as it is known without a call."""
        return self._arn(self.of(key), self._account)

    def _arn(self, name: str, account: str) -> str:
        region = self._region
        partition = "aws-cn" if region.startswith("cn-") else "aws"
        partition = "aws-us-gov" if region.startswith("us-gov-") else partition
        return f"arn:{partition}:ssm:{region}:{account}:parameter{name}"

    def _lives_at(self, key: Key, name: str) -> bool:
        try:
            return self.of(key).removeprefix("/") == name.removeprefix("/")
        except InvalidRequestError:
            return False

    def _problem(self, name: str) -> str:
        if not _ALLOWED.fullmatch(name):
            return "use letters, digits and _.-/"
        if _TAKEN.match(name, 1):
            return "it may not begin with aws or ssm"
        if name.count("/") > LEVELS:
            return f"more than {LEVELS} levels"
        too_long = len(self._arn(name, _ACCOUNT)) > _LENGTH
        return f"longer than {_LENGTH} characters, its ARN's included" if too_long else ""


def _split(path: str) -> tuple[str, str]:
    """What stands before the prefix, and the rest."""
    match = _ROOT.match(path)
    return (match[0], path[match.end() :]) if match else ("", path)


def _folded(inside: str) -> str:
    *levels, deep = inside.split("/", _INSIDE - 1)
    folded = "/".join([*levels, deep.replace("/", "__")])
    return f"_{folded}" if _TAKEN.match(folded) else folded


def _unfolded(inside: str) -> str:
    return (inside[1:] if _TAKEN.match(inside, 1) and inside[0] == "_" else inside).replace("__", "/")
