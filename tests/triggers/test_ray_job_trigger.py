"""The trigger tells one end of its job, blocks nothing, and stops the job only for a user."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec, patch

import pytest
from airflow.serialization.decoders import smart_decode_trigger_kwargs
from airflow.serialization.serialized_objects import BaseSerialization

from airflow_synapse.rayjobs import job_watcher
from airflow_synapse.rayjobs.models import ACTION_KEY
from airflow_synapse.rayjobs.results import result_file
from airflow_synapse.triggers import ray_job
from airflow_synapse.triggers.ray_job import MAX_RESULT_IN_EVENT, RayJobTrigger
from airflow_synapse.triggers.task_state import still_waits_for
from tests.support import stub_dashboard as routes
from tests.support.faults import Answer, Delay
from tests.support.stub_dashboard import StubDashboard
from tests.support.stub_jobs import NEVER


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(job_watcher, "_EAGER_POLL", 0.03)
    caplog.set_level(logging.INFO)
    # Airflow's own logging goes to standard output.
    monkeypatch.setattr(RayJobTrigger, "log", logging.getLogger("the task's log"))


@pytest.fixture
async def stub(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StubDashboard]:
    """A stub dashboard to which ``ray_default`` leads."""
    async with StubDashboard() as stub:
        connect(monkeypatch, stub.url)
        yield stub


@pytest.fixture
def waits() -> Iterator[Any]:
    """What Airflow says about the task: by default that it no longer waits for the job."""
    with patch.object(ray_job, "still_waits_for", create_autospec(still_waits_for)) as waits:
        waits.return_value = False
        yield waits


def connect(monkeypatch: pytest.MonkeyPatch, url: str, **fields: Any) -> None:
    connection = {"conn_type": "ray", "host": url, **fields}
    monkeypatch.setenv("AIRFLOW_CONN_RAY_DEFAULT", json.dumps(connection))


async def events_of(trigger: RayJobTrigger) -> list[dict[str, Any]]:
    return [event.payload async for event in trigger.run()]


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_serialized_trigger_is_the_same_trigger() -> None:
    """Another triggerer gets every setting back, by way of Airflow's own serialization."""
    trigger = RayJobTrigger(
        "j",
        "my_ray",
        poll_interval=1.5,
        stream_logs=False,
        stop_on_kill=False,
        fetch_result=False,
        deadlines={"job_timeout": 1.0},
        unreachable_timeout=7.0,
    )

    path, kwargs = trigger.serialize()
    kwargs = json.loads(json.dumps(BaseSerialization.serialize(kwargs)))
    copy = RayJobTrigger(**smart_decode_trigger_kwargs(BaseSerialization.deserialize(kwargs)))

    assert path == "airflow_synapse.triggers.ray_job.RayJobTrigger"
    assert copy.serialize() == trigger.serialize()
    assert set(kwargs["__var"]) == set(RayJobTrigger.__init__.__kwdefaults__) | {
        "job_id",
        "ray_conn_id",
    }


@pytest.mark.parametrize("status", ["SUCCEEDED", "FAILED", "STOPPED"])
async def test_end_of_the_job_is_one_event(
    stub: StubDashboard, caplog: pytest.LogCaptureFixture, status: str
) -> None:
    """Exactly one event comes, which JSON can hold, once the job's lines are in the log."""
    log = ((0.0, b"100 %s\n    indented\n\n"),)
    stub.add_job("j", runtime=0.2, status=status, log=log, has_header=False, exit_code=None)

    (event,) = await events_of(RayJobTrigger("j"))

    assert (event["status"], event["job_id"]) == (status, "j")
    assert set(event) >= {"message", "error_type", "driver_exit_code"}
    assert event["last_lines"] == ([] if status == "SUCCEEDED" else ["100 %s", "    indented", ""])
    assert json.loads(json.dumps(event)) == event
    lines = [text for text in messages(caplog) if text in {"100 %s", "    indented", ""}]
    assert lines == ["100 %s", "    indented", ""]


@pytest.mark.parametrize("result", [None, {"accuracy": 0.9}, "x" * 1000])
async def test_small_result_travels_along(stub: StubDashboard, result: Any) -> None:
    """What an action returned is in the event, None too."""
    stub.add_job("j").request["metadata"] = {ACTION_KEY: "train"}
    stub.files[result_file("j")] = json.dumps({"result": result}).encode()

    (event,) = await events_of(RayJobTrigger("j"))

    assert event["result"] == result


async def test_large_result_is_left_to_the_worker(stub: StubDashboard) -> None:
    """A result that does not belong into a database row stays on the cluster."""
    stub.add_job("j").request["metadata"] = {ACTION_KEY: "train"}
    stub.files[result_file("j")] = json.dumps({"result": "x" * MAX_RESULT_IN_EVENT}).encode()

    (event,) = await events_of(RayJobTrigger("j"))

    assert event["status"] == "SUCCEEDED"
    assert "result" not in event


