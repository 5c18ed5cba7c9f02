"""Which jobs are stopped, after which looks."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from airflow_synapse.collecting.orphans import (
    GONE,
    CollectPace,
    Look,
    OwnJob,
    States,
    Suspicions,
    Why,
    judge,
    own_jobs,
)
from airflow_synapse.handover.job_metadata import (
    DEPLOYMENT_KEY,
    TaskInstanceRef,
    task_metadata,
    wait_metadata,
)
from airflow_synapse.rayjobs.models import JobInfo

HERE = "prod"
TASK = TaskInstanceRef("dag", "run", "train")
JOB = OwnJob("job", TASK)
PACE = CollectPace()
UNANSWERED = "no answer"
WAITING = [None, "scheduled", "queued", "running", "deferred", "up_for_retry", "up_for_reschedule"]


def a_job(job_id: str = "job", status: str = "RUNNING", **metadata: str) -> JobInfo:
    told = {
        **task_metadata("dag", "run", "train", -1),
        **wait_metadata(waits=True, stop_on_kill=True),
        DEPLOYMENT_KEY: HERE,
        **metadata,
    }
    return JobInfo(job_id, status, metadata={key: value for key, value in told.items() if value})


def stopped(looks: Sequence[tuple[float, str | None]]) -> list[tuple[str, float]]:
    """The job's stops, after looks at these times that found its task in these states."""
    before: Suspicions = {}
    stops = []
    for at, state in looks:
        states: States = {} if state == UNANSWERED else {TASK: state}
        verdict = judge(Look(at, [JOB], states), before, PACE)
        before = verdict.suspicions
        stops += [(orphan.job.job_id, at) for orphan in verdict.orphans]
    return stops


@pytest.mark.parametrize("status", ["PENDING", "RUNNING"])
def test_job_that_runs_or_waits_may_be_stopped(status: str) -> None:
    """A job of this Airflow that has not ended is looked at."""
    assert own_jobs([a_job(status=status)], HERE) == [JOB]


@pytest.mark.parametrize(
    "job",
    [
        a_job(status="SUCCEEDED"),
        a_job(status="FAILED"),
        a_job(status="STOPPED"),
        a_job(airflow_deployment="staging"),
        a_job(airflow_deployment=""),
        a_job(airflow_waits="false"),
        a_job(airflow_stop_on_kill="false"),
        a_job(airflow_waits="", airflow_stop_on_kill=""),  # as version 0.1.0 submitted it
        a_job(airflow_dag_id=""),
        JobInfo("job", "RUNNING"),
    ],
)
def test_other_jobs_are_never_looked_at(job: JobInfo) -> None:
    """Ended jobs, other people's, and those whose task does not wait or does not want it."""
    assert own_jobs([job], HERE) == []


def test_airflow_without_a_name_has_no_jobs() -> None:
    """Jobs of another nameless Airflow look the same, so the question is an error."""
    with pytest.raises(ValueError, match="without a name"):
        own_jobs([a_job(airflow_deployment="")], "")


def test_mapped_task_has_an_index() -> None:
    """The map index is a part of the task instance."""
    (job,) = own_jobs([a_job(airflow_map_index="3")], HERE)

    assert job.task == TaskInstanceRef("dag", "run", "train", 3)


@pytest.mark.parametrize("state", ["success", "failed", "skipped", "upstream_failed", "removed"])
def test_job_of_a_task_that_is_over_is_stopped(state: str) -> None:
    """Two looks a minute apart are enough, and needed."""
    assert stopped([(0, state)]) == []
    assert stopped([(0, state), (59, state)]) == []
    assert stopped([(0, state), (60, state)]) == [("job", 60)]
    assert stopped([(0, state), (59, state), (118, state)]) == [("job", 118)]


@pytest.mark.parametrize("state", WAITING)
def test_job_that_is_to_be_taken_over_is_never_stopped(state: str | None) -> None:
    """Whoever may still wait for the job, or take it over, keeps it."""
    assert stopped([(60 * number, state) for number in range(100)]) == []


def test_two_states_in_which_a_task_is_over_agree() -> None:
    """A user who marks a failed task as success does not want the job either."""
    assert stopped([(0, "failed"), (60, "success")]) == [("job", 60)]


def test_restarting_counts_if_both_looks_say_so() -> None:
    """A task that was cleared while it ran is restarting for a moment, or for good if its worker is dead."""
    assert stopped([(0, "restarting"), (60, "restarting")]) == [("job", 60)]
    assert stopped([(0, "restarting"), (60, None), (120, "restarting")]) == []
    assert stopped([(0, "restarting"), (60, "failed")]) == []


