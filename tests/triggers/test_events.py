"""What a trigger tells its task, and what the task makes of it."""

from __future__ import annotations

import json

import pytest

from airflow_synapse import exceptions
from airflow_synapse.rayjobs.models import JobInfo
from airflow_synapse.triggers.events import error_of_event, event_of_end, event_of_error

CLUSTER = "http://ray:8265"


def test_success_is_no_error() -> None:
    """The event of a job that succeeded has its result and means no error."""
    event = event_of_end(JobInfo("j", "SUCCEEDED"), cluster=CLUSTER, result={"result": 1})

    assert event["result"] == 1
    assert error_of_event(event) is None


def test_failure_survives_the_way_through_the_database() -> None:
    """Error type, exit code, message and last lines are the same after a trip as JSON."""
    info = JobInfo("j", "FAILED", "it broke", "JOB_ENTRYPOINT_COMMAND_ERROR", 3)
    event = json.loads(json.dumps(event_of_end(info, cluster=CLUSTER, last_lines=["a", "b"])))

    error = error_of_event(event)

    assert isinstance(error, exceptions.RayJobEntrypointError)
    assert (error.job_id, error.cluster, error.exit_code) == ("j", CLUSTER, 3)
    assert error.last_lines == ("a", "b")
    assert "it broke" in str(error)


def test_stop_is_told_apart() -> None:
    """STOPPED is an error of its own, as it must not be retried."""
    event = event_of_end(JobInfo("j", "STOPPED"), cluster=CLUSTER)

    assert isinstance(error_of_event(event), exceptions.RayJobStoppedError)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (exceptions.RayJobTimeoutError(job_id="j", cluster=CLUSTER, reason="is late"), "TIMEOUT"),
        (exceptions.RayJobNotFoundError(job_id="j", cluster=CLUSTER), "NOT_FOUND"),
        (
            exceptions.RayClusterUnreachableError(cluster=CLUSTER, reason="gone", job_id="j"),
            "UNREACHABLE",
        ),
    ],
)
def test_errors_come_back_as_they_were(error: exceptions.AirflowSynapseError, status: str) -> None:
    """The worker raises what the trigger met, in the same words."""
    event = json.loads(json.dumps(event_of_error(error, job_id="j", cluster=CLUSTER)))

    back = error_of_event(event)

    assert event["status"] == status
    assert type(back) is type(error)
    assert str(back) == str(error)


def test_refused_credentials_are_told() -> None:
    """Any other error comes back with its own words about what to check."""
    refused = exceptions.RayAuthenticationError(cluster=CLUSTER, http_status=401)

    event = event_of_error(refused, job_id="j", cluster=CLUSTER)

    assert event["status"] == "ERROR"
    assert "Set the connection's password" in str(error_of_event(event))


@pytest.mark.parametrize("event", [None, "SUCCEEDED", {}, {"status": None}, {"status": "DONE"}])
def test_unknown_event_is_an_error(event: object) -> None:
    """What is not an event of ours is never taken for a success."""
    assert isinstance(error_of_event(event), exceptions.ExecutionError)


def test_events_stay_small() -> None:
    """A huge message and huge lines do not go through the database whole."""
    info = JobInfo("j", "FAILED", "m" * 10**6)

    event = event_of_end(info, cluster=CLUSTER, last_lines=["x" * 10**6] * 20)

    assert len(json.dumps(event)) < 25_000
