"""moto's AWS as a server of its own. Its known lies are pinned by tests beside the AWS backend's."""

from __future__ import annotations

import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.servers.boto import REGION, session
from tests.servers.process import free_port, listens, running, wait_for_interrupt


@dataclass(frozen=True)
class Moto:
    """A running moto server."""

    url: str

    def client(self, service: str, region: str = REGION) -> Any:
        """A plain boto3 client, as another program would use; read what Strongroom wrote with it."""
        return session(region).client(service, endpoint_url=self.url)

    def reset(self) -> None:
        """Forget everything, in all regions."""
        self._post("reset", b"")

    @contextmanager
    def authenticating(self) -> Iterator[None]:
        """In this block signatures are verified and policies enforced, as AWS does; else anybody may do all.

        moto takes an inactive access key all the same, which AWS refuses.
        """
        self._post("reset-auth", b"0")
        try:
            yield
        finally:
            self._post("reset-auth", b"inf")

    def _post(self, what: str, body: bytes) -> None:
        plain = {"Content-Type": "text/plain"}  # of a form moto would keep nothing to read
        request = urllib.request.Request(f"{self.url}/moto-api/{what}", body, plain)
        urllib.request.urlopen(request, timeout=10).close()


@contextmanager
def server() -> Iterator[Moto]:
    """A moto server in its own process."""
    port = free_port()
    argv = [sys.executable, "-m", "tests.servers.moto_quick", "-H", "127.0.0.1", "-p", str(port)]
    with running("moto (AWS)", argv, lambda: listens(port)):
        yield Moto(f"http://127.0.0.1:{port}")


if __name__ == "__main__":
    with server() as moto:
        wait_for_interrupt([f"strongroom list --store 'aws-sm://{REGION}?endpoint={moto.url}'"])
