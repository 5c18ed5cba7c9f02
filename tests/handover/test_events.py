"""What a trigger tells its task, and what the task makes of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_synapse import exceptions
from airflow_synapse.handover.airflow_values import is_safe, safe_text
from airflow_synapse.handover.events import Event, event_of, outcome_of
from airflow_synapse.handover.job_facts import JobFacts
from airflow_synapse.rayjobs.job.failures import error_of
from airflow_synapse.rayjobs.job.outcome import Outcome
from airflow_synapse.rayjobs.models import (
    ACTION_KEY,
    CUT_OFF_KEY,
    PLUGIN_KEY,
    WAITING_SINCE_KEY,
    JobInfo,
)
from airflow_synapse.rayjobs.waiting.reasons import Cause, Reason

CLUSTER = "http://ray:8265"


def event_of_end(info: JobInfo, *, last_lines: Sequence[str] = (), **more: Any) -> Event:
    return event_of(Outcome(info.job_id, CLUSTER, info, last_lines=tuple(last_lines), **more))


def event_of_error(error: Exception) -> Event:
    return event_of(Outcome.of_failure(error, job_id="j", cluster=CLUSTER))


def error_of_event(event: object) -> exceptions.AirflowSynapseError | None:
    return outcome_of(event).error()


def test_success_is_no_error() -> None:
    """The event of a job that succeeded has its result and means no error."""
    event = event_of_end(JobInfo("j", "SUCCEEDED"), document={"result": 1})

    assert event["result"] == 1
    assert error_of_event(event) is None


def test_failure_survives_the_way_through_the_database() -> None:
    """Error type, exit code, message and last lines are the same after a trip as JSON."""
    info = JobInfo("j", "FAILED", "it broke", "JOB_ENTRYPOINT_COMMAND_ERROR", 3)
    event = json.loads(json.dumps(event_of_end(info, last_lines=["a", "b"])))

    error = error_of_event(event)

    assert isinstance(error, exceptions.RayJobEntrypointError)
    assert (error.job_id, error.cluster, error.exit_code) == ("j", CLUSTER, 3)
    assert error.last_lines == ("a", "b")
    assert "it broke" in str(error)


def test_stop_is_told_apart() -> None:
    """STOPPED is an error of its own, as it must not be retried."""
    event = event_of_end(JobInfo("j", "STOPPED"))

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
    event = json.loads(json.dumps(event_of_error(error)))

    back = error_of_event(event)

    assert event["status"] == status
    assert type(back) is type(error)
    assert str(back) == str(error)


def test_refused_credentials_are_told() -> None:
    """What to check comes back, and that a retry is in vain."""
    refused = exceptions.RayAuthenticationError(cluster=CLUSTER, http_status=401)

    event = event_of_error(refused)
    error = error_of_event(event)

    assert event["status"] == "ERROR"
    assert isinstance(error, exceptions.RayAuthenticationError)
    assert str(error) == str(refused)


@pytest.mark.parametrize("text", ["\udcff", "\0", "a \ud800 b"])
def test_text_that_is_none_can_be_sent(text: str) -> None:
    """Airflow's triggerer dies of an event that is not UTF-8, and PostgreSQL takes no zero."""
    failed = JobInfo("j", "FAILED", text, text, 3)
    broken = exceptions.ExecutionError(job_id="j", reason=text, hint=text, last_lines=[text])

    for event in (
        event_of_end(failed, last_lines=[text]),
        event_of_error(broken),
        event_of_error(ValueError(text)),
    ):
        assert is_safe(event)
        msgspec.msgpack.encode(event)


@pytest.mark.parametrize("event", [None, "SUCCEEDED", {}, {"status": None}, {"status": "DONE"}])
def test_unknown_event_is_an_error(event: object) -> None:
    """What is not an event of ours is never taken for a success."""
    assert isinstance(error_of_event(event), exceptions.ExecutionError)


def test_events_stay_small() -> None:
    """A huge message and huge lines do not go through the database whole."""
    info = JobInfo("j", "FAILED", "m" * 10**6)

    event = event_of_end(info, last_lines=["x" * 10**6] * 20)

    assert len(json.dumps(event)) < 25_000


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3)
    ),
    max_leaves=6,
)
fields = st.sampled_from(
    ["status", "job_id", "message", "error_type", "driver_exit_code", "cluster", "last_lines"]
)
statuses = st.sampled_from(
    [
        "PENDING",
        "FAILED",
        "STOPPED",
        "TIMEOUT",
        "NOT_FOUND",
        "UNREACHABLE",
        "ERROR",
        "",
        "succeeded",
    ]
)


