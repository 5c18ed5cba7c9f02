"""A real browser in front of Airflow's web pages: Chromium without a screen."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote

from selenium import webdriver
from selenium.common.exceptions import (
    NoSuchElementException,
    StaleElementReferenceException,
    TimeoutException,
)
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

if TYPE_CHECKING:
    from selenium.webdriver.remote.webelement import WebElement

_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # Chromium refuses to run as root otherwise
    "--disable-gpu",
    "--no-first-run",
    # Nothing that asks the makers' servers.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,1000",
)

_T = TypeVar("_T")


def missing_programs() -> list[str]:
    """Return which of the programs that a browser test needs are not installed."""
    return [name for name in ("chromium", "chromedriver") if shutil.which(name) is None]


class AirflowBrowser:
    """What somebody sees and clicks in Airflow's UI.

    Each method that looks for something waits for it and raises ``TimeoutException``, with what the
    page shows instead, if it does not come.

    :param base_url: Of the Airflow deployment.
    :param timeout: Seconds to wait for what should be on a page.
    """

    def __init__(self, driver: webdriver.Chrome, base_url: str, *, timeout: float = 30.0) -> None:
        self.driver = driver
        self._base_url = base_url
        self._timeout = timeout

    def log_in(self, username: str, password: str) -> None:
        """Fill the login form, so that the browser holds Airflow's cookie."""
        self.driver.get(self._base_url)
        self.find("input[name=username]").send_keys(username)
        self.find("input[name=password]").send_keys(password)
        self.find("button[type=submit]").click()
        self.wait(lambda: "/auth/" not in self.driver.current_url, "the end of the login")

    def open(self, path: str) -> None:
        """Go to a page by its path below the base URL."""
        self.driver.get(f"{self._base_url}{path}")

    def open_task(self, dag_id: str, run_id: str, task_id: str, *, map_index: int = -1) -> None:
        """Go to the page of a task instance."""
        mapped = "" if map_index < 0 else f"/mapped/{map_index}"
        self.open(f"/dags/{dag_id}/runs/{quote(run_id)}/tasks/{task_id}{mapped}")

    def open_tab(self, name: str) -> None:
        """Click on a tab of the page."""
        self.find_text(name, "a").click()

    def enter_frame(self) -> None:
        """Look from now on into the frame in which Airflow's UI shows an app of a plugin."""
        self.driver.switch_to.frame(self.find("iframe"))

    def leave_frame(self) -> None:
        """Look at the whole page again."""
        self.driver.switch_to.default_content()

    def use_theme(self, theme: str) -> None:
        """Have Airflow's UI ``light`` or ``dark`` from the next page on."""
        self.driver.execute_script("localStorage.setItem('theme', arguments[0])", theme)

    # What is there

    def find(self, selector: str) -> WebElement:
        """Return the element of a CSS selector, once it is displayed."""
        return self._displayed(By.CSS_SELECTOR, selector, selector)

    def find_text(self, text: str, tag: str = "*") -> WebElement:
        """Return the element with exactly this text, once it is displayed."""
        path = f"//{tag}[normalize-space(.)={text!r}]"
        return self._displayed(By.XPATH, path, f"{text!r}")

    def wait_for_text(self, selector: str, text: str) -> str:
        """Return the text of an element once it holds ``text``."""
        found = self.wait(
            lambda: [
                e.text
                for e in self.driver.find_elements(By.CSS_SELECTOR, selector)
                if text in e.text
            ],
            f"{text!r} in {selector}",
        )
        return found[0]

    def choose(self, box: WebElement, text: str) -> None:
        """Take the only option of a box that has ``text``."""
        box.send_keys(text)
        self._displayed(By.CSS_SELECTOR, "[role=option]", f"the option {text!r}")
        box.send_keys(Keys.ENTER)

    def wait_for_window(self) -> str:
        """Return the address of the window that a click has opened, and close it."""
        here = self.driver.current_window_handle
        handles = self.wait(
            lambda: [h for h in self.driver.window_handles if h != here], "a second window"
        )
        self.driver.switch_to.window(handles[0])
        try:
            self.wait(lambda: self.driver.current_url.startswith("http"), "a second address")
            return self.driver.current_url
        finally:
            self.driver.close()
            self.driver.switch_to.window(here)

    def wait(self, look: Callable[[], _T], what: str) -> _T:
        """Return what ``look`` returns, once that is true."""
        ignored = (NoSuchElementException, StaleElementReferenceException)
        waiting = WebDriverWait(self.driver, self._timeout, 0.2, ignored_exceptions=ignored)
        try:
            return waiting.until(lambda _: look())
        except TimeoutException as exc:
            body = self.driver.find_element(By.TAG_NAME, "body").text
            raise TimeoutException(
                f"{self.driver.current_url} has not shown {what}, but: {body}"
            ) from exc

    def field(self, label: str) -> WebElement:
        """Return the input next to a label."""
        path = f"//*[text()={label!r}]/ancestor::*[.//input][1]//input"
        return self._displayed(By.XPATH, path, f"the field {label!r}")

    def errors(self, path: str) -> list[str]:
        """Return the errors that the browser's console has of pages below a path, and forget all."""
        ours = f"{self._base_url}{path}"
        entries = self.driver.get_log("browser")
        return [e["message"] for e in entries if e["level"] == "SEVERE" and ours in e["message"]]

    def _displayed(self, by: str, selector: str, what: str) -> WebElement:
        return self.wait(
            lambda: [e for e in self.driver.find_elements(by, selector) if e.is_displayed()], what
        )[0]


@contextmanager
def airflow_browser(base_url: str) -> Iterator[AirflowBrowser]:
    """Start a Chromium with a profile of its own, and end it."""
    options = webdriver.ChromeOptions()
    for flag in _FLAGS:
        options.add_argument(flag)
    options.binary_location = shutil.which("chromium") or ""
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    with TemporaryDirectory(prefix="chromium-", ignore_cleanup_errors=True) as profile:
        options.add_argument(f"--user-data-dir={Path(profile)}")
        driver = webdriver.Chrome(options=options, service=service)
        try:
            yield AirflowBrowser(driver, base_url)
        finally:
            driver.quit()
