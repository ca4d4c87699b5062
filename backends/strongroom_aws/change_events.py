"""Which secret an event of EventBridge is about: pure, and of whatever stands in the message.

Secrets Manager sends ``Secret Label Updated`` when AWSCURRENT moves
(https://docs.aws.amazon.com/secretsmanager/latest/userguide/secret-event-notifications.html). Deletions are
told by CloudTrail's records alone, ``AWS API Call via CloudTrail`` and ``AWS Service Event via CloudTrail``
(https://docs.aws.amazon.com/secretsmanager/latest/userguide/monitoring-eventbridge.html). Parameter Store
sends its own (https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-cwe.html).
Through SNS each stands as text in an envelope, unless delivery is raw.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from strongroom.notices import inside, parsed

_CHANGES: Final = frozenset(
    {"CreateSecret", "DeleteSecret", "PutSecretValue", "RestoreSecret", "RotationSucceeded", "UpdateSecret"}
    | {"UpdateSecretVersionStage"}
)
"""CloudTrail's names of what changes what a read gives. It records reads too, and the one that a notice
caused must not be the next."""
_CURRENT: Final = "AWSCURRENT"
_PARAMETER_CHANGES: Final = frozenset({"Create", "Delete", "Update"})
_SUFFIX: Final = re.compile(r"-[A-Za-z0-9]{6}")
"""What Secrets Manager adds to a name in its ARN; a name may end so as well."""


def resources(text: object) -> frozenset[str]:
    """What may have changed, as `resource` writes it."""
    event = parsed(text)
    if inside(event, "Type") == "Notification":
        event = parsed(inside(event, "Message"))
    source, region = inside(event, "source"), inside(event, "region")
    if source == "aws.secretsmanager":
        moved = inside(event, "detail", "labelUpdated") == _CURRENT
        found = _labelled(event, region) if moved else _recorded(inside(event, "detail"), region)
        return frozenset(found)
    if source == "aws.ssm" and str(inside(event, "detail", "operation")) in _PARAMETER_CHANGES:
        return frozenset(_parameter(inside(event, "detail", "name"), region))
    return frozenset()


def resource(location: str) -> str:
    """An ARN without what a store does not know before it asks: partition and account."""
    parts = location.split(":", 5)
    if len(parts) < 6 or parts[0] != "arn":
        return ""
    _, _, service, region, _, name = parts
    return _parameter_id(region, name) if service == "ssm" else f"{service}:{region}:{name}"


def _labelled(event: Any, region: Any) -> Iterator[str]:
    """Secrets Manager's own event has the secret's name, and its ARN among the resources."""
    listed = inside(event, "resources")
    for found in (inside(event, "detail", "name"), *(listed[:1] if isinstance(listed, list) else ())):
        if isinstance(found, str):
            yield from _secret(found, region)


def _recorded(detail: Any, region: Any) -> Iterator[str]:
    name = inside(detail, "eventName")
    if not isinstance(name, str) or name not in _CHANGES or inside(detail, "errorCode"):
        return
    # CloudTrail wrote `aRN` until 2024, and some answers have `ARN`.
    paths = [("requestParameters", key) for key in ("secretId", "name")]
    paths += [("responseElements", key) for key in ("arn", "aRN", "ARN", "name")]
    paths += [("additionalEventData", key) for key in ("SecretId", "secretId")]
    for path in paths:
        found = inside(detail, *path)
        if isinstance(found, str):
            yield from _secret(found, region)


def _secret(named: str, region: Any) -> Iterator[str]:
    """By its ARN, with or without the suffix, or by its name."""
    parts = named.split(":", 6)
    if parts[0] != "arn":
        yield f"secretsmanager:{region}:secret:{named}"
    elif len(parts) == 7 and (parts[2], parts[5]) == ("secretsmanager", "secret"):
        yield f"secretsmanager:{parts[3]}:secret:{parts[6]}"
        if _SUFFIX.fullmatch(parts[6][-7:]):
            yield f"secretsmanager:{parts[3]}:secret:{parts[6][:-7]}"


def _parameter(name: Any, region: Any) -> Iterator[str]:
    if isinstance(name, str):
        yield _parameter_id(region, f"parameter/{name.removeprefix('/')}")


def _parameter_id(region: object, name: str) -> str:
    return f"ssm:{region}:{name}"
