"""What version 0.1.0 left in databases and on clusters goes on working.

The literals here were recorded from that version. They must never be changed.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from airflow_synapse.exceptions import RayJobEntrypointError
from airflow_synapse.handover.events import outcome_of
from airflow_synapse.handover.job_facts import JobFacts
from airflow_synapse.handover.xcom_keys import JOB_ID_KEY, JOB_PAGE_KEY, LOG_POSITION_KEY
from airflow_synapse.operators.attempts import TaskTry, choose_attempt
from airflow_synapse.rayjobs.models import JobInfo, JobSpec
from tests.support.stub_dashboard import StubDashboard
from tests.triggers.watching import connect, events_of

TRIGGER = (
    "airflow_synapse.triggers.ray_job.RayJobTrigger",
    {
        "job_id": "dag.task.1.0123456789abcdef",
        "ray_conn_id": "ray_default",
        "poll_interval": 0.1,
        "stream_logs": True,
        "stop_on_kill": True,
        "fetch_result": True,
        "deadlines": {"job_timeout": 4102444800.0},
        "unreachable_timeout": 600.0,
        "log_lines_per_second": None,
        "end_from_trigger": False,
        "is_first": False,
    },
)
EVENT = {
    "status": "FAILED",
    "job_id": "j",
    "message": "it broke",
    "error_type": "JOB_ENTRYPOINT_COMMAND_ERROR",
    "driver_exit_code": 3,
    "cluster": "http://ray:8265",
    "plugin": "digits 1.2",
    "action": "train",
    "duration": 2.5,
    "last_lines": ["a"],
    "dashboard_url": "http://ray:8265/#/jobs/j",
}
METADATA = {
    "airflow_dag_id": "daily train",
    "airflow_run_id": "scheduled__2026-01-01T00:00:00+00:00",
    "airflow_task_id": "group.train",
    "airflow_map_index": "3",
    "airflow_try_number": "1",
    "airflow_max_tries": "2",
    "airflow_run_started": "2026-01-02T00:00:01+00:00",
    "airflow_retries": "2",
    "airflow_run_clears": "0",
    "airflow_deployment": "prod",
    "airflow_synapse_owner": "8a412cf64a5d591dcef8e7a687b8dba6b0c11675469a042402c9f1fb676eca4f",
}
NEXT_TRY = TaskTry(
    deployment="prod",
    dag_id="daily train",
    run_id="scheduled__2026-01-01T00:00:00+00:00",
    task_id="group.train",
    map_index=3,
    try_number=2,
    max_tries=2,
    retries=2,
    run_started="2026-01-02T00:00:01+00:00",
)


@pytest.fixture
async def stub(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StubDashboard]:
    """A stub dashboard to which ``ray_default`` leads."""
    async with StubDashboard() as stub:
        connect(monkeypatch, stub.url)
        yield stub


def trigger_of(classpath: str, kwargs: dict[str, Any]) -> Any:
    """Return a trigger as Airflow's triggerer makes it of a row of its database."""
    module, _, name = classpath.rpartition(".")
    return getattr(importlib.import_module(module), name)(**kwargs)


async def test_trigger_in_the_database_runs(
    stub: StubDashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task that was deferred before the upgrade gets the end of its job after it."""
    job_id = TRIGGER[1]["job_id"]
    stub.add_job(job_id, log=((0.0, b"one\n"),), runtime=0.2)
    trigger = trigger_of(*TRIGGER)
    monkeypatch.setattr(type(trigger), "log", logging.getLogger("the task's log"))

    (event,) = await events_of(trigger)

    assert (event["status"], event["job_id"]) == ("SUCCEEDED", job_id)
    assert trigger.serialize() == TRIGGER


def test_event_in_the_database_is_understood() -> None:
    """A task whose trigger fired before the upgrade ends as it would have."""
    outcome = outcome_of(EVENT)
    error = outcome.error()

    assert isinstance(error, RayJobEntrypointError)
    assert (error.exit_code, error.last_lines) == (3, ("a",))
    assert JobFacts.of_outcome(outcome) == JobFacts(
        "j", "http://ray:8265", EVENT["dashboard_url"], "FAILED", "digits 1.2", "train", 2.5
    )


def test_task_instance_keeps_its_job_ids() -> None:
    """The next try looks for the job where the version before submitted it."""
    assert NEXT_TRY.job_id(1) == "daily-train.group-train.3.1.b2766ae77b219411"
    assert NEXT_TRY.job_id(2) == "daily-train.group-train.3.2.179acf8bc0184d13"


def test_job_of_the_version_before_is_taken_over() -> None:
    """A job that was submitted before the upgrade is the next try's."""
    job = JobInfo(NEXT_TRY.job_id(1), "RUNNING", metadata=METADATA)

    attempt = choose_attempt(NEXT_TRY, {job.job_id: job}.get, cluster="http://ray:8265")

    assert attempt.found is job


def test_spec_keeps_its_fingerprint() -> None:
    """The same submission again is told from another one as before."""
    spec = JobSpec(
        "python train.py",
        {"env_vars": {"A": "1"}, "working_dir": "gcs://_ray_pkg_0.zip"},
        {},
        {"entrypoint_num_cpus": 2},
    )

    assert spec.fingerprint == "0664d363b1585e2e7aa3d474889e0f9d"


def test_xcoms_keep_their_keys() -> None:
    """DAGs pull them, and links read them."""
    keys = (JOB_ID_KEY, JOB_PAGE_KEY, LOG_POSITION_KEY)

    assert keys == ("job_id", "dashboard_url", "log_position")
