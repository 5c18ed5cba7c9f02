"""Stopping jobs, and making a cluster forget old ones."""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk.exceptions import ErrorType
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import ErrorResponse, GetTaskStates, TaskStatesResult

from airflow_synapse.exceptions import RayJobNotFoundError
from airflow_synapse.handover.job_metadata import DEPLOYMENT_KEY, STOP_ON_KILL_KEY, WAITS_KEY
from airflow_synapse.operators.house_keeping import (
    DeleteRayJobsOperator,
    ReapRayJobsOperator,
    StopRayJobOperator,
)
from airflow_synapse.rayjobs.models import OWNER_KEY
from tests.collecting.airflow_states import HERE as PROD
from tests.collecting.airflow_states import Airflow, a_task, add_job, answer
from tests.operators.running import a_command, messages, run
from tests.operators.task_instance import TaskInstance
from tests.support import stub_dashboard as routes
from tests.support.stub_dashboard import StubDashboard
from tests.support.stub_jobs import NEVER

HERE = "http://airflow.example.com"
DAY = 86_400


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", HERE)
    for operator in (StopRayJobOperator, DeleteRayJobsOperator):
        monkeypatch.setattr(operator, "log", logging.getLogger("the task's log"))


@pytest.fixture
def ended(stub: StubDashboard) -> StubDashboard:
    """A cluster that remembers jobs of this Airflow and of others, old and new."""
    for name, owner, days in (
        ("ours-old", HERE, 9),
        ("ours-older", HERE, 30),
        ("ours-new", HERE, 2),
        ("theirs-old", "http://elsewhere", 9),
        ("nobodys-old", None, 9),
    ):
        job = stub.add_job(name, runtime=0.0)
        job.request["metadata"] = {DEPLOYMENT_KEY: owner} if owner else {}
        job._wall_end = int((time.time() - days * DAY) * 1000)
    stub.add_job("ours-runs", runtime=NEVER).request["metadata"] = {DEPLOYMENT_KEY: HERE}
    return stub


def delete(**arguments: object) -> object:
    return run(DeleteRayJobsOperator(task_id="delete", **arguments), TaskInstance())


def test_old_jobs_of_this_airflow_are_forgotten(ended: StubDashboard) -> None:
    """By default those that this Airflow submitted and that ended a week ago."""
    assert delete() == 2
    assert set(ended.jobs) == {"ours-new", "theirs-old", "nobodys-old", "ours-runs"}


@pytest.mark.parametrize(
    ("runtime", "age", "stays"),
    [(NEVER, 0, True), (0.0, DAY, True), (0.0, 8 * DAY, False)],
    ids=["runs", "ended yesterday", "ended long ago"],
)
def test_jobs_of_a_task_are_forgotten_together(
    stub: StubDashboard, runtime: float, age: int, stays: bool
) -> None:
    """A next try finds the latest job by those before it, and must not use their IDs again."""
    for name, days in (("first", 30), ("second", 20), ("latest", age / DAY)):
        job = stub.add_job(name, runtime=runtime if name == "latest" else 0.0)
        job.request["metadata"] = {DEPLOYMENT_KEY: HERE, OWNER_KEY: "a task"}
        job._wall_end = int((time.time() - days * DAY) * 1000)

    assert delete() == (0 if stays else 3)
    assert set(stub.jobs) == ({"first", "second", "latest"} if stays else set())


@pytest.mark.parametrize(("name", "warns"), [("", True), ("prod", False)])
def test_nameless_airflow_is_warned(
    ended: StubDashboard,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    warns: bool,
) -> None:
    """Who cannot tell its jobs from another nameless Airflow's learns that before they are gone."""
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "")
    monkeypatch.setenv("AIRFLOW__RAY__DEPLOYMENT", name)

    delete(only_show=True)

    assert any("This Airflow has no name" in text for text in caplog.messages) is warns


def test_age_is_a_duration(ended: StubDashboard) -> None:
    """As everywhere: seconds, a timedelta, ISO 8601, or a template that gives one."""
    assert delete(older_than="P20D") == 1
    assert delete(older_than=timedelta(days=5)) == 1
    assert delete(older_than=DAY) == 1


def test_jobs_of_everybody_are_forgotten_if_asked(ended: StubDashboard) -> None:
    """``only_own=False`` cleans the whole cluster; what runs stays."""
    assert delete(only_own=False, older_than=DAY) == 5
    assert set(ended.jobs) == {"ours-runs"}


def test_jobs_can_be_shown_first(ended: StubDashboard, caplog: pytest.LogCaptureFixture) -> None:
    """``only_show`` names the jobs and deletes none."""
    assert delete(only_show=True) == 0
    assert any("ours-old" in text and "ours-older" in text for text in messages(caplog))
    assert len(ended.jobs) == 6


@pytest.mark.parametrize("age", [5, "PT30S", None, -1, "soon"])
def test_jobs_that_just_ended_are_kept(ended: StubDashboard, age: object) -> None:
    """An age below a minute is refused before anything is sent."""
    with pytest.raises(ValueError, match="older_than"):
        delete(older_than=age)
    assert not ended.calls


