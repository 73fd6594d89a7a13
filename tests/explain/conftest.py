"""A fixture that opens pages in headless Chromium, if it is installed."""

from __future__ import annotations

import json
import shutil

import pytest

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """Start one browser for all tests; each test opens a page."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    from selenium.webdriver.chrome.service import Service

    browser, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not browser or not driver:
        pytest.skip("no browser; on Debian: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability(
        "goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"}
    )
    chrome = webdriver.Chrome(options=options, service=Service(driver))
    chrome.set_page_load_timeout(30)
    yield chrome
    chrome.quit()


class Page:
    """An open page: its content, and a user's actions."""

    def __init__(self, chrome, path, width):
        self.chrome = chrome
        self.script = chrome.execute_script
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        for log in ("browser", "performance"):
            chrome.get_log(log)  # discard the messages of earlier pages
        chrome.get(path.as_uri())

    def text(self, selector):
        """Return the text of an element."""
        return self.script(
            "return document.querySelector(arguments[0]).textContent", selector
        )

    def texts(self, selector):
        """Return the texts of all matching elements."""
        return self.script(
            "return [...document.querySelectorAll(arguments[0])]"
            ".map((each) => each.textContent)",
            selector,
        )

    def click(self, selector):
        """Click an element."""
        self.script(
            "document.querySelector(arguments[0])"
            ".dispatchEvent(new MouseEvent('click', {bubbles: true}))",
            selector,
        )

    def press(self, *keys):
        """Press keys in the focused element."""
        from selenium.webdriver import ActionChains

        ActionChains(self.chrome).send_keys(*keys).perform()

    def set(self, selector, value):
        """Move a slider, or enter a number."""
        self.script(
            "const input = document.querySelector(arguments[0]);"
            "input.value = arguments[1];"
            "input.dispatchEvent(new Event('input', {bubbles: true}))",
            selector,
            str(value),
        )

    def complaints(self):
        """Return the messages of the browser's console."""
        return [entry["message"] for entry in self.chrome.get_log("browser")]

    def requests(self):
        """Return the requested addresses."""
        messages = [
            json.loads(entry["message"])["message"]
            for entry in self.chrome.get_log("performance")
        ]
        return [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]


@pytest.fixture
def opened(chromium, tmp_path):
    """Return a function that opens HTML text in the browser."""

    def write_and_open(html, width=1280):
        path = tmp_path / "page.html"
        path.write_text(html, "utf-8")
        return Page(chromium, path, width)

    return write_and_open
