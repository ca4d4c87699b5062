"""Cloud KMS as Strongroom uses it: what it sends, what it makes of each answer, and of each refusal."""

from __future__ import annotations

import hmac
import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import psutil
import pytest
from google.rpc import code_pb2

from strongroom.backend import Settings
from strongroom.errors import (
    IntegrityError,
    InvalidRequestError,
    PermissionDeniedError,
    SecretStoreError,
    UnavailableError,
    UnsupportedOperationError,
)
from strongroom.keys import KeyWrapper, Signer, WrappedKey, encode_context
from strongroom.names import StoreURL
from strongroom.registry import open_key, open_signer
from strongroom.testing.clock import FakeClock
from strongroom.testing.conformance_signers import verified
from strongroom_gcp.kms import CloudKMSKey
from tests.canary import CANARY, CANARY_BYTES, assert_no_canary_in
from tests.servers.google_refusal import Refusal
from tests.servers.google_rules import crc32c
from tests.unit.google_support import key_client_of, made_key

if TYPE_CHECKING:
    from tests.servers.google import Google, Process

RING = "projects/p/locations/europe-west6/keyRings/r"
KEY = f"{RING}/cryptoKeys/k"
VERSION = f"{KEY}/cryptoKeyVersions/1"
CONTEXT = {"domain": "prod", "name": "db/password"}
DATA_KEY = CANARY_BYTES.ljust(32, b".")[:32]
Open = Callable[..., Any]
FORKS = """
import os, sys
from strongroom.registry import open_key
key = open_key(sys.argv[1])
made = key.generate_data_key({})
child = os.fork()
if not child:
    key.after_fork()
assert key.unwrap(made.wrapped, {}) == made.plaintext
if child:
    assert os.waitpid(child, 0)[1] == 0
print("parent" if child else "child", flush=True)
key.close()
"""


@pytest.fixture
def opened(request: pytest.FixtureRequest, clock: FakeClock) -> Iterator[Open]:
    """Opens a wrapper or a signer, on the double of this process unless at another `url`."""
    held: list[KeyWrapper | Signer] = []

    def opened(what: Open = open_key, name: str = KEY, url: str = "", **settings: Any) -> Any:
        url = url or request.getfixturevalue("google_server").url
        chosen: dict[str, Any] = {"clock": clock, "timeout": 5, **settings}
        held.append(what(f"gcp-kms://{name}?endpoint={url}", Settings(**chosen)))
        return held[-1]

    yield opened
    for key in held:
        key.close()


@pytest.fixture
def wrapper(google_server: Google, opened: Open) -> KeyWrapper:
    google_server.keys.make(KEY)
    wrapper: KeyWrapper = opened()
    return wrapper


def _error(call: Callable[..., object], *args: object) -> SecretStoreError:
    with pytest.raises(SecretStoreError) as caught:
        call(*args)
    assert_no_canary_in(caught.value)
    assert caught.value.__context__ is None
    return caught.value


class TestURLs:
    @pytest.mark.parametrize(
        "name", [KEY, VERSION, "projects/example.com:p/locations/global/keyRings/R_1/cryptoKeys/k-2"]
    )
    def test_a_url_names_a_key_or_a_version(self, name: str) -> None:
        """Opened without I/O; the key's id is the key without its version."""
        key = CloudKMSKey.from_url(StoreURL.parse(f"gcp-kms://{name}"), Settings())
        assert key.key_id == name.partition("/cryptoKeyVersions/")[0]

    @pytest.mark.parametrize(
        "name",
        [
            "p/r/k",
            RING,
            f"{KEY}/",
            f"{KEY}/cryptoKeyVersions/",
            f"{KEY}/cryptoKeyVersions/one",
            f"{VERSION}/more",
            "projects/../locations/l/keyRings/r/cryptoKeys/k",
            "projects/p/locations/l/keyRings/r/cryptoKeys/k%2Fx",
            f"{KEY}?version=1",
            f"{KEY}?endpoint=https://kms.example.com",
        ],
    )
    def test_anything_else_is_refused(self, name: str) -> None:
        """Before I/O, as is an endpoint on another machine."""
        for opener in (open_key, open_signer):
            with pytest.raises(InvalidRequestError):
                opener(f"gcp-kms://{name}")

    def test_a_signer_is_one_version(self) -> None:
        """And signs by an algorithm that Cloud KMS has."""
        with pytest.raises(InvalidRequestError, match="one version"):
            open_signer(f"gcp-kms://{KEY}")
        with pytest.raises(InvalidRequestError, match="does not sign so"):
            open_signer(f"gcp-kms://{VERSION}", Settings(options={"algorithm": "ES512"}))


