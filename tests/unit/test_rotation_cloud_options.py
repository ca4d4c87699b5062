"""What strongroom.toml says of rotators of cloud and API credentials."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

from strongroom.config import Config
from strongroom.rotation.functions.contents import needs
from strongroom.rotation.rotators.names import rotator_class
from strongroom.rotations import rotations

PAGE = Path(__file__).parents[2] / "docs" / "rotation-cloud-and-api.md"
LABELS = {
    "aws": "aws-iam",
    "approle": "vault-approle",
    "certificate": "vault-pki",
    "database": "vault-database",
    "exchange": "http-api-key",
}


@pytest.fixture
def documented(tmp_path: Path) -> Config:
    found = re.search(r"<!-- test: toml rotations -->\n```toml\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert found
    file = tmp_path / "strongroom.toml"
    file.write_text(found[1].replace("/var/lib/app", str(tmp_path)))
    return Config.load(file)


def test_the_documented_configuration_opens(documented: Config) -> None:
    """Every rotator of the page is made from its options, and no credential is asked for."""
    with rotations(documented) as opened:
        made = {policy.label: type(policy.rotator) for policy in opened.policies}
    assert made == {label: rotator_class(name) for label, name in LABELS.items()}


def test_a_function_gets_what_these_rotators_stand_on(documented: Config) -> None:
    """The backends' packages, and the drivers: of the database engine's password PostgreSQL's too."""
    packages, extras = needs({}, documented)
    assert packages == {"strongroom_aws", "strongroom_vault"}
    assert extras == {"aws", "vault", "psycopg", "rotation"}


@pytest.mark.parametrize("name", LABELS.values())
def test_every_option_is_documented_where_it_is_declared(name: str) -> None:
    """In the docstring of the class, which is where a reader of strongroom.toml is sent."""
    found = rotator_class(name)
    text = inspect.getdoc(found) or ""
    options = [p.name for p in inspect.signature(found).parameters.values() if p.kind is p.KEYWORD_ONLY]
    assert [option for option in options if not re.search(rf"\b{option}\b", text)] == []
