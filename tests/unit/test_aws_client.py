"""What the AWS backend talks to, with whose credentials, and how often it asks."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from strongroom.backend import ABSENT, Backend, Settings, Stage
from strongroom.errors import (
    InvalidRequestError,
    PermissionDeniedError,
    SecretNotFoundError,
    SecretStoreError,
    UnavailableError,
)
from strongroom.registry import open_backend
from strongroom.testing.aws import AwsError, StrictServer
from strongroom.value import SecretValue
from tests.canary import CANARY, assert_no_canary, assert_no_canary_in
from tests.unit.aws_support import KEY, backend, put_first, shown, value
from tests.unit.strict_aws_support import Aws

if TYPE_CHECKING:
    from tests.servers.https import Authority, Server


@pytest.fixture
def aws() -> Iterator[Aws]:
    aws = Aws()
    with aws.server:
        yield aws


class TestAddresses:
    @pytest.mark.parametrize("url", [
        "aws-sm://evil.example.com/x", "aws-sm://eu-west-1.evil/x", "aws-sm:///x", "aws-sm://EU-WEST-1/x",
        "aws-sm://eu-west-1/a/../b", "aws-sm://eu-west-1/x?region=y",
        "aws-sm://eu-west-1/x?endpoint=https://example.com", "aws-sm://eu-west-1?endpoint=http://localhost:1",
    ])  # fmt: skip
    def test_a_url_names_a_region_and_at_most_loopback(self, url: str) -> None:
        """The region becomes part of a host name, and a URL must not send values elsewhere."""
        with pytest.raises(InvalidRequestError):
            open_backend(url)

    @pytest.mark.parametrize("settings", [
        Settings(endpoint="http://10.0.0.1:80"),
        Settings(endpoint="https://secrets.example.com"),
        Settings(auth={"password": "x"}),
        Settings(options={"recovery_window_days": 3}),
        Settings(options={"window": 7}),
    ])  # fmt: skip
    def test_a_wrong_setting_is_refused_at_once(self, settings: Settings) -> None:
        """Plain HTTP, ambient credentials for a foreign host, unknown settings, impossible windows."""
        with pytest.raises(InvalidRequestError):
            open_backend("aws-sm://eu-west-1/x", settings)

    def test_an_ambient_endpoint_is_ignored(self, aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
        """Who can set AWS_ENDPOINT_URL would otherwise receive every value."""
        with StrictServer() as thief:
            for variable in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SECRETS_MANAGER"):
                monkeypatch.setenv(variable, thief.url)
            store = backend(aws)
            put_first(store)
            real = open_backend("aws-sm://eu-west-1/x")
            assert real.inner._client._connected().meta.endpoint_url.endswith(".amazonaws.com")  # type: ignore[attr-defined]
            assert not thief.calls
        assert aws.server.calls["PutSecretValue"] == 1

    def test_loopback_gets_dummy_credentials_and_no_proxy(
        self, aws: Aws, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Ambient credentials go only to the provider's own hosts."""
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAREAL")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
        for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(variable, "http://127.0.0.1:9")
        store = backend(aws)
        put_first(store)
        sdk = store.inner._client._connected()  # type: ignore[attr-defined]
        assert sdk._get_credentials().access_key == "test"

    def test_no_request_is_sent_by_opening(self, aws: Aws) -> None:
        """Opening needs neither network nor credentials."""
        backend(aws).close()
        assert not aws.server.calls

    def test_names_that_aws_cannot_hold_are_refused_before_any_request(self, aws: Aws) -> None:
        """In native mode a caller may write what he likes."""
        from strongroom.names import Name

        store = backend(aws, names="native")
        with pytest.raises(InvalidRequestError):
            store.get(Name.parse("a name", "native"), Stage.CURRENT)
        assert not aws.server.calls

    def test_the_canonical_place_is_like_an_arn(self, aws: Aws) -> None:
        """Region and full name; account and suffix would take a call."""
        assert backend(aws).locate(KEY) == "arn:aws:secretsmanager:eu-west-1::secret:prod/db/password"


