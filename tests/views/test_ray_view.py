"""The tab "Ray job": what it shows, to whom, and what it says where it can't show a job."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from fastapi.testclient import TestClient

from airflow_synapse.views.app import create_app
from airflow_synapse.views.page import Page
from tests.support import stub_dashboard as routes
from tests.support.faults import Answer, Hang
from tests.support.stub_dashboard import StubDashboard
from tests.support.stub_jobs import NEVER
from tests.views.conftest import FIELDS, JOB_ID, TASK_REF, AddTask, add_job, connect, url_of_page

Show = Callable[..., Any]

SENSOR_FIELDS = {"ray_conn_id": "ray_default", "job_id": "nightly-export"}
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'"


def refresh_of(page: str) -> float:
    """Return after how many seconds the page looks again."""
    return float(re.findall(r'data-refresh="([0-9.]+)"', page)[0])


def test_page_of_an_ended_job(cluster: StubDashboard, add_task: AddTask, show: Show) -> None:
    """Status, times, resources, entrypoint, metadata, log and links of the job are shown."""
    add_job(cluster, entrypoint="python train.py", log=((0.0, b"epoch 1\n  loss 0.5\n"),))
    add_task()

    answer = show()

    page = html.unescape(answer.text)
    assert answer.status_code == 200
    assert '<span class="badge succeeded">SUCCEEDED</span>' in page
    assert f"<h1>{JOB_ID}</h1>" in page
    assert "<dt>Submitted</dt>" in page
    assert re.search(r"<dt>Duration</dt><dd>\d s</dd>", page)
    assert "CPUs 2 · memory 2 GiB" in page
    assert "python train.py" in page
    assert "epoch 1\n  loss 0.5\n" in page
    assert f"<dt>airflow_run_id</dt><dd>{TASK_REF.run_id}</dd>" in page
    assert f'href="{cluster.url}/#/jobs/{JOB_ID}"' in page
    assert "0wner" not in page
    assert refresh_of(page) == 0


def test_page_is_found_under_ids_that_nobody_escaped(
    cluster: StubDashboard, add_task: AddTask, log_in: Callable[[str], TestClient]
) -> None:
    """Airflow 3.1 puts the run id into the address as it is, with its colons and its plus."""
    add_job(cluster)
    add_task()

    assert "+" in TASK_REF.run_id
    assert JOB_ID in log_in("viewer").get(url_of_page(is_escaped=False)).text


def test_page_of_a_running_job_looks_again(
    cluster: StubDashboard, add_task: AddTask, show: Show
) -> None:
    """While the job runs the page refreshes itself and says how long it has been running."""
    add_job(cluster, runtime=NEVER)
    add_task(state="deferred")

    page = show().text

    assert "RUNNING" in page
    assert "so far" in page
    assert refresh_of(page) == 5


def test_page_of_a_pending_job(cluster: StubDashboard, add_task: AddTask, show: Show) -> None:
    """A job that waits is shown with Ray's remark and without a log."""
    add_job(cluster, pending=NEVER)
    add_task(state="deferred")

    page = show().text

    assert "It may be waiting for the runtime environment" in page
    assert "no node has run it" in page


def test_page_of_a_failed_job(cluster: StubDashboard, add_task: AddTask, show: Show) -> None:
    """Error type, exit code and message are told, the message without its copy of the log."""
    add_job(cluster, status="FAILED", exit_code=7, log=((0.0, b"Traceback\n"),))
    add_task(state="failed")

    page = show().text

    assert "JOB_ENTRYPOINT_COMMAND_ERROR, exit code 7" in page
    assert "Job entrypoint command failed with exit code 7" in page
    assert "last available logs" not in page
    assert page.count("Traceback") == 1


def test_page_of_a_job_that_ended_before_its_task_looks_again(
    cluster: StubDashboard, add_task: AddTask, show: Show
) -> None:
    """A task that may still get another job is looked at again, less often."""
    add_job(cluster, status="FAILED")
    add_task(state="up_for_retry")

    assert refresh_of(show().text) == 15


