"""Vault's stand-in that acts: what is planned is done at a real server, as the real provider does it.

The server and its token come from VAULT_ADDR and VAULT_TOKEN, as the real provider takes them.
"""

from __future__ import annotations

import json
import os
import pickle
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import requests

from strongroom.value import SecretValue
from strongroom_terraform.blocks import Change, Provider, State
from strongroom_terraform.problems import problem
from strongroom_terraform.schema import Values
from terraform.tests import standin
from terraform.tests.attached import attached, serve
from terraform.tests.schemas import known, packages


@dataclass(frozen=True, slots=True)
class Place:
    """Where a resource is in Vault's API.

    Attributes:
        path: with the names of attributes in braces.
        body: the attributes that are sent there.
        gone: what is deleted with it, if that is another path; empty for nothing.
    """

    path: str
    body: tuple[str, ...]
    gone: str | None = None


_TOKEN: Final = ("token_policies", "token_ttl", "token_max_ttl", "token_bound_cidrs")
PLACES: Final[dict[str, tuple[Place, ...]]] = {
    "vault_mount": (Place("sys/mounts/{path}", ("type", "options", "description")),),
    "vault_kv_secret_backend_v2": (Place("{mount}/config", ("max_versions",), gone=""),),
    "vault_policy": (Place("sys/policies/acl/{name}", ("policy",)),),
    "vault_auth_backend": (Place("sys/auth/{path}", ("type",)),),
    "vault_approle_auth_backend_role": (
        Place(
            "auth/{backend}/role/{role_name}",
            (*_TOKEN, "bind_secret_id", "secret_id_ttl", "secret_id_bound_cidrs"),
        ),
    ),
    "vault_jwt_auth_backend": (
        Place("sys/auth/{path}", ("type",)),
        Place(
            "auth/{path}/config",
            ("oidc_discovery_url", "jwks_url", "jwt_validation_pubkeys", "bound_issuer"),
            gone="",
        ),
    ),
    "vault_jwt_auth_backend_role": (
        Place(
            "auth/{backend}/role/{role_name}",
            (*_TOKEN, "role_type", "user_claim", "bound_audiences", "bound_subject", "bound_claims"),
        ),
    ),
    "vault_transit_secret_backend_key": (
        Place("{backend}/keys/{name}", ("type", "auto_rotate_period", "exportable"), gone=""),
    ),
    "vault_audit": (Place("sys/audit/{path}", ("type", "options", "description")),),
}


class Acting(standin.Echo):
    """A resource of `PLACES`."""

    def create(self, change: Change) -> State:
        """Written, and what else is computed made up."""
        for place in PLACES[self.name]:
            body = {name: change.planned[name] for name in place.body if change.planned[name] is not None}
            ask("POST", place.path.format_map(change.planned), body)
        return super().create(change)

    update = create

    def delete(self, values: Values, private: bytes) -> None:
        """Deleted where it can be."""
        for place in PLACES[self.name]:
            if place.gone is None:
                ask("DELETE", place.path.format_map(values))


class Secret(standin.Echo):
    """``vault_kv_secret_v2`` with ``data_json_wo``."""

    name: ClassVar[str] = "vault_kv_secret_v2"

    def create(self, change: Change) -> State:
        """The value, then the metadata."""
        return self._written(change)

    def update(self, change: Change) -> State:
        """As provider 5.2 does it: without a new version there is no value to write, and that is an error.

        https://github.com/hashicorp/terraform-provider-vault/issues/2588
        """
        assert change.prior
        if change.prior["data_json_wo_version"] == change.planned["data_json_wo_version"]:
            raise problem('data_json "" syntax error: unexpected end of JSON input')
        return self._written(change)

    def _written(self, change: Change) -> State:
        planned, value = change.planned, change.config["data_json_wo"]
        assert isinstance(value, SecretValue)
        ask("POST", "{mount}/data/{name}".format_map(planned), {"data": json.loads(value.reveal_text())})
        blocks = planned["custom_metadata"]
        assert isinstance(blocks, list)
        for block in blocks:
            assert isinstance(block, dict)
            ask("POST", "{mount}/metadata/{name}".format_map(planned), {"custom_metadata": block["data"]})
        return super().create(change)

    def delete(self, values: Values, private: bytes) -> None:
        """All versions, if the configuration said so."""
        kind = "metadata" if values["delete_all_versions"] else "data"
        ask("DELETE", f"{values['mount']}/{kind}/{values['name']}")


def ask(method: str, path: str, body: Any = None) -> None:
    """One request, again while a new mount is not ready yet.

    Raises:
        ProblemError: it was refused; the text is the server's own, as the real provider shows it.
    """
    url, token = f"{os.environ['VAULT_ADDR']}/v1/{path}", os.environ["VAULT_TOKEN"]
    for _ in range(100):
        answer = requests.request(
            method, url, json=body, headers={"X-Vault-Token": token}, timeout=10, allow_redirects=False
        )
        if "Upgrading from non-versioned" not in answer.text:
            break
        time.sleep(0.05)  # the server turns a new mount into version 2 behind our back
    if not answer.ok:
        raise problem(f"Error writing to Vault: {answer.status_code} {answer.json().get('errors')}")


def acting(address: str, token: str) -> AbstractContextManager[str]:
    """The provider for ``hashicorp/vault``, as TF_REATTACH_PROVIDERS names it."""
    return attached(__name__, env={"VAULT_ADDR": address, "VAULT_TOKEN": token})


def _provider() -> Provider:
    kinds = {**dict.fromkeys(PLACES, Acting), Secret.name: Secret}
    found = pickle.loads(known(packages()["vault"], frozenset(kinds)).read_bytes())
    made = [type(key, (base,), {"name": key, "schema": found[key]}) for key, base in kinds.items()]
    return Provider(found["provider"], standin.Configured, resources=made)


if __name__ == "__main__":
    serve("vault", _provider())
