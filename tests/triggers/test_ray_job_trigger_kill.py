"""A trigger stops its job only for a user, and then for sure."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

import pytest

from airflow_synapse.triggers import ray_job
from airflow_synapse.triggers.log_checkpoint import LogCheckpoint
from airflow_synapse.triggers.ray_job import KillPace, RayJobTrigger
from tests.support import stub_dashboard as routes
from tests.support.faults import Answer, Delay
from tests.support.stub_dashboard import StubDashboard
from tests.support.stub_jobs import NEVER
from tests.triggers.watching import connect, events_of, messages


async def test_cancelled_trigger_leaves_the_job(stub: StubDashboard, waits: Any) -> None:
    """A triggerer that restarts cancels its triggers: no event comes and the job runs on."""
    waits.return_value = True
    stub.add_job("j", runtime=NEVER)
    trigger = RayJobTrigger("j")
    running = asyncio.create_task(events_of(trigger))
    while stub.count(routes.GET_JOB) < 2:
        await asyncio.sleep(0.01)

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await trigger.cleanup()

    assert stub.jobs["j"].status == "RUNNING"
    assert stub.count(routes.STOP) == 0


async def test_kill_stops_the_job(
    stub: StubDashboard, waits: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """When a user kills the task, the job is stopped, and that is told once it is a fact."""
    stub.add_job("j", runtime=NEVER, stop_delay=0.2)

    await RayJobTrigger("j").on_kill()

    assert stub.jobs["j"].status == "STOPPED"
    assert "Ray job j was stopped." in messages(caplog)


async def test_kill_goes_on_when_the_trigger_is_cancelled_again(
    stub: StubDashboard, waits: Any
) -> None:
    """The triggerer cancels a busy trigger again and again; the stop is finished all the same."""
    stub.add_job("j", runtime=NEVER, stop_delay=0.3)
    stub.inject(Delay(0.1), route=routes.STOP)
    killing = asyncio.create_task(RayJobTrigger("j").on_kill())
    while stub.count(routes.GET_JOB) < 1:
        await asyncio.sleep(0.01)

    killing.cancel()
    await killing

    assert stub.jobs["j"].status == "STOPPED"


async def test_kill_that_takes_long_goes_on_without_the_trigger(
    stub: StubDashboard, waits: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The triggerer gets its trigger back in time; the stop is finished all the same."""
    monkeypatch.setattr(RayJobTrigger, "kill_pace", KillPace(longest_stay=0.05))
    stub.add_job("j", runtime=NEVER, stop_delay=0.3)

    await RayJobTrigger("j").on_kill()

    assert stub.jobs["j"].status == "RUNNING"
    await asyncio.gather(*ray_job._kills)
    assert stub.jobs["j"].status == "STOPPED"


