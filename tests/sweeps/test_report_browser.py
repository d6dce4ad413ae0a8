"""The report in a real browser: it sorts, filters and draws, shows hostile texts as text, and asks no network."""

import json
import shutil
import time

import pytest
from halfulp.sim.sweeps.report import report

from .example_runs import HOSTILE, example_rows, row, stored

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here; apt-get install chromium chromium-driver")
SWITCHES = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--window-size=1200,900",
)  # fmt: skip
EMPTY = "\u2013"
"""What a cell without a value shows."""
TEXTS = """
const rows = [...document.querySelectorAll("#body tr")];
const names = [...document.querySelectorAll("#head th")].map((head) => head.textContent.trim());
return rows.map((row) => Object.fromEntries([...row.children].map((cell, i) => [names[i], cell.textContent])));
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for switch in (*SWITCHES, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(switch)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    example = stored(folder / "runs.sqlite", example_rows(240, steps=30))
    hostile = [
        row(k, {"name": name, "text": text, name: 1}, {}, error=text) for k, (name, text) in enumerate(HOSTILE.items())
    ]
    return {
        "example": report(example, folder / "example.html"),
        "hostile": report(
            stored(folder / "hostile.sqlite", hostile), folder / "hostile.html", title="</title>" + HOSTILE["tag"]
        ),
        "empty": report(stored(folder / "empty.sqlite", []), folder / "empty.html"),
    }


@pytest.fixture
def open_page(browser, pages):
    """Open a page; in the end nothing was logged and nothing but the file was asked for."""

    def opened(name):
        browser.get(pages[name].as_uri())
        return browser

    browser.get("about:blank")
    browser.get_log("browser"), browser.get_log("performance")
    yield opened
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
    assert asked
    assert all(address.startswith(("file:///", "data:", "blob:")) for address in asked)


def count(browser):
    return browser.find_element("id", "count").text


def press(browser, selector):
    """Click through the keyboard: focus, then Enter."""
    element = browser.find_element("css selector", selector)
    browser.execute_script("arguments[0].focus()", element)
    element.send_keys("\ue007")


def head(browser, name):
    found = [each for each in browser.find_elements("css selector", "#head th") if each.text.strip("↑↓ ") == name]
    return found[0]


def field(browser, legend):
    """The fieldset of a column's filter."""
    browser.execute_script("document.getElementById('filters').open = true")
    fields = browser.find_elements("css selector", "#filter-form fieldset")
    return next(each for each in fields if each.find_element("tag name", "legend").text == legend)


