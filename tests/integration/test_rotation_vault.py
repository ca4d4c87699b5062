"""Rotators of what Vault itself hands out, against OpenBao: secret-ids of AppRole and certificates of PKI."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    SecretNotFoundError,
    UnavailableError,
    UnsupportedOperationError,
)
from strongroom.rotation.rotator import Rotation
from strongroom.value import SecretValue
from strongroom_vault.secret_ids import SecretIdRotator
from tests.canary import not_ours
from tests.integration.rotation_targets import Engine, Role, documented, engine_on, role_on, token_for
from tests.servers.https import Server
from tests.servers.openbao import OpenBao


def _rotation(current: SecretValue, **facts: Any) -> Rotation:
    return Rotation(**{"id": str(uuid.uuid4()), "name": "vault/bot", "current": current, **facts})


@pytest.fixture
def role(openbao_server: OpenBao) -> Role:
    return role_on(openbao_server)


class TestSecretIds:
    """AppRole."""

    def test_a_rotation_from_create_to_revoke_leaves_one_secret_id(self, role: Role) -> None:
        """Both log in until the old one is revoked, then the new one alone."""
        rotator, r = role.rotator(), _rotation(role.current)
        assert rotator.reclaim(r) == ()
        made = SecretValue.of(rotator.create_secret(r))
        r = replace(r, pending=made)
        for value in (made, role.current):
            rotator.test_secret(r, value)
            assert role.lets_in(value)
        for _ in range(2):
            rotator.revoke_secret(r, role.current)
        assert rotator.refuses(r, role.current)
        assert not rotator.refuses(r, made)
        assert not role.lets_in(role.current)
        assert role.accessors() == {made.reveal_json("/secret_id_accessor")}
        assert made.reveal_json("/role") == role.name

    def test_what_a_crashed_attempt_left_is_reclaimed_and_nothing_else(self, role: Role) -> None:
        """Of this rotation with a lower epoch: removed. Of another rotation of the secret: reported.

        Other programs' secret-ids of the role, and those of a higher epoch, are left and not mentioned.
        """
        foreign = role.foreign()
        rotator, r = role.rotator(), _rotation(role.current, epoch=2)
        rotator.create_secret(replace(r, epoch=1))
        higher = SecretValue.of(rotator.create_secret(replace(r, epoch=3)))
        other = SecretValue.of(rotator.create_secret(_rotation(role.current)))
        rotator.create_secret(replace(_rotation(role.current), name="vault/other"))
        before = len(role.accessors())
        assert rotator.reclaim(r) == (other.reveal_json("/secret_id_accessor"),)
        assert len(role.accessors()) == before - 1
        kept = {value.reveal_json("/secret_id_accessor") for value in (higher, other, role.current)}
        assert {*kept, foreign} <= role.accessors()

    def test_a_bare_secret_id_stays_one(self, role: Role) -> None:
        """An application that reads the text alone goes on doing so; the server tells the accessor."""
        bare = SecretValue(role.current.reveal_json("/secret_id"))
        rotator, r = role.rotator(ttl=timedelta(days=45)), _rotation(bare)
        made = SecretValue.of(rotator.create_secret(r))
        rotator.test_secret(replace(r, pending=made), made)
        assert rotator.reclaim(replace(r, epoch=2, pending=made)) == ()
        rotator.revoke_secret(replace(r, pending=made), bare)
        assert rotator.credential(bare) == ""
        assert role.accessors() == {rotator.credential(made)}

    def test_the_first_secret_id_replaces_whatever_stood_there(self, role: Role) -> None:
        """Text that is no secret-id, or JSON without one: nothing is revoked, and it counts as refused."""
        rotator = role.rotator()
        for nothing in (SecretValue("to be rotated"), SecretValue.of({})):
            r = _rotation(nothing)
            r = replace(r, pending=SecretValue.of(rotator.create_secret(r)))
            rotator.revoke_secret(r, nothing)
            assert rotator.refuses(r, nothing)
        assert len(role.accessors()) == 3

    def test_a_secret_id_that_may_not_log_in_from_here_is_not_refused(self, role: Role) -> None:
        """One that is bound to other addresses would else pass for revoked."""
        with not_ours():
            bound = role.api().generate_secret_id(role.name, cidr_list=["192.0.2.0/24"])["data"]["secret_id"]
        with pytest.raises(UnavailableError, match="bound to other addresses"):
            role.rotator().refuses(_rotation(role.current), SecretValue.of({"secret_id": bound}))

    def test_a_rotator_that_may_not_ask_proves_nothing(self, role: Role) -> None:
        """Its own refusal must not pass for the refusal of a value; the hint names the policy."""
        weak = role.rotator(credential=lambda: token_for(role.bao, documented("pki")))
        with pytest.raises(UnavailableError, match=r"role-id.*read"):
            weak.refuses(_rotation(role.current), role.current)
        with pytest.raises(PermissionDeniedError, match=f'path "auth/approle/role/{role.name}"'):
            weak.create_secret(_rotation(role.current))

    def test_a_role_that_counts_uses_is_refused(self, role: Role) -> None:
        """Each test is a login: the application would find its secret-id used up."""
        with not_ours():
            role.api().create_or_update_approle(role.name, secret_id_num_uses=3)
        with pytest.raises(UnsupportedOperationError, match="secret_id_num_uses = 0"):
            role.rotator().create_secret(_rotation(role.current))

    def test_a_missing_role_is_said_to_be_missing(self, role: Role) -> None:
        """With the token of an administrator; a weaker one is denied."""
        root = role.rotator(role="nobody", credential=lambda: SecretValue(role.bao.token))
        for call in (root.create_secret, lambda r: root.test_secret(r, role.current)):
            with pytest.raises(SecretNotFoundError, match="no such AppRole role"):
                call(_rotation(role.current))

    def test_the_rotator_may_log_in_by_approle_itself(self, role: Role) -> None:
        """Its own secret-id is asked for anew in each hook, since it rotates too."""
        with not_ours():
            role.api().create_or_update_approle("rotator", token_policies=["root-of-roles"])
            everything = 'path "auth/approle/*" { capabilities = ["create", "read", "update", "list"] }'
            role.bao.client().sys.create_or_update_policy("root-of-roles", everything)
            own = role.api().read_role_id("rotator")["data"]["role_id"]
        asked = []

        def secret_id() -> SecretValue:
            with not_ours():
                asked.append(role.api().generate_secret_id("rotator")["data"]["secret_id"])
            return SecretValue(asked[-1])

        rotator = role.rotator(auth={"method": "approle", "role_id": own}, credential=secret_id)
        r = _rotation(role.current)
        rotator.test_secret(r, SecretValue.of(rotator.create_secret(r)))
        assert len(set(asked)) >= 2


@pytest.fixture(scope="module")
def engine(openbao_server: OpenBao) -> Engine:
    return engine_on(openbao_server)


class TestCertificates:
    """PKI."""

    def test_a_certificate_is_rotated_and_the_old_one_revoked(self, engine: Engine) -> None:
        """Key, certificate and chain fit; the old one is good until it is revoked, then never again."""
        rotator = engine.rotator(alt_names=["www.example.org"], ip_sans=["192.0.2.1"], ttl=timedelta(hours=2))
        first = _rotation(SecretValue.of({"service": "api"}))
        old = SecretValue.of(rotator.create_secret(first))
        assert first.current
        rotator.revoke_secret(replace(first, pending=old), first.current)
        assert rotator.refuses(first, first.current)
        r = _rotation(old)
        assert rotator.reclaim(r) == ()
        new = SecretValue.of(rotator.create_secret(r))
        r = replace(r, pending=new)
        for value in (old, new):
            rotator.test_secret(r, value)
        for _ in range(2):
            rotator.revoke_secret(r, old)
        assert rotator.refuses(r, old)
        assert not rotator.refuses(r, new)
        assert new.reveal_json("/service") == "api"
        made = x509.load_pem_x509_certificate(new.reveal_json("/certificate").encode())
        names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert set(names.get_values_for_type(x509.DNSName)) == {"api.example.org", "www.example.org"}

    @pytest.mark.parametrize("key_type", ["ec-p384", "rsa-2048"])
    def test_other_keys_are_made_too(self, engine: Engine, key_type: str) -> None:
        """The certificate is of the key that was asked for."""
        rotator = engine.rotator(key_type=key_type)
        made = SecretValue.of(rotator.create_secret(_rotation(SecretValue.of({}))))
        key: Any = serialization.load_pem_private_key(made.reveal_json("/private_key").encode(), None)
        assert str(key.key_size) == key_type[-len(str(key.key_size)) :]
        rotator.test_secret(_rotation(made), made)

    def test_another_certificates_key_or_chain_is_found(self, engine: Engine) -> None:
        """A value that was put together wrongly is not promoted."""
        rotator, r = engine.rotator(), _rotation(SecretValue.of({}))
        one, other = (SecretValue.of(rotator.create_secret(r)).reveal_json() for _ in range(2))
        mixed = SecretValue.of({**one, "private_key": other["private_key"]})
        with pytest.raises(IntegrityError, match="another certificate's"):
            rotator.test_secret(r, mixed)
        for wrong in (other["certificate"], "no PEM"):
            with pytest.raises(IntegrityError, match="chain"):
                rotator.test_secret(r, SecretValue.of({**one, "chain": wrong}))

    def test_one_that_is_about_to_expire_is_refused(self, engine: Engine) -> None:
        """Some peer's clock is ahead, and would call it expired."""
        rotator, r = engine.rotator(ttl=timedelta(minutes=4)), _rotation(SecretValue.of({}))
        assert rotator.refuses(r, SecretValue.of(rotator.create_secret(r)))

    def test_a_name_that_the_role_does_not_allow_is_the_callers_fault(self, engine: Engine) -> None:
        """Nor is a key of a kind that nobody knows made."""
        with pytest.raises(InvalidRequestError):
            engine.rotator(common_name="example.net").create_secret(_rotation(SecretValue.of({})))
        with pytest.raises(InvalidRequestError, match="no type of key"):
            engine.rotator(key_type="dsa-512")

    def test_a_certificate_of_another_authority_is_unknown(self, engine: Engine) -> None:
        """It is not called refused, which would pass for revoked."""
        made = SecretValue.of(engine.rotator().create_secret(_rotation(SecretValue.of({}))))
        with not_ours():
            client = engine.bao.client()
            client.sys.enable_secrets_engine("pki", f"{engine.mount}-2")
            client.secrets.pki.generate_root("internal", "Other", mount_point=f"{engine.mount}-2")
        other = engine.rotator(mount=f"{engine.mount}-2", credential=lambda: SecretValue(engine.bao.token))
        with pytest.raises(IntegrityError, match="does not know"):
            other.refuses(_rotation(made), made)


