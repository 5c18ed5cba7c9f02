"""Which job a task's try is about."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_synapse.exceptions import JobIdConflictError
from airflow_synapse.operators.attempts import TaskRun, choose_attempt
from airflow_synapse.rayjobs.models import OWNER_KEY, JobInfo

FIRST_TRY = TaskRun(
    deployment="http://airflow",
    dag_id="dag",
    run_id="run",
    task_id="task",
    map_index=-1,
    clears=0,
    try_number=1,
)
SECOND_TRY = replace(FIRST_TRY, try_number=2)
AFTER_A_CLEAR = replace(FIRST_TRY, clears=2, try_number=3)


def cluster_with(*jobs: tuple[TaskRun, int, str]) -> dict[str, JobInfo]:
    """Return what a cluster knows: jobs of an attempt, each with its status."""
    return {
        run.job_id(attempt): JobInfo(run.job_id(attempt), status, metadata=run.metadata())
        for run, attempt, status in jobs
    }


def choose(run: TaskRun, jobs: dict[str, JobInfo], given_id: str | None = None) -> str:
    return choose_attempt(run, jobs.get, cluster="http://ray", given=given_id).job_id


def test_first_try_submits() -> None:
    """Where there is no job yet, one is submitted."""
    attempt = choose_attempt(FIRST_TRY, {}.get, cluster="http://ray")

    assert attempt.job_id == FIRST_TRY.job_id(1)
    assert attempt.found is None


@pytest.mark.parametrize("status", ["PENDING", "RUNNING", "SUCCEEDED"])
def test_next_try_takes_over(status: str) -> None:
    """After the worker has died, the next try takes over a job that runs or has succeeded."""
    jobs = cluster_with((FIRST_TRY, 1, status))

    attempt = choose_attempt(SECOND_TRY, jobs.get, cluster="http://ray")

    assert attempt.job_id == FIRST_TRY.job_id(1)
    assert attempt.found is jobs[attempt.job_id]


@pytest.mark.parametrize("status", ["FAILED", "STOPPED"])
def test_next_try_replaces_a_failed_job(status: str) -> None:
    """A job that FAILED or was STOPPED gets a successor under another id."""
    job_id = choose(SECOND_TRY, cluster_with((FIRST_TRY, 1, status)))

    assert job_id == FIRST_TRY.job_id(2)


def test_same_try_again_replaces_its_failed_job() -> None:
    """A try that Airflow runs a second time does not use the id of its failed job again."""
    job_id = choose(FIRST_TRY, cluster_with((FIRST_TRY, 1, "FAILED")))

    assert job_id == FIRST_TRY.job_id(2)


def test_latest_attempt_counts() -> None:
    """Of several jobs of a task run, the latest is taken over."""
    jobs = cluster_with((FIRST_TRY, 1, "FAILED"), (FIRST_TRY, 2, "RUNNING"))

    assert choose(replace(FIRST_TRY, try_number=3), jobs) == FIRST_TRY.job_id(2)


def test_cleared_task_gets_a_new_job() -> None:
    """A clear by a user makes another task run, whose jobs are others."""
    job_id = choose(AFTER_A_CLEAR, cluster_with((FIRST_TRY, 1, "SUCCEEDED")))

    assert job_id not in {FIRST_TRY.job_id(attempt) for attempt in range(1, 5)}
    assert AFTER_A_CLEAR.tries_since_clear == 1


def test_job_of_somebody_else_is_never_taken_over() -> None:
    """An id that another Airflow's job has is a conflict, not an adoption."""
    job_id = FIRST_TRY.job_id(1)
    other = JobInfo(job_id, "RUNNING", metadata={OWNER_KEY: "somebody else"})

    with pytest.raises(JobIdConflictError, match="already used on http://ray"):
        choose(FIRST_TRY, {job_id: other})


def test_given_id_is_used_as_it_is() -> None:
    """The user's own id names the first job; only a successor adds its number."""
    ended = JobInfo("mine", "FAILED", metadata=FIRST_TRY.metadata())

    assert choose(FIRST_TRY, {}, "mine") == "mine"
    assert choose(SECOND_TRY, {"mine": ended}, "mine") == "mine.2"


names = st.text(min_size=1, max_size=250)
runs = st.builds(
    TaskRun,
    deployment=names,
    dag_id=names,
    run_id=names,
    task_id=names,
    map_index=st.integers(-1, 10_000),
    clears=st.integers(0, 100),
    try_number=st.integers(1, 100),
)


@given(runs, st.integers(1, 100))
def test_ids_are_such_as_ray_takes(run: TaskRun, attempt: int) -> None:
    """Whatever the names in Airflow, the id has at most 128 harmless characters."""
    assert re.fullmatch(r"[A-Za-z0-9_.-]{1,128}", run.job_id(attempt))


@given(runs, runs, st.integers(1, 5), st.integers(1, 5))
def test_ids_differ_with_the_identity(one: TaskRun, two: TaskRun, first: int, second: int) -> None:
    """Two ids are the same if and only if all that identifies the job is."""
    same = replace(one, try_number=1) == replace(two, try_number=1) and first == second

    assert (one.job_id(first) == two.job_id(second)) is same
