"""moto's AWS without the lies that no program can live with; `tests/unit/test_moto_lies.py` pins them all.

moto remembers beside the labels which version was last put as current. A label move does not tell it, so that
the next put leaves AWSCURRENT on two versions, and a batch reads the old one. Here a put moves labels as AWS
does, and what is current is what bears AWSCURRENT. A deleted secret refuses to be written. Two puts under one
token are checked and stored one after another: moto serves in threads, and between its check and its store
another thread may store too.
"""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.servers import moto_mended_ssm, moto_quick
from tests.servers.moto import Moto
from tests.servers.process import free_port, listens, running


@contextmanager
def server() -> Iterator[Moto]:
    """A mended moto server in its own process."""
    port = free_port()
    argv = [sys.executable, "-m", "tests.servers.moto_mended", "-H", "127.0.0.1", "-p", str(port)]
    with running("moto (AWS, mended)", argv, lambda: listens(port)):
        yield Moto(f"http://127.0.0.1:{port}")


_one_at_a_time = threading.Lock()


def _current(secret: Any) -> str | None:
    return next(
        (v for v, version in secret.versions.items() if "AWSCURRENT" in version["version_stages"]), None
    )


def _put_as_current(secret: Any, version: dict[str, Any], version_id: str) -> None:
    former = _current(secret)
    for old in secret.versions.values():
        gone = {"AWSPREVIOUS", *version["version_stages"]}
        old["version_stages"] = [label for label in old["version_stages"] if label not in gone]
    if former is not None:
        secret.versions[former]["version_stages"].append("AWSPREVIOUS")
    secret.versions[version_id] = version


def _as_aws_does(write: Callable[..., Any]) -> Callable[..., Any]:
    from moto.secretsmanager.exceptions import InvalidRequestException

    @functools.wraps(write)
    def checked(self: Any, secret_id: str, *args: Any, **kwargs: Any) -> Any:
        if secret_id in self.secrets and self.secrets[secret_id].is_deleted():
            raise InvalidRequestException("The secret was marked for deletion.")
        with _one_at_a_time:
            return write(self, secret_id, *args, **kwargs)

    return checked


def mend() -> None:
    """Patch moto in this process."""
    from moto.secretsmanager import models

    secret: Any = models.FakeSecret
    backend: Any = models.SecretsManagerBackend
    for name in ("put_secret_value", "update_secret_version_stage", "tag_resource", "untag_resource"):
        setattr(backend, name, _as_aws_does(getattr(backend, name)))
    secret.default_version_id = property(_current, lambda secret, value: None)
    secret.reset_default_version = _put_as_current
    moto_mended_ssm.mend()


if __name__ == "__main__":
    mend()
    moto_quick.main()
