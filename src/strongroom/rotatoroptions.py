"""From ``options`` of a rotation to the arguments of its rotator, by the annotations of its constructor."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from .errors import InvalidRequestError
from .passwords import Policy
from .toml.credentials import Credential, Fetch
from .toml.kinds import Duration
from .toml.spot import Spot, near

if TYPE_CHECKING:
    from .envelope.keyring import Keyring
    from .rotation.rotator import Rotator

_NEEDED: Final = "write env://VAR, file:///path or strongroom://ALIAS/NAME"


class Opens(NamedTuple):
    """What gives a rotator the things that its options name.

    Attributes:
        fetch: gives a secret of another store.
        keyring: opens one by its alias; the rotator closes it.
    """

    fetch: Fetch
    keyring: Callable[[str], Keyring]


def arguments(rotator: type[Rotator], options: Mapping[str, Any], spot: Spot, opens: Opens) -> dict[str, Any]:
    """What to call the class with; its options are the keyword-only parameters of its constructor.

    A `Source` takes a reference, and is given as what reads it anew in each hook. A `timedelta` is written
    as a duration, a password policy as a table, and a keyring as its alias.

    Args:
        spot: the table, for errors.

    Raises:
        InvalidRequestError: an option is unknown, missing, or not of its kind.
    """
    known = {
        one.name: one
        for one in inspect.signature(rotator).parameters.values()
        if one.kind is inspect.Parameter.KEYWORD_ONLY
    }
    for name in options:
        if name not in known:
            (spot / name).fail("there is no such option", near(name, known) if known else "it takes none")
    for name, parameter in known.items():
        if parameter.default is inspect.Parameter.empty and name not in options:
            spot.fail(f"needs {name}")
    return {name: _argument(known[name], value, spot / name, opens) for name, value in options.items()}


def _argument(parameter: inspect.Parameter, value: Any, spot: Spot, opens: Opens) -> Any:
    kinds = set(re.findall(r"\w+", str(parameter.annotation)))
    if "Source" in kinds or {"Callable", "SecretValue"} <= kinds:
        return _source(value, spot, opens.fetch)
    if isinstance(value, Credential):
        spot.fail("is no credential", "write what it is")
    if "KeyringSource" in kinds:
        return _opening(value, spot, opens.keyring)
    if "timedelta" in kinds:
        return timedelta(seconds=Duration("").read(spot, value))
    if "Policy" in kinds:
        return _policy(value, spot)
    return _plain(value, kinds, spot)


def _source(value: Any, spot: Spot, fetch: Fetch) -> Any:
    if not isinstance(value, Credential):
        spot.fail("must not stand in the file", _NEEDED)
    return lambda: value.read(fetch)


def _opening(value: Any, spot: Spot, opening: Callable[[str], Keyring]) -> Any:
    if not isinstance(value, str):
        spot.fail("is the alias of a keyring")
    return lambda: opening(value)


def _policy(value: Any, spot: Spot) -> Policy:
    if not isinstance(value, dict) or not value.keys() <= {"length", "classes", "exclude"}:
        spot.fail("is a table of length, classes and exclude")
    try:
        return Policy(**(value | {"classes": tuple(value["classes"])} if "classes" in value else value))
    except InvalidRequestError as error:
        problem = error
    except TypeError:
        problem = InvalidRequestError("is a table of length, classes and exclude")
    raise spot.error(problem.message, problem.hint)


_PLAIN: Final[Mapping[str, tuple[type, ...]]] = {
    "str": (str,),
    "Literal": (str, int),
    "bool": (bool,),
    "int": (int,),
    "float": (int, float),
}
_SEVERAL: Final[Mapping[str, tuple[type, ...]]] = {
    "Sequence": (list,),
    "tuple": (list,),
    "list": (list,),
    "Mapping": (dict,),
    "dict": (dict,),
}


def _plain(value: Any, kinds: set[str], spot: Spot) -> Any:
    """What fits its annotation, where that is plain; anything else the class judges."""
    named = _SEVERAL if kinds & _SEVERAL.keys() else _PLAIN  # Sequence[str] is no str
    wanted = tuple(one for kind in sorted(kinds & named.keys()) for one in named[kind])
    if wanted and (not isinstance(value, wanted) or (isinstance(value, bool) and bool not in wanted)):
        spot.fail(f"is no {' or '.join(sorted({one.__name__ for one in wanted}))}")
    return value
