"""Rotates the secret-id with which an application logs in to Vault by AppRole."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from strongroom.errors import (
    PermissionDeniedError,
    SecretNotFoundError,
    UnavailableError,
    UnsupportedOperationError,
)
from strongroom.rotation.fields import field, identifier, is_object, renewed
from strongroom.rotation.rotator import Credential, Rotation, TwoSlot
from strongroom.value import SecretValue

from .rotating import Operator, segment
from .transport import Request, json_body

if TYPE_CHECKING:
    from strongroom.rotation.rotator import Source

    from .transport import Answer

_ROTATION: Final = "strongroom_rotation"
_EPOCH: Final = "strongroom_epoch"
_NAME: Final = "strongroom_name"


class SecretIdRotator(TwoSlot):
    """Renews the secret-id with which an application logs in to Vault by AppRole.

    The secret is the secret-id as text, or JSON with ``secret_id``, ``secret_id_accessor`` and others. Each
    secret-id that it makes carries the rotation in its metadata, which stands in Vault's audit log at every
    login too. Other secret-ids of the role are none of its business: they are neither reported nor touched.

    The policy of the rotator's own identity: "read" on ``auth/MOUNT/role/ROLE`` and its ``role-id``,
    "update" on its ``secret-id``, ``secret-id/lookup``, ``secret-id-accessor/lookup`` and
    ``secret-id-accessor/destroy``, "list" on its ``secret-id``.

    Args:
        address: of the server, ``https://HOST:PORT``.
        role: the AppRole role. Its ``secret_id_num_uses`` must be 0: each test of a value is a login.
        mount: of the auth method.
        ttl: how long a secret-id lives if nobody rotates it; by default as the role says.
        credential, auth, namespace, ca, timeout: see `strongroom_vault.rotating.Operator`.
    """

    def __init__(  # noqa: PLR0913  (options by keyword)
        self,
        *,
        address: str,
        role: str,
        mount: str = "approle",
        ttl: timedelta | None = None,
        credential: Source | None = None,
        auth: Mapping[str, str] | None = None,
        namespace: str = "",
        ca: str | None = None,
        timeout: float = 4.0,
    ):
        self._operator = Operator(
            address, f"auth/{mount}", credential=credential, auth=auth, namespace=namespace, ca=ca,
            timeout=timeout,
        )  # fmt: skip
        self._role, self._mount = f"role/{segment(role, 'role')}", mount
        self._ttl = {"ttl": int(ttl.total_seconds())} if ttl else {}

    def issue(self, r: Rotation) -> SecretValue:
        mark = {_ROTATION: r.id, _EPOCH: str(r.epoch), _NAME: r.name}
        asked = json_body({"metadata": json.dumps(mark), **self._ttl})
        with self._operator.client(r) as vault:
            _refuse_limited_uses(self._operator.read(vault, self._role))
            r.check()
            made = self._operator.write(vault, f"{self._role}/secret-id", asked).data
        if r.current is not None and not is_object(r.current):
            return SecretValue(made["secret_id"])
        return renewed(r.current, secret_id=made["secret_id"], secret_id_accessor=made["secret_id_accessor"])

    def listed(self, r: Rotation) -> Iterator[Credential]:
        with self._operator.client(r) as vault:
            found = self._operator.read(vault, f"{self._role}/secret-id", method="LIST")
            for accessor in found.data["keys"] if found else ():
                asked = json_body({"secret_id_accessor": accessor})
                facts = self._operator.read(vault, f"{self._role}/secret-id-accessor/lookup", asked)
                mark = (facts.data.get("metadata") or {}) if facts else {}
                if mark.get(_NAME) == r.name:
                    yield Credential(accessor, mark.get(_ROTATION), _number(mark.get(_EPOCH)))

    def withdraw(self, r: Rotation, credential: str) -> None:
        asked = json_body({"secret_id_accessor": credential})
        with self._operator.client(r) as vault:
            # OpenBao answers 500 where it is told to destroy what it does not know.
            if credential and self._operator.read(vault, f"{self._role}/secret-id-accessor/lookup", asked):
                r.check()
                self._operator.write(vault, f"{self._role}/secret-id-accessor/destroy", asked)

    def credential(self, value: SecretValue) -> str:
        """The accessor; of a value without one what the server says, empty if it does not know it."""
        known = identifier(value, "secret_id_accessor")
        if known or not _holds_one(value):
            return known or ""
        facts = self._facts(Rotation("", ""), value)
        return str(facts["secret_id_accessor"]) if facts else ""

    def test_secret(self, r: Rotation, value: SecretValue) -> None:
        if not _holds_one(value):  # what stood there before the first rotation
            raise PermissionDeniedError("the value holds no secret-id")
        refusal = self._refused(r, value)
        if refusal and self._facts(r, value):
            problem = "Vault knows the secret-id and does not let it log in"
            raise UnavailableError(problem, hint="is it bound to other addresses?")
        if refusal:
            raise refusal

    def _refused(self, r: Rotation, value: SecretValue) -> PermissionDeniedError | None:
        """Log in as the application does, and out."""
        asked = self._operator.judge(r, f"{self._role}/role-id")
        if asked is None:
            raise SecretNotFoundError("no such AppRole role", hint="check `role` and `mount`")
        auth = {"method": "approle", "mount": self._mount, "role_id": str(asked.data["role_id"])}
        try:
            with self._operator.client(r, {**auth, "secret_id": _secret_id(value)}) as vault:
                vault.read(Request("get", "GET", "auth/token/lookup-self"))
            return None
        except PermissionDeniedError as error:
            return error.with_traceback(None)

    def _facts(self, r: Rotation, value: SecretValue) -> Mapping[str, Any] | None:
        """What the server knows of a secret-id; None if it does not know it."""
        body = json_body({"secret_id": _secret_id(value).reveal_text()})
        found = self._operator.judge(r, f"{self._role}/secret-id/lookup", body)
        return found.data if found else None


def _refuse_limited_uses(role: Answer | None) -> None:
    if role is None:
        raise SecretNotFoundError("no such AppRole role", hint="check `role` and `mount`")
    if role.data.get("secret_id_num_uses"):
        problem = "the role limits how often a secret-id is used, and each test of one is a use"
        raise UnsupportedOperationError(problem, hint="set secret_id_num_uses = 0")


def _holds_one(value: SecretValue) -> bool:
    return not is_object(value) or identifier(value, "secret_id") is not None


def _secret_id(value: SecretValue) -> SecretValue:
    return SecretValue(field(value, "secret_id")) if is_object(value) else value


def _number(text: Any) -> int | None:
    return int(text) if isinstance(text, str) and text.isdecimal() else None
