"""Few cases in which every two values of different axes meet: most faults need no more than two to show.

D. R. Kuhn, D. R. Wallace, A. M. Gallo, "Software Fault Interactions and Implications for Software Testing",
IEEE Transactions on Software Engineering 30(6), 2004: 70 to 97 per cent of the faults seen.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Case = dict[str, Any]
Axes = Mapping[str, Sequence[Any]]
_Pair = tuple[tuple[str, Any], tuple[str, Any]]
_TRIES = 40


def everything(axes: Axes, allowed: Callable[[Case], bool]) -> Iterator[Case]:
    """The whole product."""
    for values in itertools.product(*axes.values()):
        case = dict(zip(axes, values, strict=True))
        if allowed(case):
            yield case


def pairwise(axes: Axes, allowed: Callable[[Case], bool]) -> Iterator[Case]:
    """Cases that hold every pair of values that an allowed case can hold; the same ones in every process."""
    rng = random.Random(1)
    missing = dict.fromkeys(_all_pairs(axes))  # in their order, which a set does not keep
    while missing:
        wanted = next(iter(missing))
        tries = [case for _ in range(_TRIES) if allowed(case := _case(axes, dict(wanted), rng))]
        if tries:
            best = max(tries, key=lambda case: sum(pair in missing for pair in _pairs(case)))
            yield best
            for pair in _pairs(best):
                missing.pop(pair, None)
        else:
            del missing[wanted]


def _all_pairs(axes: Axes) -> Iterator[_Pair]:
    for (one, values), (other, others) in itertools.combinations(axes.items(), 2):
        yield from (((one, a), (other, b)) for a, b in itertools.product(values, others))


def _pairs(case: Case) -> Iterator[_Pair]:
    return itertools.combinations(case.items(), 2)


def _case(axes: Axes, fixed: Case, rng: random.Random) -> Case:
    return {axis: fixed.get(axis, rng.choice(values)) for axis, values in axes.items()}