def test_vault_must_prove_who_it_is(
    openbao_tls_server: OpenBao,
    foreign_ca_server: Server,
    redirecting_server: Server,
    redirect_target: Server,
) -> None:
    """TLS under the authority that `ca` names; no token goes elsewhere, nor where a redirect points."""
    role = role_on(openbao_tls_server)
    r = _rotation(role.current)
    ca = str(openbao_tls_server.ca_file)
    role.rotator(ca=ca).test_secret(r, role.current)
    for wrong in (
        {},
        {"ca": ca, "address": foreign_ca_server.url},
        {"ca": ca, "address": redirecting_server.url},
    ):
        with pytest.raises(UnavailableError):
            role.rotator(**wrong).create_secret(r)
    assert foreign_ca_server.requests == redirect_target.requests == []


def test_an_address_mount_or_login_that_cannot_be_is_refused_at_once() -> None:
    """Before any request: plain HTTP elsewhere, a path that climbs, a secret for a login that takes none."""
    wrongs: tuple[dict[str, Any], ...] = (
        {"address": "http://vault.example.net:8200"},
        {"role": "a/b"},
        {"mount": "../sys"},
        {"auth": {"method": "kubernetes", "role": "x"}, "credential": lambda: SecretValue("x")},
    )
    for wrong in wrongs:
        with pytest.raises(InvalidRequestError):
            SecretIdRotator(**{"address": "https://vault.example.net:8200", "role": "app", **wrong})
