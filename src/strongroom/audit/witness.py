"""A witness (https://c2sp.org/tlog-witness): sees trees grow, and cosigns only what extends the last one.

Against a log that shows different trees to different people: a cosigned checkpoint is one that the witness
has seen, and it never cosigns two that do not agree.
"""

from __future__ import annotations

import base64
from hashlib import sha256
from itertools import chain
from typing import TYPE_CHECKING, Final, final
from urllib.parse import parse_qsl, urlsplit

from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    UnavailableError,
)

from .anchors import Export, accept
from .exporting import FOLDER
from .growth import Growth
from .head import CHECKPOINTS, LOCK, Checkpoint, newest
from .https import endpoint, post
from .linefile import LineFile
from .note import COSIGNATURE, Note, NoteKey
from .savedgrowth import restore, save
from .tree import consistency_proof
from .turn import turn

if TYPE_CHECKING:
    from pathlib import Path

SCHEME: Final = "witness+"
_UNKNOWN: Final = 404
_CONFLICT: Final = 409
_UNPROVED: Final = 422


@final
class WitnessExport(Export):
    """One witness.

    Args:
        url: its submission prefix.
        key: its public key, which its cosignatures must verify under.
        ca, timeout, private: as of `HttpsExport`.
    """

    def __init__(
        self,
        url: str,
        key: NoteKey,
        *,
        ca: str | None = None,
        timeout: float = 10.0,
        private: bool = False,
    ):
        if key.kind != COSIGNATURE:
            raise InvalidRequestError("this is not a witness's key", hint="its type is 4, see its operator")
        self._url, self._key = f"{url.rstrip('/')}/add-checkpoint", key
        endpoint(self._url)
        self.name = f"{SCHEME}{url}"
        self._ca, self._timeout, self._private = ca, timeout, private
        self._state = f"{FOLDER}/{sha256(self.name.encode()).hexdigest()[:16]}.state"

    @classmethod
    def open(
        cls, url: str, *, ca: str | None = None, timeout: float = 10.0, private: bool = False
    ) -> WitnessExport:
        """The witness that ``witness+https://HOST/PREFIX?key=VKEY`` names; the key may be percent-encoded.

        Raises:
            InvalidRequestError: no witness's URL, or its key is missing.
        """
        place, _, query = url.removeprefix(SCHEME).partition("?")
        # Not as a form: a plus is part of the key.
        options = dict(parse_qsl(query.replace("+", "%2B")))
        if options.keys() != {"key"} or not urlsplit(place).hostname:
            raise InvalidRequestError(
                "a witness's URL names its key", hint="write witness+https://HOST/PREFIX?key=NAME+ID+BASE64"
            )
        return cls(place, NoteKey.parse(options["key"]), ca=ca, timeout=timeout, private=private)

    def put(self, checkpoint: Checkpoint, journal: Path) -> None:
        (journal / FOLDER).mkdir(mode=0o700, exist_ok=True)
        before = restore(journal, self._state) or Growth(journal)
        size = self._shown(checkpoint, before)
        if size is None:
            return
        before = Growth(journal)  # what it has seen is not what we remember
        for _ in before.grow(size):
            pass
        if self._shown(checkpoint, before) is not None:
            raise UnavailableError("the witness sees other checkpoints of this origin at the same time")

    def _shown(self, checkpoint: Checkpoint, before: Growth) -> int | None:
        """Show it that the tree extends `before`; None if it cosigned, else the size it wants to be shown."""
        after = before.copy()
        leaves = after.grow(checkpoint.size)
        proof = consistency_proof(before.tree, checkpoint.size, leaves) if before.tree.size else []
        for _ in leaves:
            pass
        if after.tree.root() != checkpoint.root:
            raise IntegrityError("the journal does not give the checkpoint's tree")
        status, answer = self._post(before.tree.size, proof, checkpoint.note)
        if status == _CONFLICT:
            return self._wanted(answer, before.tree.size, checkpoint.size)
        self._accept(status)
        self._keep(self._cosigned(checkpoint, answer), before.path)
        save(after, 0, self._state)
        return None

    def _post(self, old: int, proof: list[bytes], note: str) -> tuple[int, bytes]:
        lines = chain([f"old {old}"], (base64.b64encode(part).decode() for part in proof), ["", note])
        return post(
            self._url,
            "\n".join(lines).encode(),
            ca=self._ca,
            timeout=self._timeout,
            private=self._private,
        )

    @staticmethod
    def _wanted(answer: bytes, shown: int, ours: int) -> int:
        text = answer.decode(errors="replace").removesuffix("\n")
        size = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else shown
        if size == shown:
            raise IntegrityError(
                f"the witness has seen another tree of {ours} records: one of the two is a forgery",
                hint="ask its operator for the checkpoint, and keep both",
            )
        if size > ours:
            raise IntegrityError(
                f"the witness has seen {size} records, the journal's last checkpoint covers {ours}",
                hint="the journal was cut back or restored; strongroom audit verify says more",
            )
        return size

    @staticmethod
    def _accept(status: int) -> None:
        if status == _UNKNOWN:
            raise PermissionDeniedError("the witness does not know this origin", hint="register it there")
        if status == _UNPROVED:
            raise IntegrityError("the witness does not find the tree to extend the one it has seen")
        accept(status, "the witness")

    def _cosigned(self, checkpoint: Checkpoint, answer: bytes) -> Checkpoint:
        """The checkpoint with those of the answered signatures that verify under the witness's key."""
        note = Note.parse(checkpoint.note)
        theirs = Note.parse(f"{note.text}\n{answer.decode(errors='replace')}").signatures
        good = [each for each in theirs if self._key.signed(Note(note.text, (each,)))]
        if not good:
            raise IntegrityError("the witness's cosignature does not verify under its key")
        return Checkpoint.parse(str(Note(note.text, (*note.signatures, good[0]))), checkpoint.time)

    def _keep(self, cosigned: Checkpoint, journal: Path) -> None:
        """Beside its checkpoint, while that is the newest: sizes in the file never go back."""
        file = LineFile(journal / CHECKPOINTS)
        with turn(journal / LOCK) as mine:
            last = newest(journal) if mine else None
            if last is not None and last.size == cosigned.size:
                file.append(cosigned.line(), file.end())
