"""Transit keys against the real OpenBao: what is sent, versions, policies, and where the token goes."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import hvac.exceptions
import pytest

from strongroom.backend import Settings, Stage
from strongroom.envelope.cipher import decrypt, encrypt
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    SecretStoreError,
    UnavailableError,
    UnsupportedOperationError,
)
from strongroom.keys import KeyWrapper, Signer, WrappedKey, encode_context
from strongroom.layers.encrypted import Encrypted
from strongroom.localkey import LocalKey
from strongroom.memory import MemoryBackend
from strongroom.names import Name, StoreURL
from strongroom.registry import open_key, open_signer
from strongroom.testing.conformance_signers import verified
from strongroom.value import SecretValue
from strongroom_vault._transit import versioned
from strongroom_vault.transit_key import TransitKey
from tests.canary import CANARY, assert_no_canary_in
from tests.conformance.support import Counter
from tests.integration.transit_support import MOUNT, Key, made
from tests.integration.vault_support import TurnedClock, cutting_proxy, policy_token, token_auth
from tests.pages import ROOT, blocks
from tests.servers import https
from tests.servers.openbao import OpenBao

NOWHERE = "http://127.0.0.1:9"
CONTEXT = {"domain": "prod", "name": "db/password"}
DATA_KEY = CANARY.encode().ljust(32, b"\xa5")
AAD = base64.b64encode(encode_context(CONTEXT)).decode()
NO_PAIRS = base64.b64encode(b"\0\0").decode()


@pytest.fixture(scope="module")
def aes(openbao_server: OpenBao) -> Key:
    return made(openbao_server, type="aes256-gcm96")


@pytest.fixture(scope="module")
def derived(openbao_server: OpenBao) -> Key:
    return made(openbao_server, type="aes256-gcm96", derived=True)


@pytest.fixture
def wrapper(aes: Key) -> Iterator[KeyWrapper]:
    with aes.opened() as wrapper:
        yield wrapper


def native(key: Key, verb: str, **facts: str) -> dict[str, Any]:
    """The answer to a plain hvac client."""
    answer: Any = key.server.client().write_data(f"{MOUNT}/{verb}/{key.name}", data=facts)
    return dict(answer["data"])


def only(key: Key, *verbs: str) -> dict[str, Any]:
    """A token that may use the key in these ways alone."""
    lines = ['path "elsewhere/*" { capabilities = ["read"] }']  # a policy cannot be empty
    lines += [f'path "{MOUNT}/{verb}/{key.name}" {{ capabilities = ["update", "read"] }}' for verb in verbs]
    return {"auth": token_auth(policy_token(key.server, "\n".join(lines)))}


def refusal(call: Callable[[], object], kind: type[SecretStoreError]) -> SecretStoreError:
    with pytest.raises(kind) as caught:
        call()
    assert_no_canary_in(caught.value)
    assert caught.value.__context__ is None
    return caught.value


class TestContext:
    """What binds a data key to its context, as another program must send it."""

    @pytest.mark.parametrize("made_by_us", [True, False], ids=["ours", "theirs"])
    @pytest.mark.parametrize(
        ("kind", "field"), [("aes", "associated_data"), ("derived", "context")], ids=["aead", "derived"]
    )
    def test_a_plain_client_reads_and_writes_the_same(
        self, request: pytest.FixtureRequest, kind: str, field: str, made_by_us: bool
    ) -> None:
        """The base64 of the encoded context, as associated data, or as the context of a derived key."""
        key: Key = request.getfixturevalue(kind)
        plaintext, binding = base64.b64encode(DATA_KEY).decode(), {field: AAD}
        with key.opened() as wrapper:
            if made_by_us:
                sealed = wrapper.wrap(DATA_KEY, CONTEXT).ciphertext.decode()
                assert native(key, "decrypt", ciphertext=sealed, **binding)["plaintext"] == plaintext
            else:
                sealed = native(key, "encrypt", plaintext=plaintext, **binding)["ciphertext"]
                assert wrapper.unwrap(wrapper.wrapped(sealed.encode()), CONTEXT) == DATA_KEY

    def test_no_pairs_are_a_count_of_zero_for_a_derived_key(self, derived: Key) -> None:
        """The engine refuses an empty context; no other context begins with a count of zero."""
        with derived.opened() as wrapper:
            sealed = wrapper.wrap(DATA_KEY, {}).ciphertext.decode()
        answer = native(derived, "decrypt", ciphertext=sealed, context=NO_PAIRS)
        assert base64.b64decode(answer["plaintext"]) == DATA_KEY

    def test_the_server_makes_data_keys_for_derived_keys_alone(self, aes: Key, derived: Key) -> None:
        """HashiCorp's `datakey` ignores associated data: what it wrapped would never open again."""
        for key, verb in ((aes, f"encrypt/{aes.name}"), (derived, f"datakey/plaintext/{derived.name}")):
            with cutting_proxy(key.server.address) as proxy, key.opened(address=proxy.address) as wrapper:
                wrapper.generate_data_key(CONTEXT)
                posts = [path for method, path in proxy.seen if method == "POST"]
                assert posts == [f"/v1/{MOUNT}/{verb}"]

    @pytest.mark.parametrize(
        "change",
        [
            lambda text: text.replace(":v1:", ":v0:"),
            lambda text: text.replace(":v1:", ":v01:"),
            lambda text: text.replace(":v1:", ":v1:\n"),
            lambda text: text + "\n",
            lambda text: text.replace(":v1:", ":v9999999999:"),
        ],
    )
    def test_a_wrapped_key_has_one_form(self, aes: Key, change: Callable[[str], str]) -> None:
        """The engine takes others for the same (v0 for v1, line breaks in base64); no request is sent."""
        with cutting_proxy(aes.server.address) as proxy, aes.opened(address=proxy.address) as wrapper:
            wrapped = wrapper.wrap(DATA_KEY, CONTEXT)
            changed = change(wrapped.ciphertext.decode()).encode()
            before = len(proxy.seen)
            refusal(lambda: wrapper.unwrap(wrapped._replace(ciphertext=changed), CONTEXT), IntegrityError)
            assert len(proxy.seen) == before

    def test_base64_has_one_form(self) -> None:
        """The bits that padding leaves over are zero, as RFC 4648 section 3.5 lets a decoder demand."""
        assert versioned("vault:v12:QQ==") == (12, b"A")
        for text in ("QR==", "QQ=", "QQ", "QQ==QQ==", "Q-=="):
            assert versioned(f"vault:v1:{text}") is None

    @pytest.mark.parametrize("kind", ["aes128-gcm96", "rsa-2048", "ecdsa-p256", "ed25519", "hmac"])
    def test_what_cannot_bind_a_context_or_is_too_weak_is_refused(
        self, openbao_server: OpenBao, kind: str
    ) -> None:
        """Before it is asked to encrypt, with the types that can."""
        key = made(openbao_server, type=kind, **({"key_size": 32} if kind == "hmac" else {}))
        with key.opened() as wrapper:
            error = refusal(lambda: wrapper.wrap(DATA_KEY, CONTEXT), UnsupportedOperationError)
        assert "aes256-gcm96" in str(error)

    def test_an_rsa_key_is_declared(self, aes: Key) -> None:
        """A store learns without asking the server whether a key is symmetric; other keys are no RSA keys."""
        with aes.opened(address=NOWHERE) as plain:
            assert plain.symmetric
        with aes.opened(options={"algorithm": "RSA-OAEP-256"}) as declared:
            assert not declared.symmetric
            refusal(lambda: declared.wrap(DATA_KEY, CONTEXT), UnsupportedOperationError)

    def test_a_store_opens_while_vault_is_down(self, aes: Key) -> None:
        """And reads with the other key of its messages, a local one say."""
        backend, name = MemoryBackend(), Name("db/password")
        local = LocalKey(bytes(32), name="local", counter=Counter())
        with cutting_proxy(aes.server.address) as proxy:
            with aes.opened(address=proxy.address) as wrapper:
                Encrypted(backend, [wrapper, local], "prod").put(name, SecretValue(CANARY), None)
            proxy.cut = lambda method, path: "request"
            with aes.opened(address=proxy.address, clock=TurnedClock()) as down:
                store = Encrypted(backend, [down, local], "prod")
                assert store.get(name, Stage.CURRENT).value.matches(CANARY)
            assert proxy.seen[-1] == ("GET", "/v1/auth/token/lookup-self")


