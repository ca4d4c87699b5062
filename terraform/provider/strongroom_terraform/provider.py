"""All that the provider has."""

from __future__ import annotations

from strongroom.config import Config

from .blocks import Provider
from .decrypt import Decrypt
from .ephemeral_secret import SecretEphemeral
from .generated import RandomValue
from .metadata import MetadataSource
from .places import blamed
from .problems import problem
from .reference import ReferenceFunction
from .replication import ReplicationResource
from .rotation import RotationResource
from .schema import STRING, UNKNOWN, Attribute, Schema, Values
from .secret import SecretResource
from .stores import Stores

SCHEMA = Schema(
    "Secrets for Terraform that never stand in state, from whatever store holds them.",
    {
        "config": Attribute(
            STRING,
            "The strongroom.toml; otherwise what STRONGROOM_CONFIG names, or ./strongroom.toml.",
            optional=True,
        ),
        "profile": Attribute(
            STRING, "The profile of the file to use; otherwise what STRONGROOM_PROFILE names.", optional=True
        ),
    },
)


def configure(config: Values) -> Stores:
    """What blocks work with.

    Raises:
        ProblemError: the file cannot be read or is wrong, or is named by something that is not known yet.
    """
    for name in SCHEMA.attributes:
        if config[name] is UNKNOWN:
            raise problem("the provider's configuration must be known at plan", name)
    named, profile = config["config"], config["profile"]
    at = [name for name in ("config", "profile") if config[name] is not None][:1]
    with blamed(*at):
        return Stores(Config.load(str(named) if named else None, str(profile) if profile else None))


def provider() -> Provider:
    """The provider `strongroom`."""
    return Provider(
        schema=SCHEMA,
        configure=configure,
        resources=[SecretResource, RotationResource, ReplicationResource],
        data_sources=[MetadataSource],
        ephemerals=[SecretEphemeral, RandomValue, Decrypt],
        functions=[ReferenceFunction],
    )
