"""Which job a task's try is about."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import datetime, timezone
from types import SimpleNamespace
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_synapse.exceptions import JobIdConflictError
from airflow_synapse.operators.attempts import (
    Attempt,
    Expectation,
    TaskTry,
    choose_attempt,
    task_try,
)
from airflow_synapse.rayjobs.models import OWNER_KEY, PARTS_KEY, JobInfo, JobSpec

FIRST_TRY = TaskTry(
    deployment="http://airflow",
    dag_id="dag",
    run_id="run",
    task_id="task",
    map_index=-1,
    try_number=1,
    max_tries=1,
    retries=1,
    run_started="2026-01-01T00:00:00+00:00",
)
SECOND_TRY = replace(FIRST_TRY, try_number=2)
AFTER_A_CLEAR = replace(FIRST_TRY, try_number=2, max_tries=2, run_clears=1)


def cluster_with(*jobs: tuple[TaskTry, int, str]) -> dict[str, JobInfo]:
    """Return what a cluster knows: jobs of an attempt, each with its status."""
    return {
        run.job_id(attempt): JobInfo(run.job_id(attempt), status, metadata=run.metadata())
        for run, attempt, status in jobs
    }


def choose(run: TaskTry, jobs: dict[str, JobInfo], given_id: str | None = None) -> str:
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


@pytest.mark.parametrize("given_id", [None, "mine"])
def test_phantom_of_a_deleted_job_is_replaced(given_id: str | None) -> None:
    """What Ray notes down anew of a job that was deleted too early is nobody's job, and its id is used."""
    used = FIRST_TRY.job_id(1, given=given_id)
    phantom = JobInfo(used, "FAILED", entrypoint="Entrypoint not found.")

    assert choose(SECOND_TRY, {used: phantom}, given_id) == FIRST_TRY.job_id(2, given=given_id)


def test_same_try_again_replaces_its_failed_job() -> None:
    """A try that Airflow runs a second time does not use the id of its failed job again."""
    job_id = choose(FIRST_TRY, cluster_with((FIRST_TRY, 1, "FAILED")))

    assert job_id == FIRST_TRY.job_id(2)


def test_latest_attempt_counts() -> None:
    """Of several jobs of a task run, the latest is taken over."""
    jobs = cluster_with((FIRST_TRY, 1, "FAILED"), (FIRST_TRY, 2, "RUNNING"))

    assert choose(replace(FIRST_TRY, try_number=3), jobs) == FIRST_TRY.job_id(2)


@pytest.mark.parametrize("status", ["SUCCEEDED", "FAILED", "STOPPED"])
def test_cleared_task_gets_a_new_job(status: str) -> None:
    """A clear by a user makes the earlier job count no more."""
    attempt = choose_attempt(
        AFTER_A_CLEAR, cluster_with((FIRST_TRY, 1, status)).get, cluster="http://ray"
    )

    assert attempt.job_id == FIRST_TRY.job_id(2)
    assert attempt.found is None
    assert attempt.left_behind is None


@pytest.mark.parametrize("status", ["PENDING", "RUNNING"])
def test_job_that_survived_a_clear_is_told(status: str) -> None:
    """A job from before a clear that nobody could stop is named, and not taken over."""
    jobs = cluster_with((FIRST_TRY, 1, status))

    attempt = choose_attempt(AFTER_A_CLEAR, jobs.get, cluster="http://ray")

    assert attempt.job_id == FIRST_TRY.job_id(2)
    assert attempt.left_behind is jobs[FIRST_TRY.job_id(1)]


@pytest.mark.parametrize("retries", [0, 1, 5])
def test_edited_retries_change_nothing(retries: int) -> None:
    """Airflow keeps ``max_tries`` when a DAG is edited, so the job is found all the same."""
    now = replace(SECOND_TRY, retries=retries)

    assert choose(now, cluster_with((FIRST_TRY, 1, "SUCCEEDED"))) == FIRST_TRY.job_id(1)


