"""Azure's keys beyond the suites: versions, what a refusal means, what the service is never trusted with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from azure.keyvault.keys.crypto import KeyWrapAlgorithm, SignatureAlgorithm

from strongroom.backend import Settings
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    UnavailableError,
)
from strongroom.keys import KeyWrapper, Signer, WrappedKey, bind, encode_context, raw_signature
from strongroom.registry import open_key, open_signer
from strongroom.testing.clock import FakeClock
from strongroom.value import SecretValue
from tests.canary import CANARY
from tests.conformance import azure_keys
from tests.servers import azure
from tests.servers.azure_crypto import encoded
from tests.servers.azure_identity import TENANT
from tests.servers.https import Authority, Response, Server

CONTEXT = {"domain": "prod", "name": "db/password"}
DATA_KEY = CANARY.encode().ljust(32, b"\xa5")[:32]


@pytest.fixture
def kek(authority: Authority, azure_server: azure.Vault) -> Iterator[KeyWrapper]:
    """An RSA key with one version."""
    azure_keys.add_key(azure_server, "kek", "RSA")
    with azure_keys.wrapper(authority, azure_server.url, "kek") as key:
        yield key


@pytest.fixture
def aes(authority: Authority, azure_server: azure.Vault) -> Iterator[KeyWrapper]:
    """A symmetric key with one version."""
    azure_keys.add_key(azure_server, "kek", "oct-HSM")
    with azure_keys.wrapper(authority, azure_server.url, "kek", algorithm="A256KW") as key:
        yield key


def version_of(wrapped: WrappedKey) -> str:
    return wrapped.key_info.decode().rpartition("/")[2]


def rotated(vault: azure.Vault, name: str = "kek") -> str:
    with vault.key_client() as client:
        return str(client.rotate_key(name).properties.version)


def update(vault: azure.Vault, **properties: Any) -> None:
    with vault.key_client() as client:
        client.update_key_properties("kek", **properties)


def answers(vault: azure.Vault, operation: str, **body: object) -> None:
    content = {"Content-Type": "application/json"}
    vault.faults.answer_with(operation, Response(200, json.dumps(body).encode(), content))


def test_a_message_says_which_version_made_it(kek: KeyWrapper) -> None:
    """By the vault's own host, never the endpoint: `HOST/keys/NAME/VERSION`."""
    wrapped = kek.wrap(DATA_KEY, CONTEXT)
    base, _, version = wrapped.key_info.decode().rpartition("/")
    assert base == kek.key_id == "example.vault.azure.net/keys/kek"
    assert len(version) == 32
    assert wrapped.provider_id == "strongroom-azure-key"


def test_a_rotation_is_noticed_at_once_and_older_messages_open(
    kek: KeyWrapper, azure_server: azure.Vault
) -> None:
    """No public key is kept: the next wrap is by the new version; each message is opened by its own."""
    old = kek.wrap(DATA_KEY, CONTEXT)
    newest = rotated(azure_server)
    new = kek.wrap(DATA_KEY, CONTEXT)
    assert version_of(old) != version_of(new) == newest
    for wrapped in (old, new):
        assert kek.matches(wrapped)
        assert kek.unwrap(wrapped, CONTEXT) == DATA_KEY
    swapped = old._replace(key_info=new.key_info)
    with pytest.raises(IntegrityError):
        kek.unwrap(swapped, CONTEXT)


def test_a_version_in_the_url_stays(kek: KeyWrapper, authority: Authority, azure_server: azure.Vault) -> None:
    """It wraps under that one, and still opens what any version made."""
    first = version_of(kek.wrap(DATA_KEY, CONTEXT))
    rotated(azure_server)
    with azure_keys.wrapper(authority, azure_server.url, f"kek/{first}") as pinned:
        assert version_of(pinned.wrap(DATA_KEY, CONTEXT)) == first
        assert pinned.unwrap(kek.wrap(DATA_KEY, CONTEXT), CONTEXT) == DATA_KEY


def test_every_wrap_and_unwrap_asks_the_service_and_needs_no_right_to_read_keys(
    kek: KeyWrapper, azure_server: azure.Vault
) -> None:
    """So that a disabled key stops, the vault's log shows every use, and one grant less is needed."""
    azure_server.faults.deny("keys.get")
    for _ in range(3):
        kek.unwrap(kek.wrap(DATA_KEY, CONTEXT), CONTEXT)
    calls = azure_server.calls
    assert (calls["keys.wrapkey"], calls["keys.unwrapkey"], calls["keys.get"]) == (3, 3, 0)


