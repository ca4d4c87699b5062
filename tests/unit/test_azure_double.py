"""The Azure double keeps the service's rules, as the public SDK's clients see them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
    ServiceResponseError,
)
from azure.core.rest import HttpRequest
from azure.identity import ClientSecretCredential
from azure.keyvault.secrets import SecretClient

from strongroom.testing.clock import FakeClock
from tests.canary import CANARY
from tests.servers import azure
from tests.servers.azure_identity import TENANT
from tests.servers.https import Authority, Response
from tests.unit.azure_support import refused


@pytest.fixture
def client(azure_server: azure.Vault) -> Iterator[Any]:
    with azure_server.client(retry_total=0) as client:
        yield client


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(datetime(2026, 1, 1, 0, 0, 0, 900_000, tzinfo=UTC))


@pytest.fixture
def timed(authority: Authority, clock: FakeClock) -> Iterator[azure.Vault]:
    with azure.server(authority, clock) as vault:
        yield vault


def delete(client: Any, name: str) -> Any:
    poller = client.begin_delete_secret(name, _polling_interval=0)
    poller.wait()
    return poller.result()


def test_each_set_is_a_new_version_and_inherits_nothing(client: Any) -> None:
    """Tags, content type and attributes belong to a version."""
    first = client.set_secret("db", CANARY, tags={"a": "1"}, content_type="text/plain", enabled=True)
    second = client.set_secret("db", CANARY + "2")
    assert first.properties.version != second.properties.version
    assert (second.properties.tags, second.properties.content_type) == (None, None)
    assert client.get_secret("db").value == CANARY + "2"
    old = client.get_secret("db", first.properties.version)
    assert (old.value, old.properties.tags) == (CANARY, {"a": "1"})


def test_names_do_not_differ_in_case_only(client: Any) -> None:
    """The identifier keeps the first spelling."""
    first = client.set_secret("Db-Password", CANARY)
    client.set_secret("DB-PASSWORD", CANARY)
    assert client.get_secret("db-password").name == first.name == "Db-Password"
    spelled = [one.name for one in client.list_properties_of_secrets() if one.name.lower() == "db-password"]
    assert spelled == ["Db-Password"]


@pytest.mark.parametrize("name", ["db_password", "a.b", "x" * 128])
def test_names_are_letters_digits_and_dashes(client: Any, name: str) -> None:
    """At most 127 of them."""
    assert refused(lambda: client.set_secret(name, CANARY))[:2] == (400, "BadParameter")


def test_limits_hold_to_the_byte(client: Any) -> None:
    """25,600 bytes of value, 255 characters of content type, 15 tags of 256."""
    client.set_secret(
        "full", "é" * 12_800, content_type="x" * 255, tags={f"{n:0256}": "y" * 256 for n in range(15)}
    )
    too_much: list[dict[str, Any]] = [
        {"value": "é" * 12_800 + "x"},
        {"value": "", "content_type": "x" * 256},
        {"value": "", "tags": {str(n): "" for n in range(16)}},
        {"value": "", "tags": {"a": "x" * 257}},
        {"value": "", "tags": {"x" * 257: ""}},
    ]
    for arguments in too_much:
        assert refused(lambda each=arguments: client.set_secret("full", **each))[0] == 400  # type: ignore[misc]
    assert len(list(client.list_properties_of_secret_versions("full"))) == 1


def test_pages_end_only_with_the_last_item(client: Any, azure_server: azure.Vault) -> None:
    """25 a page, fewer if asked; never the values."""
    for n in range(27):
        client.set_secret(f"s{n}", CANARY)
    azure_server.calls.clear()
    assert len(list(client.list_properties_of_secrets())) == 27
    assert len(list(client.list_properties_of_secrets(max_page_size=10))) == 27
    assert azure_server.calls["secrets.list"] == 2 + 3
    assert refused(lambda: list(client.list_properties_of_secrets(max_page_size=26)))[0] == 400


def test_a_disabled_version_is_forbidden_and_can_be_enabled_again(client: Any) -> None:
    """The newest being disabled, "the secret" is too; older versions still answer."""
    first = client.set_secret("db", CANARY).properties.version
    client.set_secret("db", CANARY)
    client.update_secret_properties("db", enabled=False)
    assert refused(lambda: client.get_secret("db")) == (403, "Forbidden", "SecretDisabled")
    assert client.get_secret("db", first).value == CANARY
    client.update_secret_properties("db", enabled=True)
    assert client.get_secret("db").value == CANARY


def test_an_update_changes_what_it_names_and_replaces_tags_whole(client: Any) -> None:
    """The version stays; only `updated` tells."""
    made = client.set_secret("db", CANARY, tags={"a": "1"}, content_type="old")
    changed = client.update_secret_properties("db", made.properties.version, tags={"b": "2"})
    assert (changed.tags, changed.content_type) == ({"b": "2"}, "old")
    assert changed.version == made.properties.version


def test_expiry_informs_and_refuses_nothing(client: Any) -> None:
    """A get works outside the window from not-before to expiry."""
    past = datetime.now(UTC) - timedelta(days=2)
    client.set_secret("db", CANARY, not_before=past, expires_on=past + timedelta(days=1))
    got = client.get_secret("db")
    assert got.value == CANARY
    assert got.properties.expires_on < datetime.now(UTC)


def test_times_are_whole_seconds(timed: azure.Vault) -> None:
    """So `created` orders no two versions of one second."""
    with timed.client() as client:
        assert client.set_secret("db", CANARY).properties.created_on == datetime(2026, 1, 1, tzinfo=UTC)


def test_a_deleted_name_is_reserved_until_it_is_purged(client: Any) -> None:
    """Recover or purge are the only ways; the value cannot be read meanwhile."""
    client.set_secret("db", CANARY)
    deleted = delete(client, "db")
    assert deleted.scheduled_purge_date - deleted.deleted_date == timedelta(days=90)
    assert refused(lambda: client.set_secret("DB", CANARY)) == (
        409,
        "Conflict",
        "ObjectIsDeletedButRecoverable",
    )
    with pytest.raises(ResourceExistsError):
        client.set_secret("db", CANARY)
    with pytest.raises(ResourceNotFoundError):
        client.get_secret("db")
    assert [each.name for each in client.list_deleted_secrets()] == ["db"]
    assert not list(client.list_properties_of_secrets())
    client.purge_deleted_secret("db")
    client.set_secret("db", CANARY)


def test_recovery_brings_back_every_version(client: Any) -> None:
    """As they were."""
    first = client.set_secret("db", CANARY).properties.version
    client.set_secret("db", CANARY + "2")
    delete(client, "db")
    client.begin_recover_deleted_secret("db", _polling_interval=0).wait()
    assert client.get_secret("db").value == CANARY + "2"
    assert client.get_secret("db", first).value == CANARY


def test_purge_protection_forbids_a_purge(client: Any, azure_server: azure.Vault) -> None:
    """The recovery level says so before it is tried."""
    azure_server.secrets.objects.recovery_level = "Recoverable"
    assert client.set_secret("db", CANARY).properties.recovery_level == "Recoverable"
    delete(client, "db")
    assert refused(lambda: client.purge_deleted_secret("db")) == (403, "Forbidden", "ForbiddenByPolicy")


def test_a_deletion_under_way_can_neither_be_seen_nor_overwritten(
    client: Any, azure_server: azure.Vault
) -> None:
    """It takes the service seconds; the SDK's poller waits for it."""
    azure_server.secrets.objects.moves = 2
    client.set_secret("db", CANARY)
    client.begin_delete_secret("db")
    assert refused(lambda: client.set_secret("db", CANARY)) == (409, "Conflict", "ObjectIsBeingDeleted")
    assert refused(lambda: client.get_deleted_secret("db"))[0] == 404
    assert refused(lambda: client.get_deleted_secret("db"))[0] == 404
    assert client.get_deleted_secret("db").name == "db"