def test_new_jobs_tell_which_airflow_they_belong_to(stub: StubDashboard) -> None:
    """That is how they are known when they are to be deleted."""
    run(a_command(wait_for_completion=False), TaskInstance())

    (job,) = stub.jobs.values()
    assert job.request["metadata"][DEPLOYMENT_KEY] == HERE


@pytest.mark.parametrize(
    ("arguments", "waits", "stop_on_kill"),
    [
        ({}, "true", "true"),
        ({"wait_for_completion": False, "stop_on_kill": False}, "false", "false"),
    ],
)
def test_new_jobs_tell_what_their_task_wants(
    stub: StubDashboard, arguments: dict[str, bool], waits: str, stop_on_kill: str
) -> None:
    """A job says whether its task waits for it and whether it may be stopped for the task's sake."""
    run(a_command(**arguments), TaskInstance())

    (job,) = stub.jobs.values()
    assert job.request["metadata"][WAITS_KEY] == waits
    assert job.request["metadata"][STOP_ON_KILL_KEY] == stop_on_kill


def test_job_is_stopped(stub: StubDashboard) -> None:
    """A job that runs is stopped; one that had ended is left."""
    stub.add_job("j", runtime=NEVER)

    assert run(StopRayJobOperator(task_id="stop", job_id="j"), TaskInstance()) is True
    assert stub.jobs["j"].status == "STOPPED"
    assert run(StopRayJobOperator(task_id="stop", job_id="j"), TaskInstance()) is False


def test_job_that_is_not_there(stub: StubDashboard) -> None:
    """A job that the cluster does not know is an error, unless that is fine."""
    with pytest.raises(RayJobNotFoundError, match="none-such"):
        run(StopRayJobOperator(task_id="stop", job_id="none-such"), TaskInstance())

    operator = StopRayJobOperator(task_id="stop", job_id="none-such", missing_ok=True)
    assert run(operator, TaskInstance()) is False
    assert stub.count(routes.STOP) == 0


class SupervisorOfTask:
    """Answers a task's questions about other tasks."""

    def __init__(self) -> None:
        self.airflow = Airflow()

    def send(self, message: Any) -> Any:
        if not isinstance(message, GetTaskStates):
            return ErrorResponse(error=ErrorType.CONNECTION_NOT_FOUND)
        return TaskStatesResult(task_states=answer(message, self.airflow.states))


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> SupervisorOfTask:
    supervisor = SupervisorOfTask()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", supervisor, raising=False)
    monkeypatch.setattr(ReapRayJobsOperator, "log", logging.getLogger("the task's log"))
    monkeypatch.setenv("AIRFLOW__RAY__DEPLOYMENT", PROD)
    monkeypatch.setenv("AIRFLOW__RAY__COLLECT_INTERVAL", "0.05")
    monkeypatch.setenv("AIRFLOW__RAY__COLLECT_GONE_AFTER", "0.1")
    return supervisor


def reap(**arguments: Any) -> Any:
    return run(ReapRayJobsOperator(task_id="reap", **arguments), TaskInstance())


def test_jobs_that_nobody_wants_are_reaped(
    stub: StubDashboard, supervisor: SupervisorOfTask, caplog: pytest.LogCaptureFixture
) -> None:
    """After two looks; each job is named with its task and the reason."""
    add_job(stub, "over", a_task("over"))
    add_job(stub, "gone", a_task("gone", 3))
    wanted = add_job(stub, "wanted", a_task("wanted"))
    supervisor.airflow.states = {a_task("over"): "upstream_failed", a_task("wanted"): "queued"}

    assert reap() == 2

    assert stub.jobs["over"].status == stub.jobs["gone"].status == "STOPPED"
    assert wanted.status == "RUNNING"
    assert any("dag.over of run run is upstream_failed." in text for text in messages(caplog))
    assert any("no longer has its task dag.gone[3]" in text for text in messages(caplog))


def test_reaper_can_only_show(
    stub: StubDashboard, supervisor: SupervisorOfTask, caplog: pytest.LogCaptureFixture
) -> None:
    """``only_show`` names the jobs and stops none."""
    job = add_job(stub, "j", a_task("over"))
    supervisor.airflow.states = {a_task("over"): "failed"}

    assert reap(only_show=True) == 0
    assert job.status == "RUNNING"
    assert any("Ray job j would be stopped" in text for text in messages(caplog))


def test_reaper_leaves_many_gone_tasks_alone(
    stub: StubDashboard, supervisor: SupervisorOfTask, caplog: pytest.LogCaptureFixture
) -> None:
    """An error names the command that does it all the same."""
    for index in range(10):
        add_job(stub, f"job-{index}", a_task("train", index))

    assert reap() == 0
    (error,) = (record for record in caplog.records if record.levelno == logging.ERROR)
    assert "airflow ray reap --force" in error.getMessage()


def test_reaper_of_a_nameless_airflow_only_warns(
    stub: StubDashboard,
    supervisor: SupervisorOfTask,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Nothing is asked of the cluster."""
    monkeypatch.setenv("AIRFLOW__RAY__DEPLOYMENT", "")
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "")

    assert reap() == 0
    assert any("This Airflow has no name" in text for text in messages(caplog))
    assert not stub.calls
