"""ListSecrets, whose entries tell every label of every version: a listing costs no read of a value."""

from __future__ import annotations

from collections.abc import Iterator

from strongroom.names import Key, Name, NameMode, key_path, path_key

from ._client import Answer, Client


def listed(client: Client, prefix: str, names: NameMode, start: str = "") -> Iterator[tuple[Key, Answer]]:
    """The secrets below a store's prefix whose names begin with `start`, and that are not in the bin.

    Args:
        client: its region is the one that is asked.
        prefix: the store's.
        names: how the store spells names.
        start: of the names without the prefix.
    """
    below = key_path(Name(start), prefix) if start else prefix and f"{prefix}/"
    for entry in _pages(client, below):
        key = path_key(entry["Name"], prefix, names)
        if isinstance(key, Name) and key.text.startswith(start) and not entry.get("DeletedDate"):
            yield key, entry


def _pages(client: Client, below: str) -> Iterator[Answer]:
    filters = {"Filters": [{"Key": "name", "Values": [below]}]} if below else {}
    more: dict[str, str] = {}
    while True:
        page = client.read("ListSecrets", **filters, **more)
        yield from page["SecretList"]
        if not page.get("NextToken"):
            return
        more = {"NextToken": page["NextToken"]}
