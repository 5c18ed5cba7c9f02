"""A task has one job at a time, whichever tries and kills it goes through."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock, patch

import pytest
from airflow.sdk.execution_time.timeout import timeout

from airflow_synapse.exceptions import (
    ExecutionError,
    JobIdConflictError,
    RayClusterUnreachableError,
    RayJobEntrypointError,
    RayJobTimeoutError,
)
from airflow_synapse.hooks.metrics import AirflowMetrics
from airflow_synapse.hooks.ray_job import RayJobHook
from airflow_synapse.operators.base import RayJobOperator
from airflow_synapse.operators.retry_policy import is_worth_a_retry
from airflow_synapse.rayjobs.reporting import REQUESTS, SUBMISSIONS_ADOPTED, SUBMISSIONS_NEW
from airflow_synapse.version_compat import TaskDeferralError, TaskDeferred
from tests.operators.running import a_command, an_action, messages, run
from tests.operators.task_instance import TaskInstance
from tests.support import stub_dashboard as routes
from tests.support.faults import Answer
from tests.support.stub_dashboard import StubDashboard
from tests.support.stub_jobs import NEVER


def test_next_try_takes_the_job_over(stub: StubDashboard, caplog: pytest.LogCaptureFixture) -> None:
    """After the worker died, the next try shows the same job from its start and its end."""
    stub.script(log=((0.0, b"from the start\n"),), runtime=0.2)
    first = TaskInstance(max_tries=1)
    run(a_command(retries=1, wait_for_completion=False), first)

    second = TaskInstance(try_number=2, max_tries=1)
    run(a_command(retries=1), second)

    assert list(stub.jobs) == [second.xcoms["job_id"]] == [first.xcoms["job_id"]]
    assert messages(caplog).count("from the start") == 1
    assert any("Took over Ray job" in text for text in messages(caplog))


def test_job_that_has_ended_needs_no_trigger(
    stub: StubDashboard, caplog: pytest.LogCaptureFixture
) -> None:
    """The next try shows the log of a job that has succeeded meanwhile, and is done."""
    stub.script(log=((0.0, b"from the start\n"),), runtime=0.0)
    run(a_command(retries=1, wait_for_completion=False), TaskInstance(max_tries=1))

    run(a_command(retries=1, deferrable=True), TaskInstance(try_number=2, max_tries=1))

    assert len(stub.jobs) == 1
    assert messages(caplog).count("from the start") == 1


def test_submissions_are_counted(stub: StubDashboard, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that a task starts is told from one that it takes over."""
    counts: Counter[str] = Counter()
    monkeypatch.setattr(
        AirflowMetrics, "count", lambda _, name, value=1: counts.update({name: value})
    )

    run(a_command(retries=1, wait_for_completion=False), TaskInstance(max_tries=1))
    run(a_command(retries=1), TaskInstance(try_number=2, max_tries=1))

    assert (counts[SUBMISSIONS_NEW], counts[SUBMISSIONS_ADOPTED]) == (1, 1)
    assert counts[REQUESTS] == len(stub.calls)


def test_running_job_goes_on_though_the_dag_was_changed(
    stub: StubDashboard, caplog: pytest.LogCaptureFixture
) -> None:
    """A try that was deployed anew takes its running job over, and says what is not as it is now."""
    stub.script(runtime=0.2)
    run(a_command(retries=1, wait_for_completion=False), TaskInstance(max_tries=1))

    run(a_command(retries=1, entrypoint="echo new"), TaskInstance(try_number=2, max_tries=1))

    assert [job.request["entrypoint"] for job in stub.jobs.values()] == ["true"]
    assert any("other values of entrypoint" in text for text in messages(caplog))


def test_restored_map_index_runs_its_new_value(stub: StubDashboard) -> None:
    """Airflow removes a mapped index and restores it with another value, under the same ids."""
    run(a_command(entrypoint="echo three"), TaskInstance(map_index=2))

    run(a_command(entrypoint="echo NINE"), TaskInstance(map_index=2, try_number=2))

    ran = [job.request["entrypoint"] for job in stub.jobs.values()]
    assert ran == ["echo three", "echo NINE"]