class TestVersions:
    """A key is rotated in place."""

    def test_every_allowed_version_opens(self, openbao_server: OpenBao) -> None:
        """The latest wraps; what an older one wrapped opens, also in one batch with the new."""
        key = made(openbao_server, type="chacha20-poly1305")
        with key.opened() as wrapper:
            old = wrapper.wrap(DATA_KEY, CONTEXT)
            key.call("/rotate")
            new = wrapper.wrap(DATA_KEY, CONTEXT)
            assert (old.ciphertext[:9], new.ciphertext[:9]) == (b"vault:v1:", b"vault:v2:")
            assert [wrapper.unwrap(wrapped, CONTEXT) for wrapped in (old, new)] == [DATA_KEY] * 2
            swapped = old._replace(ciphertext=old.ciphertext.replace(b":v1:", b":v2:"))
            refusal(lambda: wrapper.unwrap(swapped, CONTEXT), IntegrityError)

    def test_a_version_too_old_to_decrypt_is_denied(self, openbao_server: OpenBao, aes: Key) -> None:
        """The key's policy refuses it, with what to do; another key of the message opens it all the same."""
        key = made(openbao_server, type="aes256-gcm96")
        with key.opened() as wrapper, aes.opened() as other:
            message = encrypt(b"value", keys=[wrapper, other], context=CONTEXT)
            wrapped = wrapper.wrap(DATA_KEY, CONTEXT)
            key.call("/rotate")
            key.call("/config", min_decryption_version=2)
            error = refusal(lambda: wrapper.unwrap(wrapped, CONTEXT), PermissionDeniedError)
            assert "min_decryption_version" in str(error)
            opened = decrypt(message, keys=[wrapper, other], context=CONTEXT)
            assert (opened.value, opened.passed_over) == (b"value", (wrapper.key_id,))

    def test_a_signer_keeps_the_version_it_was_opened_with(self, openbao_server: OpenBao) -> None:
        """Signature and public key agree after a rotation; who opens the key again has the new version."""
        key = made(openbao_server, type="ed25519")
        with key.signing() as before:
            first = before.public_key() or b""
            key.call("/rotate")
            signature = before.sign(b"message")
            with key.signing() as after:
                assert verified(after.public_key() or b"", "Ed25519", after.sign(b"m"), b"m")
                assert (before.key_id[-3:], after.key_id[-3:]) == (":v1", ":v2")
                assert after.public_key() != first
            assert before.public_key() == first
            assert verified(first, "Ed25519", signature, b"message")

    @pytest.mark.parametrize("kind", ["ecdsa-p384", "hmac"])
    def test_a_version_that_may_not_sign_any_more_is_denied(self, openbao_server: OpenBao, kind: str) -> None:
        """Never signed with another version unasked; the hint says to open it again."""
        key = made(openbao_server, type=kind, **({"key_size": 32} if kind == "hmac" else {}))
        with key.signing() as signer:
            signer.sign(b"message")
            key.call("/rotate")
            key.call("/config", min_encryption_version=2, min_decryption_version=2)
            error = refusal(lambda: signer.sign(b"message"), PermissionDeniedError)
        assert "open the signer again" in str(error)


