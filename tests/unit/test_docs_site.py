"""What the site of the documents adds to its pages, without building it (`make docs` does)."""

from __future__ import annotations

import re

import strongroom
from docs import sitepages
from tests.pages import ROOT

INDEX = (ROOT / "docs" / "index.md").read_text()
PAGES = {
    str(path.relative_to(ROOT).with_suffix(""))
    for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "terraform").rglob("README.md"))
    if ".terraform" not in path.parts
}


def test_every_page_has_one_place() -> None:
    """The index and what stands below its pages hold each page once, whoever added it."""
    placed = [
        entry
        for page in sorted(PAGES)
        for entry in re.findall(r"^(?:.* <)?/(\S+?)>?$", sitepages.toctrees(page, INDEX, PAGES), re.MULTILINE)
    ]
    assert sorted(placed) == sorted(PAGES - {sitepages.INDEX})


def test_a_page_stands_below_what_its_name_or_folder_says() -> None:
    """A page of a name, a decision, a module's module, a page of a folder; others below the index."""
    pages = {
        "docs/audit",
        "docs/audit-proof",
        "docs/audit-proof-deep",
        "docs/jobs/index",
        "docs/jobs/auditor",
        "docs/decisions/README",
        "docs/decisions/0001-one",
        "terraform/modules/aws/README",
        "terraform/modules/aws/modules/kms/README",
        "docs/two-words",
    }
    assert {page: sitepages.parent(page, pages) for page in pages} == {
        "docs/audit": "docs/index",
        "docs/audit-proof": "docs/audit",
        "docs/audit-proof-deep": "docs/audit-proof",
        "docs/jobs/index": "docs/index",
        "docs/jobs/auditor": "docs/jobs/index",
        "docs/decisions/README": "docs/index",
        "docs/decisions/0001-one": "docs/decisions/README",
        "terraform/modules/aws/README": "docs/terraform",
        "terraform/modules/aws/modules/kms/README": "terraform/modules/aws/README",
        "docs/two-words": "docs/index",
    }


def test_a_page_that_nobody_listed_is_in_the_site() -> None:
    """Below "More"."""
    added = sitepages.toctrees(
        sitepages.INDEX, "## Use\n\n- [The guide](guide.md): x\n", {"docs/guide", "docs/new"}
    )
    assert added.index(":caption: Use") < added.index("The guide </docs/guide>")
    assert added.index(":caption: More") < added.index("/docs/new\n")


def test_the_reference_has_every_public_name_once() -> None:
    """What `import strongroom` gives, and no more."""
    page = (ROOT / "docs" / "api.md").read_text()
    assert sorted(sitepages.named(page)) == sorted(strongroom.__all__)
    made = sitepages.reference(page)
    assert ".. autoclass:: strongroom.SecretStore" in made
    assert ".. autofunction:: strongroom.open" in made
    assert ".. autoexception:: strongroom.UnavailableError" in made
    assert ".. autodata:: strongroom.ABSENT" in made
    assert "<!-- autodoc" not in made


def test_the_list_of_commands_is_the_programs_own() -> None:
    """Groups and what is in them, with their options."""
    made = sitepages.commands()
    headings = re.findall(r"^## (.*)$", made, re.MULTILINE)
    assert {"strongroom", "strongroom get", "strongroom rotation", "strongroom rotation tick"} <= set(
        headings
    )
    assert len(headings) == len(set(headings))
    assert "--max-age DAYS" in made.split("## strongroom check\n")[1].split("\n## ")[0]


def test_a_link_to_a_folder_leads_to_its_page() -> None:
    """As a forge shows it; other links and other texts stay."""
    text = "[a](../terraform/modules/aws-secret-store) [b](guide.md) [c](https://example.com/x) [d](examples)"
    assert sitepages.folders(text, ROOT / "docs") == text.replace("secret-store)", "secret-store/README.md)")