def test_page_of_a_stopped_job(cluster: StubDashboard, add_task: AddTask, show: Show) -> None:
    """A job that somebody stopped is shown with Ray's words."""
    add_job(cluster, runtime=NEVER).finish("STOPPED")
    add_task(state="failed")

    page = show().text

    assert "badge stopped" in page
    assert "Job was intentionally stopped." in page


def test_page_of_a_mapped_task(cluster: StubDashboard, add_task: AddTask, show: Show) -> None:
    """Each instance of a mapped task shows its own job."""
    job = add_job(cluster, "second")
    job.request["metadata"]["airflow_map_index"] = "1"
    add_task(map_index=0, job_id="first")
    add_task(map_index=1, job_id="second")

    assert "<h1>second</h1>" in show(map_index=1).text


def test_sensor_shows_the_job_it_waits_for(
    cluster: StubDashboard, add_task: AddTask, show: Show
) -> None:
    """A sensor's job is the one its rendered job_id names, whatever somebody put into XCom."""
    cluster.add_job("nightly-export", runtime=NEVER)
    add_task(fields=SENSOR_FIELDS, job_id="another", state="deferred")

    assert "<h1>nightly-export</h1>" in show().text


def test_sensor_that_no_worker_rendered_shows_its_xcom(
    cluster: StubDashboard, add_task: AddTask, show: Show
) -> None:
    """Where only the triggerer rendered the job id, it kept it in XCom."""
    cluster.add_job("nightly-export", runtime=NEVER)
    fields = {"ray_conn_id": "ray_default", "job_id": None}
    add_task(fields=fields, job_id="nightly-export", state="deferred")

    assert "<h1>nightly-export</h1>" in show().text


# What comes from the job


def test_all_that_comes_from_the_job_is_escaped(
    cluster: StubDashboard, add_task: AddTask, show: Show
) -> None:
    """Markup in log, entrypoint, metadata, message and resources is text."""
    job = add_job(
        cluster,
        entrypoint=HOSTILE,
        log=((0.0, HOSTILE.encode() + b"\n"),),
        status="FAILED",
        message=HOSTILE,
        error_type=HOSTILE,
    )
    job.request["metadata"] |= {HOSTILE: HOSTILE}
    add_task(fields={**FIELDS, "label_selector": {HOSTILE: HOSTILE}}, state="failed")

    page = show().text

    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 8
    assert "<script>" not in page
    assert "<img" not in page


def test_terminal_s_control_sequences_are_left_out(
    cluster: StubDashboard, add_task: AddTask, show: Show
) -> None:
    """Colors and other control characters of the log are not shown."""
    add_job(cluster, log=((0.0, b"\x1b[31mred\x1b[0m \x1b]8;;http://x\x07link\x1b]8;;\x07\x00\n"),))
    add_task()

    assert "\nred link\n" in show().text


def test_only_the_end_of_a_long_log_is_shown(
    cluster: StubDashboard, add_task: AddTask, show: Show
) -> None:
    """At most the last 200 lines of the log are shown, and only so much of each."""
    lines = b"".join(b"line %d %s\n" % (number, b"x" * 4000) for number in range(300))
    add_job(cluster, log=((0.0, lines),))
    add_task()

    page = show().text

    assert "line 299" in page
    assert "line 99 " not in page
    assert len(page) < 500_000


@pytest.mark.parametrize(
    ("log", "extent"),
    [((), "empty so far"), (("one",), "last line"), (("one", "two"), "last 2 lines")],
)
def test_heading_of_the_log_counts_its_lines(log: tuple[str, ...], extent: str) -> None:
    """The heading says how many lines follow, a single line included."""
    assert Page(log=log).log_extent == extent


def test_secrets_of_the_connection_are_hidden(
    stub_dashboard: StubDashboard,
    monkeypatch: pytest.MonkeyPatch,
    add_task: AddTask,
    show: Show,
) -> None:
    """A job that prints the token, a header or a cookie does not get it onto the page."""
    extra = {"headers": {"X-Proxy": "Basic planted-header"}, "cookies": {"c": "planted-cookie"}}
    connect(monkeypatch, stub_dashboard.url, password="planted-token", extra=extra)
    told = "planted-token planted-header planted-cookie"
    job = add_job(stub_dashboard, entrypoint=told, log=((0.0, told.encode()),), message=told)
    job.request["runtime_env"] = {"env_vars": {"PASSWORD": "planted-env"}}
    job.request["metadata"]["told"] = told
    add_task()

    page = show().text

    assert "*** *** ***" in page
    assert "planted" not in page


