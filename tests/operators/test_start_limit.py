"""Where Ray gives up on a job that waits, the task goes on waiting, within the same try."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace
from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

import pytest

from airflow_synapse.exceptions import (
    ExecutionError,
    RayJobNotScheduledError,
    RayJobTimeoutError,
)
from airflow_synapse.hooks.cluster_ref import ClusterRef
from airflow_synapse.operators.base import RayJobOperator
from airflow_synapse.operators.ray_job import SubmitRayJobOperator
from airflow_synapse.rayjobs.base_executor import BaseRayExecutor
from airflow_synapse.rayjobs.models import CUT_OFF_KEY, WAITING_SINCE_KEY
from airflow_synapse.triggers.ray_job import RayJobTrigger
from airflow_synapse.version_compat import TaskDeferred
from tests.operators.running import a_command, deferred, messages, run
from tests.operators.task_instance import TaskInstance
from tests.support import stub_dashboard as routes
from tests.support.paces import FAST_PACE
from tests.support.stub_dashboard import StubDashboard
from tests.support.stub_jobs import NEVER, JobScript, StubNode, start_limit

EAGER = replace(FAST_PACE, waiting_is_news_after=0.02, waiting_look=0.05)
GIVEN_UP = start_limit(0.6)


@pytest.fixture(autouse=True)
def looks_are_fast(monkeypatch: pytest.MonkeyPatch, stub: StubDashboard) -> None:
    monkeypatch.setattr(BaseRayExecutor, "pace", EAGER)
    monkeypatch.setattr(RayJobTrigger, "pace", EAGER)
    stub.nodes = [StubNode(total={"CPU": 16.0}, free={"CPU": 1.0})]


def busy(**given: Any) -> SubmitRayJobOperator:
    return a_command(num_cpus=4, **given)


def to_the_end(operator: RayJobOperator, ti: TaskInstance) -> list[RayJobTrigger]:
    """Run a deferrable task as Airflow does, and return its triggers, one for each time it deferred."""
    triggers = []
    waits = deferred(operator, ti)
    while True:
        trigger = waits.trigger
        assert isinstance(trigger, RayJobTrigger)
        triggers.append(trigger)
        event = asyncio.run(event_of(trigger))
        try:
            operator.execute_complete({"ti": ti}, event)  # type: ignore[typeddict-item]
        except TaskDeferred as again:
            waits = again
        else:
            return triggers


async def event_of(trigger: RayJobTrigger) -> Any:
    async for event in trigger.run():
        return event.payload
    return None


def numbers(stub: StubDashboard) -> list[str]:
    """Which attempts were submitted."""
    return [job_id.split(".")[2] for job_id in stub.jobs]


def metadata(stub: StubDashboard) -> list[dict[str, str]]:
    return [job.request["metadata"] for job in stub.jobs.values()]


def test_job_in_a_queue_is_submitted_again_until_it_runs(
    stub: StubDashboard, ti: TaskInstance, caplog: pytest.LogCaptureFixture
) -> None:
    """In a worker: a queue is no failure, and each job in it says since when the task has waited."""
    stub.script_next(GIVEN_UP, GIVEN_UP, JobScript())

    run(busy(), ti)

    assert numbers(stub) == ["1", "2", "3"]
    first, second, third = metadata(stub)
    assert WAITING_SINCE_KEY not in first
    assert second[WAITING_SINCE_KEY] == third[WAITING_SINCE_KEY]
    assert ti.xcoms["job_id"] == list(stub.jobs)[-1]
    assert ti.xcoms["dashboard_url"].endswith(list(stub.jobs)[-1])
    (told, _) = (text for text in messages(caplog) if "Ray gave up" in text)
    assert "It asks for 4 CPU; 1 of 16 are free. That is Ray's own limit" in told


def test_deferred_task_goes_on_waiting(stub: StubDashboard, ti: TaskInstance) -> None:
    """In the triggerer: the worker submits another job and defers again, with a log that begins anew."""
    stub.script_next(GIVEN_UP, GIVEN_UP, JobScript())

    triggers = to_the_end(busy(deferrable=True, pending_timeout=60), ti)

    assert numbers(stub) == ["1", "2", "3"]
    assert [trigger.job_id for trigger in triggers] == list(stub.jobs)
    assert ti.xcoms["job_id"] == triggers[-1].job_id
    first, *later = (trigger.deadlines["pending_timeout"] for trigger in triggers)
    assert later == [pytest.approx(first, abs=2)] * 2


def test_long_wait_outlasts_the_deletion_of_old_jobs(stub: StubDashboard, ti: TaskInstance) -> None:
    """No submission ID is used a second time, for which Ray would answer with the end of the deleted job."""
    stub.script_next(GIVEN_UP, GIVEN_UP, JobScript(pending=NEVER))
    task = busy(deferrable=True)
    waits = deferred(task, ti)
    submitted = []
    for _ in range(2):
        assert isinstance(waits.trigger, RayJobTrigger)
        submitted.append(waits.trigger.job_id)
        event = asyncio.run(event_of(waits.trigger))
        stub.jobs.clear()
        with pytest.raises(TaskDeferred) as again:
            task.execute_complete({"ti": ti}, event)  # type: ignore[typeddict-item]
        waits = again.value

    assert len({*submitted, *stub.jobs}) == 3


def test_next_try_takes_over_a_job_whose_predecessors_were_deleted(
    stub: StubDashboard, ti: TaskInstance
) -> None:
    """A worker was lost after a long wait; its job is found although no job has a lower number."""
    stub.script_next(GIVEN_UP, GIVEN_UP, JobScript(runtime=0.1))
    run(busy(), ti)
    *before, latest = list(stub.jobs)
    for job_id in before:
        del stub.jobs[job_id]
    told = SimpleNamespace(xcom_keys_to_clear=["job_id"])
    again = TaskInstance(try_number=2, _ti_context_from_server=told)

    run(busy(), again)

    assert list(stub.jobs) == [latest]


@pytest.mark.parametrize("deferrable", [True, False])
def test_pending_timeout_counts_from_the_first_job(
    stub: StubDashboard, ti: TaskInstance, deferrable: bool
) -> None:
    """The user's limit ends the wait, however often Ray's limit came before, and the error says why."""
    stub.script(**GIVEN_UP.__dict__)
    task = busy(pending_timeout=1.5, deferrable=deferrable)

    with pytest.raises(RayJobTimeoutError, match=r"pending_timeout.* asks for 4 CPU; 1 of 16 are"):
        to_the_end(task, ti) if deferrable else run(task, ti)

    assert numbers(stub) == ["1", "2", "3"][: len(stub.jobs)]


@pytest.mark.parametrize("deferrable", [True, False])
def test_impossible_job_fails_when_ray_s_limit_answers(
    stub: StubDashboard, ti: TaskInstance, deferrable: bool
) -> None:
    """What no node can take is not submitted again, and the error names the reason."""
    stub.script(**GIVEN_UP.__dict__)
    task = a_command(num_gpus=4, deferrable=deferrable)

    with pytest.raises(
        RayJobNotScheduledError, match=r"It asks for 4 GPU; no node has any\. Ask for"
    ):
        to_the_end(task, ti) if deferrable else run(task, ti)

    assert numbers(stub) == ["1"]


def test_nothing_is_impossible_on_a_cluster_that_grows(
    stub: StubDashboard, ti: TaskInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While Kubernetes has yet to start workers of the cluster, a job may wait for them."""
    growing = create_autospec(ClusterRef.is_growing, side_effect=[True, False])
    monkeypatch.setattr(ClusterRef, "is_growing", growing)
    stub.script(**GIVEN_UP.__dict__)

    with pytest.raises(RayJobNotScheduledError):
        run(a_command(num_gpus=4), ti)

    assert numbers(stub) == ["1", "2"]


