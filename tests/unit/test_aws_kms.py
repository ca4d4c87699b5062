"""AWS KMS: which key is meant, whom it talks to, what its refusals mean, and that AWS's own SDK agrees."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import strongroom
from strongroom.backend import Settings
from strongroom.config import signer as signer_of
from strongroom.envelope.cipher import decrypt, encrypt
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    SecretStoreError,
    UnavailableError,
    UnsupportedOperationError,
)
from strongroom.keys import KeyWrapper, WrappedKey
from strongroom.layers.encrypted import Encrypted
from strongroom.memory import MemoryBackend
from strongroom.registry import open_key, open_signer
from strongroom.store import SecretStore
from strongroom.testing.clock import FakeClock
from strongroom.testing.conformance_key_base import in_child
from strongroom.testing.conformance_safety import at_once
from strongroom.value import SecretValue
from tests.canary import CANARY, assert_no_canary_in, not_ours
from tests.servers import https
from tests.servers.boto import REGION
from tests.servers.moto import Moto

if TYPE_CHECKING:
    from tests.servers.https import Authority, Request, Response, Server

ACCOUNT = "111122223333"
ID = "1234abcd-12ab-34cd-56ef-1234567890ab"
MRK = "mrk-1234abcd12ab34cd56ef1234567890ab"
CONTEXT = {"domain": "prod", "name": "db/password"}
DATA_KEY = CANARY.encode().ljust(32, b"\0")


def arn(key: str = ID, region: str = REGION, account: str = ACCOUNT, partition: str = "aws") -> str:
    return f"arn:{partition}:kms:{region}:{account}:key/{key}"


def edk(info: str, provider: str = "aws-kms") -> WrappedKey:
    return WrappedKey(provider, info.encode(), b"ciphertext")


def created(kms: Moto, **params: Any) -> str:
    """The id of a new key."""
    return str(kms.client("kms").create_key(**params)["KeyMetadata"]["KeyId"])


def opened(kms: Moto, name: str, region: str = REGION, **settings: Any) -> KeyWrapper:
    return open_key(f"aws-kms://{region}/{name}?endpoint={kms.url}", Settings(**settings))


class TestAddresses:
    @pytest.mark.parametrize("url", [
        "aws-kms://eu-west-1", "aws-kms://eu-west-1/", "aws-kms://eu-west-1/a/b", "aws-kms:///alias/x",
        "aws-kms://eu-west-1/alias/", "aws-kms://evil.example.com/alias/x", "aws-kms://eu-west-1/alias/x?region=y",
        f"aws-kms://eu-west-1/{arn(region='us-east-1')}", f"aws-kms://eu-west-1/{arn()}/x",
        "aws-kms://eu-west-1/alias/x?endpoint=https://kms.example.com",
    ])  # fmt: skip
    def test_a_url_names_one_key_of_one_region(self, url: str) -> None:
        """Id, alias, or ARN of that region."""
        for opening in (open_key, open_signer):
            with pytest.raises(InvalidRequestError):
                opening(url)

    @pytest.mark.parametrize("settings", [
        Settings(endpoint="http://10.0.0.1:80"), Settings(endpoint="https://kms.example.com"),
        Settings(auth={"password": "x"}), Settings(options={"algorithm": "RSAES_OAEP_SHA_1"}),
        Settings(options={"grant_tokens": ["t"] * 11}), Settings(options={"grant_tokens": [""]}),
    ])  # fmt: skip
    def test_a_wrong_setting_is_refused_at_once(self, settings: Settings) -> None:
        """Plain HTTP, ambient credentials for a foreign host, unknown algorithms, impossible tokens."""
        with pytest.raises(InvalidRequestError):
            open_key(f"aws-kms://{REGION}/{ID}", settings)

    def test_an_ambient_endpoint_is_ignored(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Who can set AWS_ENDPOINT_URL would otherwise see every data key."""
        for variable in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_KMS"):
            monkeypatch.setenv(variable, "http://127.0.0.1:9")
        key: Any = open_key(f"aws-kms://{REGION}/{ID}")
        url = key.inner._key._client._connected().meta.endpoint_url
        assert url == f"https://kms.{REGION}.amazonaws.com"
        key.close()

    def test_opening_asks_nobody(self) -> None:
        """Neither for a KEK nor for a signing key, not even for what it is."""
        for opening in (open_key, open_signer):
            opening(f"aws-kms://{REGION}/alias/x?endpoint=http://127.0.0.1:9").close()


