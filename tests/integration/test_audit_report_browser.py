"""The report in a real browser: opened from a file, looked at, clicked, on a desk and on a phone."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select

from strongroom.cli.main import cli
from tests.scale import NIGHTLY
from tests.unit.report_support import HOSTILE, fortnight

_FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run")


class Page:
    """The report as the browser has it."""

    def __init__(self, driver: webdriver.Chrome, file: Path):
        self.driver, self.file = driver, file

    def open(self, width: int = 1280, *, dark: bool = False, script: bool = True) -> None:
        """Open it anew, in a window so wide."""
        phone = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        media = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": media})
        self.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not script})
        self.driver.get("about:blank")
        self.driver.get(self.file.as_uri())

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def each(self, selector: str, what: str) -> list[Any]:
        """Of every element that fits the selector, in one question."""
        found: list[Any] = self.driver.execute_script(
            f"return [...document.querySelectorAll(arguments[0])].map((e) => {what})", selector
        )
        return found

    def shown(self, selector: str) -> list[str]:
        """The texts of those that can be seen."""
        texts = self.each(selector, "e.checkVisibility() ? e.innerText : null")
        return [text for text in texts if text is not None]

    def tap(self, selector: str) -> None:
        """Where a finger would: in the middle of the window, not under an edge."""
        found = self.one(selector)
        self.driver.execute_script(
            "arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", found
        )
        found.click()

    def measure(self, script: str) -> Any:
        return self.driver.execute_script(f"return {script}")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A browser with the report of a fortnight, with names that would be markup."""
    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if not all(programs):
        pytest.skip("Chromium is not installed (apt-get install chromium chromium-driver)")
    folder = tmp_path_factory.mktemp("report")
    made = fortnight(folder, per_day=12, names=HOSTILE)
    arguments = ["audit", "report", made.path, "--key", made.key, "--anchor", made.anchor, "--open-actors"]
    done = CliRunner().invoke(cli, [*map(str, arguments), "-q", "-o", str(folder / "r.html")])
    assert done.exit_code == 0, done.output
    options = webdriver.ChromeOptions()
    options.binary_location = str(programs[0])
    for flag in (*_FLAGS, f"--user-data-dir={folder / 'profile'}"):
        options.add_argument(flag)
    # As a console's, the log tells what the page's policy refused and what its script threw.
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = Service(str(programs[1]), env={**os.environ, "HOME": str(folder)})
    driver = webdriver.Chrome(options=options, service=service)
    try:
        yield Page(driver, folder / "r.html")
    finally:
        driver.quit()


def test_it_opens_without_a_complaint_and_loads_nothing(report: Page) -> None:
    """No refusal of the policy, no error of the script, no request but for the file itself."""
    report.open()
    assert report.driver.title == "Audit report \u00b7 audit.example.com/prod"
    assert report.driver.get_log("browser") == []
    assert report.measure("performance.getEntriesByType('resource').length") == 0
    assert report.one(".verdict strong").text == "Proved"


def test_no_name_ran_as_a_script(report: Page) -> None:
    """They are there as text, each as it would be typed."""
    report.open()
    assert report.measure("document.scripts.length") == 1
    names = set(report.each("#secrets summary .name", "e.textContent"))
    assert {HOSTILE[0], HOSTILE[1], HOSTILE[3]} <= names
    assert r"a\u000d\u000ab\u202egnp.exe\u0000\u2028" in names
    assert report.measure("document.title").startswith("Audit report")


def test_the_policy_refuses_what_is_put_in_later(report: Page) -> None:
    """A script, a handler, a picture, a request, a style: had one got in, it would do nothing."""
    report.open()
    report.measure(
        """(() => {
        const script = document.createElement('script');
        script.textContent = "document.title = 'owned'";
        document.body.append(script);
        document.body.insertAdjacentHTML('beforeend',
            '<b onclick="document.title = 1" style="color: red">x</b><img src="http://127.0.0.1:9/x">');
        document.body.lastElementChild.previousElementSibling.click();
        return fetch('http://127.0.0.1:9/').catch(() => 0);
    })()"""
    )
    assert report.driver.title.startswith("Audit report")
    said = " ".join(entry["message"] for entry in report.driver.get_log("browser"))
    for directive in ("script-src", "style-src", "img-src", "connect-src"):
        assert directive in said


@pytest.mark.parametrize("width", [320, 390, 768, 1280] if NIGHTLY else [320, 1280])
def test_it_fits_every_width(report: Page, width: int) -> None:
    """Nothing scrolls sideways, with everything open; text is large enough, fields do not zoom a phone."""
    report.open(width)
    report.measure("document.querySelectorAll('details').forEach((item) => { item.open = true; })")
    report.measure("document.querySelectorAll('.all').forEach((button) => button.click())")
    assert report.measure("document.documentElement.scrollWidth") <= width
    beyond = f"(e) => e.getBoundingClientRect().right > {width + 1}"
    assert report.measure(f"[...document.querySelectorAll('main *')].filter({beyond}).length") == 0
    small = "(e) => parseFloat(getComputedStyle(e).fontSize) < 12"
    assert report.measure(f"[...document.querySelectorAll('body *')].filter({small}).length") == 0
    if width < 600:
        assert report.measure("getComputedStyle(document.querySelector('input')).fontSize") == "16px"