@pytest.mark.parametrize("deferrable", [True, False])
def test_environment_that_was_cut_off_is_tried_once_more(
    stub: StubDashboard, ti: TaskInstance, deferrable: bool
) -> None:
    """The second time it is a failure that names the variable."""
    stub.script(**start_limit(0.6, installing=True).__dict__)
    task = a_command(runtime_env={"pip": ["a"]}, deferrable=deferrable)

    with pytest.raises(RayJobNotScheduledError) as caught:
        to_the_end(task, ti) if deferrable else run(task, ti)

    assert numbers(stub) == ["1", "2"]
    assert metadata(stub)[1][CUT_OFF_KEY] == "true"
    assert "pip installs 1 package" in str(caught.value)
    assert "Set RAY_JOB_START_TIMEOUT_SECONDS in the environment of the cluster's head" in str(
        caught.value
    )


def test_wait_without_a_reason_is_no_queue(stub: StubDashboard, ti: TaskInstance) -> None:
    """Where nothing tells why a job waits, it is not submitted for ever."""
    stub.nodes = []
    stub.script(**GIVEN_UP.__dict__)

    with pytest.raises(RayJobNotScheduledError, match="Compare the resources"):
        run(busy(), ti)

    assert numbers(stub) == ["1"]


def test_next_try_keeps_to_the_limit_of_the_first(stub: StubDashboard, ti: TaskInstance) -> None:
    """Who takes over a job in a queue counts its wait from the first job of the queue."""
    stub.script_next(GIVEN_UP, JobScript(pending=NEVER))
    task = busy(deferrable=True, pending_timeout=60)
    first = deferred(task, ti).trigger
    assert isinstance(first, RayJobTrigger)
    event = asyncio.run(event_of(first))
    with pytest.raises(TaskDeferred):
        task.execute_complete({"ti": ti}, event)  # type: ignore[typeddict-item]

    later = deferred(busy(deferrable=True, pending_timeout=60), TaskInstance(try_number=2)).trigger

    assert isinstance(later, RayJobTrigger)
    assert later.job_id == list(stub.jobs)[-1]
    assert later.deadlines["pending_timeout"] == pytest.approx(
        first.deadlines["pending_timeout"], abs=0.5
    )