class TestMatching:
    @pytest.mark.parametrize(("name", "theirs", "expected"), [
        (ID, arn(), True),
        (ID, arn(region="us-east-1"), False),
        (ID, arn("00000000-12ab-34cd-56ef-1234567890ab"), False),
        (arn(), arn(), True),
        (arn(), arn(account="999999999999"), False),
        (arn(), arn(partition="aws-cn"), False),
        (MRK, arn(MRK), True),
        (MRK, arn(MRK, "us-east-1"), True),
        (arn(MRK), arn(MRK, "us-east-1"), True),
        (arn(MRK), arn(MRK, "us-east-1", account="999999999999"), False),
        ("alias/x", arn(), True),
        ("alias/x", arn(region="us-east-1"), False),
        ("alias/x", f"arn:aws:kms:{REGION}:{ACCOUNT}:alias/x", False),
        (ID, ID, False),
        (ID, arn() + "\n", False),
        (ID, "", False),
    ])  # fmt: skip
    def test_keys_are_known_by_their_arns(self, name: str, theirs: str, expected: bool) -> None:
        """By id and region; a multi-Region key in every region; an alias may be any key of its region."""
        key = open_key(f"aws-kms://{REGION}/{name}")
        assert key.matches(edk(theirs)) is expected
        assert not key.matches(edk(theirs, "aws-kms-mrk"))
        assert not key.matches(edk(theirs)._replace(key_info=b"\xff" + theirs.encode()))
        key.close()

    def test_a_message_names_the_key_and_never_the_alias(self, kms: Moto) -> None:
        """As AWS's own keyring writes it; from then on the alias is known for that key and no other."""
        key_id, other = created(kms), created(kms)
        kms.client("kms").create_alias(AliasName="alias/named", TargetKeyId=key_id)
        key = opened(kms, "alias/named")
        wrapped = key.wrap(DATA_KEY, CONTEXT)
        assert wrapped.key_info.decode().endswith(f":key/{key_id}")
        assert key.key_id == wrapped.key_info.decode()
        assert not key.matches(
            wrapped._replace(key_info=wrapped.key_info.replace(key_id.encode(), other.encode()))
        )

    def test_an_alias_that_means_another_key_now_does_not_open(self, kms: Moto) -> None:
        """Who points an alias elsewhere keeps the former key configured, by its id, for old messages."""
        client, former, later = kms.client("kms"), created(kms), created(kms)
        client.create_alias(AliasName="alias/moved", TargetKeyId=former)
        wrapped = opened(kms, "alias/moved").wrap(DATA_KEY, CONTEXT)
        client.update_alias(AliasName="alias/moved", TargetKeyId=later)
        key = opened(kms, "alias/moved")
        with pytest.raises(IntegrityError):
            key.unwrap(wrapped, CONTEXT)
        assert opened(kms, former).unwrap(wrapped, CONTEXT) == DATA_KEY

    def test_replicas_open_what_either_wrapped(self, kms: Moto) -> None:
        """Each by its own region's replica: a region's outage takes no messages with it."""
        key_id = created(kms, MultiRegion=True)
        kms.client("kms").replicate_key(KeyId=key_id, ReplicaRegion="us-east-1")
        europe, america = opened(kms, key_id), opened(kms, key_id, "us-east-1")
        for one, two in ((europe, america), (america, europe)):
            wrapped = one.wrap(DATA_KEY, CONTEXT)
            assert two.matches(wrapped)
            assert two.unwrap(wrapped, CONTEXT) == DATA_KEY
            with pytest.raises(IntegrityError):
                two.unwrap(wrapped, {})
        assert ":us-east-1:" in america.key_id