@pytest.mark.parametrize("status", ["PENDING", "RUNNING"])
def test_clear_that_max_tries_does_not_show_is_told(status: str) -> None:
    """A clear somewhere in the run may have been of this task; a job that goes on is kept, with a notice."""
    now = replace(SECOND_TRY, run_clears=1)
    jobs = cluster_with((FIRST_TRY, 1, status))

    attempt = choose_attempt(now, jobs.get, cluster="http://ray")

    assert attempt.found is jobs[FIRST_TRY.job_id(1)]
    assert "a task of this DAG run was cleared" in attempt.notice


@pytest.mark.parametrize("retries", [0, 1])
def test_job_that_ended_before_any_clear_in_the_run_is_not_taken_over(retries: int) -> None:
    """Nobody can tell whose clear it was, so the job of a cleared task never counts as the new one's."""
    now = replace(SECOND_TRY, run_clears=1, retries=retries)

    attempt = choose_attempt(
        now, cluster_with((FIRST_TRY, 1, "SUCCEEDED")).get, cluster="http://ray"
    )

    assert (attempt.job_id, attempt.found) == (FIRST_TRY.job_id(2), None)
    assert "a task of this DAG run was cleared" in attempt.notice


SPEC = JobSpec("train --epochs 1", {"env_vars": {"A": "1", "AIRFLOW_CTX_TRY_NUMBER": "1"}})
OTHER = JobSpec("train --epochs 9", {"env_vars": {"A": "2"}})
OTHER_TRY = JobSpec(SPEC.entrypoint, {"env_vars": {"A": "1", "AIRFLOW_CTX_TRY_NUMBER": "2"}})


def attempt_after(spec: JobSpec, status: str, *, has_result: bool = True) -> Attempt:
    """Return what a second try does that expects :data:`SPEC`, after a first that submitted ``spec``."""
    metadata = {**FIRST_TRY.metadata(), PARTS_KEY: json.dumps(spec.parts)}
    job = JobInfo(FIRST_TRY.job_id(1), status, metadata=metadata)
    expected = Expectation(SPEC, lambda _: has_result)
    return choose_attempt(
        SECOND_TRY, {job.job_id: job}.get, cluster="http://ray", expected=expected
    )


@pytest.mark.parametrize("status", ["PENDING", "RUNNING", "SUCCEEDED"])
def test_what_only_tells_of_the_try_is_no_difference(status: str) -> None:
    """The next try's environment names another try, and the job is the same."""
    attempt = attempt_after(OTHER_TRY, status)

    assert attempt.found is not None
    assert not attempt.notice


def test_running_job_of_another_spec_is_taken_over_with_a_notice() -> None:
    """The work of days is kept, and the log names what is not as the DAG has it now."""
    attempt = attempt_after(OTHER, "RUNNING")

    assert attempt.found is not None
    assert "other values of entrypoint, env" in attempt.notice


def test_waiting_job_of_another_spec_is_replaced() -> None:
    """What has not begun need not begin."""
    attempt = attempt_after(OTHER, "PENDING")

    assert (attempt.job_id, attempt.found) == (FIRST_TRY.job_id(2), None)
    assert attempt.left_behind is not None
    assert attempt.is_outdated


def test_ended_job_of_another_spec_is_not_taken_over() -> None:
    """A result of other params is not the result."""
    attempt = attempt_after(OTHER, "SUCCEEDED")

    assert (attempt.job_id, attempt.found) == (FIRST_TRY.job_id(2), None)
    assert attempt.left_behind is None


def test_ended_job_without_its_result_is_not_taken_over() -> None:
    """What left nothing has to run again."""
    assert attempt_after(SPEC, "SUCCEEDED", has_result=False).job_id == FIRST_TRY.job_id(2)
    assert attempt_after(SPEC, "RUNNING", has_result=False).found is not None


def test_run_that_was_deleted_and_made_again_gets_new_jobs() -> None:
    """A run of the same id that started at another time is another run."""
    again = replace(FIRST_TRY, run_started="2026-01-02T00:00:00+00:00")

    assert choose(again, cluster_with((FIRST_TRY, 1, "SUCCEEDED"))) == FIRST_TRY.job_id(2)