def test_wait_that_is_over_is_not_begun_again(stub: StubDashboard, ti: TaskInstance) -> None:
    """If the user's limit passed while nobody watched, no other job is submitted."""
    task = busy(deferrable=True, pending_timeout=60)
    deferred(task, ti)
    event = {
        "status": "FAILED",
        "job_id": "j",
        "error_type": "JOB_SUPERVISOR_ACTOR_START_TIMEOUT",
        "start_time": 1_000,
        "end_time": 901_000,
        "waited_for": {"cause": "busy", "text": "asks for 4 CPU; 1 of 16 are free"},
    }

    with pytest.raises(
        RayJobTimeoutError, match="at the end of its pending_timeout, when Ray gave"
    ):
        task.execute_complete({"ti": ti}, event)  # type: ignore[typeddict-item]

    assert numbers(stub) == ["1"]


def test_queue_that_nobody_watched_is_no_failure_either(
    stub: StubDashboard, ti: TaskInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the triggerer was down while the job waited, the reason is looked up at its end."""
    monkeypatch.setattr(BaseRayExecutor, "pace", replace(EAGER, waiting_is_news_after=60.0))
    stub.script_next(GIVEN_UP, JobScript())

    run(busy(), ti)

    assert numbers(stub) == ["1", "2"]


def test_kill_of_a_task_that_goes_on_waiting_stops_the_job_of_now(
    stub: StubDashboard, ti: TaskInstance
) -> None:
    """The jobs that Ray gave up on have ended; the one in their place is stopped."""
    stub.script_next(GIVEN_UP, GIVEN_UP, JobScript(runtime=NEVER))
    operator = busy()
    threading.Thread(target=kill_when_the_third_job_runs, args=(operator, stub)).start()

    with pytest.raises(ExecutionError, match="was stopped, because the task was killed"):
        run(operator, ti)

    assert [job.status for job in stub.jobs.values()] == ["FAILED", "FAILED", "STOPPED"]
    assert stub.count(routes.STOP) == 1


def kill_when_the_third_job_runs(operator: RayJobOperator, stub: StubDashboard) -> None:
    while [job.status for job in list(stub.jobs.values())][2:] != ["RUNNING"]:
        time.sleep(0.01)
    operator.on_kill()
