"""Ray's start limit means what the job waited for when it was last seen waiting."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_synapse.exceptions import RayJobNotScheduledError
from airflow_synapse.rayjobs.job import start_limit
from airflow_synapse.rayjobs.job.failures import error_of
from airflow_synapse.rayjobs.models import CUT_OFF_KEY, WAITING_SINCE_KEY, JobInfo
from airflow_synapse.rayjobs.waiting.reasons import Cause, Reason

MESSAGE = "Job supervisor actor failed to start within 20.0 seconds. This timeout can be configured by setting the environment variable RAY_JOB_START_TIMEOUT_SECONDS."


def given_up(**fields: Any) -> JobInfo:
    told = {"message": MESSAGE, "error_type": "JOB_SUPERVISOR_ACTOR_START_TIMEOUT", **fields}
    return JobInfo("j", "FAILED", start_time=5_000, **told)


def reason(cause: Cause) -> Reason:
    return Reason(cause, "asks for 4 GPU; no node has more than 2", "")


@pytest.mark.parametrize(
    ("cause", "metadata", "is_worth_it"),
    [
        (Cause.BUSY, {}, True),
        (Cause.BUSY, {CUT_OFF_KEY: "true"}, True),
        (Cause.AUTOSCALER, {}, True),
        (Cause.IMPOSSIBLE, {}, False),
        (Cause.ENVIRONMENT, {}, True),
        (Cause.ENVIRONMENT, {CUT_OFF_KEY: "true"}, False),
        (None, {}, False),
    ],
)
def test_queue_is_no_failure(
    cause: Cause | None, metadata: dict[str, str], is_worth_it: bool
) -> None:
    """A job that waited for others is submitted again, one that is impossible or unexplained is not."""
    info = given_up(metadata=metadata)

    again = start_limit.is_worth_submitting_again(info, reason(cause) if cause else None)

    assert again is is_worth_it


@pytest.mark.parametrize(
    ("info", "has_passed"),
    [
        (given_up(), True),
        (given_up(error_type=None), True),
        (given_up(error_type=None, message="Traceback"), False),
        (given_up(error_type="JOB_ENTRYPOINT_COMMAND_ERROR"), False),
        (JobInfo("j", "SUCCEEDED"), False),
    ],
)
def test_start_limit_is_recognized(info: JobInfo, has_passed: bool) -> None:
    """Ray's error type tells it or, before there was one, Ray's message."""
    assert start_limit.has_passed(info) is has_passed
    assert start_limit.is_worth_submitting_again(info, reason(Cause.BUSY)) is has_passed


def test_wait_is_counted_from_the_first_job() -> None:
    """Each job in place of another says when the first of them was submitted."""
    first = given_up()
    second = given_up(metadata=start_limit.metadata_after(first, reason(Cause.ENVIRONMENT)))
    third = start_limit.metadata_after(second, reason(Cause.BUSY))

    assert second.metadata == third == {WAITING_SINCE_KEY: "5000", CUT_OFF_KEY: "true"}
    assert start_limit.waiting_since(second) == 5.0


@pytest.mark.parametrize("told", ["", "x", "9" * 400, "-1", "٣"])
def test_odd_metadata_is_no_time(told: str) -> None:
    """Whatever somebody wrote there, it does not break the wait."""
    assert start_limit.waiting_since(given_up(metadata={WAITING_SINCE_KEY: told})) == 5.0


@pytest.mark.parametrize(
    ("cause", "metadata", "told"),
    [
        (Cause.IMPOSSIBLE, {}, "Ask for less, or add a node that has it."),
        (Cause.BUSY, {}, "Submit it again"),
        (Cause.ENVIRONMENT, {CUT_OFF_KEY: "true"}, "Set RAY_JOB_START_TIMEOUT_SECONDS in the env"),
        (Cause.ENVIRONMENT, {CUT_OFF_KEY: "true"}, "cut the installation off for the second time."),
    ],
)
def test_error_names_the_reason(cause: Cause, metadata: dict[str, str], told: str) -> None:
    """The error says what the job waited for, and what to do."""
    error = error_of(given_up(metadata=metadata), cluster="c", waited_for=reason(cause))

    assert type(error) is RayJobNotScheduledError
    assert "It asks for 4 GPU; no node has more than 2. " in str(error)
    assert told in str(error)


def test_error_without_a_reason_tells_what_to_look_at() -> None:
    """Where nothing told why the job waited, the error is as before."""
    assert "Compare the resources and labels" in str(error_of(given_up(), cluster="c"))
