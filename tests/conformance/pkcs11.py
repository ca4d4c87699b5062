"""What the token runs share: opening the backend, and reading as a plain python-pkcs11 program does."""

from __future__ import annotations

from typing import Any

from pkcs11 import Attribute, ObjectClass

from strongroom.backend import Backend
from strongroom.registry import open_backend
from strongroom.testing.conformance_base import NativeReader
from strongroom.value import SecretValue
from strongroom_pkcs11.module import module_of
from tests.canary import not_ours
from tests.servers.softhsm import TestToken

PREFIX = "conformance"


def token_store(token: TestToken, **settings: Any) -> Backend:
    """Objects on a token, below a prefix; patient, so that a busy machine ends no lease."""
    return open_backend(token.url(PREFIX), token.settings(**{"timeout": 30.0, **settings}))


def reader(token: TestToken) -> NativeReader:
    """What python-pkcs11 finds under a secret's label, as everybody's code asks for it: one, or none."""
    module = module_of(token.settings())

    def read(name: str) -> SecretValue | None:
        template = {Attribute.CLASS: ObjectClass.DATA, Attribute.LABEL: f"{PREFIX}/{name}"}
        with not_ours(), module.held(30), token.native() as session:
            found = [item[Attribute.VALUE] for item in list(session.get_objects(template))]
        assert len(found) <= 1, "a label that several objects bear gives any of them"
        return SecretValue(found[0]) if found else None

    return read
