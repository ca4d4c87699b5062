"""The one module that each platform looks for, and what it is told to call in it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .contents import Files

Platform = Literal["aws-lambda", "google", "azure"]
HANDLERS: Final[dict[Platform, str]] = {
    "aws-lambda": "strongroom_rotation.handler",
    "google": "rotate",
    "azure": "function_app",
}
_HERE: Final = 'config=Path(__file__).with_name("strongroom.toml")'
_HEAD = '"""Made by `strongroom rotation package`."""\n\n'
_LAMBDA = """from strongroom.rotation.functions.aws_lambda import Function

handler = Function({arguments})
"""
_GOOGLE = """import functions_framework

from strongroom.rotation.functions.google import Function

function = Function({arguments})


@functions_framework.cloud_event
def rotate(event):
    function(event)


@functions_framework.http
def tick(request):
    return function.tick()
"""
_AZURE = """import azure.functions as func

from strongroom.rotation.functions.azure import Function

app = func.FunctionApp(http_auth_level=func.AuthLevel.FUNCTION)
function = Function({arguments})


@app.event_grid_trigger(arg_name="event")
def rotate(event: func.EventGridEvent) -> None:
    function(event)


@app.route(route="rotate", methods=["POST", "OPTIONS"])
def webhook(request: func.HttpRequest) -> func.HttpResponse:
    return function.webhook(request)


@app.timer_trigger(schedule="0 */15 * * * *", arg_name="timer")
def tick(timer: func.TimerRequest) -> None:
    function.tick()
"""
_REPLICAS: Final = """

from strongroom.rotation.functions.replicas import Function as Replicas

{name} = Replicas({arguments})
"""
_REPLICATE: Final[dict[Platform, tuple[str, str]]] = {
    "aws-lambda": ("replicate", ""),
    "google": (
        "replicas",
        """

@functions_framework.cloud_event
def replicate(event):
    replicas(event)


@functions_framework.http
def sync(request):
    return replicas.tick()
""",
    ),
    "azure": (
        "replicas",
        """

@app.event_grid_trigger(arg_name="event")
def replicate(event: func.EventGridEvent) -> None:
    replicas(event)


@app.timer_trigger(schedule="0 */15 * * * *", arg_name="timer")
def sync(timer: func.TimerRequest) -> None:
    replicas.tick()
""",
    ),
}
_HOST: Final = {
    "version": "2.0",
    "extensionBundle": {"id": "Microsoft.Azure.Functions.ExtensionBundle", "version": "[4.*, 5.0.0)"},
}
_SOURCES: Final[dict[Platform, tuple[str, str]]] = {
    "aws-lambda": ("strongroom_rotation.py", _LAMBDA),
    "google": ("main.py", _GOOGLE),
    "azure": ("function_app.py", _AZURE),
}


def entry(
    platform: Platform,
    rotator: str | None,
    *,
    configured: bool,
    requirements: Sequence[str],
    replicated: bool = False,
) -> Files:
    """The module, and what its platform wants beside it.

    Args:
        platform: whose function.
        rotator: what rotates the secrets that no configuration names; AWS's function takes one.
        configured: whether a strongroom.toml lies beside it.
        requirements: what the platform installs when it deploys.
        replicated: whether that configuration has replicas, which another function of the zip brings up.
    """
    path, source = _SOURCES[platform]
    more = _replicating(platform) if replicated else ""
    files = {path: _module(source + more, rotator, configured=configured).encode()}
    if platform != "aws-lambda":
        files["requirements.txt"] = "".join(f"{line}\n" for line in requirements).encode()
    if platform == "azure":
        files["host.json"] = json.dumps(_HOST, indent=2).encode()
    return files


def _replicating(platform: Platform) -> str:
    name, handlers = _REPLICATE[platform]
    return _REPLICAS.replace("{name}", name).replace("{arguments}", _HERE) + handlers


def _module(source: str, rotator: str | None, *, configured: bool) -> str:
    arguments = ", ".join([*([f"rotator={rotator!r}"] if rotator else []), *([_HERE] if configured else [])])
    imports = "from pathlib import Path\n\n" if configured else ""
    return _HEAD + imports + source.replace("{arguments}", arguments)
