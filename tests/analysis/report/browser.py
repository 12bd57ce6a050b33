"""Debian's chromium for the tests of the page, driven through selenium."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.support.wait import WebDriverWait

NO_SKIPS = "MONOSWEEP_NO_SKIPS"
"""As in tests/cluster/nodes.py: what would be skipped for want of tools fails."""
_ARGUMENTS = (
    "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1400,1000", "--use-gl=angle",
    "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
)  # fmt: skip
_LOADS_S = 60.0


@contextmanager
def chromium() -> Iterator[Chrome]:
    """A browser of its own that tells what its console says; the test is skipped where there is none."""
    found = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    if lacking := [name for name, path in found.items() if path is None]:
        reason = f"needs {' and '.join(lacking)}: apt-get install chromium chromium-driver"
        if os.environ.get(NO_SKIPS):
            pytest.fail(f"{reason}; unset {NO_SKIPS} to skip such tests")
        pytest.skip(reason)
    options = ChromeOptions()
    options.binary_location = str(found["chromium"])
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for argument in _ARGUMENTS:
        options.add_argument(argument)
    driver = Chrome(options=options, service=Service(str(found["chromedriver"])))
    try:
        yield driver
    finally:
        driver.quit()


def look_at(driver: Chrome, path: Path) -> None:
    """Open a page and wait until it is drawn."""
    driver.get(path.as_uri())
    until_drawn(driver)


def until_drawn(driver: Chrome) -> None:
    ready = "return document.documentElement.dataset.ready === 'yes' || !document.getElementById('trouble').hidden"
    WebDriverWait(driver, _LOADS_S, 0.05).until(lambda d: d.execute_script(ready))


def complaints(driver: Chrome) -> list[dict[str, Any]]:
    """What the console has said since it was last asked."""
    said: list[dict[str, Any]] = driver.get_log("browser")
    return said