class TestTransport:
    def _get(self, server: Server, authority: Authority) -> SecretStoreError:
        settings = Settings(ca=str(authority.ca_file), timeout=5, attempts=1)
        store = open_backend(f"aws-sm://eu-west-1/x?endpoint={server.url}", settings)
        with pytest.raises(SecretStoreError) as caught:
            store.put(KEY, SecretValue(CANARY), ABSENT)
        assert_no_canary_in(caught.value)
        return caught.value

    def test_tls_1_1_is_refused(self, tls_1_1_server: Server, authority: Authority) -> None:
        """The handshake fails, and nothing was sent."""
        assert isinstance(self._get(tls_1_1_server, authority), UnavailableError)
        assert not tls_1_1_server.requests

    def test_a_foreign_authority_is_refused(self, foreign_ca_server: Server, authority: Authority) -> None:
        """Its certificate is not trusted, and nothing was sent."""
        assert isinstance(self._get(foreign_ca_server, authority), UnavailableError)
        assert not foreign_ca_server.requests

    def test_a_redirect_is_not_followed(
        self, redirecting_server: Server, redirect_target: Server, authority: Authority
    ) -> None:
        """What was sent goes nowhere else."""
        error = self._get(redirecting_server, authority)
        assert isinstance(error, UnavailableError)
        assert not error.retryable
        assert not redirect_target.requests

    def test_an_unreachable_endpoint_was_never_reached(self) -> None:
        """A write that was not sent was not performed."""
        store = open_backend("aws-sm://eu-west-1/x?endpoint=http://127.0.0.1:9", Settings(attempts=1))
        with pytest.raises(UnavailableError) as caught:
            store.put(KEY, value("x"), None)
        assert caught.value.performed is False

    def test_a_debug_log_shows_no_value(self, aws: Aws, caplog: pytest.LogCaptureFixture) -> None:
        """At DEBUG botocore prints whole requests and answers; its loggers are held at INFO."""
        store = backend(aws)
        with caplog.at_level(logging.DEBUG):
            put_first(store)
            shown(store)
        assert_no_canary(caplog.text)

    def test_an_error_keeps_no_value_and_no_exception_of_the_sdk(self, aws: Aws) -> None:
        """Neither in its chain, nor in a frame's locals."""
        aws.faults.error("PutSecretValue", AwsError("ValidationException", f"not '{CANARY}'"))
        with pytest.raises(InvalidRequestError) as caught:
            put_first(backend(aws))
        assert_no_canary_in(caught.value)
        assert caught.value.__context__ is None

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="os.fork is missing")
    def test_a_child_makes_its_own_connections(self, aws: Aws) -> None:
        """After a fork the parent's sockets are left alone, and both go on."""
        store = backend(aws)
        put_first(store)
        parents = store.inner._client._connected()  # type: ignore[attr-defined]
        store.after_fork()
        assert store.inner._client._connected() is not parents  # type: ignore[attr-defined]
        assert shown(store) == "old"


def _write(store: Backend, action: str) -> None:
    if action == "TagResource":
        store.set_tags(KEY, {"a": "b"})
    else:
        (store.restore if action == "RestoreSecret" else store.delete)(KEY)


class TestRetries:
    @pytest.mark.parametrize("fault", ["throttle", "server_error", "garbage", "drop"])
    def test_a_read_is_asked_again(self, aws: Aws, fault: str) -> None:
        """Whatever went wrong for the moment; waiting is the clock's, and grows."""
        store = backend(aws)
        put_first(store)
        getattr(aws.faults, fault)("GetSecretValue", times=2)
        assert shown(store) == "old"
        assert aws.server.calls["GetSecretValue"] == 3
        slept = store.inner._settings.clock.slept  # type: ignore[attr-defined]
        assert len(slept) == 2
        assert slept[1] > slept[0] / 2

    def test_reads_end_after_the_stated_attempts(self, aws: Aws) -> None:
        """And then say that it may work later."""
        store = backend(aws, attempts=2)
        aws.faults.throttle("GetSecretValue", times=9)
        with pytest.raises(UnavailableError) as caught:
            shown(store)
        assert caught.value.retryable
        assert aws.server.calls["GetSecretValue"] == 2

    @pytest.mark.parametrize("fault", ["throttle", "server_error", "garbage", "drop"])
    def test_writes_with_a_token_are_sent_again(self, aws: Aws, fault: str) -> None:
        """Twice with one token is one version."""
        store = backend(aws)
        getattr(aws.faults, fault)("CreateSecret", times=2)
        put_first(store)
        assert len(store.versions(KEY)) == 1
        getattr(aws.faults, fault)("PutSecretValue", times=2)
        store.put(KEY, value("new"), None)
        assert len(store.versions(KEY)) == 2

    def test_a_label_move_whose_answer_is_lost_is_not_repeated(self, aws: Aws) -> None:
        """Another writer may have moved the label on since."""
        store = backend(aws)
        first = put_first(store)
        aws.faults.drop("UpdateSecretVersionStage")
        store.put(KEY, value("new"), first.id)
        assert aws.server.calls["UpdateSecretVersionStage"] == 2  # AWSCURRENT once, the private label once

    @pytest.mark.parametrize("action", ["DeleteSecret", "RestoreSecret", "TagResource"])
    def test_other_writes_are_not_repeated_either(self, aws: Aws, action: str) -> None:
        """Their answers are read back."""
        store = backend(aws)
        put_first(store)
        if action == "RestoreSecret":
            store.delete(KEY)
        aws.faults.drop(action)
        _write(store, action)
        assert aws.server.calls[action] == 1

    @pytest.mark.parametrize("action", ["DeleteSecret", "RestoreSecret", "TagResource"])
    def test_a_write_that_did_not_arrive_is_unknown(self, aws: Aws, action: str) -> None:
        """It may still arrive; reading back cannot prove that it will not."""
        store = backend(aws)
        put_first(store)
        if action == "RestoreSecret":
            store.delete(KEY)
        aws.faults.drop(action, "before")
        with pytest.raises(UnavailableError) as caught:
            _write(store, action)
        assert caught.value.performed is None