@pytest.mark.parametrize("stop_on_kill", [True, False])
def test_waiting_job_is_replaced_if_the_dag_was_changed(
    stub: StubDashboard, stop_on_kill: bool
) -> None:
    """Nobody asks for it any more, so it is stopped, and the new one starts."""
    stub.script(pending=NEVER)
    given = {"retries": 1, "wait_for_completion": False, "stop_on_kill": stop_on_kill}
    run(a_command(**given), TaskInstance(max_tries=1))
    stub.script()

    run(a_command(**given, entrypoint="echo new"), TaskInstance(try_number=2, max_tries=1))

    assert [job.status for job in stub.jobs.values()] == ["STOPPED", "SUCCEEDED"]


@pytest.mark.parametrize("deferrable", [True, False])
def test_action_whose_result_is_gone_runs_again(
    stub: StubDashboard, plugin: Path, caplog: pytest.LogCaptureFixture, deferrable: bool
) -> None:
    """The try that misses the result fails and says so; the next one has a job of its own."""
    with pytest.raises(ExecutionError, match="has no result"):
        run(an_action(plugin, retries=1), TaskInstance(max_tries=1))

    again = an_action(plugin, retries=1, deferrable=deferrable)
    ti = TaskInstance(try_number=2, max_tries=1)
    with pytest.raises(TaskDeferred if deferrable else ExecutionError):
        run(again, ti)

    assert len(stub.jobs) == 2
    assert list(stub.jobs)[1] == ti.xcoms["job_id"]
    assert any("is run again, as a new job" in text for text in messages(caplog))


@pytest.mark.parametrize("given", [{"do_xcom_push": False}, {"wait_for_completion": False}])
def test_result_that_nobody_wants_need_not_be_there(
    stub: StubDashboard, plugin: Path, given: dict[str, Any]
) -> None:
    """Then a job that SUCCEEDED is all that a later try needs."""
    for try_number in (1, 2):
        ti = TaskInstance(try_number=try_number, max_tries=1)
        run(an_action(plugin, retries=1, **given), ti)

    assert len(stub.jobs) == 1


def test_failed_job_is_replaced_by_the_next_try(stub: StubDashboard) -> None:
    """A retry of a task whose job FAILED starts a new one."""
    stub.script(status="FAILED")
    with pytest.raises(RayJobEntrypointError):
        run(a_command(retries=1), TaskInstance(max_tries=1))
    stub.script()

    run(a_command(retries=1), TaskInstance(try_number=2, max_tries=1))

    assert [job.status for job in stub.jobs.values()] == ["FAILED", "SUCCEEDED"]


def test_cleared_task_starts_a_new_job(stub: StubDashboard) -> None:
    """What a user clears runs again, also if its job had succeeded."""
    run(a_command(retries=1), TaskInstance(max_tries=1))

    run(a_command(retries=1), TaskInstance(try_number=2, max_tries=2))

    assert len(stub.jobs) == 2


@pytest.mark.parametrize("given", [{}, {"job_id": "mine"}])
def test_task_that_does_not_reattach_starts_a_new_job(
    stub: StubDashboard, given: dict[str, Any]
) -> None:
    """With ``reattach=False`` each try has a job of its own, and none is left behind."""
    stub.script(runtime=NEVER)
    for try_number in (1, 2):
        ti = TaskInstance(try_number=try_number, max_tries=1)
        run(a_command(retries=1, reattach=False, wait_for_completion=False, **given), ti)

    assert [job.status for job in stub.jobs.values()] == ["STOPPED", "RUNNING"]


def test_given_id_of_another_job_conflicts(stub: StubDashboard, ti: TaskInstance) -> None:
    """A job that is not this task's is never taken over."""
    stub.add_job("shared", runtime=NEVER)

    with pytest.raises(JobIdConflictError, match="shared"):
        run(a_command(job_id="shared"), ti)

    assert stub.jobs["shared"].status == "RUNNING"


@pytest.mark.parametrize("stop_on_kill", [True, False])
def test_killed_task_stops_its_job_if_it_may(
    stub: StubDashboard, ti: TaskInstance, stop_on_kill: bool
) -> None:
    """A killed worker's task stops its job, unless the user wants it to go on."""
    stub.script(runtime=NEVER)
    operator = a_command(wait_for_completion=False, stop_on_kill=stop_on_kill)
    run(operator, ti)

    operator.on_kill()

    assert stub.jobs[ti.xcoms["job_id"]].status == ("STOPPED" if stop_on_kill else "RUNNING")


