"""strongroom.toml as JSON Schema, for editors and for checks of what is committed."""

from __future__ import annotations

from typing import Any, Final

from .kinds import Schema, described
from .tables import DOCUMENT

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def schema() -> Schema:
    """The schema of the whole file (JSON Schema, draft 2020-12).

    It knows forms and not relations: whether an alias is there, a circle is closed or a variable is set, the
    reader alone can tell.
    """
    document = described(DOCUMENT)
    profile: dict[str, Any] = document["properties"]["profile"]["additionalProperties"]
    for name in profile["properties"].keys() - {"default"}:  # said once, above
        profile["properties"][name] = {"$ref": f"#/properties/{name}"}
    return {"$schema": DIALECT, "title": "strongroom.toml", **document}