class _Scripted:
    """A KMS that answers everything with one code, and remembers what it was asked."""

    def __init__(self) -> None:
        self.code, self.message, self.status, self.body = "", "", 400, b""
        self.asked: list[dict[str, Any]] = []

    def respond(self, request: Request) -> Response:
        self.asked.append(json.loads(request.body))
        said = {"__type": self.code, "message": f"{self.message} {CANARY}"}
        headers = {"Content-Type": "application/x-amz-json-1.1"}
        return https.Response(self.status, self.body or json.dumps(said).encode(), headers)


@pytest.fixture
def script() -> _Scripted:
    return _Scripted()


@pytest.fixture
def scripted(script: _Scripted) -> Iterator[Server]:
    with https.serving(script.respond) as server:
        yield server


class TestRefusals:
    @pytest.mark.parametrize(("code", "message", "kind"), [
        ("AccessDeniedException", "not authorized to perform: kms:Decrypt", PermissionDeniedError),
        ("DisabledException", "is disabled", PermissionDeniedError),
        ("NotFoundException", "Key does not exist", PermissionDeniedError),
        ("InvalidGrantTokenException", "", PermissionDeniedError),
        ("KMSInvalidStateException", "arn is pending deletion.", PermissionDeniedError),
        ("KMSInvalidStateException", "arn is pending import.", UnavailableError),
        ("KeyUnavailableException", "", UnavailableError),
        ("DependencyTimeoutException", "", UnavailableError),
        ("KMSInternalException", "", UnavailableError),
        ("ThrottlingException", "Rate exceeded", UnavailableError),
        ("InvalidCiphertextException", "", IntegrityError),
        ("IncorrectKeyException", "", IntegrityError),
        ("InvalidKeyUsageException", "", InvalidRequestError),
        ("ValidationException", "", InvalidRequestError),
        ("UnrecognizedClientException", "", PermissionDeniedError),
    ])  # fmt: skip
    def test_each_refusal_has_one_meaning(
        self, script: _Scripted, scripted: Server, code: str, message: str, kind: type[SecretStoreError]
    ) -> None:
        """Whoever decided against a key is a denial; what may pass is unavailable; AWS's text stays out."""
        script.code, script.message = code, message
        key = open_key(f"aws-kms://{REGION}/{ID}?endpoint={scripted.url}", Settings(clock=FakeClock()))
        with pytest.raises(SecretStoreError) as caught:
            key.unwrap(edk(arn()), CONTEXT)
        assert type(caught.value) is kind
        assert (caught.value.operation, caught.value.backend) == ("unwrap", "aws-kms")
        assert caught.value.performed is False
        assert_no_canary_in(caught.value)
        transient = isinstance(caught.value, UnavailableError) and caught.value.retryable
        assert len(script.asked) == (3 if transient else 1)

    def test_a_denial_names_the_action(self, script: _Scripted, scripted: Server) -> None:
        """The IAM action that lacks, of KMS itself."""
        script.code, script.message = "AccessDeniedException", "not authorized to perform: kms:Encrypt"
        key = open_key(f"aws-kms://{REGION}/{ID}?endpoint={scripted.url}")
        with pytest.raises(PermissionDeniedError, match=r"\(allow kms:Encrypt\)$"):
            key.wrap(DATA_KEY, CONTEXT)

    @pytest.mark.parametrize("body", [b"<html>proxy</html>", b"{}", b'{"KeyId": "x"}'])
    def test_a_strangers_answer_is_none(self, script: _Scripted, scripted: Server, body: bytes) -> None:
        """With status 200 the SDK takes any bytes for an answer without fields."""
        script.status, script.body = 200, body
        key = open_key(f"aws-kms://{REGION}/{ID}?endpoint={scripted.url}", Settings(attempts=1))
        with pytest.raises(UnavailableError):
            key.unwrap(edk(arn()), CONTEXT)

    def test_an_answer_for_another_key_is_refused(self, script: _Scripted, scripted: Server) -> None:
        """KMS names the key that it used; another one's plaintext is not taken."""
        answer = {"Plaintext": "eA==", "KeyId": arn("00000000-12ab-34cd-56ef-1234567890ab")}
        script.status, script.body = 200, json.dumps(answer).encode()
        key = open_key(f"aws-kms://{REGION}/{arn()}?endpoint={scripted.url}")
        with pytest.raises(IntegrityError):
            key.unwrap(edk(arn()), CONTEXT)

    def test_the_sdk_is_asked_for_our_key_alone(self, script: _Scripted, scripted: Server) -> None:
        """Every Decrypt names the configured key: a ciphertext cannot choose one."""
        script.code = "InvalidCiphertextException"
        key = open_key(f"aws-kms://{REGION}/{ID}?endpoint={scripted.url}")
        with pytest.raises(IntegrityError):
            key.unwrap(edk(arn()), CONTEXT)
        [asked] = script.asked
        assert (asked["KeyId"], asked["EncryptionContext"]) == (ID, CONTEXT)

    @pytest.mark.parametrize("given", [CANARY, [SecretValue(CANARY), "two"]], ids=["one", "several"])
    def test_grant_tokens_are_sent_and_not_shown(
        self, script: _Scripted, scripted: Server, given: Any
    ) -> None:
        """With every call; nothing that a person may see holds them."""
        script.code = "InvalidGrantTokenException"
        options = {"grant_tokens": given}
        key = open_key(f"aws-kms://{REGION}/{ID}?endpoint={scripted.url}", Settings(options=options))
        with pytest.raises(PermissionDeniedError) as caught:
            key.generate_data_key(CONTEXT)
        assert_no_canary_in(caught.value)
        assert script.asked[0]["GrantTokens"][0] == CANARY