# Who may see it


def test_page_needs_a_login(cluster: StubDashboard, add_task: AddTask, auth_manager: Any) -> None:
    """Without a login nothing is told, not even whether there is such a task."""
    add_job(cluster)
    add_task()

    with TestClient(create_app()) as client:
        answers = [client.get(url_of_page()), client.get(url_of_page(dag_id="none"))]

    assert [answer.status_code for answer in answers] == [401, 401]
    assert answers[0].content == answers[1].content
    assert cluster.calls == []


def test_page_needs_the_right_to_see_the_task(
    cluster: StubDashboard, add_task: AddTask, log_in: Callable[[str | None], TestClient]
) -> None:
    """A user without rights is refused before anything is read."""
    add_job(cluster)
    add_task()

    answer = log_in(None).get(url_of_page())

    assert answer.status_code == 403
    assert JOB_ID not in answer.text
    assert cluster.calls == []


@pytest.mark.parametrize("entity", ["TASK_INSTANCE", "TASK_LOGS"])
def test_page_needs_both_rights(
    entity: str,
    cluster: StubDashboard,
    add_task: AddTask,
    log_in: Callable[[str | None], TestClient],
    auth_manager: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever may not see task instances of the DAG, or not their logs, sees no page."""
    add_task()
    asked = []

    def is_authorized_dag(*, method: str, access_entity: Any, details: Any, user: Any) -> bool:
        asked.append((method, details.id))
        return bool(access_entity.name != entity)

    monkeypatch.setattr(auth_manager, "is_authorized_dag", is_authorized_dag)

    assert log_in("admin").get(url_of_page()).status_code == 403
    assert set(asked) == {("GET", TASK_REF.dag_id)}


def test_job_of_another_task_is_not_shown(
    cluster: StubDashboard, add_task: AddTask, show: Show
) -> None:
    """Who may edit XComs can't make the page show a job that was submitted for something else."""
    job = add_job(cluster, log=((0.0, b"confidential"),))
    job.request["metadata"]["airflow_dag_id"] = "of-others"
    add_task()

    page = show().text

    assert "was not submitted for this task" in html.unescape(page)
    assert "confidential" not in page
    assert "of-others" not in page


def test_headers_are_strict(cluster: StubDashboard, add_task: AddTask, show: Show) -> None:
    """Only the app's own files may run, nothing is cached, only Airflow may frame the page."""
    add_task()

    headers = show().headers

    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
    assert "frame-ancestors 'self'" in policy
    assert "unsafe" not in policy
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_page_has_nothing_inline_and_its_files_are_there(
    cluster: StubDashboard, add_task: AddTask, show: Show, log_in: Callable[[str], TestClient]
) -> None:
    """What the policy forbids is not in the page, and the files that it names are served."""
    add_job(cluster, status="FAILED")
    add_task()

    answer = show()

    assert not re.search(r"<style|<script>|\son\w+=|\sstyle=|javascript:", answer.text)
    files = re.findall(r'(?:src|href)="((?:\.\./)+[^"]+)"', answer.text)
    assert len(files) == 2
    paths = [urljoin("/tasks/dag/run/task", file) for file in files]
    assert [log_in(None).get(path).status_code for path in paths] == [200, 200]


# Where there is nothing to show


def test_no_task_instance(database: Any, show: Show) -> None:
    """A task instance that does not exist is named as such."""
    assert "Airflow has no such task instance" in show().text


def test_task_of_something_else(add_task: AddTask, show: Show) -> None:
    """A task that has nothing to do with Ray has no job, for good."""
    add_task(fields={"bash_command": "true"}, job_id=None)

    page = show().text

    assert "This task does not run a Ray job." in page
    assert refresh_of(page) == 0


def test_no_job_yet(add_task: AddTask, show: Show) -> None:
    """Before the submission the page says so and looks again."""
    add_task(job_id=None, state="running")

    page = show().text

    assert "has not submitted its job yet" in page
    assert refresh_of(page) == 5


def test_no_job_at_all(add_task: AddTask, show: Show) -> None:
    """A task that failed before the submission has no job, for good."""
    add_task(job_id=None, state="failed")

    page = show().text

    assert "The task ended in the state failed and submitted no job." in page
    assert refresh_of(page) == 0


def test_job_that_the_cluster_forgot(cluster: StubDashboard, add_task: AddTask, show: Show) -> None:
    """After a restart of the head the page names job, cluster and the likely reason."""
    add_task()

    page = show().text

    assert JOB_ID in page
    assert f"The Ray cluster at {cluster.url} does not know this job" in page


def test_connection_that_the_api_server_lacks(add_task: AddTask, show: Show) -> None:
    """A connection that only workers have is told to be missing here."""
    add_task(fields={**FIELDS, "ray_conn_id": "only_on_workers"})

    page = html.unescape(show().text)

    assert "The API server can't find the connection 'only_on_workers'." in page


def test_connection_that_is_forgotten(add_task: AddTask, show: Show) -> None:
    """A templated connection id that Airflow has no value of any more is told to be so."""
    add_task(fields={**FIELDS, "ray_conn_id": None})

    assert "which connection this task used" in show().text


def test_connection_that_is_broken(
    monkeypatch: pytest.MonkeyPatch, add_task: AddTask, show: Show
) -> None:
    """A connection without a host is told to be so, without its secrets."""
    connect(monkeypatch, "", password="planted-token")
    add_task()

    page = show().text

    assert "neither a host" in page
    assert "planted" not in page


@pytest.mark.parametrize(
    ("fault", "told", "refresh"),
    [
        (Answer(503), "Ray cluster unreachable", 15),
        (Answer(401), "Ray cluster refused the request", 0),
        (Answer(200, b"<html>not Ray</html>"), "Ray cluster unreachable", 15),
    ],
)
def test_cluster_that_gives_no_answer(
    fault: Any,
    told: str,
    refresh: float,
    cluster: StubDashboard,
    add_task: AddTask,
    show: Show,
) -> None:
    """A cluster that can't be asked is named, and asked again where that may help."""
    cluster.inject(fault, times=None)
    add_task()

    page = show().text

    assert told in page
    assert cluster.url in page
    assert refresh_of(page) == refresh


def test_cluster_that_hangs(
    cluster: StubDashboard, add_task: AddTask, show: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster that accepts and never answers does not keep the page waiting for long."""
    connect(monkeypatch, cluster.url, extra={"request_timeout": 0.3})
    cluster.inject(Hang(), times=None)
    add_task()

    assert "Ray cluster unreachable" in show().text


def test_log_that_does_not_come(
    cluster: StubDashboard, add_task: AddTask, show: Show, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where only the log can't be had the rest is shown."""
    connect(monkeypatch, cluster.url, extra={"request_timeout": 0.3})
    add_job(cluster)
    cluster.inject(Hang(), route=routes.LOGS)
    add_task()

    page = show().text

    assert "SUCCEEDED" in page
    assert '<p class="remark">' in page


def test_log_that_is_gone(cluster: StubDashboard, add_task: AddTask, show: Show) -> None:
    """Where the node of the job has left the rest is shown, and why there is no log."""
    add_job(cluster)
    cluster.inject(Answer(500, b"Agent for node id: ab doesn't exist."), route=routes.LOGS)
    add_task()

    page = show().text

    assert "SUCCEEDED" in page
    assert JOB_ID in page[page.index('<p class="remark">') :]


def test_wheel_holds_template_and_files() -> None:
    """The files beside the code are installed with it."""
    from airflow_synapse import views

    folder = Path(views.__file__).parent

    assert {path.name for path in folder.rglob("*.*") if path.suffix != ".pyc"} >= {
        "job.html",
        "view.css",
        "view.js",
    }
