"""Which error an ended job means."""

from __future__ import annotations

import pytest
from ray.job_submission import JobStatus

from airflow_synapse.exceptions import (
    ExecutionError,
    RayJobEntrypointError,
    RayJobFailedError,
    RayJobInfrastructureError,
    RayJobNotScheduledError,
    RayJobRuntimeEnvError,
    RayJobStoppedError,
    RayJobTimeoutError,
)
from airflow_synapse.rayjobs.job.failures import CAUSES, error_of, still_running
from airflow_synapse.rayjobs.models import STATUSES, JobInfo

CLUSTER = "http://head:8265"


def test_statuses_are_ray_s() -> None:
    """The statuses we know are those of the installed Ray."""
    assert {status.value for status in JobStatus} == STATUSES


def test_every_error_type_of_ray_has_a_cause() -> None:
    """The table names each ``JobErrorType`` of the installed Ray; a new one is a decision."""
    try:
        from ray.dashboard.modules.job.common import JobErrorType
    except ImportError:
        pytest.skip("this Ray names no error types")

    assert {kind.value for kind in JobErrorType} == set(CAUSES)


@pytest.mark.parametrize("status", ["PENDING", "RUNNING", "SUCCEEDED"])
def test_job_that_has_not_failed_means_no_error(status: str) -> None:
    """A job that waits, runs or has succeeded is no error."""
    assert error_of(JobInfo("j", status), cluster=CLUSTER) is None


@pytest.mark.parametrize(
    ("error_type", "kind"),
    [
        ("JOB_ENTRYPOINT_COMMAND_ERROR", RayJobEntrypointError),
        ("RUNTIME_ENV_SETUP_FAILURE", RayJobRuntimeEnvError),
        ("JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE", RayJobNotScheduledError),
        ("JOB_SUPERVISOR_ACTOR_DIED", RayJobInfrastructureError),
        ("SOMETHING_NEW", RayJobFailedError),
        (None, RayJobFailedError),
    ],
)
def test_failed_job_means_the_error_of_its_cause(
    error_type: str | None, kind: type[RayJobFailedError]
) -> None:
    """A retry policy can tell user code, runtime_env, scheduling and infrastructure apart."""
    info = JobInfo("j", "FAILED", message="it broke", error_type=error_type, driver_exit_code=3)
    error = error_of(info, cluster=CLUSTER, last_lines=["one", "two"])

    assert type(error) is kind
    assert isinstance(error, ExecutionError)
    assert (error.job_id, error.cluster, error.status) == ("j", CLUSTER, "FAILED")
    assert (error.error_type, error.exit_code, error.message) == (error_type, 3, "it broke")
    assert error.last_lines == ("one", "two")
    assert all(text in str(error) for text in ["j", CLUSTER, "exit code 3", "it broke", "    two"])


@pytest.mark.parametrize("exit_code", [-9, 137])
def test_killed_job_is_told_about_memory(exit_code: int) -> None:
    """SIGKILL mostly means that the node ran out of memory, and the error says so."""
    info = JobInfo(
        "j", "FAILED", error_type="JOB_ENTRYPOINT_COMMAND_ERROR", driver_exit_code=exit_code
    )

    assert "ran out of memory" in str(error_of(info, cluster=CLUSTER))


def test_stopped_job_means_that_somebody_decided_it() -> None:
    """STOPPED is no failure of the job."""
    error = error_of(JobInfo("j", "STOPPED"), cluster=CLUSTER)

    assert type(error) is RayJobStoppedError
    assert "Ray job j on http://head:8265 was STOPPED by somebody" in str(error)


def test_command_that_is_too_long_is_no_fault_of_the_cluster() -> None:
    """What Linux can't start it can't start at the next try either, and the error says what to do."""
    message = "Traceback…\nOSError: [Errno 7] Argument list too long: '/bin/sh'\n"
    info = JobInfo("j", "FAILED", message=message, error_type="JOB_ENTRYPOINT_COMMAND_START_ERROR")

    error = error_of(info, cluster=CLUSTER)

    assert type(error) is RayJobEntrypointError
    assert "Put large values into a file in working_dir" in str(error)
    assert "another try may succeed" not in str(error)


def test_job_that_could_not_be_stopped_is_told() -> None:
    """A limit's error says so if the job may still run, and how to stop it."""
    late = RayJobTimeoutError(
        job_id="j", cluster=CLUSTER, reason="is late", hint="Raise it.", last_lines=["a"]
    )

    text = str(still_running(late, stop_command="stop it so"))

    assert "could not be stopped, so it may still be running" in text
    assert "`stop it so`" in text
    assert "Raise it." in text


def test_job_that_waits_is_not_said_to_run() -> None:
    """Ray remembers the stop until the job is scheduled, so another command would change nothing."""
    late = RayJobTimeoutError(job_id="j", cluster=CLUSTER, status="PENDING", reason="is late")

    text = str(still_running(late, stop_command="stop it so"))

    assert "once it is scheduled" in text
    assert "running" not in text
    assert "stop it so" not in text
