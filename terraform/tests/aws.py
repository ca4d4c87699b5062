"""moto's AWS for Terraform's AWS provider, where RotateSecret runs the function's zip.

Docker runs moto's functions. Here AWS's own runtime client does, with what was uploaded and nothing else of
this installation. moto forgets some of what it was told, so that every plan would change it again; here it
keeps a rotation's schedule, a function's dead letters, a replica's key, and which key is primary.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.servers import moto_mended, runtime_api
from tests.servers.moto import Moto
from tests.servers.process import free_port, listens, running

_FOLDER = "STRONGROOM_TEST_FUNCTIONS"
ENDPOINTS = (
    "cloudwatch", "ec2", "events", "iam", "kms", "lambda", "logs", "rds", "secretsmanager", "sns", "sqs",
    "sts",
)  # fmt: skip


@dataclass(frozen=True)
class Aws:
    """A running server.

    Attributes:
        moto: as other tests use it.
        folder: what the functions wrote.
    """

    moto: Moto
    folder: Path

    def steps(self) -> list[tuple[str, str]]:
        """Secret and step of each call of a function by Secrets Manager, in order."""
        log = self.folder / "calls"
        calls = map(json.loads, log.read_text().splitlines() if log.exists() else [])
        return [(call["SecretId"], call["Step"]) for call in calls if "Step" in call]

    def tick(self, function: str) -> None:
        """Call a function as EventBridge's timer does."""
        event = json.dumps({"source": "aws.events", "detail-type": "Scheduled Event"})
        self.moto.client("lambda").invoke(FunctionName=function, Payload=event)

    def logged(self) -> str:
        """What all functions printed."""
        return "".join(path.read_text() for path in sorted(self.folder.glob("*/log")))

    def provider(self, region: str, alias: str = "") -> str:
        """The block of Terraform's AWS provider for a region of this server."""
        named = f'  alias = "{alias}"\n' if alias else ""
        endpoints = "".join(f'    {service} = "{self.moto.url}"\n' for service in ENDPOINTS)
        return (
            f'provider "aws" {{\n{named}  region = "{region}"\n  access_key = "test"\n  secret_key = "test"\n'
            "  skip_credentials_validation = true\n  skip_metadata_api_check = true\n"
            f"  endpoints {{\n{endpoints}  }}\n}}\n"
        )


@contextmanager
def server(folder: Path) -> Iterator[Aws]:
    """One in its own process.

    Args:
        folder: for the functions' code and output.
    """
    port = free_port()
    argv = [sys.executable, "-m", "terraform.tests.aws", "-H", "127.0.0.1", "-p", str(port)]
    environment = os.environ | {_FOLDER: str(folder)}
    with running("moto (AWS, with functions)", argv, lambda: listens(port), environment):
        yield Aws(Moto(f"http://127.0.0.1:{port}"), folder)


class Functions:
    """The functions' processes, one for each zip, as Lambda keeps one warm."""

    def __init__(self, folder: Path, stack: ExitStack):
        self._folder, self._stack = folder, stack
        self._running: dict[str, runtime_api.RuntimeApi] = {}

    def call(self, function: Any, event: dict[str, Any]) -> str:
        """One call by Secrets Manager.

        Raises:
            RuntimeError: the function failed, by the class of its error.
        """
        with (self._folder / "calls").open("a") as log:
            log.write(json.dumps(event) + "\n")
        answer = self._api(function).invoke(event)
        if not answer.ok:
            raise RuntimeError(answer.body["errorType"])
        return json.dumps(answer.body)

    def _api(self, function: Any) -> runtime_api.RuntimeApi:
        code = bytes(function.code_bytes)
        digest = hashlib.sha256(code).hexdigest()[:12]
        if digest not in self._running:
            here = self._folder / digest
            (here / "task").mkdir(parents=True)
            with zipfile.ZipFile(io.BytesIO(code)) as archive:
                archive.extractall(here / "task")
            handler = function.handler
            process = runtime_api.running(here / "task", handler, here, runtime_api.BOTO)
            self._running[digest] = self._stack.enter_context(process)
        return self._running[digest]


def mend(functions: Functions) -> None:
    """Patch moto in this process."""
    moto_mended.mend()
    _mend_functions(functions)
    _mend_rotation()
    _mend_replicas()
    _mend_replica_keys()


def _mend_functions(functions: Functions) -> None:
    from moto.awslambda import models
    from moto.secretsmanager.models import secretsmanager_backends

    backend: Any = models.LambdaBackend
    function: Any = models.LambdaFunction
    made, configuration = function.__init__, function.get_configuration

    def invoke(self: Any, name: str, qualifier: Any, body: str, *_: Any, **__: Any) -> str:
        event = json.loads(body)
        if "SecretId" in event:  # AWS names the secret by its ARN, moto by its name
            secrets = secretsmanager_backends[self.account_id][self.region_name].secrets
            event["SecretId"] = secrets[event["SecretId"]].arn
        return functions.call(self.get_function(name, qualifier), event)

    def make(self: Any, account_id: str, spec: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        made(self, account_id, spec, *args, **kwargs)
        self.dead_letters = spec.get("DeadLetterConfig")

    def whole(self: Any, on_create: bool = False) -> dict[str, Any]:
        told: dict[str, Any] = configuration(self, on_create)
        return {**told, "DeadLetterConfig": self.dead_letters} if self.dead_letters else told

    backend.invoke, function.__init__, function.get_configuration = invoke, make, whole


def _mend_rotation() -> None:
    from moto.secretsmanager import models

    backend: Any = models.SecretsManagerBackend
    secret: Any = models.FakeSecret
    rotate, described = backend.rotate_secret, secret.to_dict

    def kept(self: Any, secret_id: str, *args: Any, **kwargs: Any) -> Any:
        result = rotate(self, secret_id, *args, **kwargs)
        found = self.secrets[secret_id]
        found.rules = kwargs.get("rotation_rules") or getattr(found, "rules", {})
        found.rotation_enabled = True
        return result

    def told(self: Any) -> dict[str, Any]:
        said: dict[str, Any] = described(self)
        return said | {"RotationRules": self.rules} if getattr(self, "rules", None) else said

    backend.rotate_secret, secret.to_dict = kept, told


def _mend_replicas() -> None:
    from moto.secretsmanager import models

    secret: Any = models.FakeSecret
    create = secret.create_replicas

    def with_keys(self: Any, replica_regions: list[dict[str, str]], force_overwrite: bool) -> Any:
        made = create(self, replica_regions, force_overwrite=force_overwrite)
        for replica, asked in zip(made, replica_regions, strict=True):
            replica.config["KmsKeyId"] = asked.get("KmsKeyId") or replica.config["KmsKeyId"]
        return made

    secret.create_replicas = with_keys


def _mend_replica_keys() -> None:
    from moto.kms import models, responses

    response: Any = responses.KmsResponse
    replicate = response.replicate_key

    def apart(self: Any) -> str:
        """With a policy and a description of its own, and a primary that stays one."""
        answer: str = replicate(self)
        region, key_id = self._get_param("ReplicaRegion"), self._get_param("KeyId")
        made = models.kms_backends[self.current_account][region].keys[key_id]
        made.multi_region_configuration = deepcopy(made.multi_region_configuration)
        made.aliases = {}
        made.policy = self._get_param("Policy") or made.policy
        made.description = self._get_param("Description")
        return answer

    response.replicate_key = apart


if __name__ == "__main__":
    from moto.server import main

    with ExitStack() as stack:
        mend(Functions(Path(os.environ[_FOLDER]), stack))
        main(sys.argv[1:])