class TestPermissions:
    @pytest.mark.parametrize("missing", [False, True])
    def test_denied_is_never_missing(self, aws: Aws, missing: bool) -> None:
        """Without permission AWS says denied for what is not there too, and so do we."""
        store = backend(aws)
        if not missing:
            put_first(store)
        aws.manager.deny("*")
        for call in (
            lambda: store.get(KEY, Stage.CURRENT),
            lambda: store.put(KEY, value("x"), None),
            lambda: store.put(KEY, value("x"), ABSENT),
            lambda: store.put(KEY, value("x"), "0" * 32),
            lambda: store.delete(KEY),
            lambda: store.restore(KEY),
            lambda: store.purge(KEY),
            lambda: store.versions(KEY),
            lambda: store.describe(KEY),
            lambda: list(store.list_info("")),
            lambda: store.set_tags(KEY, {"a": "b"}),
            lambda: store.put_pending(KEY, "0" * 36, value("x"), "0" * 32),
            lambda: store.get_pending(KEY, "0" * 36),
            lambda: store.promote_pending(KEY, "0" * 36),
            lambda: store.discard_pending(KEY, "0" * 36),
        ):
            with pytest.raises(PermissionDeniedError):
                call()

    def test_a_batch_needs_no_permission_of_its_own(self, aws: Aws) -> None:
        """Who may only read one by one reads one by one."""
        store = backend(aws)
        put_first(store)
        aws.manager.deny("BatchGetSecretValue")
        [found] = store.get_many([KEY]).values()
        assert not isinstance(found, SecretStoreError)

    def test_one_denied_secret_does_not_hide_the_others(self, aws: Aws) -> None:
        """Each item of a batch has its own outcome."""
        from strongroom.names import Name

        store, other = backend(aws), Name.parse("other")
        put_first(store)
        store.put(other, value("other"), None)
        aws.manager.deny("GetSecretValue", "prod/other")
        found = store.get_many([KEY, other, Name.parse("missing")])
        kinds = [type(outcome).__name__ for outcome in found.values()]
        assert kinds == ["Secret", "PermissionDeniedError", "SecretNotFoundError"]


def test_threads_share_one_client(aws: Aws) -> None:
    """Made once, under a lock, by whoever comes first."""
    store = backend(aws)
    put_first(store)
    store.after_fork()
    seen: list[str] = []
    threads = [threading.Thread(target=lambda: seen.append(shown(store))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert seen == ["old"] * 8


def test_an_empty_value_is_refused_before_any_request(aws: Aws) -> None:
    """AWS holds none; the SDK would say so by printing the parameters."""
    with pytest.raises(InvalidRequestError):
        backend(aws).put(KEY, SecretValue(""), None)
    assert not aws.server.calls


def test_a_version_id_that_cannot_be_is_missing(aws: Aws) -> None:
    """The SDK refuses ids shorter than 32 characters; for a caller that is a version that is not there."""
    store = backend(aws)
    put_first(store)
    with pytest.raises(SecretNotFoundError):
        store.get(KEY, "1")
