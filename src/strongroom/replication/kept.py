"""What a member keeps under reserved keys for replication's own work: for whoever takes its keys away."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING

from strongroom.names import Name, Reserved

from .divergence import INDEX, KIND, DivergenceReport
from .order import DIGEST_KEY
from .page import page_key
from .sheet import SHEET_KEY, read_sheet

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from strongroom.backend import Backend


def kept(backend: Backend, names: Iterable[str]) -> Iterator[Sequence[Reserved]]:
    """Keys in series, each of which ends at the first that is not there; nothing where there is no sheet.

    What belongs to names that are gone cannot be told: no store lists its reserved keys.

    Args:
        backend: the member with its encryption.
        names: the secrets that it has.

    Raises:
        SecretStoreError: as the backend says.
    """
    if read_sheet(backend)[0] is None:
        return
    yield [SHEET_KEY]
    yield [DIGEST_KEY]
    yield [Reserved(INDEX, Name(letter)) for letter in string.ascii_lowercase]
    for name in names:
        yield [page_key(Name.parse(name, "native"))]
    for name in DivergenceReport(backend).names():
        more = (f"{KIND}-{letter}" for letter in string.ascii_lowercase[1:])
        yield [Reserved(kind, Name(name)) for kind in (KIND, *more)]