class TestWrapping:
    def test_the_sdks_own_client_opens_what_we_wrapped_and_the_reverse(
        self, wrapper: KeyWrapper, google_server: Google
    ) -> None:
        """The additional data is the encoded context."""
        client, aad = key_client_of(google_server), encode_context(CONTEXT)
        sent = {"name": KEY, "additional_authenticated_data": aad}
        wrapped = wrapper.wrap(DATA_KEY, CONTEXT)
        assert wrapped == WrappedKey("strongroom-gcp-kms", KEY.encode(), wrapped.ciphertext)
        assert client.decrypt(request=sent | {"ciphertext": wrapped.ciphertext}).plaintext == DATA_KEY
        theirs = client.encrypt(request=sent | {"plaintext": DATA_KEY}).ciphertext
        assert wrapper.unwrap(wrapped._replace(ciphertext=theirs), CONTEXT) == DATA_KEY

    def test_every_field_is_sent_with_its_checksum(self, wrapper: KeyWrapper, google_server: Google) -> None:
        """An empty context too; and no credential goes to loopback."""
        for context in (CONTEXT, {}):
            wrapper.unwrap(wrapper.wrap(DATA_KEY, context), context)
            sealed, opened = (call.request for call in list(google_server.seen)[-2:])
            assert sealed.plaintext_crc32c == crc32c(DATA_KEY)
            assert opened.ciphertext_crc32c == crc32c(opened.ciphertext)
            for request in (sealed, opened):
                assert request.additional_authenticated_data == encode_context(context)
                assert request.additional_authenticated_data_crc32c == crc32c(encode_context(context))
        assert not any("authorization" in call.metadata for call in google_server.seen)

    def test_a_rotated_key_opens_what_its_old_version_wrapped(
        self, wrapper: KeyWrapper, opened: Open, google_server: Google
    ) -> None:
        """A message names no version; a URL may name the one to wrap under."""
        old = wrapper.wrap(DATA_KEY, CONTEXT)
        client = key_client_of(google_server)
        client.create_crypto_key_version(parent=KEY, crypto_key_version={})
        client.update_crypto_key_primary_version(name=KEY, crypto_key_version_id="2")
        new, pinned = wrapper.wrap(DATA_KEY, CONTEXT), opened(name=VERSION).wrap(DATA_KEY, CONTEXT)
        for wrapped in (old, new, pinned):
            assert wrapper.matches(wrapped)
            assert opened(name=VERSION).unwrap(wrapped, CONTEXT) == DATA_KEY
        assert [wrapped.ciphertext[3] for wrapped in (old, new, pinned)] == [1, 2, 1]

    def test_a_project_may_be_named_by_its_number(self, wrapper: KeyWrapper, google_server: Google) -> None:
        """The answer then says its id, and is of the same key all the same."""
        named = VERSION.replace("projects/p/", "projects/123/")
        google_server.faults.alter("Encrypt", _set("name", named))
        assert wrapper.unwrap(wrapper.wrap(DATA_KEY, CONTEXT), CONTEXT) == DATA_KEY

    def test_what_is_no_data_key_is_not_unwrapped(self, wrapper: KeyWrapper, google_server: Google) -> None:
        """Something else that the key encrypted, of another length."""
        sealed = key_client_of(google_server).encrypt(name=KEY, plaintext=CANARY_BYTES[:31]).ciphertext
        wrapped = WrappedKey("strongroom-gcp-kms", KEY.encode(), sealed)
        assert isinstance(_error(wrapper.unwrap, wrapped, {}), IntegrityError)

    def test_an_hsm_key_takes_smaller_contexts(self, opened: Open, google_server: Google) -> None:
        """8 KiB with the data key; the hint says so."""
        google_server.keys.make(KEY, level="HSM")
        error = _error(opened().wrap, DATA_KEY, {"a": "x" * 8_192})
        assert isinstance(error, InvalidRequestError)
        assert "8 KiB" in (error.hint or "")

    def test_64_threads_share_a_key(self, wrapper: KeyWrapper) -> None:
        """Each gets its own back."""

        def round_trip(number: int) -> bool:
            made = wrapper.generate_data_key({"number": str(number)})
            return wrapper.unwrap(made.wrapped, {"number": str(number)}) == made.plaintext

        with ThreadPoolExecutor(64) as pool:
            assert all(pool.map(round_trip, range(128)))