class TestBatch:
    """Many data keys in one request."""

    def test_one_request_wraps_and_one_opens(self, derived: Key) -> None:
        """Each under its own context; what is wrong with one is said of that one."""
        with cutting_proxy(derived.server.address) as proxy:
            wrapper = TransitKey.from_url(StoreURL.parse(derived.url(proxy.address)), derived.settings())
            items = [(bytes([number]) * 32, {"number": str(number)}) for number in range(20)]
            wrapped = wrapper.wrap_many(items)
            pairs = [(one, context) for one, (_, context) in zip(wrapped, items, strict=True)]
            pairs[3] = (wrapped[3], {"number": "4"})
            pairs[5] = (wrapped[5]._replace(ciphertext=b"nonsense"), {"number": "5"})
            outcomes = wrapper.unwrap_many(pairs)
            assert [type(outcomes[n]) for n in (3, 5)] == [IntegrityError] * 2
            assert all(outcomes[n] == items[n][0] for n in range(20) if n not in (3, 5))
            posts = [path.split("/")[3] for method, path in proxy.seen if method == "POST"]
            assert posts == ["encrypt", "decrypt"]
            wrapper.close()

    def test_an_rsa_failure_is_the_items_too(self, openbao_server: OpenBao) -> None:
        """The engine answers 500 then, but the others are opened, and nothing is asked twice."""
        key = made(openbao_server, type="rsa-2048")
        clock, options = TurnedClock(), {"algorithm": "RSA-OAEP-256"}
        wrapper = TransitKey.from_url(StoreURL.parse(key.url()), key.settings(clock=clock, options=options))
        good = wrapper.wrap(DATA_KEY, CONTEXT)
        bad = good._replace(ciphertext=b"vault:v1:" + base64.b64encode(bytes(256)))
        outcomes = wrapper.unwrap_many([(bad, CONTEXT), (good, CONTEXT), (good, {})])
        assert [type(outcome) for outcome in outcomes] == [IntegrityError, bytes, IntegrityError]
        assert clock.slept == []
        wrapper.close()


