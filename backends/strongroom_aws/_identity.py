"""Who our credentials are, as AWS STS says: one request, kept for the life of the store.

GetCallerIdentity needs no permission, and no policy can deny it
(https://docs.aws.amazon.com/STS/latest/APIReference/API_GetCallerIdentity.html).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from strongroom.backend import Settings
from strongroom.names import StoreURL, is_loopback

from ._client import Client
from ._service import Service

STS: Final = Service(
    name="sts",
    title="STS",
    example="a region such as eu-west-1",
    answers={"GetCallerIdentity": "Arn"},
    value_field=lambda _value: {},
    seal=lambda answer: answer,
)
_LONGEST = 2.0
"""Seconds: networks without a way to STS are common, and a read waits for this."""


class CallerIdentity:
    """The principal of one store's credentials.

    Args:
        url: the store's.
        settings: the store's; at an endpoint that is neither AWS's nor on loopback nobody is asked.
    """

    def __init__(self, url: StoreURL, settings: Settings):
        endpoint = url.endpoint or settings.endpoint
        self._client: Client | None = None
        self._arn: str | None = None
        if endpoint is None or is_loopback(endpoint) or _is_aws(endpoint):
            local = endpoint if endpoint and is_loopback(endpoint) else None
            given = replace(settings, endpoint=local, attempts=1, timeout=min(settings.timeout, _LONGEST))
            self._client = Client(STS, url, given)

    def arn(self) -> str | None:
        """The caller's ARN; a role that was assumed stands with its session's name."""
        if self._arn is None and self._client:
            self._arn = str(self._client.read("GetCallerIdentity")["Arn"])
        return self._arn

    def after_fork(self) -> None:
        """Forget the parent's connections."""
        if self._client:
            self._client.after_fork()

    def close(self) -> None:
        """Close the connections."""
        if self._client:
            self._client.close()


def _is_aws(endpoint: str) -> bool:
    return (urlsplit(endpoint).hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn", ".api.aws"))
