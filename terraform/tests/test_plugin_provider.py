"""The provider as a whole: its block, and what none of its blocks may declare."""

from __future__ import annotations

from pathlib import Path

import pytest

from strongroom_terraform.problems import ProblemError
from strongroom_terraform.provider import configure, provider
from strongroom_terraform.schema import UNKNOWN, Attribute, Schema, Values
from tests.canary import CANARY, assert_no_canary, plaintext

TOML = """
default = "here"
[store]
here = { url = "memory:" }
[profile.eu.store]
here = { url = "memory:" }
"""


@pytest.fixture(autouse=True)
def _no_ambient_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("STRONGROOM_CONFIG", "STRONGROOM_PROFILE"):
        monkeypatch.delenv(name, raising=False)


def said(**values: str | object) -> Values:
    """A provider block."""
    return {"config": None, "profile": None} | values  # type: ignore[return-value]


def test_the_file_is_looked_up_as_the_command_line_does(tmp_path: Path) -> None:
    """Beside the configuration, or as the block names it; without any, stores are named by URL."""
    assert configure(said()).config == configure(said()).config
    (tmp_path / "strongroom.toml").write_text(TOML)
    found = configure(said()).config
    assert found
    assert found.default == "here"
    (tmp_path / "strongroom.toml").rename(tmp_path / "other.toml")
    named = configure(said(config="other.toml", profile="eu")).config
    assert named
    assert named.profile == "eu"


@pytest.mark.parametrize(
    ("block", "path"),
    [
        ({"config": "missing.toml"}, ("config",)),
        ({"config": UNKNOWN}, ("config",)),
        ({"profile": UNKNOWN}, ("profile",)),
        ({"profile": "nowhere"}, ("profile",)),
    ],
)
def test_what_is_wrong_with_the_block_is_said_at_its_attribute(
    block: dict[str, object], path: tuple[str, ...]
) -> None:
    """Before any store is opened."""
    with pytest.raises(ProblemError) as raised:
        configure(said(**block))
    assert raised.value.diagnostics[0].path == path


def test_a_file_that_is_wrong_is_named_and_not_quoted(tmp_path: Path) -> None:
    """A password that somebody wrote into it stays in it."""
    bad = plaintext(tmp_path / "bad.toml", "a person's mistake")
    bad.write_text(f'[store]\nx = {{ url = "memory:", pasword = "{CANARY}" }}\n')
    with pytest.raises(ProblemError) as raised:
        configure(said(config="bad.toml"))
    assert "bad.toml" in str(raised.value)
    assert_no_canary(str(raised.value))


def _schemas() -> list[tuple[str, Schema]]:
    ours = provider()
    return [(each.name, each.schema) for each in (*ours.resources, *ours.data_sources)]


@pytest.mark.parametrize(("name", "schema"), _schemas(), ids=[name for name, _ in _schemas()])
def test_what_stands_in_state_has_no_attribute_for_a_value(name: str, schema: Schema) -> None:
    """A sensitive attribute is in state in clear: what resources take is write-only; they tell nothing."""
    assert not [at for at, each in schema.attributes.items() if each.sensitive]
    assert all(not each.write_only or not each.computed for each in schema.attributes.values()), name


def _attributes() -> list[tuple[str, Attribute]]:
    ours = provider()
    blocks = (*ours.resources, *ours.data_sources, *ours.ephemerals)
    return [(f"{b.name}.{at}", each) for b in blocks for at, each in b.schema.attributes.items()]


@pytest.mark.parametrize(("at", "attribute"), _attributes(), ids=[at for at, _ in _attributes()])
def test_each_attribute_is_one_that_terraform_takes(at: str, attribute: Attribute) -> None:
    """Terraform refuses a schema of others only when a configuration uses it."""
    assert attribute.required or attribute.optional or attribute.computed, at
    assert not (attribute.required and (attribute.optional or attribute.computed))
    assert not (attribute.write_only and attribute.replace)
    assert attribute.description.endswith(".")


def test_every_block_is_named_as_ours() -> None:
    """Terraform finds the provider of a block by the first word of its name."""
    ours = provider()
    for block in (*ours.resources, *ours.data_sources, *ours.ephemerals):
        assert block.name.startswith("strongroom_")
        assert block.schema.description.endswith(".")