def _unset(field: str) -> Callable[[Any], None]:
    return lambda message: delattr(message, field)


def _set(field: str, value: object) -> Callable[[Any], None]:
    return lambda message: setattr(message, field, value)


def _flip(field: str) -> Callable[[Any], None]:
    def flip(message: Any) -> None:
        data = getattr(message, field)
        setattr(message, field, bytes([data[0] ^ 1]) + data[1:])

    return flip


DAMAGE: dict[str, tuple[str, str, Callable[[Any], None]]] = {
    "plaintext sent": ("Encrypt", "before", _flip("plaintext")),
    "context sent": ("Encrypt", "before", _flip("additional_authenticated_data")),
    "checksum lost": ("Encrypt", "before", _unset("plaintext_crc32c")),
    "context's checksum lost": ("Encrypt", "before", _unset("additional_authenticated_data_crc32c")),
    "ciphertext received": ("Encrypt", "after", _flip("ciphertext")),
    "ciphertext's checksum": ("Encrypt", "after", _set("ciphertext_crc32c", 1)),
    "no checksum received": ("Encrypt", "after", _unset("ciphertext_crc32c")),
    "ciphertext sent": ("Decrypt", "before", _flip("ciphertext")),
    "context sent to open": ("Decrypt", "before", _flip("additional_authenticated_data")),
    "plaintext received": ("Decrypt", "after", _flip("plaintext")),
    "no checksum of the plaintext": ("Decrypt", "after", _unset("plaintext_crc32c")),
}
SIGNED: dict[str, tuple[str, Callable[[Any], None]]] = {
    "digest sent": ("before", lambda sent: setattr(sent.digest, "sha256", bytes(32))),
    "checksum lost": ("before", _unset("digest_crc32c")),
    "signature received": ("after", _flip("signature")),
    "no checksum received": ("after", _unset("signature_crc32c")),
}