def test_submission_that_may_be_on_its_way_keeps_its_id() -> None:
    """Where no try was seen to submit, the next uses the same id: only one of both gets through."""
    third = replace(FIRST_TRY, try_number=3)

    assert choose(third, {}) == FIRST_TRY.job_id(1)
    assert choose(third, cluster_with((FIRST_TRY, 1, "FAILED"))) == FIRST_TRY.job_id(2)


def test_id_of_a_job_that_is_gone_is_not_used_again() -> None:
    """Of a deleted job a cluster keeps the log, so its successor goes by another id."""
    third = replace(FIRST_TRY, try_number=3, had_job=True)

    assert choose(third, {}) == FIRST_TRY.job_id(3)
    assert choose(third, cluster_with((FIRST_TRY, 1, "FAILED"))) == FIRST_TRY.job_id(3)


@pytest.mark.parametrize("given_id", [None, "mine"])
@pytest.mark.parametrize(("status", "number"), [("RUNNING", 9), ("FAILED", 10)])
def test_latest_job_is_found_where_those_before_it_were_deleted(
    given_id: str | None, status: str, number: int
) -> None:
    """A job that an earlier try certainly had is looked for among all jobs of the cluster."""
    second = replace(SECOND_TRY, had_job=True)
    job_id = FIRST_TRY.job_id(9, given=given_id)
    latest = JobInfo(job_id, status, metadata=FIRST_TRY.metadata())
    older = replace(latest, job_id=FIRST_TRY.job_id(7, given=given_id), status="FAILED")
    others = JobInfo("x", "RUNNING"), replace(latest, job_id="of another job_id")
    jobs = {job.job_id: job for job in (latest, older, *others)}

    attempt = choose_attempt(
        second, jobs.get, cluster="http://ray", given=given_id, list_jobs=jobs.values
    )

    assert attempt.job_id == FIRST_TRY.job_id(number, given=given_id)
    assert attempt.found is (latest if status == "RUNNING" else None)


@pytest.mark.parametrize("had_job", [True, False])
def test_list_of_all_jobs_is_read_only_if_a_job_is_missing(had_job: bool) -> None:
    """It keeps the head node busy, so no usual retry asks for it."""
    found = replace(SECOND_TRY, had_job=had_job)
    jobs = cluster_with((FIRST_TRY, 1, "RUNNING"))
    list_jobs = Mock(return_value=())

    choose_attempt(found, jobs.get, cluster="http://ray", list_jobs=list_jobs)
    assert not list_jobs.called
    choose_attempt(found, {}.get, cluster="http://ray", list_jobs=list_jobs)
    assert list_jobs.called is had_job


@pytest.mark.parametrize("given_id", [None, "mine.2"])
@pytest.mark.parametrize("left", [[], [9], [3, 9], [1, 2, 9]])
def test_job_in_place_of_another_goes_on_from_its_number(
    left: list[int], given_id: str | None
) -> None:
    """Whichever earlier jobs of the try were deleted from the cluster, no ID is used again."""
    ids = {number: FIRST_TRY.job_id(number, given=given_id) for number in range(1, 11)}
    jobs = {
        ids[number]: JobInfo(ids[number], "FAILED", metadata=FIRST_TRY.metadata())
        for number in left
    }

    attempt = choose_attempt(
        FIRST_TRY, jobs.get, cluster="http://ray", given=given_id, follows=ids[9]
    )

    assert attempt == Attempt(ids[10])


def test_job_in_place_of_another_is_found_where_it_was_sent_before() -> None:
    """If a worker died right after it had sent the job, another worker takes it over."""
    jobs = cluster_with((FIRST_TRY, 9, "FAILED"), (FIRST_TRY, 10, "PENDING"))

    attempt = choose_attempt(FIRST_TRY, jobs.get, cluster="http://ray", follows=FIRST_TRY.job_id(9))

    assert attempt.found is jobs[FIRST_TRY.job_id(10)]


