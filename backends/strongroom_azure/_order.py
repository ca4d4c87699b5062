"""The order of a secret's versions, which Key Vault lists in none and dates to the second."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from ._entry import STAMP, Entry


def newest_first(entries: Iterable[Entry], head: Entry | None) -> list[Entry]:
    """By predecessor where the stamps tell, else by date; `head`, which Key Vault itself calls newest, first.

    Within one second a version of ours is taken for older than a foreign one that nothing says more of.
    """
    by_id = _originals({entry.version: entry for entry in [*entries, *([head] if head else [])]}, head)
    newest = [by_id.pop(head.version)] if head else []
    return [*newest, *reversed(_oldest_first(by_id))]


def _originals(by_id: dict[str, Entry], head: Entry | None) -> dict[str, Entry]:
    """Some programs copy all tags to their new version, our stamp too: it is genuine on the oldest alone.

    Within one second that is the one upon which nothing was written: what follows a copy names the copy.
    """
    stamped: set[str] = set()
    followed = {entry.head.before for entry in by_id.values()}

    def age(entry: Entry) -> tuple[bool, float, bool]:
        return entry == head, _age(entry)[0], entry.version in followed

    for entry in sorted(by_id.values(), key=age):
        write_id = entry.head.stamp and entry.head.stamp.write_id
        if write_id in stamped:
            tags = {name: text for name, text in entry.tags.items() if name != STAMP}
            by_id[entry.version] = replace(entry, tags=tags)
        elif write_id:
            stamped.add(write_id)
    return by_id


def _oldest_first(by_id: dict[str, Entry]) -> list[Entry]:
    after: defaultdict[str, list[Entry]] = defaultdict(list)
    ready: list[tuple[float, bool, str]] = []
    for entry in by_id.values():
        before = entry.head.before
        if before in by_id and before != entry.version:
            after[before].append(entry)
        else:
            heapq.heappush(ready, _age(entry))
    ordered: list[Entry] = []
    while ready:
        entry = by_id[heapq.heappop(ready)[-1]]
        ordered.append(entry)
        for follower in after[entry.version]:
            heapq.heappush(ready, _age(follower))
    told = {entry.version for entry in ordered}
    circling = [entry for entry in by_id.values() if entry.version not in told]  # forged stamps
    return sorted(circling, key=_age) + ordered


def _age(entry: Entry) -> tuple[float, bool, str]:
    created = entry.created.timestamp() if entry.created else 0.0
    return created, entry.head.stamp is None, entry.version
