"""A headless Chromium that reaches this machine alone; without it or selenium these tests are skipped."""

import json
import shutil
import time
from contextlib import contextmanager

import pytest

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
# Nothing but this machine has an address.
OFFLINE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
QUIET = ("--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
PATIENCE = 120.0


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is missing: pip install 'tietrain[dev]'")
    if not (CHROMIUM and DRIVER):
        pytest.skip("chromium or chromedriver is missing: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for argument in (
        *QUIET,
        OFFLINE,
        "--window-size=1400,1000",
        f"--user-data-dir={tmp_path_factory.mktemp('chromium')}",
    ):
        options.add_argument(argument)
    service = webdriver.ChromeService(executable_path=DRIVER)
    driver = webdriver.Chrome(options=options, service=service)
    driver.set_script_timeout(PATIENCE)
    try:
        yield driver
    finally:
        driver.quit()
        service.stop()


@pytest.fixture
def quiet(browser):
    """Checks, after a page was used, that it wrote no error and asked for no address but those that are allowed."""

    @contextmanager
    def check(*allowed):
        for log in ("browser", "performance"):
            browser.get_log(log)  # what an earlier page left
        yield browser
        errors = [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
        assert not errors
        events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
        requested = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
        assert requested
        assert not [
            url for url in requested if not url.startswith((*allowed, "data:", "blob:", "chrome:"))
        ]  # chrome: its own first page

    return check


@pytest.fixture
def until():
    """Waits for a condition; gives back what it found."""

    def wait(condition):
        end = time.monotonic() + PATIENCE
        while not (found := condition()):
            assert time.monotonic() < end, "the page did not get there"
            time.sleep(0.2)
        return found

    return wait
