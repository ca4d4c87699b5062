"""What a provider's event says: which secret, in every form in which it comes, and else nothing."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strongroom.backend import Settings
from strongroom.errors import InvalidRequestError
from strongroom.names import Name
from strongroom.notices import LARGEST, Message, Receiver
from strongroom.registry import open_backend, open_receiver, queue_schemes
from strongroom.value import SecretValue
from tests.canary import CANARY
from tests.scale import scaled

REGION = "eu-west-1"
ARN = f"arn:aws:secretsmanager:{REGION}:123456789012:secret:"
SM = f"secretsmanager:{REGION}:secret:"


def trail(name: str, *, request: Any = None, response: Any = None, **detail: Any) -> dict[str, Any]:
    """CloudTrail's record of a call, as EventBridge delivers it."""
    detail |= {"eventName": name, "requestParameters": request, "responseElements": response}
    kind = "AWS API Call via CloudTrail"
    return {"source": "aws.secretsmanager", "detail-type": kind, "region": REGION, "detail": detail}


def moved(label: str = "AWSCURRENT", name: Any = "prod/db", **fields: Any) -> dict[str, Any]:
    """Secrets Manager's own event, as its documentation shows it."""
    detail = {"name": name, "labelUpdated": label, "versionId": "a1b2c3d4-5678-90ab-cdef-EXAMPLE11111"}
    whole = {"detail-type": "Secret Label Updated", "resources": [ARN + "prod/db-AbC123"], "detail": detail}
    return {"source": "aws.secretsmanager", "region": REGION, **whole, **fields}


def parameter(operation: str, name: Any = "/prod/db/password") -> dict[str, Any]:
    """Parameter Store's own event."""
    kind, detail = "Parameter Store Change", {"operation": operation, "name": name, "type": "SecureString"}
    return {"source": "aws.ssm", "detail-type": kind, "region": REGION, "detail": detail}


def vault(kind: str = "Microsoft.KeyVault.SecretNewVersionCreated", **fields: Any) -> dict[str, Any]:
    """Event Grid's own schema."""
    data = {"Id": "https://acme.vault.azure.net/secrets/prod--db/0123", "VaultName": "acme", **fields}
    return {"id": "1", "eventType": kind, "subject": "prod--db", "data": data}


GARBAGE: dict[str, Any] = {
    "nothing": "",
    "no JSON": "not JSON",
    "null": "null",
    "a number": "12",
    "a huge number": "9" * 5000,
    "an endless number": "1e999",
    "a list": "[]",
    "deep": "[" * 60_000,
    "too long": json.dumps(trail("PutSecretValue", request={"secretId": "x" * LARGEST})),
    "a mebibyte": "x" * 2**20,
    "no detail": json.dumps({"source": "aws.secretsmanager"}),
    "a list for detail": json.dumps({"source": "aws.secretsmanager", "detail": []}),
    "a table for a name": json.dumps(trail("PutSecretValue", request={"secretId": {"a": 1}})),
    "a table for an event": json.dumps({**trail("x"), "detail": {"eventName": {"a": 1}}}),
    "a table for a source": json.dumps({"source": {"a": 1}, "detail": {}}),
    "a table for an operation": json.dumps({**parameter("x"), "detail": {"operation": {}, "name": "x"}}),
    "an envelope of nothing": json.dumps({"Type": "Notification"}),
    "an envelope of an envelope": json.dumps({"Type": "Notification", "Message": {"Type": "Notification"}}),
    "no text at all": None,
    "bytes": b"\xff\xfe",
}


def received(scheme: str) -> Receiver:
    places = {
        "sqs": f"sqs://{REGION}/123456789012/changes",
        "pubsub": "pubsub://acme-prod/changes",
        "azure-queue": "azure-queue://acmeprod/changes",
    }
    return open_receiver(places[scheme], Settings())


RECEIVERS = {scheme: received(scheme) for scheme in queue_schemes()}


@pytest.fixture(scope="module", params=queue_schemes())
def receiver(request: pytest.FixtureRequest) -> Receiver:
    return RECEIVERS[request.param]


def found(scheme: str, body: object) -> set[str]:
    return set(received(scheme).resources(Message(body, "handle")))


