"""Certificates of a real OpenBao: made with keys it never sees, replaced ahead, revoked at the end."""

from __future__ import annotations

import json
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from strongroom.backend import Settings
from strongroom.errors import (
    InvalidRequestError,
    PermissionDeniedError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.integrations.tls_context import server_context
from strongroom.registry import open_backend
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from tests.canary import not_ours
from tests.integration.pki_support import HOUR, Engine, certificate_of, key_of, new_engine, userpass
from tests.integration.vault_support import cutting_proxy, token_auth
from tests.servers import https
from tests.servers.openbao import OpenBao
from tests.servers.relay import Relay
from tests.unit.test_fork import in_child
from tests.unit.test_tls_context import certificate_shown

NAME = "web/api.example.net"


@pytest.fixture(scope="module")
def engine(openbao_server: OpenBao) -> Engine:
    return new_engine(openbao_server)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def lifetime(certificate: x509.Certificate) -> timedelta:
    return certificate.not_valid_after_utc - certificate.not_valid_before_utc


def revoke_login(engine: Engine, store: SecretStore) -> None:
    """As an operator does."""
    edge: Any = store._backend
    with not_ours():
        engine.server.client().auth.token.revoke(edge.inner._client.login.reveal_text())


class TestTheCertificate:
    def test_it_fits_its_key_and_its_chain(self, engine: Engine, clock: FakeClock) -> None:
        with engine.store(clock) as store:
            secret = store.get(NAME)
        certificate = certificate_of(secret)
        assert set(secret.value.reveal_json()) == {"certificate", "private_key", "ca_chain", "issuing_ca"}
        assert certificate.public_key() == key_of(secret).public_key()
        assert secret.value.reveal_json("/private_key").startswith("-----BEGIN PRIVATE KEY-----")
        root = x509.load_pem_x509_certificate(engine.root.encode())
        certificate.verify_directly_issued_by(root)
        assert x509.load_pem_x509_certificates(secret.value.reveal_json("/ca_chain").encode())[-1] == root
        assert x509.load_pem_x509_certificate(secret.value.reveal_json("/issuing_ca").encode()) == root

    def test_its_version_is_the_serial_that_the_authority_knows_it_by(
        self, engine: Engine, clock: FakeClock
    ) -> None:
        with engine.store(clock) as store:
            secret = store.get(NAME)
            assert not engine.revoked(secret.version)
        assert secret.origin.startswith("vault-pki:")
        assert secret.created_at is not None

    def test_the_private_key_is_sent_to_nobody(self, engine: Engine, clock: FakeClock) -> None:
        """What goes to the server asks for a signature."""
        with cutting_proxy(engine.server.address) as proxy:
            with engine.store(clock, proxy.address) as store:
                store.get(NAME)
            paths = [path for _, path in proxy.seen if engine.mount in path]
        assert paths == [f"/v1/{engine.mount}/sign/web", f"/v1/{engine.mount}/revoke"]

    def test_all_threads_share_one(self, engine: Engine, clock: FakeClock) -> None:
        with engine.store(clock) as store, ThreadPoolExecutor(8) as pool:
            assert len({secret.version for secret in pool.map(store.get, [NAME] * 40)}) == 1

    def test_an_intermediate_authority_gives_its_chain(self, engine: Engine, clock: FakeClock) -> None:
        below = new_engine(engine.server)
        with not_ours():
            client = engine.server.client()
            client.delete(f"{below.mount}/root")
        asked = below.write("intermediate/generate/internal", common_name="Below", key_type="ec")
        signed = engine.write("root/sign-intermediate", csr=asked["data"]["csr"], common_name="Below")
        made = signed["data"]["certificate"] + "\n" + engine.root
        issuer = below.write("intermediate/set-signed", certificate=made)["data"]["imported_issuers"][0]
        below.write("config/issuers", default=issuer)
        with below.store(clock) as store:
            chain = x509.load_pem_x509_certificates(store.get(NAME).value.reveal_json("/ca_chain").encode())
        assert [each.subject.rfc4514_string() for each in chain] == ["CN=Below", "CN=Test root"]


class TestOptions:
    def test_names_and_lifetime_are_as_asked(self, engine: Engine, clock: FakeClock) -> None:
        options = {
            "alt_names": ["www.example.net", "admin@example.net"],
            "ip_sans": ["127.0.0.1", "::1"],
            "uri_sans": ["spiffe://example.net/api"],
            "ttl": 600.0,
        }
        with engine.store(clock, options=options) as store:
            certificate = certificate_of(store.get(NAME))
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert set(found.get_values_for_type(x509.DNSName)) == {"api.example.net", "www.example.net"}
        assert found.get_values_for_type(x509.RFC822Name) == ["admin@example.net"]
        assert [str(each) for each in found.get_values_for_type(x509.IPAddress)] == ["127.0.0.1", "::1"]
        assert found.get_values_for_type(x509.UniformResourceIdentifier) == ["spiffe://example.net/api"]
        assert timedelta(minutes=10) <= lifetime(certificate) < timedelta(minutes=11)

    def test_a_wildcard_is_a_native_name(self, engine: Engine, clock: FakeClock) -> None:
        with engine.store(clock, names="native") as store:
            certificate = certificate_of(store.get("web/*.example.net"))
        assert certificate.subject.rfc4514_string() == "CN=*.example.net"

    def test_a_role_that_takes_names_from_the_fields_gives_the_same(
        self, engine: Engine, clock: FakeClock
    ) -> None:
        """`use_csr_common_name` and `use_csr_sans` are the operator's choice."""
        fields = {"use_csr_common_name": False, "use_csr_sans": False, "allow_any_name": True}
        engine.write("roles/fields", **fields, key_type="any", allow_ip_sans=True)
        with engine.store(clock, options={"alt_names": ["www.example.net"]}) as store:
            certificate = certificate_of(store.get("fields/api.example.net"))
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert set(found.get_values_for_type(x509.DNSName)) == {"api.example.net", "www.example.net"}

    @pytest.mark.parametrize(("key_type", "size"), [("ec-p256", 256), ("ec-p384", 384), ("rsa-2048", 2048)])
    def test_the_key_is_of_the_type_asked_for(
        self, engine: Engine, clock: FakeClock, key_type: str, size: int
    ) -> None:
        with engine.store(clock, options={"key_type": key_type}) as store:
            key = key_of(store.get(NAME))
        assert isinstance(key, rsa.RSAPrivateKey if "rsa" in key_type else ec.EllipticCurvePrivateKey)
        assert key.key_size == size

    @pytest.mark.parametrize(
        "options",
        [
            {"key_type": "ed25519"},
            {"ttl": 0},
            {"ttl": "soon"},
            {"ttl": float("nan")},
            {"alt_names": "www.example.net"},
            {"alt_names": ["a,b"]},
            {"ip_sans": ["example.net"]},
            {"ip_sans": [4]},
            {"grace": "never"},
            {"common_name": "api.example.net"},
        ],
        ids=str,
    )
    def test_what_cannot_be_is_refused_when_the_store_is_opened(self, options: dict[str, Any]) -> None:
        with pytest.raises(InvalidRequestError):
            open_backend("vault-pki://vault.example.net/pki", Settings(options=options))


class TestAhead:
    def test_another_is_made_at_two_thirds_of_its_life(self, engine: Engine, clock: FakeClock) -> None:
        """With a key of its own; the one before is good to its end."""
        with engine.store(clock, options={"ttl": HOUR}) as store:
            first = store.get(NAME)
            clock.advance(HOUR * 0.66)
            assert store.get(NAME).version == first.version
            clock.advance(HOUR * 0.01)
            second = store.get(NAME)
            assert second.version != first.version
            assert key_of(second).public_key() != key_of(first).public_key()
            assert not engine.revoked(first.version)

    def test_the_option_grace_revokes_the_one_before(self, engine: Engine, clock: FakeClock) -> None:
        with engine.store(clock, options={"ttl": HOUR, "grace": 60.0}) as store:
            first = store.get(NAME)
            clock.advance(HOUR * 0.67)
            second = store.get(NAME)
            clock.advance(61)
            assert store.get(NAME).version == second.version
            assert engine.revoked(first.version)
            assert not engine.revoked(second.version)

    def test_who_watches_is_told(self, engine: Engine, clock: FakeClock) -> None:
        told = threading.Event()
        with engine.store(clock, options={"ttl": HOUR}) as store:
            store.on_change(NAME, lambda name, version: told.set())
            first = store.get(NAME)
            clock.advance(HOUR * 0.67)
            assert told.wait(10)
            assert store.get(NAME).version != first.version

    @pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
    def test_a_forked_worker_shows_one_of_its_own(self, engine: Engine, clock: FakeClock) -> None:
        """From its first handshake on; the parent goes on with its own, which the child does not revoke."""
        options = {"ttl": HOUR, "alt_names": ["localhost"]}
        with engine.store(clock, options=options) as store:
            server, client = server_context(store, NAME), ssl.create_default_context(cadata=engine.root)
            first = certificate_shown(server, client, "localhost")

            def check() -> bool:
                assert certificate_shown(server, client, "localhost") == first
                for _ in range(2):
                    last = certificate_shown(server, client, "localhost")
                    while certificate_shown(server, client, "localhost") == last:
                        clock.advance(60)
                store.close()
                return True

            in_child(check)
            assert certificate_shown(server, client, "localhost") == first
            assert not engine.revoked(store.get(NAME).version)

    def test_a_login_made_anew_leaves_what_is_under_no_lease(self, engine: Engine, clock: FakeClock) -> None:
        """Only roles with `generate_lease` tie certificates to the login that asked for them."""
        with engine.store(clock, auth=userpass(engine, "revoke", "issue/*")) as store:
            free, leased = store.get(NAME), store.get("leased/api.example.net")
            revoke_login(engine, store)
            assert engine.soon_revoked(leased.version)
            assert store.refresh("leased/api.example.net", rejected=leased.version).version != leased.version
            assert store.get(NAME).version == free.version

    def test_one_under_a_lease_is_replaced_with_its_login(self, engine: Engine, clock: FakeClock) -> None:
        """When the login would have been renewed: until then nobody hears of its end."""
        with engine.store(clock, auth=userpass(engine, ttl="10m"), options={"ttl": HOUR}) as store:
            first = store.get("leased/api.example.net").version
            revoke_login(engine, store)
            assert store.get("leased/api.example.net").version == first
            clock.advance(401)
            assert store.get("leased/api.example.net").version != first


class TestTheEnd:
    @pytest.mark.parametrize("name", [NAME, "leased/api.example.net"])
    def test_close_revokes_it(self, engine: Engine, clock: FakeClock, name: str) -> None:
        with engine.store(clock, auth=token_auth(engine.server.token)) as store:
            version = store.get(name).version
            assert not engine.revoked(version)
        assert engine.soon_revoked(version)

    def test_a_policy_that_does_not_revoke_leaves_it_to_its_end(
        self, engine: Engine, clock: FakeClock
    ) -> None:
        with engine.store(clock, auth=token_auth(engine.token())) as store:
            version = store.get(NAME).version
        assert not engine.revoked(version)

    def test_one_that_the_authority_does_not_keep_is_left_to_its_end(
        self, engine: Engine, clock: FakeClock
    ) -> None:
        """`no_store`: it can be neither looked up nor revoked, and is taken for good."""
        engine.write("roles/unkept", allow_any_name=True, key_type="any", no_store=True)
        with engine.store(clock) as store:
            version = store.get("unkept/api.example.net").version
            fresh = store.refresh("unkept/api.example.net", rejected=version).version
            assert fresh != version
            assert store.refresh("unkept/api.example.net", rejected=fresh).version == fresh

    def test_a_revoked_one_is_replaced_when_a_peer_refuses_it(self, engine: Engine, clock: FakeClock) -> None:
        with engine.store(clock) as store:
            version = store.get(NAME).version
            for _ in range(2):  # at once, however soon after the last
                engine.write("revoke", serial_number=version)
                fresh = store.refresh(NAME, rejected=version).version
                assert fresh != version
                version = fresh

    def test_one_that_is_good_is_replaced_once_in_half_a_minute(
        self, engine: Engine, clock: FakeClock
    ) -> None:
        """A peer that refuses everybody does not fill the authority."""
        with engine.store(clock) as store:
            first = store.get(NAME).version
            second = store.refresh(NAME, rejected=first).version
            assert second != first
            assert store.refresh(NAME, rejected=second).version == second
            clock.advance(31)
            assert store.refresh(NAME, rejected=second).version != second

    def test_an_outage_is_lived_through_to_its_end(self, engine: Engine, clock: FakeClock) -> None:
        port = int(engine.server.address.rpartition(":")[2])
        with Relay(port) as relay:
            address = f"http://127.0.0.1:{relay.port}"
            with engine.store(clock, address, options={"ttl": HOUR}, attempts=1, timeout=0.2) as store:
                first = store.get(NAME)
                relay.sever()
                clock.advance(HOUR * 0.7)
                late = store.get(NAME)
                assert (late.version, late.stale) == (first.version, True)
                clock.advance(HOUR * 0.4)
                with pytest.raises(UnavailableError):
                    store.get(NAME)
                relay.mend()
                clock.advance(5)
                assert store.get(NAME).version != first.version


class TestRefusals:
    @pytest.mark.parametrize(
        ("name", "error", "told"),
        [
            ("nobody/api.example.net", SecretNotFoundError, "role"),
            ("web", SecretNotFoundError, "no certificate"),
            ("web/a/b", SecretNotFoundError, "no certificate"),
            ("narrow/api.example.com", InvalidRequestError, "refused"),
            ("narrow/api.example.net", InvalidRequestError, "refused"),  # its keys are RSA
        ],
    )
    def test_each_is_typed_and_says_what_to_do(
        self, engine: Engine, clock: FakeClock, name: str, error: type[SecretStoreError], told: str
    ) -> None:
        engine.write("roles/narrow", allowed_domains="example.net", allow_subdomains=True, key_type="rsa")
        with engine.store(clock) as store, pytest.raises(error, match=told) as caught:
            store.get(name)
        assert caught.value.hint

    def test_a_denial_names_the_grant(self, engine: Engine, clock: FakeClock) -> None:
        with engine.store(clock, auth=token_auth(engine.token())) as store:
            store.get(NAME)
        other = new_engine(engine.server)
        with (
            other.store(clock, auth=token_auth(engine.token())) as store,
            pytest.raises(PermissionDeniedError) as caught,
        ):
            store.get(NAME)
        assert f'path "{other.mount}/sign/web" {{ capabilities = ["update"] }}' in str(caught.value.hint)

    @pytest.mark.parametrize("data", ["null", "{}", '{"certificate": 7}', '{"certificate": "x"}', "foreign"])
    def test_an_answer_without_a_certificate_for_our_key_is_unavailable(
        self, clock: FakeClock, authority: https.Authority, data: str
    ) -> None:
        """Whoever answers so is no PKI engine."""
        foreign = json.dumps({"certificate": authority.issue().certificate.read_text()})
        body = f'{{"data": {foreign if data == "foreign" else data}}}'.encode()
        with https.serving(lambda _: https.Response(200, body), authority) as server:
            url = f"vault-pki://{server.url.removeprefix('https://')}/pki"
            settings = Settings(auth=token_auth("DEMO"), ca=str(authority.ca_file), clock=clock)
            with SecretStore(open_backend(url, settings)) as store, pytest.raises(UnavailableError):
                store.get(NAME)

    def test_nothing_is_written(self, engine: Engine, clock: FakeClock) -> None:
        with engine.store(clock) as store, pytest.raises(SecretStoreError):
            store.put(NAME, "DEMO")
