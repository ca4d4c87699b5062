"""A gRPC server on loopback for the Google double: it counts, plays faults and asks for permissions."""

from __future__ import annotations

import re
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import grpc

from tests.servers.google_faults import Faults
from tests.servers.google_refusal import Refusal, denied

_THREADS = 32
_KEPT = 10_000


class Method(NamedTuple):
    """One method of a service: what does it, the type of its request, and the IAM permission it needs."""

    do: Callable[[Any], Any]
    request: Any
    permission: str


class Call(NamedTuple):
    """What a client sent."""

    method: str
    request: Any
    metadata: Mapping[str, str]


@dataclass
class Wire:
    """What happens to every call before and after the service sees it.

    Attributes:
        calls: how often each method was called, whatever became of it.
        seen: the last calls, whole.
    """

    lock: threading.RLock
    faults: Faults = field(default_factory=Faults)
    calls: Counter[str] = field(default_factory=Counter)
    seen: deque[Call] = field(default_factory=lambda: deque(maxlen=_KEPT))

    def handler(self, service: str, methods: Mapping[str, Method]) -> grpc.GenericRpcHandler:
        """What a grpc.Server takes for one service."""
        return grpc.method_handlers_generic_handler(
            service,
            {
                name: grpc.unary_unary_rpc_method_handler(
                    self._behaviour(name, method), _reader(method.request), _written
                )
                for name, method in methods.items()
            },
        )

    def _behaviour(self, name: str, method: Method) -> Callable[[Any, grpc.ServicerContext], Any]:
        def behave(request: Any, context: grpc.ServicerContext) -> Any:
            refusal = None
            try:
                return self._answer(name, method, request, context)
            except Refusal as exc:
                refusal = exc
            return refusal.abort(context)

        return behave

    def _answer(self, name: str, method: Method, request: Any, context: grpc.ServicerContext) -> Any:
        metadata = {key: value for key, value in context.invocation_metadata() if isinstance(value, str)}
        with self.lock:
            self.calls[name] += 1
            self.seen.append(Call(name, _copy(request), metadata))
        self.faults.play(name, "before", request, context)
        if self.faults.denies(method.permission):
            raise denied(method.permission, _resource(request))
        with self.lock:
            answer = _copy(method.do(request))
        self.faults.play(name, "after", answer, context)
        return answer


def _resource(request: Any) -> str:
    for name in ("name", "parent", "resource"):
        if hasattr(request, name):
            return str(getattr(request, name))
    inner = request.secret if hasattr(request, "secret") else request.crypto_key_version
    return str(inner.name)


def _copy(message: Any) -> Any:
    """Messages are proto-plus, or plain protobuf where the API borrows them (IAM, Empty)."""
    if not hasattr(type(message), "pb"):
        twin = type(message)()
        twin.CopyFrom(message)
        return twin
    twin = type(message)()
    type(twin).pb(twin).CopyFrom(type(message).pb(message))
    return twin


def _reader(kind: Any) -> Callable[[bytes], Any]:
    reader: Callable[[bytes], Any] = kind.deserialize if hasattr(kind, "deserialize") else kind.FromString
    return reader


def _written(message: Any) -> bytes:
    kind = type(message)
    data: bytes = kind.serialize(message) if hasattr(kind, "serialize") else message.SerializeToString()
    return data


def snake(name: str) -> str:
    """``AddSecretVersion`` as Python names it."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


class Listener:
    """A gRPC server on 127.0.0.1; starts at once, and `close` leaves no thread and no port."""

    def __init__(self, handlers: Iterable[grpc.GenericRpcHandler], port: int = 0):
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="google-double")
        # Without this option a second server on the same port would share its connections.
        self._server = grpc.server(self._threads, tuple(handlers), options=[("grpc.so_reuseport", 0)])
        self.port: int = self._server.add_insecure_port(f"127.0.0.1:{port}")
        self._server.start()

    def close(self) -> None:
        """Break what is in flight, and stop."""
        self._server.stop(None).wait()
        self._threads.shutdown()