def test_a_disabled_key_stops_at_once(kek: KeyWrapper, azure_server: azure.Vault) -> None:
    """Wrapping and unwrapping are denied, until it is enabled again."""
    wrapped = kek.wrap(DATA_KEY, CONTEXT)
    update(azure_server, enabled=False)
    for call in (lambda: kek.wrap(DATA_KEY, CONTEXT), lambda: kek.unwrap(wrapped, CONTEXT)):
        with pytest.raises(PermissionDeniedError, match="disabled"):
            call()
    update(azure_server, enabled=True)
    assert kek.unwrap(wrapped, CONTEXT) == DATA_KEY


def test_an_expired_key_opens_and_no_longer_wraps(kek: KeyWrapper, azure_server: azure.Vault) -> None:
    """As Azure allows it, for recovery."""
    wrapped = kek.wrap(DATA_KEY, CONTEXT)
    update(azure_server, expires_on=datetime.now(UTC) - timedelta(days=1))
    with pytest.raises(PermissionDeniedError, match="valid"):
        kek.wrap(DATA_KEY, CONTEXT)
    assert kek.unwrap(wrapped, CONTEXT) == DATA_KEY


def test_a_key_in_the_bin_does_nothing_until_it_is_recovered(
    kek: KeyWrapper, azure_server: azure.Vault
) -> None:
    """Denied to wrap; what it made is passed over, so that another key of a message is tried."""
    wrapped = kek.wrap(DATA_KEY, CONTEXT)
    with azure_server.key_client() as client:
        client.begin_delete_key("kek", _polling_interval=0).wait()
        with pytest.raises(PermissionDeniedError, match="no such key"):
            kek.wrap(DATA_KEY, CONTEXT)
        with pytest.raises(IntegrityError):
            kek.unwrap(wrapped, CONTEXT)
        client.begin_recover_deleted_key("kek", _polling_interval=0).wait()
    assert kek.unwrap(wrapped, CONTEXT) == DATA_KEY


def test_a_key_that_may_not_wrap_is_denied(kek: KeyWrapper, azure_server: azure.Vault) -> None:
    """By its own permitted operations, or by a missing role; the hint names what is lacking."""
    update(azure_server, key_operations=["sign"])
    with pytest.raises(PermissionDeniedError, match="key_ops"):
        kek.wrap(DATA_KEY, CONTEXT)
    azure_server.faults.deny("keys.wrapkey")
    with pytest.raises(PermissionDeniedError, match=r"Crypto User.*keys/wrapKey"):
        kek.wrap(DATA_KEY, CONTEXT)


def test_a_message_does_not_choose_the_algorithm(aes: KeyWrapper, azure_server: azure.Vault) -> None:
    """Once the name had an RSA key, its public half could forge; what it wrapped is refused unasked."""
    forged = WrappedKey(aes.provider_id, aes.wrap(DATA_KEY, CONTEXT).key_info, bytes(256))
    asked = azure_server.calls["keys.unwrapkey"]
    with pytest.raises(IntegrityError):
        aes.unwrap(forged, CONTEXT)
    assert azure_server.calls["keys.unwrapkey"] == asked
    assert aes.symmetric


def test_a_key_of_the_other_kind_is_refused(
    kek: KeyWrapper, authority: Authority, azure_server: azure.Vault
) -> None:
    """The service checks that key and algorithm fit."""
    with azure_keys.wrapper(authority, azure_server.url, "kek", algorithm="A256KW") as wrong:
        assert wrong.symmetric
        with pytest.raises(InvalidRequestError, match="not made for this"):
            wrong.wrap(DATA_KEY, CONTEXT)


