"""What strongroom.toml takes for each scheme is what the scheme's backend reads, and nothing else."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from strongroom import registry
from strongroom.toml.audit import ANCHOR
from strongroom.toml.takes import KEYS, QUEUES, STORES
from tests.pages import ROOT

PACKAGES = {
    "strongroom_aws": ("aws-sm", "aws-ssm", "aws-kms", "sqs"),
    "strongroom_azure": ("azure-kv", "azure-key", "azure-queue"),
    "strongroom_gcp": ("gcp-sm", "gcp-kms", "pubsub"),
    "strongroom_local": ("local", "local-key", "env", "file"),
    "strongroom_pkcs11": ("pkcs11",),
    "strongroom_vault": ("vault", "vault-leased", "vault-pki", "vault-transit"),
}
BUCKET = {"region"}
"""What a place of checkpoints takes beside what a store of AWS's takes."""
HELPERS = {"_text", "_secret", "_option"}
"""Functions of backends that take a setting by its name."""


def declared(package: str) -> set[str]:
    places = (STORES, KEYS, QUEUES)
    tables = [takes[scheme] for takes in places for scheme in PACKAGES[package] if scheme in takes]
    buckets = BUCKET & set(ANCHOR.keys) if package == "strongroom_aws" else set[str]()
    return {name for table in tables for name in (*table.auth, *table.options)} | buckets


def trees(package: str) -> Iterator[ast.AST]:
    for path in sorted((ROOT / "backends" / package).rglob("*.py")):
        yield from ast.walk(ast.parse(path.read_text()))


def read(node: ast.AST) -> Iterator[str]:
    """What a piece of code takes by name, as `auth["x"]`, `options.get("x")` or `_text(auth, "x")`."""
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load) and _is_settings(node.value):
        yield from _literals([node.slice])
    elif (
        isinstance(node, ast.Compare)
        and isinstance(node.ops[0], ast.In)
        and _is_settings(node.comparators[0])
    ):
        yield from _literals([node.left])
    elif isinstance(node, ast.Call):
        named = isinstance(node.func, ast.Name) and node.func.id in HELPERS
        got = (
            isinstance(node.func, ast.Attribute) and node.func.attr == "get" and _is_settings(node.func.value)
        )
        yield from _literals(node.args[: 1 if got else 3]) if got or named else ()


def _is_settings(node: ast.AST) -> bool:
    return ast.unparse(node) in {"auth", "options", "settings.auth", "settings.options"}


def _literals(nodes: list[ast.expr]) -> Iterator[str]:
    yield from (
        node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )


@pytest.mark.parametrize("package", PACKAGES)
def test_what_a_backend_reads_is_declared(package: str) -> None:
    """Or nobody could set it."""
    found = {name for node in trees(package) for name in read(node)}
    assert found <= declared(package)
    assert found or package == "strongroom_local"


@pytest.mark.parametrize("package", PACKAGES)
def test_what_is_declared_is_read(package: str) -> None:
    """Or whoever sets it would believe that it did something."""
    texts = {n.value for n in trees(package) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    assert declared(package) <= texts


def test_every_scheme_is_declared() -> None:
    """The built-in ones: others judge for themselves."""
    assert set(STORES) == set(registry._BUILT_IN)
    assert set(KEYS) == set(registry.key_schemes())
    assert set(QUEUES) == set(registry.queue_schemes())
    assert {scheme for package in PACKAGES.values() for scheme in package} | {"memory"} == {
        *STORES,
        *KEYS,
        *QUEUES,
    }
