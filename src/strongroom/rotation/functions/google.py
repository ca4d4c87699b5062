"""Secret Manager tells by Pub/Sub when a secret's ``next_rotation_time`` has come.

It tells once, whether or not anybody rotates, with no guarantee; the same topic carries every other event of
the secret. https://cloud.google.com/secret-manager/docs/event-notifications
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from strongroom.errors import InvalidRequestError

from .hints import Hints
from .opening import location

if TYPE_CHECKING:
    from collections.abc import Mapping

    from strongroom.rotation.policy import Policy

ROTATE: Final = "SECRET_ROTATE"
SECRET: Final = re.compile(r"projects/(?P<project>[\w:.-]+)/(?:locations/[\w-]+/)?secrets/(?P<name>[\w-]+)")


class Function(Hints):
    """Answers Pub/Sub's messages: a CloudEvent, or the push that a subscription sends.

    ``functions_framework.cloud_event`` takes a function that calls this one; `tick` is for Cloud Scheduler.
    """

    def __call__(self, event: Any) -> dict[str, str]:
        """Rotate the secret that the event is about, if it is due.

        Args:
            event: a CloudEvent whose ``data`` is a Pub/Sub message, or that data itself.

        Returns:
            the rotation's state, by its id; empty for other events, which are thereby acknowledged.

        Raises:
            InvalidRequestError: not a message of Pub/Sub.
            SecretStoreError: it failed; Pub/Sub delivers it again, if retries are on.
        """
        given = message(event)
        attributes = given.get("attributes") or {}
        if attributes.get("eventType") != ROTATE:
            return {}
        found = SECRET.fullmatch(str(attributes.get("secretId", "")))
        if found is None:
            raise InvalidRequestError("the event names no secret", hint="secretId is projects/P/secrets/S")
        message_id = str(given.get("messageId") or given.get("message_id") or "")
        return self.look(lambda policy: _is_of(policy, found), f"google {message_id}")


def message(event: Any) -> Mapping[str, Any]:
    """The message that a CloudEvent or a push brings.

    Raises:
        InvalidRequestError: not a message of Pub/Sub.
    """
    data = event if isinstance(event, dict) else getattr(event, "data", None)
    found = data.get("message") if isinstance(data, dict) else None
    if not isinstance(found, dict):
        raise InvalidRequestError("not a message of Pub/Sub", hint="its CloudEvent's data has a message")
    return found


def _is_of(policy: Policy, secret: re.Match[str]) -> bool:
    """Events call a project by its number, a URL mostly by its id: where one is a number, the name decides.

    A secret of the same name in another project is then looked at too, which does no harm.
    """
    here = SECRET.search(location(policy))
    if here is None or here["name"] != secret["name"]:
        return False
    return here["project"] == secret["project"] or here["project"].isdigit() != secret["project"].isdigit()