@pytest.mark.parametrize(
    "answer",
    [
        {"kid": "https://example.vault.azure.net/keys/other/" + "0" * 32, "value": encoded(bytes(256))},
        {"kid": "https://example.vault.azure.net/keys/kek/", "value": encoded(bytes(256))},
        {"kid": "https://example.vault.azure.net/secrets/kek/" + "0" * 32, "value": encoded(bytes(256))},
        {"value": encoded(bytes(256))},
        {"kid": None, "value": None},
        {"kid": "https://x/keys/kek/" + "0" * 32, "value": "not base64url!"},
        {},
    ],
)
def test_an_answer_that_makes_no_sense_is_none(
    kek: KeyWrapper, azure_server: azure.Vault, answer: dict[str, object]
) -> None:
    """A proxy's page, or an answer about something else."""
    for _ in range(2):  # it is asked for once more
        answers(azure_server, "keys.wrapkey", **answer)
    with pytest.raises(UnavailableError, match="makes no sense"):
        kek.wrap(DATA_KEY, CONTEXT)


def test_an_answer_by_another_version_is_refused(kek: KeyWrapper, azure_server: azure.Vault) -> None:
    """Whoever answers for it, it is not what was asked."""
    wrapped = kek.wrap(DATA_KEY, CONTEXT)
    kid = "https://example.vault.azure.net/keys/kek/" + "0" * 32
    answers(azure_server, "keys.unwrapkey", kid=kid, value=encoded(bind(DATA_KEY, CONTEXT)))
    with pytest.raises(IntegrityError, match="another version"):
        kek.unwrap(wrapped, CONTEXT)


def test_a_ciphertext_of_no_known_length_is_not_put_in_a_message(
    kek: KeyWrapper, azure_server: azure.Vault
) -> None:
    """It could not be opened again."""
    kid = "https://example.vault.azure.net/keys/kek/" + "0" * 32
    answers(azure_server, "keys.wrapkey", kid=kid, value=encoded(DATA_KEY))
    with pytest.raises(IntegrityError):
        kek.wrap(DATA_KEY, CONTEXT)


def test_azures_own_client_opens_what_we_wrapped_and_we_what_it_wrapped(
    kek: KeyWrapper, azure_server: azure.Vault
) -> None:
    """What stands inside is the data key and the SHA-256 of the encoded context."""
    wrapped = kek.wrap(DATA_KEY, CONTEXT)
    content = DATA_KEY + hashlib.sha256(encode_context(CONTEXT)).digest()
    kid = f"{azure_server.url}/keys/kek/{version_of(wrapped)}"
    with azure_server.crypto_client(kid) as client:
        assert client.unwrap_key(KeyWrapAlgorithm.rsa_oaep_256, wrapped.ciphertext).key == content
        theirs = client.wrap_key(KeyWrapAlgorithm.rsa_oaep_256, content).encrypted_key
    assert kek.unwrap(wrapped._replace(ciphertext=theirs), CONTEXT) == DATA_KEY


@pytest.mark.filterwarnings("ignore")
def test_why_the_sdks_own_crypto_client_is_not_used(aes: KeyWrapper, azure_server: azure.Vault) -> None:
    """For an AES key it wraps on its own side under random bytes: nobody opens that ever again."""
    kid = f"{azure_server.url}/keys/kek/{version_of(aes.wrap(DATA_KEY, CONTEXT))}"
    asked = azure_server.calls["keys.wrapkey"]
    with azure_server.crypto_client(kid) as one, azure_server.crypto_client(kid) as two:
        wrapped = one.wrap_key(KeyWrapAlgorithm.aes_256, bytes(64)).encrypted_key
        assert azure_server.calls["keys.wrapkey"] == asked
        with pytest.raises(HttpResponseError):
            two.unwrap_key(KeyWrapAlgorithm.aes_256, wrapped)


def test_retry_after_is_honoured_on_the_injected_clock(
    authority: Authority, azure_server: azure.Vault
) -> None:
    """Twice throttled, the third attempt comes when the service asked for it."""
    azure_keys.add_key(azure_server, "kek", "RSA")
    clock = FakeClock()
    settings = Settings(ca=str(authority.ca_file), clock=clock)
    azure_server.faults.throttle("keys.wrapkey", times=2, retry_after=7)
    key = open_key(azure_keys.url(azure_server.url, "kek"), settings)
    key.wrap(DATA_KEY, CONTEXT)
    key.close()
    assert clock.slept == [7.0, 7.0]


