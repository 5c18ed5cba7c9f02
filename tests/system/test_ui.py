"""What a person sees of this provider in Airflow's UI, in a real Chromium."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow import __version__ as airflow_version
from packaging.version import Version

from local_services.airflow_deployment import AirflowDeployment
from local_services.ray_head import RayHead
from tests.support.browser import AirflowBrowser, airflow_browser, missing_programs
from tests.support.fault_proxy import FaultProxy

pytestmark = pytest.mark.timeout(420)

DAG_ID = "counts_in_triggerer"
TASK_ID = "count"

EXTRA_FIELDS = {"Headers": "password", "Cookies": "password", "Verify TLS": "text"}


@pytest.fixture(scope="module")
def logged_in(airflow: AirflowDeployment) -> Iterator[AirflowBrowser]:
    """One browser for all tests, in which the admin has logged in."""
    if missing := missing_programs():
        give_up = pytest.fail if os.environ.get("CI") else pytest.skip
        give_up(f"not installed: {', '.join(missing)}; apt-get install chromium chromium-driver")
    with airflow_browser(airflow.base_url) as browser:
        browser.log_in(airflow.username, airflow.password)
        yield browser


@pytest.fixture
def browser(logged_in: AirflowBrowser, request: pytest.FixtureRequest) -> Iterator[AirflowBrowser]:
    """The browser, which is looked at after each test."""
    yield logged_in
    logged_in.leave_frame()
    folder = request.config.getoption("--screenshots")
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        logged_in.driver.save_screenshot(str(folder / f"{request.node.name}.png"))
    logged_in.use_theme("light")
    assert logged_in.errors("/ray-job/") == []


@pytest.fixture(scope="module")
def until(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file at whose appearance the job ends."""
    return tmp_path_factory.mktemp("until") / "now"


@pytest.fixture(scope="module")
def counting_run(airflow: AirflowDeployment, until: Path) -> str:
    """A run whose task waits in the triggerer, its job printing lines."""
    airflow.wait_for_dag(DAG_ID)
    airflow.api.unpause(DAG_ID)
    run_id = airflow.api.trigger(
        DAG_ID, {"until": str(until)}, run_id="manual__2026-01-01T00:00:00+00:00"
    )
    airflow.api.wait_task(DAG_ID, run_id, TASK_ID, ["deferred"])
    return run_id


def test_tab_follows_its_job(
    airflow: AirflowDeployment, browser: AirflowBrowser, counting_run: str, until: Path
) -> None:
    """The tab tells of a running job, and of its end without being loaded again."""
    browser.open_task(DAG_ID, counting_run, TASK_ID)
    browser.open_tab("Ray job")
    browser.enter_frame()

    browser.wait_for_text(".badge", "RUNNING")
    browser.wait_for_text("#log", "line 2")
    job_id = airflow.api.xcom(DAG_ID, counting_run, TASK_ID, "job_id")
    assert browser.find("h1").text == job_id

    until.touch()
    browser.wait_for_text(".badge", "SUCCEEDED")
    browser.wait_for_text("#log", " lines")


def test_tab_leads_to_the_ray_dashboard(
    browser: AirflowBrowser, counting_run: str, proxy: FaultProxy
) -> None:
    """The link in the tab opens the job's page of the dashboard in a window of its own."""
    browser.open_task(DAG_ID, counting_run, TASK_ID)
    browser.open_tab("Ray job")
    browser.enter_frame()
    job_id = browser.find("h1").text
    browser.find_text("Job in the Ray dashboard", "a").click()

    assert browser.wait_for_window() == f"{proxy.url}/#/jobs/{job_id}"


def test_button_leads_to_the_ray_dashboard(
    airflow: AirflowDeployment, browser: AirflowBrowser, counting_run: str, proxy: FaultProxy
) -> None:
    """The extra link is a button among the task's details."""
    browser.open_task(DAG_ID, counting_run, TASK_ID)
    browser.open_tab("Details")
    browser.find_text("Extra Links")
    job_id = airflow.api.xcom(DAG_ID, counting_run, TASK_ID, "job_id")

    assert browser.find(f"a[href='{proxy.url}/#/jobs/{job_id}']").text == "Ray job"


@pytest.mark.parametrize(("theme", "has_light_text"), [("dark", True), ("light", False)])
def test_tab_has_the_theme_of_the_ui(
    theme: str, *, has_light_text: bool, browser: AirflowBrowser, counting_run: str
) -> None:
    """The tab, through which Airflow's own background shows, can be read on dark and on light."""
    browser.use_theme(theme)
    browser.open_task(DAG_ID, counting_run, TASK_ID)
    browser.open_tab("Ray job")
    browser.enter_frame()
    red, green, blue = re.findall(r"\d+", browser.find("h1").value_of_css_property("color"))[:3]

    assert (int(red) + int(green) + int(blue) > 3 * 127) == has_light_text


def test_connection_form_hides_what_is_secret(browser: AirflowBrowser) -> None:
    """The form of a ``ray`` connection has this provider's labels, and shows no secret."""
    browser.open("/connections")
    browser.find_text("Add Connection", "button").click()
    browser.choose(browser.find("[role=dialog] [role=combobox]"), "ray")
    browser.find_text("Dashboard host or URL")
    token = browser.find("[role=dialog] [name=password]")
    assert token.get_attribute("type") == "password"

    if Version(airflow_version) < Version("3.2"):  # whose form has one field for all extras
        return
    browser.find_text("Extra Fields", "button").click()
    for label, kind in EXTRA_FIELDS.items():
        shown = browser.field(label).get_attribute("type")
        if Version(airflow_version) >= Version("3.3"):  # before, Airflow masks no extra
            assert shown == kind


def test_connection_is_tested_by_a_click(
    airflow: AirflowDeployment, browser: AirflowBrowser, ray_head: RayHead
) -> None:
    """The button in the list of connections tells that Ray accepts jobs there, as seen from the API server."""
    airflow.cli(
        "connections", "add", "ray_clicked", "--conn-type", "ray",
        "--conn-host", "127.0.0.1", "--conn-port", str(ray_head.dashboard_port),
    )  # fmt: skip
    browser.open("/connections")
    browser.find_text("ray_clicked")
    browser.find("button[aria-label='Test Connection']").click()

    browser.wait_for_text("[role=status]", f"at {ray_head.dashboard_url} accepts jobs.")