class TestTransport:
    def _wrap(self, server: Server, authority: Authority) -> SecretStoreError:
        settings = Settings(ca=str(authority.ca_file), timeout=5, attempts=1)
        key = open_key(f"aws-kms://{REGION}/{ID}?endpoint={server.url}", settings)
        with pytest.raises(SecretStoreError) as caught:
            key.wrap(DATA_KEY, CONTEXT)
        assert_no_canary_in(caught.value)
        key.close()
        return caught.value

    def test_tls_1_1_and_foreign_authorities_are_refused(
        self, tls_1_1_server: Server, foreign_ca_server: Server, authority: Authority
    ) -> None:
        """No data key is sent to whom nobody knows."""
        for server in (tls_1_1_server, foreign_ca_server):
            assert isinstance(self._wrap(server, authority), UnavailableError)
            assert not server.requests

    def test_a_redirect_is_not_followed(
        self, redirecting_server: Server, redirect_target: Server, authority: Authority
    ) -> None:
        """What was sent goes nowhere else."""
        error = self._wrap(redirecting_server, authority)
        assert isinstance(error, UnavailableError)
        assert not error.retryable
        assert not redirect_target.requests


class TestKeyStates:
    @pytest.mark.parametrize("state", ["disabled", "pending deletion"])
    def test_a_key_out_of_use_is_denied(self, kms: Moto, state: str) -> None:
        """Somebody decided so: no cached value outlives that decision, and other keys are tried."""
        client, key_id = kms.client("kms"), created(kms)
        key = opened(kms, key_id)
        wrapped = key.wrap(DATA_KEY, CONTEXT)
        if state == "disabled":
            client.disable_key(KeyId=key_id)
        else:
            client.schedule_key_deletion(KeyId=key_id)
        for call in (lambda: key.wrap(DATA_KEY, CONTEXT), lambda: key.unwrap(wrapped, CONTEXT)):
            with pytest.raises(PermissionDeniedError):
                call()

    def test_old_ciphertexts_open_after_a_rotation(self, kms: Moto) -> None:
        """KMS keeps a rotated key's former material."""
        key_id = created(kms)
        wrapped = opened(kms, key_id).wrap(DATA_KEY, CONTEXT)
        kms.client("kms").rotate_key_on_demand(KeyId=key_id)
        assert opened(kms, key_id).unwrap(wrapped, CONTEXT) == DATA_KEY

    def test_an_asymmetric_key_that_is_not_declared_wraps_nothing(self, kms: Moto) -> None:
        """An encrypted store never takes one for symmetric: KMS itself refuses it then."""
        key = opened(kms, created(kms, KeyUsage="ENCRYPT_DECRYPT", KeySpec="RSA_2048"))
        assert key.symmetric
        for call in (lambda: key.wrap(DATA_KEY, {}), lambda: key.generate_data_key({})):
            with pytest.raises(InvalidRequestError):
                call()


