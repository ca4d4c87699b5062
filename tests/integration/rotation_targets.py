"""Targets of rotations as another program sees them: an IAM user, an AppRole role, a PKI engine."""

from __future__ import annotations

import itertools
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import boto3
import hvac
import hvac.exceptions
import psycopg
import psycopg.sql

from strongroom.value import SecretValue
from strongroom_aws.access_keys import AccessKeyRotator
from strongroom_vault.certificates import CertificateRotator
from strongroom_vault.database_root import DatabaseRootRotator
from strongroom_vault.secret_ids import SecretIdRotator
from tests.canary import CANARY, not_ours
from tests.servers.boto import REGION
from tests.servers.moto import Moto
from tests.servers.openbao import OpenBao
from tests.servers.postgres import Postgres

ALL = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}'
_numbers = itertools.count(1)
_PAGE = Path(__file__).parents[2] / "docs" / "rotation-cloud-and-api.md"


def documented(rotator: str) -> str:
    """The policy that the documentation says is enough."""
    found = re.search(rf"<!-- test: policy {rotator} -->\n```\w+\n(.*?)```", _PAGE.read_text(), re.DOTALL)
    assert found
    return found[1]


@dataclass(frozen=True)
class Account:
    """An IAM user with one access key, in an AWS account whose administrator may rotate it."""

    moto: Moto
    admin: SecretValue = field(repr=False)
    iam: Any = field(repr=False)
    user: str = "nobody"
    current: SecretValue = field(repr=False, default_factory=lambda: SecretValue(""))

    def rotator(self, **options: Any) -> AccessKeyRotator:
        given = {"user": self.user, "region": REGION, "endpoint": self.moto.url, "admin": lambda: self.admin}
        return AccessKeyRotator(**{**given, **options})

    def another_user(self) -> Account:
        """The same account with the eyes of somebody who rotates another user's keys."""
        user = f"bot-{next(_numbers)}"
        with not_ours():
            self.iam.create_user(UserName=user)
        return replace(self, user=user, current=self.new_key(user))

    def keys(self) -> set[str]:
        with not_ours():
            listed = self.iam.list_access_keys(UserName=self.user)["AccessKeyMetadata"]
        return {key["AccessKeyId"] for key in listed}

    def marks(self) -> list[str]:
        with not_ours():
            tags = self.iam.list_user_tags(UserName=self.user)["Tags"]
        return [tag["Key"] for tag in tags if tag["Key"].startswith("strongroom/")]

    def new_key(self, user: str | None = None) -> SecretValue:
        """A key that somebody makes by hand."""
        with not_ours():
            return _value(self.iam.create_access_key(UserName=user or self.user)["AccessKey"])


@contextmanager
def account_on(moto: Moto) -> Iterator[Account]:
    """An empty account but for its administrator; signatures are verified and policies enforced."""
    moto.reset()
    with not_ours():
        iam = moto.client("iam")
        admin, root = (_administrator(iam, *each) for each in (("admin", documented("iam")), ("root", ALL)))
        client = _client(moto, root)
    with moto.authenticating():
        yield Account(moto, admin, client)


def _administrator(iam: Any, user: str, policy: str) -> SecretValue:
    iam.create_user(UserName=user)
    iam.put_user_policy(UserName=user, PolicyName="own", PolicyDocument=policy)
    return _value(iam.create_access_key(UserName=user)["AccessKey"])


def _client(moto: Moto, value: SecretValue) -> Any:
    key = value.reveal_json()
    session = boto3.Session(key["access_key_id"], key["secret_access_key"], region_name=REGION)
    return session.client("iam", endpoint_url=moto.url)


def _value(key: dict[str, str]) -> SecretValue:
    return SecretValue.of(
        {"access_key_id": key["AccessKeyId"], "secret_access_key": key["SecretAccessKey"], "region": REGION}
    )


def token_for(bao: OpenBao, policy: str) -> SecretValue:
    """A token that may do no more than the docstring of the rotator says."""
    name = f"rotator-{next(_numbers)}"
    with not_ours():
        client = bao.client()
        client.sys.create_or_update_policy(name, policy)
        return SecretValue(client.auth.token.create(policies=[name])["auth"]["client_token"])


@dataclass
class Role:
    """An AppRole role with one secret-id, and a token that may rotate it."""

    bao: OpenBao
    name: str
    token: SecretValue = field(repr=False)
    current: SecretValue = field(repr=False)

    def rotator(self, **options: Any) -> SecretIdRotator:
        given = {"address": self.bao.address, "role": self.name, "credential": lambda: self.token}
        return SecretIdRotator(**{**given, **options})

    def api(self) -> Any:
        return self.bao.client().auth.approle

    def accessors(self) -> set[str]:
        with not_ours():
            try:
                return set(self.api().list_secret_id_accessors(self.name)["data"]["keys"])
            except hvac.exceptions.InvalidPath:
                return set()

    def foreign(self) -> str:
        """A secret-id that another program asked for."""
        with not_ours():
            return str(self.api().generate_secret_id(self.name)["data"]["secret_id_accessor"])

    def lets_in(self, value: SecretValue) -> bool:
        secret_id = value.reveal_json("/secret_id")
        with not_ours():
            try:
                self.api().login(self.api().read_role_id(self.name)["data"]["role_id"], secret_id)
            except hvac.exceptions.InvalidRequest:
                return False
        return True