class TestAmazon:
    """Secrets Manager's own event, CloudTrail's records of it, and Parameter Store's events."""

    @pytest.mark.parametrize(
        ("event", "names"),
        [
            (moved(), {"prod/db", "prod/db-AbC123"}),
            (moved(resources=[]), {"prod/db"}),
            (moved(resources="x"), {"prod/db"}),
            (moved(name=7, resources=[7]), set()),
            (moved("app-blue"), set()),
            (trail("PutSecretValue", request={"secretId": "prod/db"}), {"prod/db"}),
            (
                trail("PutSecretValue", request={"secretId": ARN + "prod/db-AbC123"}),
                {"prod/db", "prod/db-AbC123"},
            ),
            (trail("UpdateSecret", response={"arn": ARN + "prod/db-AbC123"}), {"prod/db", "prod/db-AbC123"}),
            (trail("UpdateSecret", response={"aRN": ARN + "prod/db-AbC123"}), {"prod/db", "prod/db-AbC123"}),
            (trail("UpdateSecret", response={"ARN": ARN + "prod/db"}), {"prod/db"}),
            (trail("UpdateSecretVersionStage", request={"secretId": "db"}), {"db"}),
            (trail("CreateSecret", request={"name": "new"}, response={"name": "new"}), {"new"}),
            (
                trail("RotationSucceeded", additionalEventData={"SecretId": ARN + "a-XXXXXX"}),
                {"a", "a-XXXXXX"},
            ),
            (trail("GetSecretValue", request={"secretId": "prod/db"}), set()),
            (trail("PutSecretValue", request={"secretId": "prod/db"}, errorCode="AccessDenied"), set()),
            (trail("PutSecretValue", request={"secretId": "arn:aws:s3:::bucket"}), set()),
            (trail("PutSecretValue", request={"secretId": "arn:aws:secretsmanager"}), set()),
        ],
    )
    def test_a_record_names_the_secret(self, event: dict[str, Any], names: set[str]) -> None:
        """Whatever form the caller chose, and whatever case the answer is in; not what only read it."""
        assert found("sqs", json.dumps(event)) == {SM + name for name in names}

    def test_a_topic_may_stand_between(self) -> None:
        """The envelope's signature is not looked at: a forger gains nothing that a hint could give."""
        inner = json.dumps(trail("PutSecretValue", request={"secretId": "prod/db"}))
        envelope = {
            "Type": "Notification",
            "Message": inner,
            "Signature": "bm8=",
            "SigningCertURL": "http://x",
        }
        assert found("sqs", json.dumps(envelope)) == {SM + "prod/db"}

    def test_another_regions_secret_is_another_secret(self) -> None:
        """The ARN says which region, whatever the envelope says."""
        event = trail("PutSecretValue", request={"secretId": ARN.replace(REGION, "us-east-1") + "prod/db"})
        assert found("sqs", json.dumps(event)) == {"secretsmanager:us-east-1:secret:prod/db"}

    @pytest.mark.parametrize("operation", ["Create", "Update", "Delete"])
    def test_a_parameter(self, operation: str) -> None:
        """By its path, with its leading slash or without."""
        wanted = {f"ssm:{REGION}:parameter/prod/db/password"}
        assert found("sqs", json.dumps(parameter(operation))) == wanted
        assert found("sqs", json.dumps(parameter(operation, "prod/db/password"))) == wanted
        assert found("sqs", json.dumps(parameter("LabelParameterVersion"))) == set()


class TestGoogle:
    """Secret Manager's attributes."""

    @pytest.mark.parametrize(
        ("secret", "name"),
        [
            ("projects/1234/secrets/prod__db", "secrets/prod__db"),
            ("projects/acme/secrets/db/versions/7", "secrets/db"),
            ("projects/1/locations/europe-west6/secrets/db", "locations/europe-west6/secrets/db"),
        ],
    )
    def test_attributes_name_the_secret(self, secret: str, name: str) -> None:
        """The project is left out: here it is a number, and a store knows its id."""
        assert found("pubsub", {"eventType": "SECRET_VERSION_ADD", "secretId": secret}) == {name}
        assert found("pubsub", {"eventType": "TOPIC_CONFIGURED", "secretId": secret}) == set()
        assert found("pubsub", {"eventType": "SECRET_UPDATE", "secretId": secret}) == set()

    @pytest.mark.parametrize(
        "secret", ["", "x" * 2**20, "projects//secrets/", "secrets/a", "projects/1/secrets/"]
    )
    def test_anything_else_is_nothing(self, secret: str) -> None:
        """However long."""
        assert found("pubsub", {"eventType": "SECRET_VERSION_ADD", "secretId": secret}) == set()


class TestAzure:
    """Event Grid's schema and CloudEvents'."""

    WANTED = frozenset({"acme.vault.azure.net/prod--db"})

    @pytest.mark.parametrize(
        "event",
        [
            vault(),
            [vault(), vault("Microsoft.KeyVault.SecretNearExpiry")],
            vault(Id="https://ACME.vault.azure.net/secrets/Prod--DB/99"),
            {
                "specversion": "1.0",
                "type": "Microsoft.KeyVault.SecretNewVersionCreated",
                "data": vault()["data"],
            },
            {"Type": "microsoft.keyvault.secretnewversioncreated", "Data": {"id": vault()["data"]["Id"]}},
        ],
    )
    def test_an_event_names_the_secret(self, event: Any) -> None:
        """In Base64, as Event Grid writes it, or plain; documentation and SDKs differ in the case of keys."""
        text = json.dumps(event)
        assert found("azure-queue", text) == self.WANTED
        assert found("azure-queue", base64.b64encode(text.encode()).decode()) == self.WANTED

    @pytest.mark.parametrize(
        "identifier",
        [
            "",
            7,
            None,
            "https://[",
            "https://acme.vault.azure.net/keys/k/1",
            "https://acme.vault.azure.net/secrets/",
        ],
    )
    def test_what_names_no_secret_is_nothing(self, identifier: Any) -> None:
        """Keys and certificates have events too."""
        assert found("azure-queue", json.dumps(vault(Id=identifier))) == set()
        assert found("azure-queue", json.dumps(vault("Microsoft.KeyVault.KeyNewVersionCreated"))) == set()


