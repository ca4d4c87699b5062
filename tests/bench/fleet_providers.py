"""What providers allow and charge, as they publish it: data with its source and the day it was read.

Prices are list prices in US dollars of the first region each page names, without free tiers and discounts.
The limits of the secrets' services and of Event Grid were read in stored copies of the providers' own pages;
the prices, and the limits of SNS and Pub/Sub, in what third parties tell of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

READ_ON: Final = "2026-11-24"
"""The day on which these were read."""
MONTH: Final = 30 * 24 * 3600.0
"""Seconds of a month, for prices."""


@dataclass(frozen=True)
class Limit:
    """So many requests in so many seconds; what is over that is refused.

    Attributes:
        calls: of all instances together, in one account and region, project or vault.
        seconds: in which time.
        source: where that is published.
    """

    calls: int
    seconds: float
    source: str

    @property
    def rate(self) -> float:
        """Requests a second, sustained."""
        return self.calls / self.seconds


@dataclass(frozen=True)
class Provider:
    """One service that keeps secrets.

    Attributes:
        title: as people call it.
        read: the request that reads one secret, by its name in the API.
        limits: by request; a request without one is not limited.
        batch: the request that reads many, or an empty string.
        facts: the request by which our backend learns what a version it has not met is, or an empty string.
        dollars: for one request of any kind.
        keeping: dollars for one secret and month.
        prices: where the prices are published.
    """

    title: str
    read: str
    limits: dict[str, Limit]
    dollars: float
    keeping: float
    prices: str
    batch: str = ""
    facts: str = ""


_AWS_LIMITS: Final = "https://docs.aws.amazon.com/secretsmanager/latest/userguide/reference_limits.html"
_GOOGLE_LIMITS: Final = "https://cloud.google.com/secret-manager/quotas"
_AZURE_LIMITS: Final = "https://learn.microsoft.com/azure/key-vault/general/service-limits"

AWS: Final = Provider(
    title="AWS Secrets Manager",
    read="GetSecretValue",
    batch="BatchGetSecretValue",
    # GetSecretValue shares its limit with DescribeSecret; no region raises either.
    limits={
        "GetSecretValue": Limit(10_000, 1.0, _AWS_LIMITS),
        "BatchGetSecretValue": Limit(100, 1.0, _AWS_LIMITS),
    },
    dollars=0.05 / 10_000,
    keeping=0.40,
    prices="https://aws.amazon.com/secrets-manager/pricing/",
)
GOOGLE: Final = Provider(
    title="Google Secret Manager",
    read="AccessSecretVersion",
    facts="GetSecret",
    limits={
        "AccessSecretVersion": Limit(90_000, 60.0, _GOOGLE_LIMITS),
        "GetSecret": Limit(600, 60.0, _GOOGLE_LIMITS),
    },
    dollars=0.03 / 10_000,
    keeping=0.06,
    prices="https://cloud.google.com/secret-manager/pricing",
)
AZURE: Final = Provider(
    title="Azure Key Vault",
    read="GetSecret",
    limits={"GetSecret": Limit(4_000, 10.0, _AZURE_LIMITS)},
    dollars=0.03 / 10_000,
    keeping=0.0,
    prices="https://azure.microsoft.com/pricing/details/key-vault/",
)
PROVIDERS: Final = {"aws-sm": AWS, "gcp-sm": GOOGLE, "azure-kv": AZURE}


@dataclass(frozen=True)
class Notices:
    """One way by which a change reaches every process.

    Attributes:
        title: the chain of services.
        most: processes that one topic reaches.
        limits: where that is published.
        event: dollars for one change, before it is fanned out.
        delivery: dollars for one change at one process: delivered, received and deleted.
        idle: dollars for one process and month in which nothing changes.
        prices: where the prices are published.
    """

    title: str
    most: int
    limits: str
    event: float
    delivery: float
    idle: float
    prices: str


LONG_POLL: Final = 20.0
"""Seconds that one empty receive waits at SQS and Pub/Sub, at most."""
_SQS: Final = 0.40 / 1_000_000
_QUEUE: Final = 0.004 / 10_000  # https://azure.microsoft.com/pricing/details/storage/queues/

PUSH: Final = {
    "aws-sm": Notices(
        title="EventBridge, SNS, and an SQS queue for each process",
        most=12_500_000,
        limits="https://docs.aws.amazon.com/general/latest/gr/sns.html",
        # EventBridge takes AWS's own events for nothing, SNS charges the publish and no delivery to SQS.
        event=0.50 / 1_000_000,
        delivery=2 * _SQS,
        idle=MONTH / LONG_POLL * _SQS,
        prices="https://aws.amazon.com/sqs/pricing/",
    ),
    "gcp-sm": Notices(
        title="Pub/Sub, and a subscription for each process",
        most=10_000,
        limits="https://cloud.google.com/pubsub/quotas",
        # 40 dollars a TiB, and at least a kilobyte a request.
        event=40 / 2**40 * 1000,
        delivery=2 * 40 / 2**40 * 1000,
        idle=MONTH / LONG_POLL * 40 / 2**40 * 1000,
        prices="https://cloud.google.com/pubsub/pricing",
    ),
    "azure-kv": Notices(
        title="Event Grid, and a storage queue for each process",
        most=500,
        limits="https://learn.microsoft.com/azure/event-grid/quotas-limits",
        # A queue of a storage account has no long poll: our receiver looks every two seconds.
        event=0.0,
        delivery=0.60 / 1_000_000 + 2 * _QUEUE,
        idle=MONTH / 2 * _QUEUE,
        prices="https://azure.microsoft.com/pricing/details/event-grid/",
    ),
}