class TestDamage:
    @pytest.mark.parametrize(("method", "when", "change"), DAMAGE.values(), ids=DAMAGE)
    def test_what_was_damaged_on_the_way_is_asked_again(
        self, wrapper: KeyWrapper, google_server: Google, method: str, when: Any, change: Any
    ) -> None:
        """Once it costs one more call; always, it is UnavailableError after the attempts allowed."""
        google_server.faults.alter(method, change, when)
        assert wrapper.unwrap(wrapper.wrap(DATA_KEY, CONTEXT), CONTEXT) == DATA_KEY
        assert google_server.calls[method] == 2
        wrapped = wrapper.wrap(DATA_KEY, CONTEXT)
        google_server.calls.clear()
        google_server.faults.alter(method, change, when, times=100)
        if method == "Encrypt":
            error = _error(wrapper.wrap, DATA_KEY, CONTEXT)
        else:
            error = _error(wrapper.unwrap, wrapped, CONTEXT)
        assert (type(error), error.performed) == (UnavailableError, False)
        assert google_server.calls[method] == 3

    @pytest.mark.parametrize(("when", "change"), SIGNED.values(), ids=SIGNED)
    def test_so_it_is_with_signatures(
        self, opened: Open, google_server: Google, when: Any, change: Any
    ) -> None:
        """A signature of something else is never handed out."""
        signer = opened(open_signer, google_server.keys.make(KEY, "EC_SIGN_P256_SHA256"))
        google_server.faults.alter("AsymmetricSign", change, when)
        assert verified(signer.public_key(), "ES256", signer.sign(b"m"), b"m")
        assert google_server.calls["AsymmetricSign"] == 2

    @pytest.mark.parametrize("method", ["Encrypt", "AsymmetricSign", "MacSign", "GetPublicKey"])
    def test_an_answer_about_another_key_is_refused(
        self, opened: Open, google_server: Google, method: str
    ) -> None:
        """IntegrityError: it would be a message that nobody can open, or a signature by somebody else."""
        google_server.keys.make(KEY)
        signing = google_server.keys.make(f"{RING}/cryptoKeys/signing", "EC_SIGN_ED25519")
        mac = google_server.keys.make(f"{RING}/cryptoKeys/mac", "HMAC_SHA256")
        calls: dict[str, tuple[Callable[..., object], object]] = {
            "Encrypt": (lambda _: opened().wrap(DATA_KEY, CONTEXT), None),
            "AsymmetricSign": (opened(open_signer, signing).sign, b"m"),
            "MacSign": (opened(open_signer, mac).sign, b"m"),
            "GetPublicKey": (lambda _: opened(open_signer, signing).public_key(), None),
        }
        google_server.faults.alter(method, _set("name", f"{KEY}x/cryptoKeyVersions/1"))
        assert isinstance(_error(*calls[method]), IntegrityError)


CODES = {
    "ABORTED": UnavailableError,
    "ALREADY_EXISTS": SecretStoreError,
    "CANCELLED": UnavailableError,
    "DATA_LOSS": UnavailableError,
    "DEADLINE_EXCEEDED": UnavailableError,
    "FAILED_PRECONDITION": PermissionDeniedError,
    "INTERNAL": UnavailableError,
    "INVALID_ARGUMENT": InvalidRequestError,
    "NOT_FOUND": PermissionDeniedError,
    "OUT_OF_RANGE": InvalidRequestError,
    "PERMISSION_DENIED": PermissionDeniedError,
    "RESOURCE_EXHAUSTED": UnavailableError,
    "UNAUTHENTICATED": PermissionDeniedError,
    "UNAVAILABLE": UnavailableError,
    "UNIMPLEMENTED": InvalidRequestError,
    "UNKNOWN": UnavailableError,
}


