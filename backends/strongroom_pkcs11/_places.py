"""Where a key lives on a token: its path is the label, ``prod/db/password``; reserved keys stand before the
prefix, ``_strongroom/pending/prod/db/password``."""

from __future__ import annotations

from strongroom.errors import InvalidRequestError
from strongroom.names import Key, NameMode, check_prefix, key_path, path_key

from ._mark import is_older_label


class Places:
    """A store's keys as labels, and back.

    Raises:
        InvalidRequestError: the prefix is no legal one.
    """

    def __init__(self, prefix: str, mode: NameMode):
        self.prefix, self._mode = check_prefix(prefix, mode), mode

    def of(self, key: Key) -> str:
        """The label.

        Raises:
            InvalidRequestError: a native name that reads as an older version of another.
        """
        path = key_path(key, self.prefix)
        if is_older_label(path):
            raise InvalidRequestError("a name may not end like the label of an older version")
        return path

    def key(self, label: str) -> Key | None:
        """The key that lives under a label, or None for what is not ours to show."""
        return None if is_older_label(label) else path_key(label, self.prefix, self._mode)