@pytest.mark.parametrize("document", [None, b"", b'{"result": '])
async def test_result_that_can_not_be_read_spoils_nothing(
    stub: StubDashboard, document: bytes | None
) -> None:
    """A job that succeeded has succeeded; the worker looks for the result itself."""
    stub.add_job("j").request["metadata"] = {ACTION_KEY: "train"}
    if document is not None:
        stub.files[result_file("j")] = document

    (event,) = await events_of(RayJobTrigger("j"))

    assert event["status"] == "SUCCEEDED"
    assert "result" not in event


async def test_job_of_a_command_has_no_result_to_read(stub: StubDashboard) -> None:
    """Where there is no action, nobody looks for a result."""
    stub.add_job("j")

    (event,) = await events_of(RayJobTrigger("j", stream_logs=False))

    assert "result" not in event
    assert stub.count(routes.LOGS) == 0


async def test_event_is_announced_without_its_payload(stub: StubDashboard) -> None:
    """Airflow logs each event; a result has no place there."""
    stub.add_job("j").request["metadata"] = {ACTION_KEY: "train"}
    stub.files[result_file("j")] = b'{"result": "noise"}'

    (event,) = [event async for event in RayJobTrigger("j").run()]

    assert repr(event) == "RayJobEvent<j SUCCEEDED>"


async def test_unknown_job_is_not_found(stub: StubDashboard) -> None:
    """A job that the cluster forgot is told as such."""
    (event,) = await events_of(RayJobTrigger("nobody"))

    assert (event["status"], event["job_id"]) == ("NOT_FOUND", "nobody")


async def test_cluster_that_stays_away_is_unreachable(stub: StubDashboard) -> None:
    """After ``unreachable_timeout`` the event says so; the job is not touched."""
    stub.add_job("j", runtime=NEVER)
    stub.inject(Answer(503), times=None)

    (event,) = await events_of(RayJobTrigger("j", unreachable_timeout=0.1))

    assert event["status"] == "UNREACHABLE"
    assert "503" in event["message"]
    assert stub.count(routes.STOP) == 0


async def test_refused_credentials_are_an_error_without_them(
    stub: StubDashboard, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """401 and 403 end the watch at once, and no token is in the event or the log."""
    connect(monkeypatch, stub.url, password="s3cret", extra={"headers": {"X-Key": "s3cret-too"}})
    stub.token = "another"

    (event,) = await events_of(RayJobTrigger("j"))

    assert event["status"] == "ERROR"
    assert "403" in event["message"]
    assert "s3cret" not in json.dumps(event) + caplog.text


async def test_missing_connection_is_an_error(stub: StubDashboard) -> None:
    """Also what fails before anything is asked of the cluster becomes an event."""
    (event,) = await events_of(RayJobTrigger("j", "no_such_connection"))

    assert event["status"] == "ERROR"
    assert "no_such_connection" in event["message"]


async def test_deadline_stops_the_job(stub: StubDashboard) -> None:
    """When a limit has passed, the job is stopped first and then the event names the limit."""
    job = stub.add_job("j", runtime=NEVER, stop_delay=0.2)

    (event,) = await events_of(RayJobTrigger("j", deadlines={"job_timeout": time.time() + 0.2}))

    assert event["status"] == "TIMEOUT"
    assert "job_timeout" in event["message"]
    assert job.status == "STOPPED"


async def test_cancelled_trigger_leaves_the_job(stub: StubDashboard) -> None:
    """A triggerer that restarts cancels its triggers: no event comes and the job runs on."""
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
    monkeypatch.setattr(ray_job, "_LONGEST_STAY", 0.05)
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
    stub: StubDashboard, waits: Any
) -> None:
    """From Airflow 3.3 on only ``on_kill`` stops a job: a shutdown just cancels."""
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
    assert "The task still waits for Ray job j, so it goes on." in messages(caplog)


async def test_kill_after_the_event_does_nothing(stub: StubDashboard, waits: Any) -> None:
    """Once the event was fired, the task goes on from there: nothing is stopped any more."""
    stub.add_job("j")
    trigger = RayJobTrigger("j")
    await events_of(trigger)
    stub.add_job("j", runtime=NEVER)

    await trigger.on_kill()

    assert stub.count(routes.STOP) == 0
    waits.assert_not_called()


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ({"pending": NEVER, "stop_delay": NEVER}, "Ray job j may be left behind"),
        ({"runtime": 0.0}, "Ray job j had already ended."),
        (None, "Ray job j is gone, so there is nothing to stop."),
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
    monkeypatch.setattr(ray_job, "_PAUSE_BEFORE_ASKING_AGAIN", 0.01)
    stub.add_job("j", runtime=NEVER)
    waits.side_effect = RuntimeError("the API server is away")

    await RayJobTrigger("j").on_kill()

    assert stub.count(routes.STOP) == 0
    assert waits.call_count == 3
    assert "Ray job j, so the job is left running" in caplog.text


async def test_many_triggers_block_nothing(stub: StubDashboard) -> None:
    """Fifty watched jobs with logs leave the event loop to others."""
    for number in range(50):
        log = tuple((0.01 * step, b"line\n" * 20) for step in range(30))
        stub.add_job(f"j{number}", runtime=0.5, log=log)

    events = await asyncio.gather(*(events_of(RayJobTrigger(f"j{n}")) for n in range(50)))

    assert [[event["status"] for event in each] for each in events] == [["SUCCEEDED"]] * 50