class TestRefusals:
    def test_every_status_is_here(self) -> None:
        """Of google.rpc.Code."""
        assert set(CODES) == set(code_pb2.Code.keys()) - {"OK"}

    @pytest.mark.parametrize(("code", "kind"), CODES.items(), ids=list(CODES))
    def test_a_status_means_one_thing(
        self, wrapper: KeyWrapper, google_server: Google, code: str, kind: type[SecretStoreError]
    ) -> None:
        """Nothing was changed, and Google's text, which may quote the request, does not travel on."""
        google_server.faults.refuse("Encrypt", Refusal(code, f"about {CANARY}"), times=100)
        error = _error(wrapper.wrap, DATA_KEY, CONTEXT)
        assert isinstance(error, kind)
        assert error.performed is False
        assert google_server.calls["Encrypt"] == (3 if kind is UnavailableError else 1)

    @pytest.mark.parametrize("state", ["disabled", "destroyed", "never there"])
    def test_a_key_out_of_use_is_denied(self, wrapper: KeyWrapper, google_server: Google, state: str) -> None:
        """Somebody decided so: no cached value outlives it, and another key of the message is tried."""
        wrapped, client = wrapper.wrap(DATA_KEY, CONTEXT), key_client_of(google_server)
        if state == "disabled":
            changed = {"name": VERSION, "state": "DISABLED"}
            client.update_crypto_key_version(crypto_key_version=changed, update_mask={"paths": ["state"]})
        elif state == "destroyed":
            client.destroy_crypto_key_version(name=VERSION)
        else:
            google_server.keys.reset(google_server.secrets.clock)
        for call in ((wrapper.unwrap, wrapped), (wrapper.wrap, DATA_KEY)):
            error = _error(*call, CONTEXT)
            assert isinstance(error, PermissionDeniedError)
            assert error.hint

    def test_a_denial_says_which_role_is_lacking(self, opened: Open, google_server: Google) -> None:
        """The least of Google's own that has the permission."""
        google_server.keys.make(KEY)
        wrapped = opened().wrap(DATA_KEY, CONTEXT)
        signer = opened(open_signer, google_server.keys.make(f"{RING}/cryptoKeys/s", "EC_SIGN_ED25519"))
        google_server.faults.deny("*")
        hints = [
            _error(*call).hint
            for call in (
                (opened().wrap, DATA_KEY, CONTEXT),
                (opened().unwrap, wrapped, CONTEXT),
                (signer.public_key,),
            )
        ]
        assert hints == [
            "grant roles/cloudkms.cryptoKeyEncrypter",
            "grant roles/cloudkms.cryptoKeyDecrypter",
            "grant roles/cloudkms.publicKeyViewer",
        ]

    def test_a_key_made_for_something_else_is_refused(self, opened: Open, google_server: Google) -> None:
        """Wrapping with a signing key; signing with an encrypting one."""
        signing = google_server.keys.make(KEY, "EC_SIGN_P256_SHA256")
        assert isinstance(_error(opened(name=signing).wrap, DATA_KEY, {}), InvalidRequestError)
        encrypting = google_server.keys.make(f"{RING}/cryptoKeys/e")
        assert isinstance(_error(opened(open_signer, encrypting).sign, b"m"), UnsupportedOperationError)

    def test_throttling_is_waited_out_on_the_clock(
        self, wrapper: KeyWrapper, google_server: Google, clock: FakeClock
    ) -> None:
        """As long as Google asks."""
        google_server.faults.throttle("Encrypt", retry_after=7.5)
        wrapper.wrap(DATA_KEY, CONTEXT)
        assert clock.slept == [7.5]

    def test_a_cut_connection_is_made_anew(self, opened: Open, google_server: Google) -> None:
        """The second attempt passes: wrapping twice changes nothing."""
        google_server.keys.make(KEY)
        with google_server.relay() as relay:
            wrapper = opened(url=f"http://127.0.0.1:{relay.port}")
            google_server.faults.run("Encrypt", relay.cut, "after")
            assert wrapper.unwrap(wrapper.wrap(DATA_KEY, CONTEXT), CONTEXT) == DATA_KEY
            wrapper.close()

    def test_the_timeout_is_the_settings(self, opened: Open, google_server: Google) -> None:
        """Of one attempt; the SDK repeats nothing by itself."""
        google_server.keys.make(KEY)
        google_server.faults.hold("Encrypt")
        error = _error(opened(timeout=0.2, attempts=1).wrap, DATA_KEY, CONTEXT)
        assert isinstance(error, UnavailableError)
        assert google_server.calls["Encrypt"] == 1


class TestSigning:
    def test_a_known_key_gives_the_known_mac(self, opened: Open, google_server: Google) -> None:
        """HMAC-SHA256, also where the algorithm is configured, which saves asking for it."""
        version = google_server.keys.import_mac(KEY, CANARY_BYTES)
        signer = opened(open_signer, version)
        assert (signer.algorithm, signer.public_key()) == ("HS256", None)
        assert signer.sign(b"m") == hmac.digest(CANARY_BYTES, b"m", "sha256")
        google_server.calls.clear()
        told = opened(open_signer, version, options={"algorithm": "HS256"})
        assert told.sign(b"m") == hmac.digest(CANARY_BYTES, b"m", "sha256")
        assert dict(google_server.calls) == {"MacSign": 1}

    def test_the_public_key_is_asked_for_once(self, opened: Open, google_server: Google) -> None:
        """It tells the algorithm too; and what cannot be signed sends nothing."""
        signer = opened(open_signer, google_server.keys.make(KEY, "EC_SIGN_ED25519"))
        assert signer.algorithm == "Ed25519"
        assert verified(signer.public_key(), "Ed25519", signer.sign(b"m"), b"m")
        assert isinstance(_error(signer.sign_digest, bytes(32)), UnsupportedOperationError)
        assert isinstance(_error(signer.sign, bytes(65_537)), InvalidRequestError)
        assert dict(google_server.calls) == {"GetPublicKey": 1, "AsymmetricSign": 1}

    def test_messages_never_reach_google_where_a_digest_does(
        self, opened: Open, google_server: Google
    ) -> None:
        """So that they may be of any length."""
        signer = opened(open_signer, google_server.keys.make(KEY, "RSA_SIGN_PSS_2048_SHA256"))
        signer.sign(CANARY_BYTES * 10_000)
        request = google_server.seen[-1].request
        assert (request.data, len(request.digest.sha256)) == (b"", 32)


