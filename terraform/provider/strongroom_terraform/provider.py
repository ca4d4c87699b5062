"""All that the provider has."""

from __future__ import annotations

from strongroom.config import Config

from .blocks import Provider
from .decrypt import Decrypt
from .ephemeral_secret import SecretEphemeral
from .generated import RandomValue
from .problems import problem
from .replication import ReplicationResource
from .rotation import RotationResource
from .schema import STRING, Attribute, Schema, Values
from .stores import Stores

SCHEMA = Schema(
    "Secrets for Terraform that never stand in state, from whatever store holds them.",
    {
        "config": Attribute(
            STRING,
            "The strongroom.toml; otherwise what STRONGROOM_CONFIG names, or ./strongroom.toml.",
            optional=True,
        ),
    },
)


def configure(config: Values) -> Stores:
    """What blocks work with.

    Raises:
        ProblemError: the file is named by something that is not known yet.
        SecretStoreError: the file cannot be read or is wrong.
    """
    named = config["config"]
    if named is not None and not isinstance(named, str):
        raise problem("the provider's configuration must be known at plan", "config")
    return Stores(Config.load(named))


def provider() -> Provider:
    """The provider `strongroom`."""
    return Provider(
        schema=SCHEMA,
        configure=configure,
        resources=[RotationResource, ReplicationResource],
        ephemerals=[SecretEphemeral, RandomValue, Decrypt],
    )