class TestAccess:
    """Who may not, learns what is lacking."""

    @pytest.mark.parametrize(
        ("verbs", "call", "lacking"),
        [
            ((), "wrap", f'path "{MOUNT}/keys/KEY" {{ capabilities = ["read"] }}'),
            (("keys",), "wrap", f'path "{MOUNT}/encrypt/KEY" {{ capabilities = ["update"] }}'),
            (("keys", "encrypt"), "unwrap", f'path "{MOUNT}/decrypt/KEY" {{ capabilities = ["update"] }}'),
        ],
    )
    def test_a_denial_names_the_policy_that_is_lacking(
        self, aes: Key, wrapper: KeyWrapper, verbs: tuple[str, ...], call: str, lacking: str
    ) -> None:
        """Path and capability, ready to write down; never "create", which would make missing keys."""
        wrapped = wrapper.wrap(DATA_KEY, CONTEXT)
        with aes.opened(**only(aes, *verbs)) as limited:
            calls = {
                "wrap": lambda: limited.wrap(DATA_KEY, CONTEXT),
                "unwrap": lambda: limited.unwrap(wrapped, CONTEXT),
            }
            error = refusal(calls[call], PermissionDeniedError)
        assert lacking.replace("KEY", aes.name) in str(error)

    def test_the_least_policy_is_enough(self, derived: Key) -> None:
        """The guide's, and nothing more."""
        [policy] = [block.text for block in blocks(ROOT / "docs" / "guide.md") if block.test == "policy key"]
        policy = policy.replace("/app", f"/{derived.name}")
        with derived.opened(auth=token_auth(policy_token(derived.server, policy))) as limited:
            made_key = limited.generate_data_key(CONTEXT)
            assert limited.unwrap(made_key.wrapped, CONTEXT) == made_key.plaintext
            assert limited.unwrap(limited.wrap(DATA_KEY, CONTEXT), CONTEXT) == DATA_KEY

    def test_a_missing_key_is_denied_and_not_made(self, openbao_server: OpenBao, aes: Key) -> None:
        """Told to encrypt under it, the engine itself would make one, of its default type."""
        missing = Key(openbao_server, f"{aes.name}-missing")
        with missing.opened() as wrapper, missing.signing() as signer:
            for call in (lambda: wrapper.wrap(DATA_KEY, CONTEXT), lambda: signer.sign(b"m")):
                assert "no such transit key" in str(refusal(call, PermissionDeniedError))
        with pytest.raises(hvac.exceptions.InvalidPath):
            openbao_server.client().secrets.transit.read_key(missing.name)

    def test_a_deleted_key_is_denied(self, openbao_server: OpenBao) -> None:
        """So that another key of the message is tried, and no cached value outlives it."""
        key = made(openbao_server, type="aes256-gcm96")
        with key.opened() as wrapper:
            wrapped = wrapper.wrap(DATA_KEY, CONTEXT)
            key.call("/config", deletion_allowed=True)
            openbao_server.client().secrets.transit.delete_key(key.name)
            refusal(lambda: wrapper.unwrap(wrapped, CONTEXT), PermissionDeniedError)

    def test_an_unmounted_engine_is_the_urls_fault(self, aes: Key) -> None:
        """With a hint at mount and namespace."""
        url = aes.url().replace(f"/{MOUNT}/", "/nowhere/")
        error = refusal(lambda: open_key(url, aes.settings()).wrap(DATA_KEY, CONTEXT), InvalidRequestError)
        assert "mount" in str(error)

    def test_a_namespace_is_sent_and_recorded(self, openbao_server: OpenBao) -> None:
        """A key of one namespace is not the key of that name in another."""
        openbao_server.client().sys.create_namespace("custody")
        client = openbao_server.client(namespace="custody")
        client.sys.enable_secrets_engine("transit", "keys")
        client.secrets.transit.create_key("kek", mount_point="keys")
        settings = Settings(auth=token_auth(openbao_server.token))
        url = f"vault-transit:///keys/kek?endpoint={openbao_server.address}"
        inside = open_key(f"{url}&namespace=custody", settings)
        assert inside.key_id.endswith("/custody/keys/kek")
        assert inside.unwrap(inside.wrap(DATA_KEY, CONTEXT), CONTEXT) == DATA_KEY
        assert not open_key(url, settings).matches(inside.wrap(DATA_KEY, CONTEXT))
        inside.close()

    def test_a_sealed_server_is_unavailable_until_it_is_unsealed(self, openbao_tls_server: OpenBao) -> None:
        """Over TLS with a CA of its own; what was wrapped before opens after."""
        key = made(openbao_tls_server, type="aes256-gcm96")
        with key.opened(clock=TurnedClock()) as wrapper:
            wrapped = wrapper.wrap(DATA_KEY, CONTEXT)
            openbao_tls_server.seal()
            error = refusal(lambda: wrapper.unwrap(wrapped, CONTEXT), UnavailableError)
            assert (error.performed, error.retryable) == (False, True)
            assert "sealed" in str(error)
            openbao_tls_server.unseal()
            assert wrapper.unwrap(wrapped, CONTEXT) == DATA_KEY