def test_the_bin_empties_itself(timed: azure.Vault, clock: FakeClock) -> None:
    """On the scheduled purge date."""
    with timed.client() as client:
        client.set_secret("db", CANARY)
        delete(client, "db")
        clock.advance(90 * 86_400)
        with pytest.raises(ResourceNotFoundError):
            client.get_deleted_secret("db")


def test_versions_come_in_no_useful_order(client: Any) -> None:
    """Whoever takes the first or the last for the newest is wrong."""
    versions = [client.set_secret("db", CANARY).properties.version for _ in range(8)]
    listed = [each.version for each in client.list_properties_of_secret_versions("db")]
    assert sorted(listed) == sorted(versions)
    assert listed == sorted(listed)


@pytest.mark.parametrize("version", ["", "7.9"])
def test_the_api_version_must_be_named_and_known(client: Any, version: str) -> None:
    """There is no default."""
    client.set_secret("db", CANARY)
    answer = client.send_request(HttpRequest("GET", f"/secrets/db?api-version={version}"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "BadParameter")


def test_the_first_request_is_answered_with_a_challenge(azure_server: azure.Vault) -> None:
    """It carries neither token nor body."""
    import http.client
    import ssl

    tls = ssl.create_default_context(cafile=str(azure_server.ca_file))
    connection = http.client.HTTPSConnection(azure_server.url.removeprefix("https://"), context=tls)
    connection.request("GET", "/secrets?api-version=7.4")
    answer = connection.getresponse()
    connection.close()
    assert answer.status == 401
    assert 'resource="https://vault.azure.net"' in (answer.headers["WWW-Authenticate"] or "")
    assert f"https://login.microsoftonline.com/{TENANT}" in answer.headers["WWW-Authenticate"]


def test_a_challenge_for_another_resource_gets_no_token(azure_server: azure.Vault) -> None:
    """The SDK checks it, on Azure's own host names as in production."""
    azure_server.identity.resource = "https://vault.example.net"
    with azure.dialled(azure_server), pytest.raises(ValueError, match="does not match the requested domain"):
        at_azure(azure_server, azure.Anybody(), "wrong-resource").get_secret("db")
    assert not any("Authorization" in request.headers for request in azure_server.requests)


def test_azure_identity_fetches_a_token_from_the_double(azure_server: azure.Vault) -> None:
    """With a client secret, at the login service's own name or at the double's; nobody else comes in."""
    azure_server.identity.clients["app"] = CANARY
    azure_server.identity.only_issued = True
    for authority in ("login.microsoftonline.com", azure_server.url):
        with azure.dialled(azure_server), secret_login(azure_server, CANARY, authority) as who:
            at_azure(azure_server, who, "identity").set_secret("db", "1")
    assert azure_server.calls["token"] == 4  # discovery and token, twice
    assert refused_login(azure_server)
    with pytest.raises(ClientAuthenticationError):
        azure_server.client(retry_total=0).get_secret("db")


def at_azure(server: azure.Vault, who: Any, name: str) -> SecretClient:
    # One name per test: the SDK caches challenges by host for the whole process.
    return SecretClient(
        f"https://{name}.vault.azure.net", who, connection_verify=str(server.ca_file), retry_total=0
    )


def secret_login(server: azure.Vault, secret: str, authority: str) -> ClientSecretCredential:
    return ClientSecretCredential(
        TENANT,
        "app",
        secret,
        authority=authority,
        disable_instance_discovery=True,
        connection_verify=str(server.ca_file),
    )


def refused_login(server: azure.Vault) -> bool:
    with (
        azure.dialled(server),
        secret_login(server, "wrong", server.url) as who,
        pytest.raises(ClientAuthenticationError),
    ):
        who.get_token("https://vault.azure.net/.default")
    return True


def test_a_denial_names_what_was_asked(client: Any, azure_server: azure.Vault) -> None:
    """Until it is taken back."""
    azure_server.faults.deny("secrets.get")
    client.set_secret("db", CANARY)
    assert refused(lambda: client.get_secret("db")) == (403, "Forbidden", "ForbiddenByRbac")
    azure_server.faults.allow("secrets.get")
    assert client.get_secret("db").value == CANARY


def test_a_dropped_answer_was_performed_and_a_dropped_request_was_not(
    client: Any, azure_server: azure.Vault
) -> None:
    """The client cannot tell the two apart."""
    client.set_secret("db", CANARY)
    azure_server.faults.drop_answers("secrets.set")
    with pytest.raises(ServiceResponseError):
        client.set_secret("db", CANARY + "2")
    assert client.get_secret("db").value == CANARY + "2"
    azure_server.faults.drop_requests("secrets.set")
    with pytest.raises(ServiceResponseError):
        client.set_secret("db", CANARY + "3")
    assert client.get_secret("db").value == CANARY + "2"


def test_creates_are_limited_in_any_ten_seconds(timed: azure.Vault, clock: FakeClock) -> None:
    """429 says when to come again; refused requests do not count, reads are not limited so."""
    timed.faults.limit_creates(3)
    with timed.client(retry_total=0) as client:
        for _ in range(3):
            client.set_secret("db", CANARY)
        clock.advance(4)
        for _ in range(2):
            with pytest.raises(HttpResponseError) as caught:
                client.set_secret("db", CANARY)
            answer: Any = caught.value.response
            assert (answer.status_code, answer.headers["Retry-After"]) == (429, "6")
        assert client.get_secret("db").value == CANARY
        clock.advance(6)
        client.set_secret("db", CANARY)


def test_lists_can_be_behind(client: Any, azure_server: azure.Vault) -> None:
    """Reads by name are not."""
    client.set_secret("old", CANARY)
    with azure_server.secrets.objects.stale_lists():
        client.set_secret("new", CANARY)
        assert [each.name for each in client.list_properties_of_secrets()] == ["old"]
        assert client.get_secret("new").value == CANARY
    assert len(list(client.list_properties_of_secrets())) == 2


def test_a_held_request_outlasts_the_clients_patience(client: Any, azure_server: azure.Vault) -> None:
    """And is carried out after all."""
    with azure_server.faults.holding("secrets.set"), pytest.raises(ServiceResponseError):
        client.set_secret("db", CANARY, read_timeout=0.05)


def test_any_answer_can_stand_in(client: Any, azure_server: azure.Vault) -> None:
    """A fault of the service, or a redirect with the same path."""
    azure_server.faults.answer_with("secrets.*", Response(503, b"{}"))
    with pytest.raises(HttpResponseError) as caught:
        client.get_secret("db")
    assert caught.value.status_code == 503
    azure_server.faults.redirect("https://127.0.0.1:1")
    answer = client.send_request(HttpRequest("GET", "/secrets/db"), permit_redirects=False)
    assert answer.status_code == 307
    assert answer.headers["Location"].startswith("https://127.0.0.1:1/secrets/db?")