@pytest.mark.parametrize("fault", ["drop_requests", "drop_answers"])
def test_a_lost_answer_is_asked_for_again(kek: KeyWrapper, azure_server: azure.Vault, fault: str) -> None:
    """Wrapping twice changes nothing."""
    getattr(azure_server.faults, fault)("keys.wrapkey")
    assert kek.unwrap(kek.wrap(DATA_KEY, CONTEXT), CONTEXT) == DATA_KEY


def test_a_redirect_is_not_followed(
    kek: KeyWrapper, azure_server: azure.Vault, redirect_target: Server
) -> None:
    """Neither token nor data key goes where an answer points."""
    azure_server.faults.redirect(redirect_target.url, "keys.*", times=2)
    with pytest.raises(UnavailableError):
        kek.wrap(DATA_KEY, CONTEXT)
    assert redirect_target.requests == []


@pytest.mark.parametrize(
    "resource", ["https://vault.example.net", "https://evil.net", "https://azure.net.evil"]
)
def test_a_vault_that_asks_for_a_foreign_token_gets_none(
    authority: Authority, azure_server: azure.Vault, resource: str
) -> None:
    """With a client secret, on Azure's own host name: no login is even tried."""
    azure_server.identity.clients["app"] = CANARY
    azure_server.identity.resource = resource
    host = f"kek-{len(resource)}"  # the SDK keeps challenges by host, for the whole process
    with azure.dialled(azure_server), pytest.raises(PermissionDeniedError):
        login(authority, host).wrap(DATA_KEY, CONTEXT)
    assert azure_server.calls["token"] == 0
    assert not [request for request in azure_server.requests if "Authorization" in request.headers]


def login(authority: Authority, vault: str) -> KeyWrapper:
    auth: dict[str, str | SecretValue] = {
        "tenant_id": TENANT, "client_id": "app", "client_secret": SecretValue(CANARY),
    }  # fmt: skip
    return open_key(f"azure-key://{vault}/kek", Settings(ca=str(authority.ca_file), auth=auth, attempts=1))


def test_a_token_of_azure_identity_opens_the_vault(authority: Authority, azure_server: azure.Vault) -> None:
    """From the login service's own host, with the challenge verified."""
    azure_keys.add_key(azure_server, "kek", "RSA")
    azure_server.identity.clients["app"] = CANARY
    azure_server.identity.only_issued = True
    with azure.dialled(azure_server):
        key = login(authority, "kek-with-login")
        assert key.unwrap(key.wrap(DATA_KEY, CONTEXT), CONTEXT) == DATA_KEY
        key.close()
    assert azure_server.calls["token"] > 0
    assert key.key_id == "kek-with-login.vault.azure.net/keys/kek"


@pytest.mark.parametrize(
    "url",
    [
        "azure-key://example/",
        "azure-key://example/a_b",
        "azure-key://example/../secrets",
        "azure-key://example/kek/versions",
        "azure-key://example/kek/" + "0" * 31,
        "azure-key://example/kek/" + "0" * 32 + "/wrapkey",
        "azure-key://exa_mple/kek",
        "azure-key://example.vault.azure.net.evil.org/kek",
        "azure-key://example/kek?api-version=1",
        "azure-key://example/kek?endpoint=https://10.0.0.1",
        "azure-key://example/kek?endpoint=http://127.0.0.1:1",
    ],
)
@pytest.mark.parametrize("open_it", [open_key, open_signer])
def test_a_url_that_names_no_key_is_refused_before_anything_is_sent(
    open_it: Callable[[str], KeyWrapper | Signer], url: str
) -> None:
    """Nothing in it can become another path, host or option."""
    with pytest.raises(InvalidRequestError):
        open_it(url)


@pytest.mark.parametrize(
    "url", ["azure-key://example/kek", "azure-key://EXAMPLE/KEK", "azure-key://example.vault.azure.net/Kek"]
)
def test_names_have_no_case(url: str) -> None:
    """Azure compares identifiers so."""
    key = open_key(url)
    assert key.key_id.endswith("keys/kek")
    info = f"example.vault.azure.net/keys/kek/{'0' * 32}".encode()
    assert key.matches(WrappedKey("strongroom-azure-key", info, b""))
    assert not key.matches(WrappedKey("strongroom-azure-key", info.replace(b"example", b"example2"), b""))
    assert not key.matches(WrappedKey("strongroom-azure-key", info.replace(b"/kek/", b"/kek2/"), b""))