def test_job_of_somebody_else_is_never_taken_over() -> None:
    """An id that another Airflow's job has is a conflict, and is not taken over."""
    job_id = FIRST_TRY.job_id(1)
    other = JobInfo(job_id, "RUNNING", metadata={OWNER_KEY: "somebody else"})

    with pytest.raises(JobIdConflictError, match="Another job on http://ray"):
        choose(FIRST_TRY, {job_id: other})


def test_given_id_is_used_as_it_is() -> None:
    """The user's own id names the first job; only a successor adds its number."""
    ended = JobInfo("mine", "FAILED", metadata=FIRST_TRY.metadata())

    assert choose(FIRST_TRY, {}, "mine") == "mine"
    assert choose(SECOND_TRY, {"mine": ended}, "mine") == "mine.2"


names = st.text(min_size=1, max_size=250)
runs = st.builds(
    TaskTry,
    deployment=names,
    dag_id=names,
    run_id=names,
    task_id=names,
    map_index=st.integers(-1, 10_000),
    try_number=st.integers(1, 100),
    max_tries=st.integers(0, 100),
    retries=st.integers(0, 100),
)


statuses = st.sampled_from(["PENDING", "RUNNING", "SUCCEEDED", "FAILED", "STOPPED"])


@given(st.lists(statuses, max_size=6), st.booleans(), st.integers(0, 3))
def test_new_job_never_takes_an_id_in_use(
    before: list[str], had_job: bool, more_tries: int
) -> None:
    """Whatever jobs there are, the ID is that of the job taken over or one that nobody has."""
    run = replace(FIRST_TRY, try_number=len(before) + more_tries + 1, had_job=had_job)
    jobs = cluster_with(*((run, number, status) for number, status in enumerate(before, 1)))

    attempt = choose_attempt(run, jobs.get, cluster="http://ray")

    assert (attempt.job_id in jobs) is (attempt.found is not None)


@given(runs, st.integers(1, 100))
def test_ids_are_such_as_ray_takes(run: TaskTry, attempt: int) -> None:
    """Whatever the names in Airflow, the id has at most 128 harmless characters."""
    assert re.fullmatch(r"[A-Za-z0-9_.-]{1,128}", run.job_id(attempt))


@given(runs, st.integers(1, 100), names)
def test_number_is_known_by_the_id(run: TaskTry, number: int, own: str) -> None:
    """Whatever the names are, a job's number can be told from its ID."""
    assert run.number_of(run.job_id(number)) == number
    assert run.number_of(run.job_id(number, given=own), given=own) == number
    assert run.number_of(f"{run.job_id(number)}x") == 0


@given(runs, runs, st.integers(1, 5), st.integers(1, 5))
def test_ids_differ_with_the_identity(one: TaskTry, two: TaskTry, first: int, second: int) -> None:
    """Two ids are the same if and only if all that identifies the job is."""
    same = one.owner == two.owner and first == second

    assert (one.job_id(first) == two.job_id(second)) is same


@pytest.mark.parametrize(("left", "had_job"), [(["job_id", "x"], True), ([], False), (None, False)])
def test_what_airflow_tells_of_a_task_run(left: list[str] | None, had_job: bool) -> None:
    """All that identifies a try comes from Airflow's context, and what earlier tries left."""
    ti = SimpleNamespace(
        dag_id="dag", run_id="run", task_id="task", map_index=None, try_number=2, max_tries=3
    )
    ti._ti_context_from_server = SimpleNamespace(xcom_keys_to_clear=left)
    dag_run = SimpleNamespace(start_date=datetime(2026, 1, 1, tzinfo=timezone.utc), clear_number=4)

    run = task_try({"ti": ti, "dag_run": dag_run}, retries=1, deployment="http://airflow")

    assert run == TaskTry(
        deployment="http://airflow",
        dag_id="dag",
        run_id="run",
        task_id="task",
        map_index=-1,
        try_number=2,
        max_tries=3,
        retries=1,
        run_started="2026-01-01T00:00:00+00:00",
        run_clears=4,
        had_job=had_job,
    )