def test_task_that_was_killed_before_it_submits(stub: StubDashboard, ti: TaskInstance) -> None:
    """A kill that comes before the job was sent leaves none behind."""
    operator = a_command()
    operator.on_kill()

    with pytest.raises(ExecutionError, match="the task was killed") as caught:
        run(operator, ti)

    assert stub.count(routes.SUBMIT) == 0
    assert is_worth_a_retry(caught.value) is not False


def test_task_that_is_killed_while_it_talks_to_airflow(
    stub: StubDashboard, ti: TaskInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kill asks Airflow nothing, as the interrupted code waits for an answer; the job is stopped after it."""
    stub.script(runtime=NEVER)
    operator = a_command(wait_for_completion=False)

    def push_and_be_killed(key: str, value: Any) -> None:
        monkeypatch.delenv("AIRFLOW_CONN_RAY_DEFAULT", raising=False)
        operator.on_kill()

    monkeypatch.setattr(ti, "xcom_push", push_and_be_killed)
    with pytest.raises(ExecutionError, match="was stopped, because the task was killed"):
        run(operator, ti)

    assert [job.status for job in stub.jobs.values()] == ["STOPPED"]


def test_job_that_survived_a_clear_is_stopped(
    stub: StubDashboard, caplog: pytest.LogCaptureFixture
) -> None:
    """What nobody could stop when the task was cleared, the next try stops."""
    stub.script(runtime=NEVER)
    run(a_command(wait_for_completion=False), TaskInstance())

    run(a_command(wait_for_completion=False), TaskInstance(try_number=2, max_tries=1))

    assert [job.status for job in stub.jobs.values()] == ["STOPPED", "RUNNING"]
    assert any("from before the task was cleared" in text for text in messages(caplog))


def submit_in_two_runs_of_one_id() -> None:
    for second in (1, 2):
        started = SimpleNamespace(
            start_date=datetime(2026, 1, 1, second=second, tzinfo=timezone.utc)
        )
        context: Any = {"ti": TaskInstance(), "dag_run": started}
        a_command(wait_for_completion=False).execute(context)


def test_job_that_may_be_another_airflow_s_is_left_alone(
    stub: StubDashboard, caplog: pytest.LogCaptureFixture
) -> None:
    """Where two Airflows have no names, neither touches what looks like its own and started elsewhere."""
    stub.script(runtime=NEVER)
    submit_in_two_runs_of_one_id()

    assert [job.status for job in stub.jobs.values()] == ["RUNNING", "RUNNING"]
    assert any("maybe to another Airflow" in text for text in messages(caplog))


def test_named_airflow_stops_what_it_left_behind(
    stub: StubDashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a name, a job of a run that was deleted and made again is known to be its own."""
    monkeypatch.setenv("AIRFLOW__RAY__DEPLOYMENT", "prod")
    stub.script(runtime=NEVER)
    submit_in_two_runs_of_one_id()

    assert [job.status for job in stub.jobs.values()] == ["STOPPED", "RUNNING"]


LEFT = [(0, True, "STOPPED"), (1, True, "RUNNING"), (1, False, "STOPPED")]


@pytest.mark.parametrize(("max_tries", "reattach", "status"), LEFT)
def test_watch_that_broke_in_the_triggerer_leaves_the_job_only_to_a_next_try(
    stub: StubDashboard, max_tries: int, reattach: bool, status: str
) -> None:
    """An event that tells of no end is followed by one that does, or by a stop."""
    stub.add_job("j", runtime=NEVER)
    event = {"status": "ERROR", "job_id": "j", "message": "it broke", "reason": "can't be watched"}
    operator = a_command(retries=max_tries, reattach=reattach)

    with pytest.raises(ExecutionError, match="can't be watched"):
        operator.execute_complete({"ti": TaskInstance(max_tries=max_tries)}, event)  # type: ignore[typeddict-item]

    assert stub.jobs["j"].status == status


def test_job_out_of_reach_in_the_last_try_is_named(caplog: pytest.LogCaptureFixture) -> None:
    """Who finds the task failed reads that its job may run on, and how to stop it."""
    event = {"status": "UNREACHABLE", "job_id": "j", "cluster": "http://ray:8265", "reason": "gone"}

    with pytest.raises(RayClusterUnreachableError):
        a_command().execute_complete({"ti": TaskInstance()}, event)  # type: ignore[typeddict-item]

    assert any("airflow ray stop j --conn-id ray_default" in text for text in messages(caplog))


@pytest.mark.parametrize(("max_tries", "reattach", "status"), LEFT)
def test_watch_that_broke_in_the_worker_leaves_the_job_only_to_a_next_try(
    stub: StubDashboard, max_tries: int, reattach: bool, status: str
) -> None:
    """Whatever breaks, no job runs on that nobody watches."""
    stub.script(runtime=NEVER)
    operator = a_command(retries=max_tries, reattach=reattach)

    with (
        patch.object(RayJobHook, "watch", autospec=True, side_effect=RuntimeError("it broke")),
        pytest.raises(RuntimeError),
    ):
        run(operator, TaskInstance(max_tries=max_tries))

    assert [job.status for job in stub.jobs.values()] == [status]


@pytest.mark.parametrize(("max_tries", "status"), [(0, "STOPPED"), (1, "RUNNING")])
def test_task_that_airflow_lets_down_leaves_the_job_only_to_a_next_try(
    stub: StubDashboard, monkeypatch: pytest.MonkeyPatch, max_tries: int, status: str
) -> None:
    """Also if Airflow's API fails right after the submission."""
    stub.script(runtime=NEVER)
    ti = TaskInstance(max_tries=max_tries)
    monkeypatch.setattr(ti, "xcom_push", Mock(side_effect=RuntimeError("the API server is away")))

    with pytest.raises(RuntimeError):
        run(a_command(retries=max_tries, deferrable=True), ti)

    assert [job.status for job in stub.jobs.values()] == [status]


def test_execution_timeout_in_the_worker_stops_the_job_and_is_named(
    stub: StubDashboard, ti: TaskInstance
) -> None:
    """Airflow's own limit ends a task in the worker as it does in the triggerer."""
    stub.script(runtime=NEVER)

    with (
        pytest.raises(RayJobTimeoutError, match="did not end within the task's execution_timeout"),
        timeout(0.7),
    ):
        run(a_command(), ti)

    assert [job.status for job in stub.jobs.values()] == ["STOPPED"]


def test_execution_timeout_does_not_undo_what_is_done(
    stub: StubDashboard, ti: TaskInstance
) -> None:
    """A job that SUCCEEDED before the limit is a success, however long its log still takes to show."""
    stub.script(runtime=0.1)
    stub.inject(Answer(503), times=None, route=routes.LOGS)
    stub.inject(Answer(503), times=None, route=routes.AGENT_LOG)

    with timeout(1.5):
        run(a_command(), ti)

    assert [job.status for job in stub.jobs.values()] == ["SUCCEEDED"]
    assert stub.count(routes.STOP) == 0


def resume_broken(operator: RayJobOperator, ti: TaskInstance, error: str) -> None:
    operator.resume_execution("__fail__", {"error": error, "traceback": None}, {"ti": ti})  # type: ignore[typeddict-item]


def test_deferral_that_timed_out_stops_the_job(stub: StubDashboard, ti: TaskInstance) -> None:
    """If Airflow's own limit ends the deferral, the job is not left behind."""
    stub.add_job("j", runtime=NEVER)
    ti.xcoms["job_id"] = "j"

    with pytest.raises(RayJobTimeoutError, match="did not end within the task's execution_timeout"):
        resume_broken(a_command(), ti, "Trigger timeout")

    assert stub.jobs["j"].status == "STOPPED"


def test_deferral_that_timed_out_after_the_job_s_end_is_a_success(
    stub: StubDashboard, ti: TaskInstance
) -> None:
    """Airflow's limit on a deferral passes while the trigger still shows a long log."""
    stub.add_job("j")
    ti.xcoms["job_id"] = "j"

    resume_broken(a_command(), ti, "Trigger timeout")

    assert stub.count(routes.STOP) == 0


@pytest.mark.parametrize(
    ("max_tries", "reattach", "status"),
    [(0, True, "STOPPED"), (1, True, "RUNNING"), (1, False, "STOPPED")],
)
def test_trigger_that_broke_leaves_the_job_only_to_a_next_try(
    stub: StubDashboard, max_tries: int, reattach: bool, status: str
) -> None:
    """A job that nobody would watch any more is stopped."""
    stub.add_job("j", runtime=NEVER)
    ti = TaskInstance(max_tries=max_tries, xcoms={"job_id": "j"})

    with pytest.raises(TaskDeferralError):
        resume_broken(a_command(retries=max_tries, reattach=reattach), ti, "Trigger failure")

    assert stub.jobs["j"].status == status