def role_on(bao: OpenBao) -> Role:
    """A role of its own."""
    with not_ours():
        client, name = bao.client(), f"app-{uuid.uuid4().hex[:8]}"
        if "approle/" not in client.sys.list_auth_methods()["data"]:
            client.sys.enable_auth_method("approle")
        client.auth.approle.create_or_update_approle(name, token_policies=["default"])
        made = client.auth.approle.generate_secret_id(name)["data"]
        current = {key: made[key] for key in ("secret_id", "secret_id_accessor")}
    token = token_for(bao, documented("approle").replace("/role/app", f"/role/{name}"))
    return Role(bao, name, token, SecretValue.of({**current, "role": name}))


@dataclass
class Engine:
    """A PKI engine with a role for one domain, and a token that may rotate."""

    bao: OpenBao
    mount: str
    token: SecretValue = field(repr=False)

    def rotator(self, **options: Any) -> CertificateRotator:
        given: dict[str, Any] = {"address": self.bao.address, "mount": self.mount, "role": "web"}
        given |= {"common_name": "api.example.org", "credential": lambda: self.token}
        return CertificateRotator(**{**given, **options})

    def revoked(self, serial: str) -> bool:
        """As everybody may ask."""
        return bool(
            self.bao.client().secrets.pki.read_certificate(serial, self.mount)["data"]["revocation_time"]
        )


def engine_on(bao: OpenBao) -> Engine:
    """An engine of its own."""
    mount = f"pki-{uuid.uuid4().hex[:8]}"
    with not_ours():
        client = bao.client()
        client.sys.enable_secrets_engine("pki", mount)
        client.secrets.pki.generate_root("internal", "Tests", {"key_type": "ec"}, mount_point=mount)
        rules = {"allowed_domains": ["example.org"], "allow_subdomains": True, "key_type": "any", "ttl": "1h"}
        client.secrets.pki.create_or_update_role("web", rules, mount_point=mount)
    return Engine(bao, mount, token_for(bao, documented("pki").replace("pki/", f"{mount}/")))


@dataclass
class Connection:
    """A connection of Vault's database engine to a PostgreSQL server, and the user it manages it with."""

    bao: OpenBao
    server: Postgres
    mount: str
    user: str
    token: SecretValue = field(repr=False)
    current: SecretValue = field(repr=False)

    def rotator(self, **options: Any) -> DatabaseRootRotator:
        given: dict[str, Any] = {"address": self.bao.address, "mount": self.mount, "connection": "shop"}
        given |= {"credential": lambda: self.token, "user": self.user}
        return DatabaseRootRotator(**{**given, "host": "127.0.0.1", "port": self.server.port, **options})

    def lets_in(self, value: SecretValue) -> bool:
        """Whether PostgreSQL accepts it."""
        with not_ours():
            try:
                psycopg.connect(self.server.where, user=self.user, password=value.reveal_text()).close()
            except psycopg.OperationalError:
                return False
        return True

    def vault_manages(self) -> bool:
        """Whether Vault makes a user there, over a new connection."""
        with not_ours():
            client = self.bao.client()
            try:
                client.secrets.database.reset_connection("shop", self.mount)
                client.secrets.database.generate_credentials("reader", self.mount)
            except hvac.exceptions.VaultError:
                return False
        return True


def connection_on(bao: OpenBao, server: Postgres) -> Connection:
    """A connection of its own, with a user of its own, who may make users."""
    first = SecretValue(f"{CANARY}-{uuid.uuid4().hex}")
    user, mount = server.new_role(first.reveal_text()), f"database-{uuid.uuid4().hex[:8]}"
    with not_ours(), server.admin() as admin:
        admin.execute(psycopg.sql.SQL("ALTER ROLE {} CREATEROLE").format(psycopg.sql.Identifier(user)))
        client = bao.client()
        client.sys.enable_secrets_engine("database", mount)
        url = (
            f"postgresql://{{{{username}}}}:{{{{password}}}}@127.0.0.1:{server.port}/postgres?sslmode=disable"
        )
        client.secrets.database.configure(
            "shop", "postgresql-database-plugin", allowed_roles=["reader"], connection_url=url,
            mount_point=mount, username=user, password=first.reveal_text(), max_idle_connections=-1,
        )  # fmt: skip
        made = "CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'"
        client.secrets.database.create_role("reader", "shop", made, default_ttl="1h", mount_point=mount)
    token = token_for(bao, documented("database").replace("database/", f"{mount}/"))
    return Connection(bao, server, mount, user, token, first)
