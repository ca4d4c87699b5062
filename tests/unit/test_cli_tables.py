"""The tables of stores and keys: what classes declare, and what becomes of it on the page and in JSON."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from strongroom import registry
from strongroom.backend import Capability
from strongroom.cli import table
from strongroom.cli.main import cli
from strongroom.errors import BackendNotInstalledError
from strongroom.keys import KeyWrapper, Signer
from tests.unit.cli_support import Cli


def test_every_scheme_has_a_row_without_a_problem() -> None:
    """Stores and keys: all extras are installed where the tests run."""
    assert [row.scheme for row in table.rows() if row.problem] == []
    assert [row.scheme for row in table.key_rows() if row.problem] == []
    assert {row.scheme for row in table.key_rows()} == set(registry.key_schemes())


def test_what_needs_a_coordinator_is_declared_and_marked() -> None:
    """Only where the class has it at all, and never where the provider compares itself."""
    for row in table.rows():
        assert row.needs_coordinator in row.capabilities
    marked = {row.scheme for row in table.rows() if Capability.CAS_GUARDED in row.needs_coordinator}
    assert marked == {"aws-ssm", "azure-kv", "pkcs11"}
    lines = {line.split("`")[1]: line for line in table.markdown().splitlines() if line.startswith("| `")}
    assert {scheme for scheme, line in lines.items() if "✓¹" in line} == marked
    assert {scheme for scheme, line in lines.items() if "✓²" in line} == {"gcp-sm"}


def test_a_class_states_each_way_its_keys_wrap_once() -> None:
    """The default needs no option, the others each have their own; asymmetric ones never authenticate."""
    for row in table.key_rows():
        options = [wrapping.option for wrapping in row.wrappings]
        assert options[0] == ""
        assert all(options[1:])
        assert len(set(options)) == len(options)
        for wrapping in row.wrappings:
            assert wrapping.context in ("authenticated", "bound by digest")
            assert wrapping.symmetric or wrapping.context == "bound by digest"


def test_a_key_class_without_a_word_of_its_own_has_one_row() -> None:
    """What its attributes say."""

    class Plain(KeyWrapper):
        wrap = unwrap = lambda *_: b""  # type: ignore[assignment]
        largest = 512

    assert Plain.wrappings() == (("AES-256-GCM", "authenticated", True, 512, ""),)


def test_signers_sign_what_the_product_knows() -> None:
    """Each class names a part of the algorithms that there are."""
    for scheme in registry.key_schemes():
        signer = registry.signer_class(scheme)
        if signer is not None:
            assert set(signer.ALGORITHMS) <= set(Signer.ALGORITHMS)
            assert "ALGORITHMS" in vars(signer)


def test_a_missing_sdk_is_a_row_of_keys_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to install."""

    def missing(scheme: str) -> type:
        raise BackendNotInstalledError("no SDK", hint="pip install 'strongroom[gcp]'")

    monkeypatch.setattr("strongroom.registry.key_class", missing)
    assert table.key_row("gcp-kms").problem == "pip install 'strongroom[gcp]'"
    assert "strongroom[gcp]" in table.keys_markdown()


def test_the_program_prints_both_tables() -> None:
    """As JSON with every fact, and as columns in which a star marks what a coordinator gives."""
    found = Cli()("backend", "list", "--json").json
    [azure] = [entry for entry in found["keys"] if entry["scheme"] == "azure-key"]
    assert [wrapping["symmetric"] for wrapping in azure["wrappings"]] == [False, True]
    assert azure["installed"]
    assert "ES256K" in azure["signatures"]
    [vault] = [entry for entry in found["backends"] if entry["scheme"] == "azure-kv"]
    assert "cas_guarded" in vault["needs_coordinator"]
    plain = CliRunner().invoke(cli, ["backend", "list"]).stdout
    assert "cas_guarded*" in plain
    assert 'mechanism = "aes-gcm"' in plain
