"""moto's Parameter Store with the rules that AWS states and moto leaves out; the lies that stay are pinned in
`tests/unit/test_moto_ssm_lies.py`.

Sources: botocore's API model of ssm 2014-11-06, shapes as named beside each rule.
"""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Callable
from typing import Any

_PUTTING = threading.Lock()  # moto looks whether there is one and then appends, in threads
_SIZES = {"Standard": 4096, "Advanced": 8192, "Intelligent-Tiering": 8192}
_ARGUMENTS = (
    "name", "description", "value", "parameter_type", "allowed_pattern", "keyid", "overwrite", "tags",
    "data_type",
)  # fmt: skip
_NAME = re.compile(r"[a-zA-Z0-9_./-]+")


def _refusal(found: dict[str, Any], request: dict[str, Any]) -> tuple[str, str] | None:
    """Why AWS refuses a PutParameter, as code and message; `found` is the newest version or empty."""
    name, value = request["name"], request["value"] or ""
    tier = request["tier"] or found.get("tier") or "Standard"
    rules = (
        (not _NAME.fullmatch(name), "ValidationException"),  # PutParameterRequest: Name
        (name.count("/") > 15, "HierarchyLevelLimitExceededException"),  # the shape of that name
        ("{{" in value, "ValidationException"),  # PutParameterRequest: Value
        (len(value.encode()) > _SIZES[tier], "ValidationException"),  # PutParameterRequest: Tier
        (_changes(found, request["parameter_type"]), "HierarchyTypeMismatchException"),  # of that name
        (found.get("tier") == "Advanced" and tier == "Standard", "ValidationException"),  # Request: Tier
    )
    return next(((code, "refused by a stated rule") for broken, code in rules if broken), None)


def _newest(parameters: Any, name: str) -> dict[str, Any]:
    versions = parameters.get(parameters.normalize_name(name))
    return vars(versions[-1]) if versions else {}


def _changes(found: dict[str, Any], wanted: str | None) -> bool:
    return bool(found and wanted and found["parameter_type"] != wanted)


def _strict(put: Callable[..., Any]) -> Callable[..., Any]:
    from moto.ssm.exceptions import SSMException

    @functools.wraps(put)
    def checked(self: Any, *args: Any, tier: str | None, policies: str | None) -> Any:
        request = dict(zip(_ARGUMENTS, args, strict=True), tier=tier)
        with _PUTTING:
            found = _newest(self._parameters, request["name"])
            if found and not request["overwrite"]:
                return put(self, *args, tier=tier, policies=policies)
            if refusal := _refusal(found, request):
                raise SSMException(*refusal)
            if request["parameter_type"] == "SecureString" and not request["keyid"]:
                # PutParameterRequest: KeyId, "If you don't specify a key ID, the system uses the default key"
                request["keyid"] = "alias/aws/ssm"
            return put(self, *(request[name] for name in _ARGUMENTS), tier=tier, policies=policies)

    return checked


def _of_existing(label: Callable[..., Any]) -> Callable[..., Any]:
    """Labelling what is missing leaves an empty history in moto, on which every later read fails."""
    from moto.ssm.exceptions import ParameterNotFound

    @functools.wraps(label)
    def checked(self: Any, name: str, *args: Any) -> Any:
        if name not in self._parameters:
            raise ParameterNotFound(f"Parameter {name} not found.")
        return label(self, name, *args)

    return checked


def mend() -> None:
    """Patch moto in this process."""
    from moto.ssm import models

    backend: Any = models.SimpleSystemManagerBackend
    backend.put_parameter = _strict(backend.put_parameter)
    for name in ("label_parameter_version", "unlabel_parameter_version"):
        setattr(backend, name, _of_existing(getattr(backend, name)))
