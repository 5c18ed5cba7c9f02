"""The trigger tells one end of its job, blocks nothing, and stops the job only for a user."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
import time
from typing import Any

import pytest
from airflow.serialization.serialized_objects import BaseSerialization

try:
    from airflow.serialization.decoders import smart_decode_trigger_kwargs
except ImportError:  # Airflow 3.1
    from airflow.serialization.serialized_objects import smart_decode_trigger_kwargs

from airflow_synapse.rayjobs.job.results import result_file
from airflow_synapse.rayjobs.models import ACTION_KEY
from airflow_synapse.triggers import ray_job
from airflow_synapse.triggers.ray_job import RayJobTrigger
from airflow_synapse.triggers.watching import MAX_RESULT_IN_EVENT
from tests.support import stub_dashboard as routes
from tests.support.faults import Answer
from tests.support.stub_dashboard import StubDashboard
from tests.support.stub_jobs import NEVER
from tests.triggers.watching import connect, events_of, messages

OF_KUBERNETES = {
    "ray_cluster": "default/train",
    "kubernetes_conn_id": "my_kubernetes",
    "reach": "proxy",
}


@pytest.mark.parametrize("cluster", [{"ray_conn_id": "my_ray"}, OF_KUBERNETES])
def test_serialized_trigger_is_the_same_trigger(cluster: dict[str, str]) -> None:
    """Another triggerer gets every setting back, by way of Airflow's own serialization."""
    trigger = RayJobTrigger(
        "j",
        **cluster,
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
    others = set(RayJobTrigger.__init__.__kwdefaults__) - set(OF_KUBERNETES)
    assert set(kwargs["__var"]) == others | {"job_id"} | set(cluster)


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


async def test_event_comes_after_the_lines_before_it(
    stub: StubDashboard,
    channel: tuple[socket.socket, socket.socket],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Airflow closes a task's log when it hears the event, so by then it must have read the lines."""
    ours, theirs = channel
    stub.add_job("j", runtime=0.0)
    ours.send(b"a line of this job")
    events = asyncio.create_task(events_of(RayJobTrigger("j")))
    while "Ray job j is SUCCEEDED." not in messages(caplog):
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)
    assert not events.done()

    theirs.recv(4096)
    (event,) = await events
    assert event["status"] == "SUCCEEDED"


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


async def test_job_that_was_done_before_its_limit_is_a_success(stub: StubDashboard) -> None:
    """Also if nobody could see its end in time, because the cluster was unreachable."""
    job = stub.add_job("j", runtime=NEVER, log=((0.0, b"done\n"),))
    limit = time.time() + 0.5
    watching = asyncio.create_task(events_of(RayJobTrigger("j", deadlines={"job_timeout": limit})))
    while stub.count(routes.GET_JOB) < 2:
        await asyncio.sleep(0.01)
    stub.inject(Answer(502), times=None)
    job.finish()
    while time.time() < limit + 0.1:
        await asyncio.sleep(0.01)

    stub.heal()
    (event,) = await watching

    assert event["status"] == "SUCCEEDED"


async def test_many_triggers_block_nothing(stub: StubDashboard) -> None:
    """Fifty watched jobs with logs leave the event loop to others."""
    for number in range(50):
        log = tuple((0.01 * step, b"line\n" * 20) for step in range(30))
        stub.add_job(f"j{number}", runtime=0.5, log=log)

    events = await asyncio.gather(*(events_of(RayJobTrigger(f"j{n}")) for n in range(50)))

    assert [[event["status"] for event in each] for each in events] == [["SUCCEEDED"]] * 50


@pytest.mark.parametrize(("status", "kind"), [("SUCCEEDED", "success"), ("FAILED", None)])
async def test_success_can_end_the_task_here(
    stub: StubDashboard, status: str, kind: str | None
) -> None:
    """Only a failure needs a worker, which sees to retries."""
    stub.add_job("j", status=status)
    trigger = RayJobTrigger("j", end_from_trigger=True)

    (event,) = [event async for event in trigger.run()]

    assert getattr(event, "task_instance_state", None) == kind


async def test_full_collections_spare_what_airflow_has_loaded(stub: StubDashboard) -> None:
    """A trigger that watches leaves the collector little to look at, as that stops the event loop."""
    ray_job._import_http.cache_clear()  # as in a triggerer that has just started
    stub.add_job("j", status="SUCCEEDED")

    await events_of(RayJobTrigger("j"))

    assert gc.get_freeze_count() > len(gc.get_objects())


async def test_watch_that_has_ended_leaves_no_garbage(stub: StubDashboard) -> None:
    """Nothing of a watch waits for a garbage collection, which stops the event loop."""
    stub.add_job("j", status="SUCCEEDED")
    await events_of(RayJobTrigger("j"))
    gc.unfreeze()  # what other tests have left
    gc.collect()
    gc.disable()
    try:
        await events_of(RayJobTrigger("j"))
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        left = [item for item in gc.garbage if "airflow_synapse" in type(item).__module__]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()

    assert left == []


async def test_many_triggers_share_requests(stub: StubDashboard) -> None:
    """A hundred jobs that are watched at once are a few requests, and each has its event."""
    for number in range(100):
        stub.add_job(f"j{number}", status="FAILED" if number % 10 == 0 else "SUCCEEDED")

    async def watch(number: int) -> Any:
        trigger = RayJobTrigger(f"j{number}", stream_logs=False, fetch_result=False)
        (event,) = [event async for event in trigger.run()]
        return event.payload

    payloads = await asyncio.gather(*(watch(number) for number in range(100)))

    assert [payload["job_id"] for payload in payloads] == [f"j{number}" for number in range(100)]
    assert [payload["status"] for payload in payloads].count("FAILED") == 10
    assert stub.count(routes.GET_JOB) + stub.count(routes.LIST_JOBS) <= 10


async def test_nonsense_in_the_configuration_is_told(
    stub: StubDashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task fails with the option's name instead of hanging."""
    monkeypatch.setenv("AIRFLOW__RAY__REQUESTS_PER_SECOND", "lots")
    stub.add_job("j")

    (event,) = [event async for event in RayJobTrigger("j").run()]

    assert event.payload["status"] == "ERROR"
    assert "requests_per_second" in event.payload["message"]