def test_it_is_dark_at_night(report: Page) -> None:
    """And light by day; its text stands out from what is below it (WCAG 2.2: 4.5 to 1) in both."""
    worst = """(() => {
        const channel = (value) => (value /= 255) <= .04045 ? value / 12.92 : ((value + .055) / 1.055) ** 2.4;
        const light = (rgb) => .2126 * channel(rgb[0]) + .7152 * channel(rgb[1]) + .0722 * channel(rgb[2]);
        const parse = (text) => text.match(/[\\d.]+/g).map(Number);
        const below = (e) => {
            for (; e; e = e.parentElement) {
                const rgb = parse(getComputedStyle(e).backgroundColor);
                if (rgb.length < 4 || rgb[3] > 0) return rgb;
            }
            return [255, 255, 255];
        };
        const ratio = (e) => {
            const both = [light(parse(getComputedStyle(e).color)), light(below(e))].sort((a, b) => b - a);
            return (both[0] + .05) / (both[1] + .05);
        };
        const text = (node) => node.nodeType === 3 && node.data.trim();
        const all = [...document.querySelectorAll('body *:not(script)')];
        const texts = all.filter((e) => [...e.childNodes].some(text));
        return Math.min(...texts.map(ratio));
    })()"""
    for dark in (False, True):
        report.open(dark=dark)
        page = report.measure("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, page[4:-1].split(", "))) < 100) == dark
        assert report.measure(worst) >= 4.5


def test_a_bar_tells_what_it_shows(report: Page) -> None:
    """Pointed at, and by arrow keys; the night of refusals has its failures told."""
    report.open()
    readout = report.one("#time .readout")
    assert readout.text == "Each bar is 6 hours, UTC. Point at one."
    told = report.each("#time [data-told]", "e.dataset.told")
    [night] = [at for at, text in enumerate(told) if "14 failures" in text]
    report.tap(f"#time g:nth-of-type({night + 1})")
    assert readout.text == told[night]
    chart = report.one("#time .chart")
    chart.send_keys(Keys.ARROW_RIGHT)
    assert readout.text == told[night + 1]
    chart.send_keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    assert readout.text == told[night - 1]
    report.tap("#week .row:nth-child(5) .cell:nth-child(4)")
    assert report.one("#week .readout").text.startswith("Fri, 02:00\u201303:00: 1")


def test_a_kind_is_switched_off_and_on(report: Page) -> None:
    """The bars of it go, and the button says so to who cannot see."""
    report.open()
    button = report.one("[data-kind=failure]")
    shown = "e.checkVisibility()"
    assert set(report.each("#time rect.failure", shown)) == {True}
    button.click()
    assert set(report.each("#time rect.failure", shown)) == {False}
    assert set(report.each("#time rect.read", shown)) == {True}
    assert button.get_attribute("aria-pressed") == "false"
    button.click()
    assert set(report.each("#time rect.failure", shown)) == {True}


def test_a_secret_is_found_sorted_and_opened(report: Page) -> None:
    """On a phone."""
    report.open(390)
    rows = "#secrets .item .name"
    assert len(report.shown(rows)) == 10
    report.tap("#secrets .all")
    assert len(report.shown(rows)) > 20
    report.one("#secrets input").send_keys("COLD-0")
    assert len(report.shown(rows)) == 10
    report.one("#secrets input").send_keys("x")
    assert (report.shown(rows), report.shown("#secrets .none")) == ([], ["No match."])
    report.one("#secrets input").send_keys(Keys.BACKSPACE * 7)
    Select(report.one("#secrets select")).select_by_value("name")
    names = report.each("#secrets .item", "e.dataset.name")
    assert names == sorted(names)
    report.one("#secrets input").send_keys("exchange/kraken")
    report.tap("#secrets .item[data-name='exchange/kraken'] summary")
    assert "arn:aws:iam::111122223333:role/trading" in " ".join(report.shown("#secrets .inner"))


def test_a_figure_leads_to_its_part(report: Page) -> None:
    """And what can be opened there opens."""
    report.open(390)
    report.tap(".tile[href='#detections']")
    assert report.driver.current_url.endswith("#detections")
    report.tap("#detections .item:nth-of-type(2) summary")
    [inner] = report.shown("#detections .inner")
    assert "denied-burst" in inner
    assert "abababab:7, abababab:8" in inner
    report.tap("#failures .item summary")
    assert len(report.shown("#failures .entry")) >= 14


def test_without_its_script_it_is_still_whole(report: Page) -> None:
    """What can be opened opens, and no list is cut."""
    report.open(script=False)
    try:
        assert len(report.driver.find_elements(By.CSS_SELECTOR, "#secrets .item")) > 20
        report.tap("#secrets .item summary")
        assert "Last" in report.one("#secrets .item .inner").text
        assert not report.one("#secrets .all").is_displayed()
    finally:
        report.open()