def wait_for(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "the page did not change"
        time.sleep(0.02)


def test_pages_of_the_table(open_page):
    browser = open_page("example")
    assert count(browser) == "240 runs"
    first = browser.execute_script(TEXTS)
    assert len(first) == 25
    assert first[0]["format"] == "e1m0"
    assert first[13]["status"] == "failed"
    assert first[13]["test_loss"] == EMPTY
    press(browser, "#next")
    assert browser.execute_script(TEXTS)[0]["format"] == "int2"
    press(browser, "#last")
    assert len(browser.execute_script(TEXTS)) == 15
    assert not browser.find_element("id", "next").is_enabled()
    assert browser.find_element("id", "page").get_property("value") == "10"


def test_sorting(open_page):
    browser = open_page("example")
    for direction, sign in (("ascending", 1), ("descending", -1)):
        head(browser, "test_loss").find_element("tag name", "button").send_keys("\ue007")
        assert head(browser, "test_loss").get_attribute("aria-sort") == direction
        losses = [float(each["test_loss"]) for each in browser.execute_script(TEXTS)]
        assert losses == sorted(losses, key=lambda loss: sign * loss)
    press(browser, "#last")
    assert {each["test_loss"] for each in browser.execute_script(TEXTS)} == {EMPTY}  # empty cells last
    head(browser, "format").find_element("tag name", "button").click()
    head(browser, "format").find_element("tag name", "button").click()
    assert browser.execute_script(TEXTS)[0]["format"] == "int16"


def test_filters(open_page):
    browser = open_page("example")
    field(browser, "format").find_element("tag name", "input").send_keys("e[45]m*")
    wait_for(lambda: count(browser) == "60 of 240 runs")
    assert {each["format"][:2] for each in browser.execute_script(TEXTS)} == {"e4", "e5"}
    choice = field(browser, "learning_rate").find_elements("tag name", "input")
    choice[1].click()
    assert {each["learning_rate"] for each in browser.execute_script(TEXTS)} == {"0.1"}
    ends = field(browser, "test_loss").find_elements("tag name", "input")
    ends[1].send_keys("0.2")
    wait_for(lambda: count(browser) not in ("60 of 240 runs", "20 of 240 runs"))
    shown = browser.execute_script(TEXTS)
    assert shown
    assert all(float(each["test_loss"]) <= 0.2 for each in shown)
    press(browser, "#reset")
    assert count(browser) == "240 runs"
    assert field(browser, "format").find_element("tag name", "input").get_property("value") == ""
    failed = field(browser, "status").find_elements("tag name", "input")[0]
    failed.send_keys(" ")
    assert count(browser) == "5 of 240 runs"


def test_columns_and_a_run_in_full(open_page):
    browser = open_page("example")
    browser.execute_script("document.getElementById('columns').open = true")
    label = next(
        each for each in browser.find_elements("css selector", "#column-choice label") if each.text == "finished"
    )
    label.find_element("tag name", "input").click()
    assert browser.execute_script(TEXTS)[0]["finished"] == "2026-01-01T00:00:00.000Z"
    press(browser, "td button.key")
    dialog = browser.find_element("id", "details")
    assert dialog.get_property("open")
    assert "e1m0" in dialog.text
    assert "learning_rate" in dialog.text
    dialog.send_keys("\ue00c")
    wait_for(lambda: not dialog.get_property("open"))


def test_curves(open_page):
    browser = open_page("example")
    paths = "#chart path"
    assert len(browser.find_elements("css selector", paths)) == 6
    legend = [each.text for each in browser.find_elements("css selector", "#legend li")]
    assert legend[0] == "format e1m0, bits 2, seed 0, learning_rate 0.03"
    assert len(set(legend)) == 6
    browser.find_elements("css selector", "#body td.pick input")[6].click()
    drawn = browser.find_elements("css selector", paths)
    assert len(drawn) == 7
    logarithmic = drawn[0].get_attribute("d")
    assert logarithmic.count("L") == 29
    browser.find_element("id", "log").click()
    assert browser.find_element("css selector", paths).get_attribute("d") != logarithmic
    browser.find_element("id", "unselect").click()
    assert not browser.find_elements("css selector", paths)


def test_hostile_texts(open_page):
    browser = open_page("hostile")
    assert browser.title == "</title>" + HOSTILE["tag"]
    shown = {each["name"]: each["text"] for each in browser.execute_script(TEXTS)}
    assert shown == {name: text[:200] for name, text in HOSTILE.items()}
    assert browser.execute_script("return document.querySelectorAll('img, #body script').length") == 0
    names = [each.get_property("textContent") for each in browser.find_elements("css selector", "#filter-form legend")]
    assert "__proto__" in names
    field(browser, "text").find_element("css selector", "input").send_keys("[!a]*onerror=*")
    wait_for(lambda: count(browser) == "1 of 9 runs")
    press(browser, "td button.key")
    assert HOSTILE["tag"] in browser.find_element("id", "details").text


def test_a_page_without_runs(open_page):
    browser = open_page("empty")
    assert count(browser) == "0 runs"
    assert browser.execute_script(TEXTS) == []
    assert not browser.find_element("id", "next").is_enabled()


def test_narrow_screens_scroll_the_table_only(open_page):
    browser = open_page("example")
    size = {"width": 360, "height": 700, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        widths = "return [document.documentElement.scrollWidth, document.querySelector('.scroll').scrollWidth]"
        page, table = browser.execute_script(widths)
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert page == 360
    assert table > 360