def test_no_logger_of_googles_prints_a_request(wrapper: KeyWrapper, caplog: pytest.LogCaptureFixture) -> None:
    """At DEBUG its SDK logs whole requests; the guard of the whole run reads every record too."""
    with caplog.at_level(logging.DEBUG):
        wrapper.unwrap(wrapper.wrap(DATA_KEY, CONTEXT), CONTEXT)
    assert not [record for record in caplog.records if record.name.startswith(("google", "grpc"))]


_LOGGERS = """
import logging, strongroom
with strongroom.open("gcp-sm://project"):
    import grpc
    from google.cloud import secretmanager_v1 as api
    transport = api.SecretManagerServiceClient.get_transport_class("grpc")
    api.SecretManagerServiceClient(transport=transport(channel=grpc.insecure_channel("127.0.0.1:1")))
print(logging.getLogger("google").propagate, logging.getLogger("google").level)
"""


def test_other_clients_of_the_process_log_where_they_did() -> None:
    """Not to the root, though a store's clamp was on when Google's SDK first looked at its loggers."""
    argv = [sys.executable, "-c", _LOGGERS]
    assert subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=True).stdout == "False 0\n"


class TestProcesses:
    def test_8_children_and_their_parent_use_one_key(self, google_process: Process, opened: Open) -> None:
        """Forked while a connection stands open and no call is in flight."""
        version = made_key(google_process.address)
        wrapper = opened(name=version, url=google_process.url)
        wrapped = wrapper.wrap(DATA_KEY, CONTEXT)
        children = [_forked(wrapper, wrapped) for _ in range(8)]
        assert wrapper.unwrap(wrapped, CONTEXT) == DATA_KEY
        assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 8
        assert wrapper.unwrap(wrapped, CONTEXT) == DATA_KEY

    def test_a_program_that_sets_nothing_may_fork(self, google_process: Process) -> None:
        """With its channel open, and without what the tests set for their own processes; nothing is said."""
        url = f"gcp-kms://{made_key(google_process.address)}?endpoint={google_process.url}"
        untold = {key: value for key, value in os.environ.items() if not key.startswith("GRPC_")}
        argv = [sys.executable, "-W", "error", "-c", FORKS, url]
        done = subprocess.run(argv, env=untold, capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stdout, done.stderr) == (0, "child\nparent\n", "")

    def test_a_closed_key_leaves_no_connection(self, google_process: Process, opened: Open) -> None:
        """Whatever gRPC keeps for itself, it is no connection to Google."""
        port = int(google_process.address.rpartition(":")[2])

        def connections() -> int:
            found = psutil.Process().net_connections("tcp")
            return sum(one.status == "ESTABLISHED" and one.raddr.port == port for one in found)

        version = made_key(google_process.address)
        before = connections()
        wrapper = opened(name=version, url=google_process.url)
        wrapper.wrap(DATA_KEY, CONTEXT)
        assert connections() == before + 1
        wrapper.close()
        deadline = time.monotonic() + 10
        while connections() > before and time.monotonic() < deadline:
            time.sleep(0.01)  # gRPC closes its sockets in a thread of its own
        assert connections() == before


def _forked(wrapper: KeyWrapper, wrapped: WrappedKey) -> int:
    child = os.fork()
    if child:
        return child
    try:
        wrapper.after_fork()
        right = wrapper.unwrap(wrapped, CONTEXT) == DATA_KEY
    except BaseException:
        right = False
    os._exit(0 if right else 1)
