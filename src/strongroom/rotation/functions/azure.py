"""Key Vault tells by Event Grid that a secret will expire in 30 days: at least once, in any order.

A validity of 30 days or less makes the event due at once, so that whoever rotates because of it would never
stop; here the schedule decides. https://learn.microsoft.com/azure/event-grid/event-schema-key-vault
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from strongroom.errors import InvalidRequestError

from .hints import Hints
from .opening import location

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from strongroom.rotation.policy import Policy

NEAR_EXPIRY: Final = "microsoft.keyvault.secretnearexpiry"
EXPIRED: Final = "microsoft.keyvault.secretexpired"
VALIDATION: Final = "microsoft.eventgrid.subscriptionvalidationevent"
_ROTATED: Final = frozenset({NEAR_EXPIRY, EXPIRED})
_LONGEST: Final = 1 << 20  # Event Grid's own limit of one delivery


class Function(Hints):
    """Answers Event Grid: an Azure function's trigger, or a webhook.

    Nothing is believed of an event but which secret to look at, so that whoever can call the webhook can
    cause a look at a schedule, and nothing else.
    """

    def __call__(self, event: Any) -> dict[str, str]:
        """Rotate the secret that an event is about, if it is due.

        Args:
            event: an ``azure.functions.EventGridEvent``, or an event as JSON has it, of either schema.

        Returns:
            the rotation's state, by its id; empty for other events.

        Raises:
            InvalidRequestError: not an event of Event Grid.
            SecretStoreError: it failed; Event Grid delivers it again.
        """
        kind, event_id, data = parts(event)
        if kind not in _ROTATED:
            return {}
        vault, name = data.get("vaultname", ""), data.get("objectname", "")
        if not (vault and name):
            raise InvalidRequestError(
                "the event names no secret", hint="its data has VaultName and ObjectName"
            )
        return self.look(lambda policy: _is_of(policy, vault, name), f"azure {event_id}")

    def webhook(self, request: Any) -> Any:
        """Answer an ``azure.functions.HttpRequest`` with an ``HttpResponse``: events, and both handshakes.

        Raises:
            SecretStoreError: it failed; the host answers 500, and Event Grid delivers it again.
        """
        from azure.functions import HttpResponse

        if request.method == "OPTIONS":
            origin = request.headers.get("WebHook-Request-Origin", "")
            return HttpResponse(headers={"WebHook-Allowed-Origin": origin})
        events = _listed(request.get_body())
        if events is None:
            return HttpResponse("not a delivery of Event Grid", status_code=400)
        if code := _validation_code(events):
            body = json.dumps({"validationResponse": code})
            return HttpResponse(body, mimetype="application/json")
        done = {key: state for event in events for key, state in self(event).items()}
        return HttpResponse(json.dumps(done), mimetype="application/json")


def parts(event: Any) -> tuple[str, str, dict[str, str]]:
    """Kind, id and data, by lower-case keys: the documents write VaultName, the SDKs vaultName.

    Raises:
        InvalidRequestError: not an event of Event Grid.
    """
    if isinstance(event, dict):
        kind, event_id, data = event.get("eventType") or event.get("type"), event.get("id"), event.get("data")
    else:
        kind, event_id = getattr(event, "event_type", None), getattr(event, "id", None)
        data = event.get_json() if kind else None
    if not isinstance(kind, str) or not isinstance(data, dict):
        raise InvalidRequestError("not an event of Event Grid", hint="it has a type, an id and data")
    texts = {str(key).lower(): value for key, value in data.items() if isinstance(value, str)}
    return kind.lower(), str(event_id), texts


def _listed(body: bytes) -> list[dict[str, Any]] | None:
    """One event or several; None if it is neither."""
    try:
        given = json.loads(body) if len(body) <= _LONGEST else None
    except ValueError:
        given = None
    events = [given] if isinstance(given, dict) else given
    if not isinstance(events, list) or not all(isinstance(event, dict) for event in events):
        return None
    return events


def _validation_code(events: Iterable[Mapping[str, Any]]) -> str | None:
    """https://learn.microsoft.com/azure/event-grid/end-point-validation-event-grid-events-schema"""
    for event in events:
        kind, _, data = parts(event)
        if kind == VALIDATION:
            return data.get("validationcode")
    return None


def _is_of(policy: Policy, vault: str, name: str) -> bool:
    """Names of secrets and vaults know no case."""
    return _vault(policy) == vault.lower() and urlsplit(location(policy)).path == f"/secrets/{name.lower()}"


def _vault(policy: Policy) -> str | None:
    return urlsplit(policy.store.origin).hostname