class TestAll:
    """What holds for each queue."""

    @pytest.mark.parametrize("case", GARBAGE)
    def test_garbage_names_nothing(self, receiver: Receiver, case: str) -> None:
        """And ends nobody's thread."""
        assert not receiver.resources(Message(GARBAGE[case], "handle"))

    def test_a_message_does_not_show_itself(self) -> None:
        """Whoever sends it may have put anything into it."""
        assert CANARY not in repr(Message(CANARY, CANARY))

    @pytest.mark.parametrize(
        ("scheme", "url", "event"),
        [
            (
                "sqs",
                f"aws-sm://{REGION}/prod",
                trail("PutSecretValue", request={"secretId": "prod/db/password"}),
            ),
            ("sqs", f"aws-ssm://{REGION}/prod", parameter("Update")),
            ("pubsub", "gcp-sm://acme-prod/prod", "projects/1/secrets/{}"),
            ("azure-queue", "azure-kv://acme/prod", "https://acme.vault.azure.net/secrets/{}/0"),
        ],
    )
    def test_a_stores_own_place_is_what_its_events_name(self, scheme: str, url: str, event: Any) -> None:
        """`locate` and the event agree, prefix and encoding included."""
        backend, queue = open_backend(url), received(scheme)
        location = backend.locate(Name.parse("db/password"))
        body: object = json.dumps(event)
        if scheme == "pubsub":
            body = {"eventType": "SECRET_VERSION_ADD", "secretId": event.format(location.rpartition("/")[2])}
        elif scheme == "azure-queue":
            body = json.dumps(vault(Id=event.format(location.rpartition("/")[2])))
        assert queue.resource(location) in queue.resources(Message(body, "handle"))
        backend.close()

    def test_another_providers_place_is_none(self, receiver: Receiver) -> None:
        """A queue of one provider beside a store of another says nothing."""
        assert not receiver.resource("memory://db/password")
        assert not receiver.resource("")


WORDS = st.sampled_from(
    f"""
    source aws.secretsmanager aws.ssm detail region eventName PutSecretValue name Type requestParameters
    secretId responseElements arn resources labelUpdated AWSCURRENT {ARN}a operation Update Notification
    Message eventType SECRET_VERSION_ADD projects/1/secrets/a type data Id
    Microsoft.KeyVault.SecretNewVersionCreated https://a.vault.azure.net/secrets/b
    """.split()
)
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=6),
    max_leaves=12,
)


@settings(max_examples=scaled(5000, "messages of any shape"), deadline=None, derandomize=True)
@given(ANY)
def test_a_message_of_any_shape_is_no_error(message: Any) -> None:
    """Texts come of it, at most a few, whatever is where a text should be."""
    for scheme in queue_schemes():
        for body in (message, json.dumps(message), json.dumps({"Type": "Notification", "Message": message})):
            names = RECEIVERS[scheme].resources(Message(body, "handle"))
            assert all(isinstance(name, str) for name in names)


class TestOpening:
    """Where a queue may be, and who may be shown which credential; nothing is sent."""

    @pytest.mark.parametrize(
        "url",
        [
            "sqs://nowhere/123456789012/q",
            "sqs://eu-west-1/q",
            "sqs://eu-west-1/12/q",
            "sqs://eu-west-1/123456789012/a/b",
            "sqs://eu-west-1/123456789012/q?endpoint=http://elsewhere.example:1",
            "sqs://eu-west-1/123456789012/q?wait=1",
            "pubsub://acme-prod",
            "pubsub://acme-prod/a/b",
            "pubsub://ACME/changes",
            "pubsub://acme-prod/changes?endpoint=http://elsewhere.example:1",
            "azure-queue://acme-prod/changes",
            "azure-queue://acme.example.net/changes",
            "azure-queue://acmeprod/Changes",
            "azure-queue://acmeprod/changes?endpoint=http://127.0.0.1:1",
            "kafka://somewhere/topic",
        ],
    )
    def test_what_is_no_queue_is_refused(self, url: str) -> None:
        """Before any I/O."""
        with pytest.raises(InvalidRequestError):
            open_receiver(url, Settings())

    @pytest.mark.parametrize("scheme", queue_schemes())
    def test_unknown_credentials_are_refused(self, scheme: str) -> None:
        """As those of the provider's store."""
        place = received(scheme).origin
        with pytest.raises(InvalidRequestError):
            open_receiver(place, Settings(auth={"password": SecretValue(CANARY)}))

    @pytest.mark.parametrize("scheme", queue_schemes())
    def test_ambient_credentials_do_not_go_to_strangers(self, scheme: str) -> None:
        """A configured endpoint that is not the provider's own needs credentials of its own."""
        place = received(scheme).origin
        with pytest.raises(InvalidRequestError):
            open_receiver(place, Settings(endpoint="https://elsewhere.example"))
