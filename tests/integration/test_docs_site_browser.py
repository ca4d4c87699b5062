"""The site of the documents in a real browser, opened from the disk: all by night, a few pages by day."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from tests.pages import ROOT
from tests.scale import by_day

_FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run")
_DAY = {"index", "cache", "commands", "audit", "audit-proof", "decisions/README"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, made as `make docs` makes it; by night a warning is an error, as there."""
    pages = sorted(
        str(page.relative_to(ROOT / "docs").with_suffix("")) for page in (ROOT / "docs").rglob("*.md")
    )
    kept = by_day("pages of the documents' site", pages, _DAY.__contains__)
    some = ["-D", "include_patterns=" + ",".join(f"docs/{page}.md" for page in kept), "-Q"]
    made = tmp_path_factory.mktemp("site")
    how = ["-W", "--keep-going", "-q"] if kept == pages else some
    command = [
        "-m",
        "sphinx",
        "-E",
        "-n",
        "-c",
        "docs",
        "-d",
        str(made / "trees"),
        *how,
        ".",
        str(made / "html"),
    ]
    done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return made / "html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """A browser that tells of each request and each complaint."""
    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if not all(programs):
        pytest.skip("Chromium is not installed (apt-get install chromium chromium-driver)")
    home = tmp_path_factory.mktemp("browser")
    options = webdriver.ChromeOptions()
    options.binary_location = str(programs[0])
    for flag in (*_FLAGS, f"--user-data-dir={home / 'profile'}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    service = Service(str(programs[1]), env={**os.environ, "HOME": str(home)})
    driver = webdriver.Chrome(options=options, service=service)
    try:
        driver.get("about:blank")
        _asked(driver)  # what its own first page loads from itself
        yield driver
    finally:
        driver.quit()


def _asked(browser: webdriver.Chrome) -> list[str]:
    """The addresses of all requests since the last time."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [message["params"] for message in messages if message["method"] == "Network.requestWillBeSent"]
    return [request["request"]["url"] for request in sent]


def test_the_folder_opens_at_the_first_page(browser: webdriver.Chrome, site: Path) -> None:
    """Its style is there, nothing complains, and nothing is asked of any host."""
    browser.get((site / "index.html").as_uri())
    WebDriverWait(browser, 20).until(lambda found: found.current_url.endswith("/docs/index.html"))
    assert browser.find_element(By.TAG_NAME, "h1").text.startswith("Strongroom")
    assert browser.find_elements(By.LINK_TEXT, "The cache")
    assert browser.get_log("browser") == []
    asked = _asked(browser)
    assert any(url.endswith(".css") or ".css?" in url for url in asked)
    assert [url for url in asked if not url.startswith(("file://", "data:"))] == []


def test_the_search_finds_a_page(browser: webdriver.Chrome, site: Path) -> None:
    """Without a server and without the network; what it found leads there."""
    browser.get(f"{(site / 'search.html').as_uri()}?q=stale")
    wait = WebDriverWait(browser, 20)
    [found] = wait.until(
        lambda page: [
            link
            for link in page.find_elements(By.CSS_SELECTOR, "#search-results a")
            if link.text == "The cache"
        ]
    )
    browser.execute_script("arguments[0].click()", found)  # results still glide in below a finger
    wait.until(lambda found: "/docs/cache.html" in found.current_url)
    assert browser.find_element(By.TAG_NAME, "h1").text.startswith("The cache")
    assert browser.get_log("browser") == []
    assert [url for url in _asked(browser) if not url.startswith(("file://", "data:"))] == []


def test_what_is_made_from_the_program_is_there(site: Path) -> None:
    """The commands; and below a page what its name says."""
    assert "--max-age DAYS" in (site / "docs" / "commands.html").read_text()
    audit = (site / "docs" / "audit.html").read_text()
    assert re.search(r'class="toctree-l2"><a [^>]*href="audit-proof.html"', audit)


def test_no_page_names_another_host_for_what_it_loads(site: Path) -> None:
    """Neither a script, nor a style, a font or a picture: links are for the reader to follow."""
    loading = re.compile(r"""<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)=["'](?:https?:)?//""")
    pages = [page for page in site.rglob("*.html") if loading.search(page.read_text())]
    styles = [
        style for style in site.rglob("*.css") if re.search(r"url\([\"']?(?:https?:)?//", style.read_text())
    ]
    assert [*pages, *styles] == []