@given(
    st.dictionaries(fields, json_values, max_size=6) | json_values,
    st.none() | statuses | st.just("SUCCEEDED"),
)
def test_whatever_stands_in_an_event(event: Any, status: str | None) -> None:
    """Any event comes to an end that can be told, and only SUCCEEDED is a success."""
    if isinstance(event, dict) and status is not None:
        event["status"] = status

    error = error_of_event(event)

    is_success = isinstance(event, dict) and event.get("status") == "SUCCEEDED"
    assert (error is None) is is_success
    assert error is None or str(error)


@given(
    st.sampled_from(["FAILED", "STOPPED"]),
    st.none() | st.text(max_size=200),
    st.none() | st.integers(-255, 255),
    st.lists(st.text(max_size=50), max_size=25),
)
def test_an_end_survives_the_way_through_the_database(
    status: str, message: str | None, exit_code: int | None, lines: list[str]
) -> None:
    """What a trigger saw is what the task's error tells."""
    info = JobInfo("j", status, message, driver_exit_code=exit_code)
    event = json.loads(json.dumps(event_of_end(info, last_lines=lines)))

    there, here = error_of_event(event), error_of(info, cluster=CLUSTER, last_lines=lines)

    assert type(there) is type(here)
    assert getattr(there, "exit_code", None) == getattr(here, "exit_code", None)
    safe_lines = tuple(safe_text(line) for line in getattr(here, "last_lines", ()))
    assert getattr(there, "last_lines", ()) == safe_lines


@pytest.mark.parametrize("duration", [float("inf"), float("nan"), 10**400, -(10**400), "1", True])
@pytest.mark.parametrize("key", ["duration", "start_time", "end_time"])
def test_times_that_make_no_sense_are_not_known(key: str, duration: Any) -> None:
    """An event may hold anything; the job's end counts all the same."""
    outcome = outcome_of({"status": "SUCCEEDED", "job_id": "j", "end_time": 5, key: duration})

    assert outcome.error() is None
    assert JobFacts.of_outcome(outcome) is not None


def test_metadata_of_somebody_else_can_be_sent() -> None:
    """A sensor watches jobs that anybody submitted."""
    metadata = {PLUGIN_KEY: "\ud800" * 10**6, ACTION_KEY: "a\0"}
    event = event_of_end(JobInfo("j", "SUCCEEDED", metadata=metadata))

    assert is_safe(event)
    assert len(msgspec.msgpack.encode(event)) < 10_000


@pytest.mark.parametrize("cause", Cause)
def test_reason_of_a_wait_survives_the_way_through_the_database(cause: Cause) -> None:
    """A task learns why its job waited and since when, as its worker decides what comes next."""
    metadata = {WAITING_SINCE_KEY: "5000", CUT_OFF_KEY: "true"}
    info = JobInfo(
        "j", "FAILED", error_type="JOB_SUPERVISOR_ACTOR_START_TIMEOUT", metadata=metadata
    )
    reason = Reason(cause, "asks for 4 CPU; 1 of 16 are free", "asks for 4 CPU")
    event = json.loads(json.dumps(event_of_end(info, waited_for=reason)))

    outcome = outcome_of(event)

    assert outcome.waited_for is not None
    assert (outcome.waited_for.cause, outcome.waited_for.text) == (cause, reason.text)
    assert outcome.info is not None
    assert outcome.info.metadata == metadata


@pytest.mark.parametrize("told", [None, "x", {}, {"cause": "odd", "text": "x"}, {"cause": "busy"}])
def test_odd_reason_is_none(told: object) -> None:
    """What another version told in its own way is left out."""
    assert outcome_of({"status": "FAILED", "job_id": "j", "waited_for": told}).waited_for is None


def test_long_message_keeps_its_end() -> None:
    """What went wrong with an environment stands at the end of Ray's message."""
    message = f"runtime_env setup failed: {'x' * 20_000}\nERROR: no such package"
    info = JobInfo("j", "FAILED", message, "RUNTIME_ENV_SETUP_FAILURE")

    event = event_of_end(info)

    assert len(event["message"]) < 8_100
    assert str(error_of_event(event)).splitlines()[0].endswith(": ERROR: no such package")
