"""Bearing: gives every version that is written through it one record."""

from __future__ import annotations

from typing import TYPE_CHECKING, final

from strongroom.layers.layer import Layer

if TYPE_CHECKING:
    from strongroom.backend import Absent, Backend, SecretVersion
    from strongroom.names import Key
    from strongroom.value import SecretValue

    from .record import Record


@final
class Bearing(Layer):
    """A replica while one record is applied to it: payload and secret bear the record alike.

    So that whoever finds the payload of an apply that was interrupted knows whose it is, and how old.
    """

    def __init__(self, inner: Backend, record: Record):
        super().__init__(inner)
        self._record = record.text

    def put(
        self, key: Key, value: SecretValue, if_version: str | Absent | None, record: str | None = None
    ) -> SecretVersion:
        return self.inner.put(key, value, if_version, record or self._record)

    def put_pending(
        self, key: Key, rotation_id: str, value: SecretValue, base_version: str, record: str | None = None
    ) -> SecretVersion:
        return self.inner.put_pending(key, rotation_id, value, base_version, record or self._record)