class TestAwsSdk:
    """AWS's Encryption SDK for Python, with its own master key for KMS."""

    @pytest.fixture(params=[False, True], ids=["single region", "multi-Region"])
    def key_id(self, kms: Moto, request: pytest.FixtureRequest) -> str:
        return created(kms, MultiRegion=request.param)

    def _provider(self, kms: Moto, key_id: str) -> Any:
        from aws_encryption_sdk.key_providers.kms import KMSMasterKey, MRKAwareKMSMasterKey

        client = kms.client("kms")
        arn = client.describe_key(KeyId=key_id)["KeyMetadata"]["Arn"]
        kind = MRKAwareKMSMasterKey if key_id.startswith("mrk-") else KMSMasterKey
        return kind(key_id=arn, client=client)

    @pytest.mark.parametrize("context", [{}, CONTEXT, {"Ort": "Zürich 🔑"}], ids=["none", "ascii", "unicode"])
    def test_opens_what_we_wrote(self, kms: Moto, key_id: str, context: dict[str, str]) -> None:
        """With the key by which our message was written, context and all."""
        import aws_encryption_sdk

        value = os.urandom(5_000)
        message = encrypt(value, keys=[opened(kms, key_id)], context=context)
        with not_ours():
            client = aws_encryption_sdk.EncryptionSDKClient()
            found, header = client.decrypt(source=message, key_provider=self._provider(kms, key_id))
        assert found == value
        assert header.encryption_context == context

    @pytest.mark.parametrize("context", [{}, CONTEXT, {"Ort": "Zürich 🔑"}], ids=["none", "ascii", "unicode"])
    def test_writes_what_we_open(self, kms: Moto, key_id: str, context: dict[str, str]) -> None:
        """And ours refuses the same message for another context."""
        import aws_encryption_sdk
        from aws_encryption_sdk.identifiers import Algorithm

        value = os.urandom(5_000)
        with not_ours():
            client = aws_encryption_sdk.EncryptionSDKClient()
            message, _ = client.encrypt(
                source=value,
                key_provider=self._provider(kms, key_id),
                encryption_context=context,
                algorithm=Algorithm.AES_256_GCM_HKDF_SHA512_COMMIT_KEY,
            )
        assert decrypt(message, keys=[opened(kms, key_id)], context=context).value == value
        with pytest.raises(IntegrityError):
            decrypt(message, keys=[opened(kms, key_id)], context={"another": "context"})


class TestConfiguration:
    def test_keys_are_named_in_strongroom_toml(self, kms: Moto, tmp_path: Path) -> None:
        """A store encrypts under one, and one signs."""
        sealing, signing = created(kms), created(kms, KeyUsage="SIGN_VERIFY", KeySpec="RSA_2048")
        file = tmp_path / "strongroom.toml"
        file.write_text(f"""
            [store.prod]
            url = "memory://"
            encrypt = {{ keys = ["kms"], domain = "prod" }}
            [key.kms]
            url = "aws-kms://{REGION}/{sealing}?endpoint={kms.url}"
            options = {{ grant_tokens = ["t"] }}
            [key.audit]
            url = "aws-kms://{REGION}/{signing}?endpoint={kms.url}"
            options = {{ algorithm = "RS256" }}
        """)
        with strongroom.open("prod", config=file) as store:
            store.put("db/password", CANARY)
            assert store.get("db/password").value.matches(CANARY)
        signer = signer_of("audit", config=file)
        assert signer.algorithm == "RS256"
        assert len(signer.sign(b"message")) == 256
        signer.close()


