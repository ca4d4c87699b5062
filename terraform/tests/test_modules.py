"""Every module and example: in form, valid, tested, and described as it is."""

from __future__ import annotations

import functools
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from terraform.tests.attached import attached
from terraform.tests.conftest import each
from terraform.tests.readme import MODULES, declared, modules, written_anew
from terraform.tests.schemas import packages
from terraform.tests.tools import TERRAFORMS, Program, Result, Terraform, any_terraform
from tests.scale import NIGHTLY, by_day

HERE = MODULES.parent
EXAMPLES = sorted({path.parent for path in (HERE / "examples").glob("*/*.tf")})
# By day two are only validated: Vault's is applied to a real server beside, and Azure's is as Google's.
TESTED = by_day(
    "modules whose own tests run",
    [module for module in modules() if list(module.glob("tests/*.tftest.hcl"))],
    lambda module: not module.name.startswith(("vault", "azure")),
)
PAGE = HERE.parent / "docs" / "terraform.md"
_SKIP = re.compile(r"checkov:skip=(\w+):?(.*)")
_OVERRIDDEN = "Provider development overrides are in effect"
# What would bring a value into state, beside the write-only argument of the same resource.
_STORED = re.compile(
    r"^  (secret_string|secret_binary|secret_data|data_json|password|master_password) +=", re.MULTILINE
)


def _name(folder: Path) -> str:
    return str(folder.relative_to(HERE)).replace("/modules/", "/")


@pytest.fixture(scope="module")
def copied() -> Iterator[Path]:
    """A copy of modules and examples: `init` writes beside the configuration."""
    with tempfile.TemporaryDirectory(prefix="tf") as folder:
        for part in ("modules", "examples"):
            shutil.copytree(HERE / part, Path(folder, part), ignore=shutil.ignore_patterns(".terraform*"))
        yield Path(folder)


@pytest.fixture(params=each(TERRAFORMS if NIGHTLY else (any_terraform(),)), scope="module")
def program(request: pytest.FixtureRequest) -> Program:
    """By night each Terraform of this machine, by day one."""
    program: Program = request.param
    return program


@pytest.fixture(params=["stand-in", "real"] if NIGHTLY else ["stand-in"], scope="module")
def real(request: pytest.FixtureRequest) -> Path | None:
    """By night the real AWS provider as well; by day its schema does, and the end to end test has it."""
    return request.getfixturevalue("aws_provider") if request.param == "real" else None


@pytest.fixture(scope="module")
def standing_in(real: Path | None) -> Iterator[dict[str, str]]:
    """The stand-ins, each started once: Terraform would start them anew for every step."""
    with ExitStack() as stack:
        names = [name for name in packages() if name != "aws" or real is None]
        said = [stack.enter_context(attached("terraform.tests.attached", name)) for name in names]
        together = {address: where for line in said for address, where in json.loads(line).items()}
        yield {"TF_REATTACH_PROVIDERS": json.dumps(together)}


@pytest.fixture(scope="module")
def run(
    program: Program,
    real: Path | None,
    standins: Path,
    strongroom_provider: dict[str, Path],
    standing_in: dict[str, str],
) -> Callable[..., Result]:
    """Terraform with all of them."""
    terraform = Terraform(program, strongroom_provider, [standins, real] if real else [standins])
    return functools.partial(terraform.run, env=standing_in)


@pytest.mark.parametrize("program", each(TERRAFORMS), indirect=True)
def test_every_file_has_the_form_that_fmt_gives(program: Program) -> None:
    """`terraform fmt -check` finds nothing to change."""
    said = Terraform(program).run(HERE, "fmt", "-check", "-recursive", "-diff", check=False)
    assert said.code == 0, said.stdout


def test_everything_that_no_other_test_runs_is_valid(copied: Path, run: Callable[..., Result]) -> None:
    """`terraform validate` has neither error nor warning; by night for what other tests run, too."""
    (copied / "main.tf").write_text(_of_the_page())
    for place in (copied, *(copied / folder.relative_to(HERE) for folder in _validated())):
        run(place, "init", "-backend=false", "-no-color")
        said = json.loads(run(place, "validate", "-json", check=False).stdout)
        assert [one for one in said["diagnostics"] if one["summary"] != _OVERRIDDEN] == [], place


def _of_the_page() -> str:
    found = re.search(
        r"<!-- test: terraform module -->\n```hcl\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL
    )
    assert found
    return found[1]


def _validated() -> list[Path]:
    """A module's test loads its submodules, and an example is run by the test that names it."""
    if NIGHTLY:
        return [*modules(), *EXAMPLES]
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    untested = {path for path in MODULES.iterdir() if path not in TESTED}
    return sorted(untested | {path for path in EXAMPLES if f'"{path.name}"' not in tests})


@pytest.mark.parametrize("folder", TESTED, ids=_name)
def test_its_own_tests_pass(folder: Path, copied: Path, run: Callable[..., Result]) -> None:
    """`terraform test` with mocked providers passes."""
    place = copied / folder.relative_to(HERE)
    run(place, "init", "-backend=false", "-no-color")
    said = run(place, "test", "-no-color", check=False)
    assert said.code == 0, said.text
    assert re.search(r"[1-9]\d* passed, 0 failed", said.text), said.text


@pytest.mark.parametrize("folder", modules(), ids=_name)
def test_its_readme_says_what_it_takes_and_gives(folder: Path) -> None:
    """The tables are those that `python -m terraform.tests.readme` writes."""
    readme = (folder / "README.md").read_text()
    assert readme == written_anew(readme, folder)


@pytest.mark.parametrize("folder", modules(), ids=_name)
def test_no_value_can_reach_its_state(folder: Path) -> None:
    """Terraform 1.11 is required, values are ephemeral variables, and only write-only arguments take them."""
    text = "\n".join(path.read_text() for path in folder.glob("*.tf"))
    assert re.search(r'required_version = ">= 1\.11', text)
    assert not _STORED.search(text)
    assert not re.search(r"^ephemeral ", text, re.MULTILINE), "mocked providers have no ephemeral blocks"
    for one in declared(folder):
        if one.kind == "variable" and one.name == "values":
            assert one.arguments["ephemeral"] == one.arguments["sensitive"] == "true"


def test_what_checkov_may_not_check_says_why() -> None:
    """`make lint` runs checkov: every check that is skipped has its reason in the same line."""
    for path in HERE.rglob("*.tf"):
        for check, reason in _SKIP.findall(path.read_text()):
            assert len(reason.split()) >= 2, f"{path.relative_to(HERE)}: {check} is skipped without a reason"
