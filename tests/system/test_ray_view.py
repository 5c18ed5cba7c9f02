"""The tab "Ray job" of a real Airflow, for jobs of a real Ray."""

from __future__ import annotations

import html
from collections.abc import Callable
from urllib.parse import quote

import httpx
import pytest

from local_services.airflow_deployment import AirflowDeployment

pytestmark = pytest.mark.timeout(420)

DAG_ID = "viewed"

Show = Callable[..., str]


@pytest.fixture(scope="module")
def viewed_run(airflow: AirflowDeployment) -> str:
    """A run of tasks that have a Ray job, failed one, wait for one, and have none."""
    airflow.wait_for_dag(DAG_ID)
    airflow.api.unpause(DAG_ID)
    run_id = airflow.api.trigger(DAG_ID)
    airflow.api.wait_run(DAG_ID, run_id)
    return run_id


def address(airflow: AirflowDeployment, task_id: str, run_id: str, map_index: object) -> httpx.URL:
    """Return where Airflow's UI leads, by what it is told of the plugin."""
    plugins = airflow.api.get("/plugins?limit=100")["plugins"]
    (plugin,) = [plugin for plugin in plugins if plugin["name"] == "ray_job_view"]
    (view,) = plugin["external_views"]
    assert view["destination"] == "task_instance"
    ids = {"DAG_ID": DAG_ID, "RUN_ID": quote(run_id, safe=""), "TASK_ID": task_id}
    return httpx.URL(f"{airflow.base_url}/{view['href'].format(**ids, MAP_INDEX=map_index)}")


@pytest.fixture
def show(airflow: AirflowDeployment, viewed_run: str) -> Show:
    """Returns the page of a task as a browser gets it, whose login is a cookie."""
    credentials = {"username": airflow.username, "password": airflow.password}
    token = httpx.post(f"{airflow.base_url}/auth/token", json=credentials, timeout=60).json()

    def show(task_id: str, map_index: object = "{MAP_INDEX}") -> str:
        url = address(airflow, task_id, viewed_run, map_index)
        cookies = {"_token": token["access_token"]}
        with httpx.Client(cookies=cookies, timeout=60) as browser:
            return html.unescape(browser.get(url).raise_for_status().text)

    return show


def test_page_shows_the_job_and_the_end_of_its_log(
    airflow: AirflowDeployment, viewed_run: str, show: Show
) -> None:
    """A finished task's tab tells of its job, what it asked for, and what it printed last."""
    page = show("succeeds")

    assert "badge succeeded" in page
    assert airflow.api.xcom(DAG_ID, viewed_run, "succeeds", "job_id") in page
    assert "CPUs 0.1" in page
    assert "\nthe last line\n" in page
    assert "planted-env" not in page


def test_page_tells_why_a_job_failed(show: Show) -> None:
    """A failed task's tab names error type and exit code."""
    assert "JOB_ENTRYPOINT_COMMAND_ERROR, exit code 3" in show("fails")


def test_page_of_one_mapped_task(show: Show) -> None:
    """Each instance of a mapped task has a page of its own."""
    assert "\nmapped one\n" in show("mapped", map_index=0)
    assert "\nmapped two\n" in show("mapped", map_index=1)


@pytest.mark.parametrize("sensor", ["senses", "senses_in_triggerer"])
def test_page_of_a_sensor_shows_the_job_it_waited_for(sensor: str, show: Show) -> None:
    """A sensor's tab shows that job, also if no worker ever had the sensor."""
    assert "\nthe last line\n" in show(sensor)


def test_page_of_another_task_says_so(show: Show) -> None:
    """The tab is there for every task, and says of most that they have no Ray job."""
    assert "This task does not run a Ray job." in show("no_ray")


def test_page_is_not_for_everybody(airflow: AirflowDeployment, viewed_run: str) -> None:
    """Without a login there is no page, and nothing about the job in the answer."""
    answer = httpx.get(address(airflow, "succeeds", viewed_run, -1), timeout=60)

    assert answer.status_code == 401
    assert "the last line" not in answer.text