def test_job_of_a_deleted_run_is_stopped_after_ten_minutes() -> None:
    """All looks in these ten minutes say that the task is gone."""
    looks = [(60.0 * number, GONE) for number in range(11)]

    assert stopped(looks[:-1]) == []
    assert stopped(looks) == [("job", 600)]
    assert stopped([(0, GONE), (600, GONE)]) == [("job", 600)]


@pytest.mark.parametrize("state", ["failed", GONE])
@pytest.mark.parametrize("between", [*WAITING, "restarting"])
def test_looks_that_disagree_start_again(state: str, between: str | None) -> None:
    """A task that was cleared, or is there again, is no longer under suspicion."""
    looks = [(0, state), (300, between), (601, state)]

    assert stopped(looks) == []
    assert stopped([*looks, (1201, state)]) == [("job", 1201)]


def test_gone_after_over_starts_again() -> None:
    """A run that was deleted after its task had failed gets the ten minutes, too."""
    assert stopped([(0, "failed"), (59, GONE), (600, GONE)]) == []
    assert stopped([(0, "failed"), (59, GONE), (659, GONE)]) == [("job", 659)]


@pytest.mark.parametrize("state", ["failed", GONE])
def test_look_without_an_answer_does_not_count(state: str) -> None:
    """While Airflow gives no answer nothing is stopped; afterwards two answers have to agree."""
    assert stopped([(0, state), (600, UNANSWERED), (1200, UNANSWERED)]) == []
    assert stopped([(0, UNANSWERED), (600, state), (660, UNANSWERED)]) == []
    assert stopped([(0, state), (600, UNANSWERED), (1200, state)]) == [("job", 1200)]
    assert stopped([(0, state), (600, UNANSWERED), (1200, "running"), (1260, state)]) == []


def test_job_that_has_ended_is_forgotten() -> None:
    """If its ID comes back, it is looked at anew."""
    first = judge(Look(0, [JOB], {TASK: "failed"}), {}, PACE)
    ended = judge(Look(60, [], {}), first.suspicions, PACE)
    again = judge(Look(120, [JOB], {TASK: "failed"}), ended.suspicions, PACE)

    assert (ended.orphans, again.orphans) == ((), ())


def gone(number: int, others: int, *, spares_many: bool = True) -> tuple[int, int]:
    """How many jobs are stopped and spared, of so many whose task is gone beside others."""
    tasks = [TaskInstanceRef("dag", "run", "train", index) for index in range(number + others)]
    jobs = [OwnJob(f"job-{task.map_index}", task) for task in tasks]
    states = {task: GONE if task.map_index < number else "running" for task in tasks}
    first = judge(Look(0, jobs, states), {}, PACE, spares_many=spares_many)
    verdict = judge(Look(600, jobs, states), first.suspicions, PACE, spares_many=spares_many)
    return len(verdict.orphans), len(verdict.spared)


def test_many_gone_tasks_at_once_are_a_mistake() -> None:
    """Ten or more, and more than half: that is what a copy of this Airflow with an empty database sees."""
    assert gone(9, 0) == (9, 0)
    assert gone(10, 0) == (0, 10)
    assert gone(10, 10) == (10, 0)
    assert gone(11, 10) == (0, 11)
    assert gone(500, 400) == (0, 500)
    assert gone(500, 400, spares_many=False) == (500, 0)


def test_tasks_that_are_over_are_collected_beside_many_that_are_gone() -> None:
    """What Airflow knows to be over is no mistake."""
    tasks = [TaskInstanceRef("dag", "run", "train", index) for index in range(20)]
    jobs = [OwnJob(f"job-{task.map_index}", task) for task in tasks]
    states = {task: "failed" if task.map_index == 7 else GONE for task in tasks}

    first = judge(Look(0, jobs, states), {}, PACE)
    verdict = judge(Look(600, jobs, states), first.suspicions, PACE)

    assert [orphan.job.job_id for orphan in verdict.orphans] == ["job-7"]
    assert verdict.orphans[0].why is Why.OVER
    assert len(verdict.spared) == 19


def test_replaced_job_goes_with_its_task() -> None:
    """While a later job of the same task is waited for, the earlier one is left; then both are stopped."""
    jobs = [OwnJob("first", TASK), OwnJob("second", TASK)]

    waiting = judge(Look(0, jobs, {TASK: "deferred"}), {}, PACE)
    first = judge(Look(60, jobs, {TASK: "failed"}), waiting.suspicions, PACE)
    second = judge(Look(120, jobs, {TASK: "failed"}), first.suspicions, PACE)

    assert waiting.orphans == first.orphans == ()
    assert [orphan.job.job_id for orphan in second.orphans] == ["first", "second"]