class TestTransport:
    """Where the token goes, and what a lost answer costs."""

    def test_a_redirect_is_not_followed(
        self, redirecting_server: https.Server, redirect_target: https.Server
    ) -> None:
        """Neither token, data key nor message reaches whoever is named there."""
        url = f"vault-transit://{redirecting_server.url.removeprefix('https://')}/{MOUNT}/kek"
        settings = Settings(auth=token_auth(CANARY), ca=str(redirecting_server.ca_file), timeout=2.0)
        calls = (
            lambda: open_key(url, settings).wrap(DATA_KEY, CONTEXT),
            lambda: open_signer(url, settings).sign(b"message"),
        )
        for call in calls:
            assert "redirect" in refusal(call, UnavailableError).message
        assert redirect_target.requests == []

    def test_the_environments_token_goes_to_its_own_server_alone(
        self, aes: Key, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """VAULT_TOKEN is another server's unless VAULT_ADDR has the key's origin."""
        monkeypatch.setenv("VAULT_TOKEN", aes.server.token)
        monkeypatch.setenv("VAULT_ADDR", aes.server.address)
        with cutting_proxy(aes.server.address) as proxy:
            elsewhere = open_key(aes.url(proxy.address), Settings())
            refusal(lambda: elsewhere.wrap(DATA_KEY, CONTEXT), PermissionDeniedError)
            assert proxy.seen == []
        assert open_key(aes.url(), Settings()).wrap(DATA_KEY, CONTEXT)

    def test_a_lost_answer_is_asked_for_again(self, aes: Key) -> None:
        """Nothing is changed by wrapping or signing, so twice is once; the clock waits, not we."""
        clock = TurnedClock()
        with cutting_proxy(aes.server.address) as proxy:
            proxy.cut_once("answer", "POST", "/encrypt/")
            with aes.opened(address=proxy.address, clock=clock) as wrapper:
                assert wrapper.wrap(DATA_KEY, CONTEXT)
        assert len(clock.slept) == 1

    def test_an_answer_that_is_no_vaults_is_unavailable(self, authority: https.Authority) -> None:
        """A wrapped key that is none is never stored."""
        data = {"type": "aes256-gcm96", "latest_version": 1, "batch_results": [{"ciphertext": "vault:v1:"}]}
        body = json.dumps({"data": data}).encode()
        with https.serving(lambda _: https.Response(200, body), authority) as server:
            url = f"vault-transit://{server.url.removeprefix('https://')}/{MOUNT}/kek"
            settings = Settings(auth=token_auth(CANARY), ca=str(server.ca_file), clock=TurnedClock())
            key = open_key(url, settings)
            error = refusal(lambda: key.wrap(DATA_KEY, CONTEXT), UnavailableError)
        assert "not what Vault sends" in str(error)


class TestURLs:
    """What a key's URL says, checked without I/O."""

    @pytest.mark.parametrize(
        "url",
        [
            "vault-transit://h:8200/transit",
            "vault-transit://h:8200/transit/",
            "vault-transit://h:8200/transit/a/b",
            "vault-transit://h:8200/transit/..",
            "vault-transit://h:8200/../kek",
            "vault-transit://h:8200/transit/k%65k",
            "vault-transit:///transit/kek",
            "vault-transit:///transit/kek?endpoint=http://192.0.2.1:8200",
            "vault-transit://h:8200/transit/kek?token=x",
            "vault-transit://h:8200/transit/kek?kv=1",
            "vault-transit://h:8200/transit/kek?namespace=../other",
        ],
    )
    def test_a_url_that_climbs_or_says_too_little_is_refused(self, url: str) -> None:
        """For keys and signers alike."""
        for opened in (open_key, open_signer):
            with pytest.raises(InvalidRequestError):
                opened(url, Settings(auth=token_auth("t")))

    def test_unknown_options_are_refused(self) -> None:
        """Naming those that exist; so are algorithms that transit keys do not have."""
        url, auth = "vault-transit://h:8200/transit/kek", token_auth("t")
        for opened, options in (
            (open_key, {"algorithm": "ES256"}),
            (open_signer, {"hash": "sha1"}),
            (open_signer, {"algorithm": "ES256K"}),
        ):
            with pytest.raises(InvalidRequestError):
                opened(url, Settings(auth=auth, options=options))

    def test_a_key_has_one_id_however_its_server_is_written(self) -> None:
        """What a message records decides which key opens it; it holds no credential."""
        urls = (
            "vault-transit://Vault.Example.net/custody/kek",
            "vault-transit://vault.example.net:443/kek?mount=custody",
            "vault-transit://vault.example.net/custody/kek?namespace=/",
        )
        ids = {open_key(url, Settings(auth=token_auth(CANARY))).key_id for url in urls}
        assert ids == {"vault.example.net:443/custody/kek"}
        six = open_key(f"vault-transit:///{MOUNT}/kek?endpoint=http://[::1]:8200", Settings())
        assert six.matches(WrappedKey("strongroom-vault-transit", b"[::1]:8200/transit/kek", b""))


class TestSigners:
    """Kinds of keys that do not sign here."""

    @pytest.mark.parametrize(
        ("facts", "options"),
        [
            ({"type": "aes256-gcm96"}, {}),
            ({"type": "ed25519", "derived": True}, {}),
            ({"type": "ecdsa-p521"}, {}),
            ({"type": "ecdsa-p256"}, {"algorithm": "ES384"}),
            ({"type": "rsa-2048"}, {"algorithm": "ES256"}),
        ],
        ids=["cipher", "derived", "p521", "another curve", "another kind"],
    )
    def test_a_key_that_does_not_sign_so_is_refused(
        self, openbao_server: OpenBao, facts: dict[str, Any], options: dict[str, str]
    ) -> None:
        """Before it is asked to."""
        with made(openbao_server, **facts).signing(options=options) as signer:
            refusal(lambda: signer.sign(b"message"), UnsupportedOperationError)

    @pytest.mark.parametrize("kind", ["rsa-3072", "rsa-4096"])
    def test_longer_rsa_keys_sign(self, openbao_server: OpenBao, kind: str) -> None:
        """PS256 by default."""
        with made(openbao_server, type=kind).signing() as signer:
            self._verifies(signer)

    @staticmethod
    def _verifies(signer: Signer) -> None:
        assert verified(signer.public_key() or b"", "PS256", signer.sign(b"m"), b"m")