def test_a_managed_hsm_is_another_host() -> None:
    """It is named in full."""
    key = open_key("azure-key://example.managedhsm.azure.net/kek", Settings(options={"algorithm": "A256KW"}))
    assert key.key_id == "example.managedhsm.azure.net/keys/kek"


@pytest.mark.parametrize(
    ("open_it", "algorithm"), [(open_key, "RSA1_5"), (open_key, "ES256"), (open_signer, "RS1")]
)
def test_other_algorithms_are_refused(open_it: Callable[[str, Settings], object], algorithm: str) -> None:
    """Among them the ones that Microsoft itself advises against."""
    with pytest.raises(InvalidRequestError, match="algorithm"):
        open_it("azure-key://example/kek", Settings(options={"algorithm": algorithm}))


def test_a_signer_stays_with_one_version(authority: Authority, azure_server: azure.Vault) -> None:
    """Its signatures and its public key belong together, whoever rotates the key meanwhile."""
    first = azure_keys.add_key(azure_server, "signer", "P-256")
    with azure_keys.signer(authority, azure_server.url, "signer") as signer:
        before = signer.public_key()
        rotated(azure_server, "signer")
        signer.sign(b"message")
        assert (signer.public_key(), signer.key_id.rpartition("/")[2]) == (before, first)
        assert azure_server.calls["keys.get"] == 1
    with azure_keys.signer(authority, azure_server.url, "signer") as again:
        assert again.public_key() != before


def test_azures_own_client_verifies_what_we_signed(authority: Authority, azure_server: azure.Vault) -> None:
    """Once it is r || s again; the low s of secp256k1 is as good as the other."""
    for curve, algorithm in (("P-256", "ES256"), ("P-256K", "ES256K")):
        version = azure_keys.add_key(azure_server, "signer", curve)
        digest = hashlib.sha256(b"message").digest()
        with azure_keys.signer(authority, azure_server.url, "signer") as signer:
            raw = raw_signature(signer.sign(b"message"))
        with azure_server.crypto_client(f"{azure_server.url}/keys/signer/{version}") as client:
            assert client.verify(SignatureAlgorithm(algorithm), digest, raw).is_valid


@pytest.mark.parametrize(
    ("kind", "declared"),
    [("P-256", "RS256"), ("P-256K", "ES256"), ("RSA", "ES256K"), ("P-521", None), ("oct-HSM", None)],
)
def test_a_key_signs_only_what_it_is_made_for(
    authority: Authority, azure_server: azure.Vault, kind: str, declared: str | None
) -> None:
    """P-521 and HMAC are for nobody here."""
    azure_keys.add_key(azure_server, "signer", kind)
    options = {"algorithm": declared} if declared else {}
    refusal = pytest.raises(InvalidRequestError, match="not made for this algorithm")
    with azure_keys.signer(authority, azure_server.url, "signer", **options) as signer, refusal:
        signer.sign(b"message")
    assert azure_server.calls["keys.sign"] == 0


@pytest.mark.parametrize("length", [0, 63, 65, 96])
def test_a_signature_of_another_size_is_refused(
    authority: Authority, azure_server: azure.Vault, length: int
) -> None:
    """Split elsewhere, r || s would be two other numbers."""
    version = azure_keys.add_key(azure_server, "signer", "P-256")
    kid = f"https://example.vault.azure.net/keys/signer/{version}"
    answers(azure_server, "keys.sign", kid=kid, value=encoded(bytes(length)))
    with azure_keys.signer(authority, azure_server.url, "signer") as signer, pytest.raises(IntegrityError):
        signer.sign(b"message")


@pytest.mark.parametrize(
    "key", [{}, {"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"}, {"kty": "RSA", "n": 1}]
)
def test_a_public_key_that_is_none_is_refused(
    authority: Authority, azure_server: azure.Vault, key: dict[str, object]
) -> None:
    """Not on the curve, incomplete, or no key at all."""
    kid = "https://example.vault.azure.net/keys/signer/" + "0" * 32
    answers(azure_server, "keys.get", key={"kid": kid, **key})
    refusal = pytest.raises((IntegrityError, InvalidRequestError))
    with azure_keys.signer(authority, azure_server.url, "signer") as signer, refusal:
        signer.public_key()
