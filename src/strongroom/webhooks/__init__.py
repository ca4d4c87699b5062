"""Signed webhooks and requests, sent and received; names are loaded on first use.

::

    receiver = Receiver(store, "webhooks/acme", replays=ReplayStore("/var/lib/app/webhooks.db"))
    receiver.receive(request.headers, request.body, effect)     # once per delivery, or WebhookError
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .endpoints import Receiver, Sender
    from .exchange import RequestForm, RequestReceiver, sign_request
    from .refusal import Delivery, WebhookError
    from .replay import ReplayStore
    from .schemes import new_secret
    from .standard import sign, signed_headers, verify

_HOMES = {
    "Delivery": "refusal",
    "Receiver": "endpoints",
    "ReplayStore": "replay",
    "RequestForm": "exchange",
    "RequestReceiver": "exchange",
    "Sender": "endpoints",
    "WebhookError": "refusal",
    "new_secret": "schemes",
    "sign": "standard",
    "sign_request": "exchange",
    "signed_headers": "standard",
    "verify": "standard",
}

__all__ = [
    "Delivery",
    "Receiver",
    "ReplayStore",
    "RequestForm",
    "RequestReceiver",
    "Sender",
    "WebhookError",
    "new_secret",
    "sign",
    "sign_request",
    "signed_headers",
    "verify",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'strongroom.webhooks' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"strongroom.webhooks.{_HOMES[name]}"), name)
