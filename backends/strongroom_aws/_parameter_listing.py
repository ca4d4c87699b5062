"""Names, descriptions and tags of parameters.

Listings come from DescribeParameters, not from GetParametersByPath: that one sends every value along, is
allowed on a whole path whatever is denied below it, and takes whole levels alone and ten at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from strongroom.backend import SecretInfo, SecretVersion, Stage
from strongroom.errors import SecretNotFoundError, SecretStoreError
from strongroom.names import Companion, Key, Name, key_name

from ._client import Answer, Client
from ._parameter_history import Version
from ._parameter_names import Names
from ._parameters import Parameters
from ._tags import check_tag

_PAGE = 50  # the API model, DescribeParameters: MaxResults


class Listing:
    """What is told of parameters, never a value."""

    def __init__(self, client: Client, names: Names, parameters: Parameters):
        self._client, self._names, self._parameters = client, names, parameters

    def names(self, prefix: str, *, detail: bool) -> Iterator[SecretInfo]:
        """As ``Backend.list_info``; tags, which cost a request for each name, are not told."""
        for entry in self._entries(prefix):
            key = self._names.key(entry["Name"])
            if isinstance(key, Name | Companion) and key_name(key).text.startswith(prefix):
                info = self._detailed(key, entry) if detail else SecretInfo(key)
                if info is not None:
                    yield info

    def _entries(self, prefix: str) -> Iterator[Answer]:
        beginnings = self._names.beginnings(prefix)
        if not beginnings:
            yield from self._pages()
        for beginning in beginnings:
            # One value each: AWS does not say what two of them mean to BeginsWith.
            where = {"Key": "Name", "Option": "BeginsWith", "Values": [beginning]}
            yield from self._pages(ParameterFilters=[where])

    def _pages(self, **more: Any) -> Iterator[Answer]:
        while True:
            # A page may be empty with more to come (the API model, DescribeParameters).
            page = self._client.read("DescribeParameters", MaxResults=_PAGE, **more)
            yield from page["Parameters"]
            if not page.get("NextToken"):
                return
            more["NextToken"] = page["NextToken"]

    def _detailed(self, key: Key, entry: Answer) -> SecretInfo | None:
        """None if it was deleted since the page was made."""
        newest: Version | None = Version.of(entry)
        if newest and not newest.bears_its_own_mark:
            newest = next(iter(self._parameters.history(key)), None)
        return SecretInfo(key, {}, _public(newest), record=newest.record) if newest else None

    def described(self, key: Key) -> SecretInfo:
        """As ``Backend.describe``."""
        history = self._parameters.history(key)
        if not history:
            raise SecretNotFoundError("no such secret")
        newest, first = history[0], history[-1]
        made = first.modified if first.number == 1 else None  # the oldest that AWS keeps, of 100
        return SecretInfo(key, self.tags(key), _public(newest), made, newest.record)

    def tags(self, key: Key) -> dict[str, str]:
        """The parameter's tags, without AWS's own.

        Raises:
            SecretNotFoundError: there is no parameter.
        """
        answer = self._client.read("ListTagsForResource", **self._resource(key))
        pairs = {tag["Key"]: tag.get("Value", "") for tag in answer["TagList"]}
        return {tag: text for tag, text in pairs.items() if not tag.startswith("aws:")}

    def set_tags(self, key: Key, tags: Mapping[str, str | None]) -> None:
        """As ``Backend.set_tags``.

        Raises:
            InvalidRequestError: a tag that AWS would refuse.
        """
        for tag, text in tags.items():
            check_tag(tag, text or "")
        wanted = {tag: text for tag, text in tags.items() if text is not None}
        gone = sorted(tags.keys() - wanted.keys())
        if not tags:
            self.tags(key)
        if wanted:
            pairs = [{"Key": tag, "Value": text} for tag, text in wanted.items()]
            self._change(key, wanted, "AddTagsToResource", Tags=pairs)
        if gone:
            self._change(key, dict.fromkeys(gone), "RemoveTagsFromResource", TagKeys=gone)

    def _change(self, key: Key, tags: Mapping[str, str | None], action: str, **how: Any) -> None:
        try:
            self._client.write(action, None, **self._resource(key), **how)
        except SecretStoreError as exc:
            error = exc
        else:
            return
        if error.performed is None:
            now = self.tags(key)
            if all(now.get(tag) == text for tag, text in tags.items()):
                return
        raise error

    def _resource(self, key: Key) -> dict[str, Any]:
        return {"ResourceType": "Parameter", "ResourceId": self._names.of(key)}


def _public(version: Version) -> SecretVersion:
    return SecretVersion(version.id, version.modified, frozenset({Stage.CURRENT}))
