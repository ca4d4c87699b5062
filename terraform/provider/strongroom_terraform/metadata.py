"""``data "strongroom_secret_metadata"``: what is known of a secret, and never its value."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, ClassVar, final

from strongroom.backend import Capability, SecretInfo, Stage
from strongroom.errors import SecretNotFoundError

from .blocks import DataSource
from .places import STORE, blamed, store_of
from .problems import problem
from .reference import identity
from .schema import STRING, STRING_MAP, STRINGS, Attribute, Schema, Values

if TYPE_CHECKING:
    from strongroom.store import SecretStore


def moment(when: datetime | None) -> str | None:
    """A time as Terraform's functions read it (RFC 3339)."""
    return when.isoformat().replace("+00:00", "Z") if when else None


@final
class MetadataSource(DataSource):
    """Asked by name each time: what the same apply has written shows."""

    name: ClassVar[str] = "strongroom_secret_metadata"
    schema: ClassVar[Schema] = Schema(
        "What is known of a secret without its value, which needs no right to read it.",
        {
            "store": Attribute(STRING, STORE, optional=True),
            "name": Attribute(STRING, "The secret's name.", required=True),
            "id": Attribute(STRING, "The secret as a reference: strongroom://STORE/NAME.", computed=True),
            "version": Attribute(STRING, "The id of the version that is current.", computed=True),
            "created_at": Attribute(
                STRING, "When the secret was first written, if the provider tells.", computed=True
            ),
            "updated_at": Attribute(
                STRING, "When the current version was written, if the provider tells.", computed=True
            ),
            "tags": Attribute(STRING_MAP, "The user's own tags.", computed=True),
            "versions": Attribute(
                STRINGS,
                "The ids of those that can be read, newest first; null without versions.",
                computed=True,
            ),
            "stages": Attribute(
                STRING_MAP, "The version's id by stage: current, and previous if there is one.", computed=True
            ),
        },
    )

    def read(self, config: Values) -> Values:
        """Two requests at most: its description, and its versions where there are any."""
        store, name = store_of(self.stores, config["store"]), str(config["name"])
        with blamed("name"):
            info = _described(store, name)
            listed = store.versions(name) if Capability.VERSIONS in store.capabilities else None
        stages: dict[str, str] = {
            stage.value: version.id for version in listed or () for stage in version.stages
        }
        current = stages.get(Stage.CURRENT.value) or (info.newest.id if info.newest else None)
        written = next((v.created_at for v in listed or () if v.id == current), None)
        return {
            **config,
            "id": identity(store.alias, name),
            "version": current,
            "created_at": moment(info.created_at),
            "updated_at": moment(written),
            "tags": dict(info.tags),
            "versions": None if listed is None else [version.id for version in listed],
            "stages": {**({"current": current} if current else {}), **stages},
        }


def _described(store: SecretStore, name: str) -> SecretInfo:
    with suppress(SecretNotFoundError):
        return store.describe(name)
    raise problem("there is no such secret", "name")
