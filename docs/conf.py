"""The site of the documents: ``make docs``. Why it is made this way: decision 0042."""

from __future__ import annotations

import sys
from importlib.metadata import version as installed
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from docs import sitepages  # noqa: E402  (Sphinx runs this file by itself, from any folder)

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "Strongroom"
version = release = installed("strongroom")
project_copyright = "The Strongroom authors, Apache-2.0"

# The root of the repository is the source, so that a link from docs/ to terraform/ is one in the site too.
root_doc = sitepages.INDEX
include_patterns = ["README.md", "docs/**.md", "terraform/modules/**.md", "terraform/examples/**.md"]
exclude_patterns = [".*", "build", "dist", "src", "backends", "tests", "**/node_modules", "**/.terraform"]
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
# A generated table begins a page with headings of a lower level; Pygments does not know all of HCL.
suppress_warnings = ["myst.header", "misc.highlighting_failure"]
myst_heading_anchors = 6

# Signatures are annotated for mypy, with names that are no pages; what a name means stands in its docstring.
nitpick_ignore_regex = [("py:.*", ".*")]
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
napoleon_google_docstring = True

html_theme = "furo"
html_title = "Strongroom"
html_copy_source = html_show_sphinx = False
# A summary would be fetched, which a browser forbids to a page that was opened from the disk.
html_show_search_summary = False
# Whoever opens the folder finds the first page.
html_additional_pages = {"index": "redirect.html"}
templates_path = ["_templates"]


def _complete(app: Sphinx, page: str, source: list[str]) -> None:
    """Add what a page has in the site alone."""
    if page == "docs/commands":
        source[0] += sitepages.commands()
    source[0] = sitepages.folders(sitepages.reference(source[0]), (ROOT / page).parent)
    index = (ROOT / "docs" / "index.md").read_text()
    source[0] += sitepages.toctrees(page, index, app.env.found_docs)


def setup(app: Sphinx) -> dict[str, Any]:
    """What Sphinx calls."""
    app.connect("source-read", _complete)
    return {"parallel_read_safe": True}