async def test_cancelled_trigger_finds_out_why_before_airflow_tells(
    stub: StubDashboard, waits: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before Airflow 3.3 a cancelled trigger asks itself whether a user did it."""
    monkeypatch.setattr(ray_job, "TRIGGERS_HAVE_ON_KILL", False)

    for job_id, is_waited_for in (("user", False), ("redeploy", True)):
        stub.add_job(job_id, runtime=NEVER, stop_delay=0.05)
        waits.return_value = is_waited_for
        watching = asyncio.create_task(events_of(RayJobTrigger(job_id)))
        while stub.count(routes.AGENT_LOG) < 1:
            await asyncio.sleep(0.01)
        watching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watching

    assert {j: job.status for j, job in stub.jobs.items()} == {
        "user": "STOPPED",
        "redeploy": "RUNNING",
    }


async def test_cancelled_trigger_leaves_its_job_where_airflow_tells(
    stub: StubDashboard, waits: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From Airflow 3.3 on only ``on_kill`` stops a job: a shutdown just cancels."""
    monkeypatch.setattr(ray_job, "TRIGGERS_HAVE_ON_KILL", True)
    stub.add_job("j", runtime=NEVER)
    watching = asyncio.create_task(events_of(RayJobTrigger("j")))
    while stub.count(routes.AGENT_LOG) < 1:
        await asyncio.sleep(0.01)

    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching

    assert stub.jobs["j"].status == "RUNNING"
    waits.assert_not_called()


async def test_kill_leaves_the_job_if_it_is_to_go_on(stub: StubDashboard, waits: Any) -> None:
    """With ``stop_on_kill=False`` nothing is even asked."""
    stub.add_job("j", runtime=NEVER)

    await RayJobTrigger("j", stop_on_kill=False).on_kill()

    assert stub.count() == 0
    waits.assert_not_called()


async def test_kill_leaves_the_job_of_a_task_that_still_waits(
    stub: StubDashboard, waits: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A trigger that is handed to another triggerer is killed, too, but its task is not."""
    stub.add_job("j", runtime=NEVER)
    waits.return_value = True
    trigger = RayJobTrigger("j")
    trigger.task_instance = SimpleNamespace(task_id="task", task=None)

    await trigger.on_kill()

    waits.assert_awaited_once_with(trigger.task_instance, "j")
    assert stub.count(routes.STOP) == 0
    assert "The task still wants Ray job j, so the job keeps running." in messages(caplog)


async def test_kill_after_the_event_does_nothing(stub: StubDashboard, waits: Any) -> None:
    """Once the event was fired, the task goes on from there: nothing is stopped any more."""
    stub.add_job("j")
    trigger = RayJobTrigger("j")
    await events_of(trigger)
    stub.add_job("j", runtime=NEVER)

    await trigger.on_kill()

    assert stub.count(routes.STOP) == 0
    waits.assert_not_called()


async def test_watch_that_broke_hands_the_job_back(
    stub: StubDashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the worker hears that nobody saw the end, so that no late kill stops what it leaves alone."""
    handing_back = create_autospec(LogCheckpoint.hand_back)
    monkeypatch.setattr(LogCheckpoint, "hand_back", handing_back)
    stub.inject(Answer(status=503), times=None)

    (event,) = await events_of(RayJobTrigger("j", stream_logs=False, unreachable_timeout=0))

    assert event["status"] == "UNREACHABLE"
    handing_back.assert_awaited_once()


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ({"pending": NEVER, "stop_delay": NEVER}, "Ray job j may still be running"),
        ({"runtime": 0.0}, "Ray job j had already ended."),
        (None, "The cluster does not know Ray job j, so there was nothing to stop."),
    ],
)
async def test_kill_says_how_it_went(
    stub: StubDashboard,
    waits: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    script: dict[str, float] | None,
    told: str,
) -> None:
    """What can't be stopped is named loudly; what is over is told as such."""
    connect(monkeypatch, stub.url, extra={"request_timeout": 0.5})
    if script is not None:
        stub.add_job("j", **script)

    await RayJobTrigger("j").on_kill()

    assert told in caplog.text


async def test_kill_never_raises(
    stub: StubDashboard,
    waits: Any,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If Airflow can't be asked, the job is left alone and the log names it."""
    pace = KillPace(pause_before_asking_again=0.01)
    monkeypatch.setattr(RayJobTrigger, "kill_pace", pace)
    stub.add_job("j", runtime=NEVER)
    waits.side_effect = RuntimeError("the API server is away")

    await RayJobTrigger("j").on_kill()

    assert stub.count(routes.STOP) == 0
    assert waits.call_count == 3
    assert "Ray job j, so the job was left running" in caplog.text


async def test_late_kill_without_airflow(stub: StubDashboard) -> None:
    """The losing one of two triggers does not stop the job that the other one watches."""
    stub.add_job("j", runtime=NEVER)
    first, second = RayJobTrigger("j"), RayJobTrigger("j")
    watching = []
    for number, trigger in enumerate((first, second), start=1):
        watching.append(asyncio.create_task(events_of(trigger)))
        while stub.count(routes.AGENT_LOG) < number:
            await asyncio.sleep(0.01)

    await first.on_kill()
    left = stub.jobs["j"].status
    await second.on_kill()

    assert (left, stub.jobs["j"].status) == ("RUNNING", "STOPPED")
    await asyncio.gather(*watching)
