"""The replication record: which of two members' versions is newer, and whether equal ones are the same.

One text of at most 200 characters out of ``[a-z0-9._-]``, so that a staging label, a tag, an annotation or a
metadata entry holds it; it is written in the same provider call as its value::

    v1.EPOCH.SEQ.WRITEID.DIGEST

Epoch and sequence are decimal, 1 to 2^63 - 1: a takeover raises the epoch, a write the sequence. The write id
is 32 hexadecimal digits, chosen before the write. The digest is HMAC-SHA256 under the domain's digest key,
cut to 128 bits (NIST SP 800-107r1, section 5.3.3): with an unkeyed hash, whoever lists tags could try
passwords. It covers name, epoch and sequence too, so that equal digests do not tell of equal values.

A record orders versions; it proves nothing to who has no digest key.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

from strongroom.errors import IntegrityError, InvalidRequestError

if TYPE_CHECKING:
    from strongroom.value import SecretValue

_HIGHEST: Final = 2**63 - 1  # what a BIGINT column holds
_KEY_BYTES: Final = 32
_HEX = re.compile("[0-9a-f]{32}")
_TEXT = re.compile(r"v1\.([1-9][0-9]{0,18})\.([1-9][0-9]{0,18})\.([0-9a-f]{32})\.([0-9a-f]{32})")


class Verdict(enum.Enum):
    """What becomes of a record that arrives where another is held.

    APPLY: it is newer. SAME: there is nothing to write. OLDER: neither, and a reader must be told.
    QUARANTINE: two versions claim one place in the order, and none may win by chance.
    """

    APPLY = "apply"
    SAME = "same"
    OLDER = "older"
    QUARANTINE = "quarantine"


@dataclass(frozen=True, slots=True)
class Record:
    """Where a version stands among all versions of its secret.

    Attributes:
        epoch: raised by each takeover.
        seq: raised by each write.
        write_id: of the write that made the version.
        digest: of the value, by `digest_of`.

    Raises:
        InvalidRequestError: a part is not what the format holds.
    """

    epoch: int
    seq: int
    write_id: str
    digest: str

    def __post_init__(self) -> None:
        _check_order(self.epoch, self.seq)
        if not (_HEX.fullmatch(self.write_id) and _HEX.fullmatch(self.digest)):
            raise InvalidRequestError("a record's write id and digest are 32 hexadecimal digits, lower case")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a record's one spelling.

        Raises:
            IntegrityError: it is anything else.
        """
        found = _TEXT.fullmatch(text)
        if found and max(int(found[1]), int(found[2])) <= _HIGHEST:
            return cls(int(found[1]), int(found[2]), found[3], found[4])
        raise IntegrityError(
            "what stands where a replication record is expected is none of version 1",
            hint="it was damaged, or written by a later Strongroom",
        )

    @property
    def text(self) -> str:
        """Its one spelling."""
        return f"v1.{self.epoch}.{self.seq}.{self.write_id}.{self.digest}"

    @property
    def order(self) -> tuple[int, int]:
        """Epoch and sequence: of two versions the one with the greater is newer."""
        return self.epoch, self.seq

    def verdict(self, held: Record | None) -> Verdict:
        """What becomes of this record where `held` stands: it is applied only if it is strictly greater."""
        if held is None or self.order > held.order:
            return Verdict.APPLY
        if self.order < held.order:
            return Verdict.OLDER
        return Verdict.SAME if self.digest == held.digest else Verdict.QUARANTINE


def digest_of(key: SecretValue, name: str, value: SecretValue | None, epoch: int, seq: int) -> str:
    """The digest of a value at its place in the order.

    Args:
        key: the domain's digest key, 32 bytes.
        name: the secret's name.
        value: None for a tombstone.
        epoch: the record's.
        seq: the record's.

    Raises:
        InvalidRequestError: the key is not of 32 bytes, or the order is none.
    """
    import hmac

    _check_order(epoch, seq)
    if len(key.reveal()) != _KEY_BYTES:
        raise InvalidRequestError(f"a digest key has {_KEY_BYTES} bytes")
    kind, said = ("tombstone", b"") if value is None else (value.kind, value.reveal())
    mac = hmac.new(key.reveal(), digestmod="sha256")
    for part in (b"strongroom record v1", b"%d.%d" % (epoch, seq), name.encode(), kind.encode(), said):
        mac.update(len(part).to_bytes(8, "big") + part)  # with its length, or `ab`, `c` would be `a`, `bc`
    return mac.hexdigest()[:32]


def _check_order(epoch: int, seq: int) -> None:
    if not all(type(number) is int and 1 <= number <= _HIGHEST for number in (epoch, seq)):
        raise InvalidRequestError("a record's epoch and sequence are whole numbers from 1 to 2^63 - 1")