class TestSigners:
    @pytest.mark.parametrize(("params", "algorithm"), [
        ({"KeyUsage": "SIGN_VERIFY", "KeySpec": "ECC_NIST_P256"}, "ES256"),
        ({"KeyUsage": "SIGN_VERIFY", "KeySpec": "ECC_NIST_P384"}, "ES384"),
        ({"KeyUsage": "SIGN_VERIFY", "KeySpec": "ECC_SECG_P256K1"}, "ES256K"),
        ({"KeyUsage": "SIGN_VERIFY", "KeySpec": "RSA_2048"}, "PS256"),
        ({"KeyUsage": "GENERATE_VERIFY_MAC", "KeySpec": "HMAC_256"}, "HS256"),
    ])  # fmt: skip
    def test_kms_says_what_a_key_signs(self, kms: Moto, params: dict[str, str], algorithm: str) -> None:
        """Where the configuration does not."""
        signer = open_signer(f"aws-kms://{REGION}/{created(kms, **params)}?endpoint={kms.url}")
        assert signer.algorithm == algorithm

    def test_a_key_that_encrypts_does_not_sign(self, kms: Moto) -> None:
        """UnsupportedOperationError where KMS says what the key is, InvalidRequestError where it is told."""
        url = f"aws-kms://{REGION}/{created(kms)}?endpoint={kms.url}"
        with pytest.raises(UnsupportedOperationError):
            open_signer(url).sign(b"message")
        with pytest.raises(InvalidRequestError):
            open_signer(url, Settings(options={"algorithm": "ES256"})).sign(b"message")
        with pytest.raises(InvalidRequestError):
            open_signer(url, Settings(options={"algorithm": "none"}))

    def test_what_kms_verifies_is_what_we_signed(self, kms: Moto) -> None:
        """KMS's own Verify takes the signature, here of a plain RSA key."""
        key_id = created(kms, KeyUsage="SIGN_VERIFY", KeySpec="RSA_2048")
        settings = Settings(options={"algorithm": "RS256"})
        signature = open_signer(f"aws-kms://{REGION}/{key_id}?endpoint={kms.url}", settings).sign(b"message")
        answer = kms.client("kms").verify(
            KeyId=key_id,
            Message=b"message",
            Signature=signature,
            SigningAlgorithm="RSASSA_PKCS1_V1_5_SHA_256",
        )
        assert answer["SignatureValid"]

    def test_hmac_is_what_kms_computes(self, kms: Moto) -> None:
        """GenerateMac of the same message by plain boto3."""
        key_id = created(kms, KeyUsage="GENERATE_VERIFY_MAC", KeySpec="HMAC_256")
        signer = open_signer(f"aws-kms://{REGION}/{key_id}?endpoint={kms.url}")
        theirs = kms.client("kms").generate_mac(KeyId=key_id, Message=b"m", MacAlgorithm="HMAC_SHA_256")
        assert signer.sign(b"m") == theirs["Mac"]
        assert signer.public_key() is None


class TestSharing:
    def test_64_threads_and_8_children_share_a_key(self, kms: Moto) -> None:
        """No deadlock, no wrong answer, and no descriptor is left when the key is closed."""
        key_id = created(kms)
        before = _descriptors()
        key = opened(kms, key_id)
        wrapped = key.wrap(DATA_KEY, CONTEXT)
        assert at_once([lambda: key.unwrap(wrapped, CONTEXT)] * 64) == [DATA_KEY] * 64
        for _ in range(8):
            assert in_child(key, lambda: key.unwrap(wrapped, CONTEXT) == DATA_KEY)
        assert key.unwrap(wrapped, CONTEXT) == DATA_KEY
        key.close()
        assert _descriptors() <= before
        with pytest.raises(InvalidRequestError, match="closed"):
            key.unwrap(wrapped, CONTEXT)

    def test_a_store_tells_its_keys_of_a_fork(self, kms: Moto) -> None:
        """Or parent and child would speak to KMS on one socket."""
        key = opened(kms, created(kms))
        store = SecretStore(Encrypted(MemoryBackend(), [key], "prod"), cache=None)
        store.put("db/password", CANARY)
        client: Any = key.inner._key._client  # type: ignore[attr-defined]
        parents = client._connected()
        child = os.fork()
        if not child:
            os._exit(
                0
                if client._connected() is not parents and store.get("db/password").value.matches(CANARY)
                else 1
            )
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert client._connected() is parents
        store.close()


def _descriptors() -> set[str]:
    """The sockets and files this process holds open, by what they are."""
    links = (f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd"))
    return {os.readlink(link) for link in links if os.path.islink(link)}
