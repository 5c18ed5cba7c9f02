"""A trigger's position in the log outlives its triggerer."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from airflow.sdk.execution_time.comms import GetXCom, OKResponse, SetXCom, XComResult

from airflow_synapse.triggers import log_channel
from airflow_synapse.triggers.log_checkpoint import CheckpointPace, LogCheckpoint
from airflow_synapse.triggers.ray_job import RayJobTrigger
from tests.support.stub_dashboard import StubDashboard
from tests.triggers.watching import events_of

LOGGER = logging.getLogger(__name__)
FAST = CheckpointPace(interval=0.05, flush_timeout=0.5, pause_before_reading_again=0.01)
TASK = SimpleNamespace(dag_id="dag", task_id="task", run_id="run", map_index=2)


class Airflow:
    """Keeps XComs as the triggerer's supervisor does."""

    def __init__(self) -> None:
        self.xcoms: dict[tuple[str, int], Any] = {}
        self.writes: list[Any] = []
        self.failures = 0
        self.writes_at_once = 0
        self.most_at_once = 0

    async def asend(self, message: GetXCom | SetXCom) -> Any:
        if self.failures:
            self.failures -= 1
            raise RuntimeError("the API server is away")
        place = (message.key, message.map_index)
        if isinstance(message, GetXCom):
            return XComResult(key=message.key, value=self.xcoms.get(place))
        self.writes_at_once += 1
        self.most_at_once = max(self.most_at_once, self.writes_at_once)
        await asyncio.sleep(0.005)
        self.writes_at_once -= 1
        self.xcoms[place] = message.value
        self.writes.append(message.value["position"])
        return OKResponse(ok=True)


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Airflow]:
    airflow = Airflow()
    module = "airflow.sdk.execution_time.task_runner"
    with patch(f"{module}.SUPERVISOR_COMMS", airflow, create=True):
        yield airflow


@pytest.fixture
async def keeping(airflow: Airflow) -> AsyncIterator[LogCheckpoint]:
    """A checkpoint that is kept all the time."""
    checkpoint = LogCheckpoint(TASK, "j", logger=LOGGER, pace=FAST)
    task = asyncio.create_task(checkpoint.keep())
    yield checkpoint
    task.cancel()


async def read(job_id: str = "j") -> int:
    return await LogCheckpoint(TASK, job_id, logger=LOGGER, pace=FAST).read()


async def test_next_triggerer_reads_what_the_last_one_kept(
    airflow: Airflow, keeping: LogCheckpoint
) -> None:
    """While lines are shown, their position is kept for the next triggerer."""
    keeping.note(100)
    keeping.note(250)

    while not airflow.writes:
        await asyncio.sleep(0.01)

    assert await read() == 250
    assert airflow.writes == [250]


async def test_quiet_job_costs_nothing(airflow: Airflow, keeping: LogCheckpoint) -> None:
    """Where no line came, nothing is written."""
    keeping.note(100)
    await asyncio.sleep(0.4)

    assert airflow.writes == [100]


async def test_lines_that_airflow_has_not_read_are_not_kept(
    airflow: Airflow, keeping: LogCheckpoint, channel: tuple[socket.socket, socket.socket]
) -> None:
    """A line that may still be on its way to the log file is not taken for shown."""
    ours, theirs = channel
    ours.send(b"a line")
    keeping.note(100)
    await asyncio.sleep(0.2)
    assert airflow.writes == []

    theirs.recv(4096)
    while not airflow.writes:
        await asyncio.sleep(0.01)
    assert airflow.writes == [100]


async def test_flush_keeps_no_line_that_airflow_has_not_read(
    airflow: Airflow,
    channel: tuple[socket.socket, socket.socket],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the supervisor reads no more, lines come again rather than get lost."""
    checkpoint = LogCheckpoint(TASK, "j", logger=LOGGER, pace=FAST)
    channel[0].send(b"a line")
    checkpoint.note(100)

    await checkpoint.flush()

    assert airflow.writes == []


async def test_flush_keeps_the_last_line(airflow: Airflow) -> None:
    """At a clean shutdown the position is exact."""
    checkpoint = LogCheckpoint(TASK, "j", logger=LOGGER, pace=FAST)
    checkpoint.note(100)
    checkpoint.note(300)

    await checkpoint.flush()

    assert await read() == 300


async def test_checkpoint_of_another_job_does_not_count(airflow: Airflow) -> None:
    """The position in an earlier job's log says nothing about this one's."""
    checkpoint = LogCheckpoint(TASK, "the job before", logger=LOGGER, pace=FAST)
    checkpoint.note(100)
    await checkpoint.flush()

    assert await read("j") == 0


@pytest.mark.parametrize("kept", [5, "x", [], {}, {"job_id": "j"}, {"job_id": "j", "position": -1}])
async def test_odd_xcom_means_from_the_start(airflow: Airflow, kept: Any) -> None:
    """Whatever stands there, no line is lost for it."""
    airflow.xcoms[("log_position", 2)] = kept

    assert await read() == 0


@pytest.mark.parametrize(("failures", "position"), [(2, 100), (3, 0)])
async def test_airflow_that_is_away_is_asked_again(
    airflow: Airflow, monkeypatch: pytest.MonkeyPatch, failures: int, position: int
) -> None:
    """A passing failure of Airflow's API does not repeat the log; a lasting one loses nothing."""
    airflow.xcoms[("log_position", 2)] = {"job_id": "j", "position": 100}
    airflow.failures = failures

    assert await read() == position


async def test_failed_write_is_made_up_for(airflow: Airflow, keeping: LogCheckpoint) -> None:
    """What can't be written now is written with the next checkpoint."""
    airflow.failures = 2
    keeping.note(100)

    while not airflow.writes:
        await asyncio.sleep(0.01)

    assert airflow.writes == [100]


async def test_many_jobs_take_turns(airflow: Airflow) -> None:
    """However many jobs write, one checkpoint at a time is written, and each job gets its turn."""
    tasks = [SimpleNamespace(**{**vars(TASK), "map_index": number}) for number in range(20)]
    checkpoints = [LogCheckpoint(task, "j", logger=LOGGER, pace=FAST) for task in tasks]
    keeping = [asyncio.create_task(checkpoint.keep()) for checkpoint in checkpoints]
    for checkpoint in checkpoints:
        checkpoint.note(7)

    while len(airflow.xcoms) < 20:
        await asyncio.sleep(0.01)
    for task in keeping:
        task.cancel()

    assert airflow.most_at_once == 1
    assert len(airflow.writes) == 20


async def test_flush_ends_although_nobody_answers(
    airflow: Airflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a shutdown the triggerer no longer hears Airflow's answers; the message is out all the same."""
    sent: list[Any] = []

    async def asend(message: Any) -> None:
        sent.append(message.value)
        await asyncio.Event().wait()

    monkeypatch.setattr(airflow, "asend", asend)
    checkpoint = LogCheckpoint(TASK, "j", logger=LOGGER, pace=FAST)
    checkpoint.note(100)

    await checkpoint.flush()

    assert sent == [{"job_id": "j", "position": 100}]


async def test_trigger_outside_airflow_keeps_nothing(airflow: Airflow) -> None:
    """Without a task there is no XCom to keep the position in, and nothing grows."""
    checkpoint = LogCheckpoint(None, "j", logger=LOGGER, pace=FAST)
    checkpoint.note(100)

    await checkpoint.keep()
    await checkpoint.flush()

    assert await checkpoint.read() == 0
    assert airflow.writes == []


async def test_last_line_is_kept_before_the_event(airflow: Airflow, stub: StubDashboard) -> None:
    """The triggerer may be shut down before it has sent the event; then the next one watches again."""
    lines = b"".join(b"line %d\n" % i for i in range(20))
    stub.add_job("j", runtime=0.2, log=((0.1, lines),), has_header=False)
    trigger = RayJobTrigger("j", poll_interval=0.1)
    trigger.task_instance = SimpleNamespace(**vars(TASK), task=None)

    (event,) = await events_of(trigger)

    assert event["status"] == "SUCCEEDED"
    assert airflow.xcoms["log_position", 2] == {"job_id": "j", "position": len(lines)}


async def test_trigger_that_waits_for_the_reader_keeps_the_last_line(
    airflow: Airflow, stub: StubDashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clean restart repeats no line, also if it comes between the job's end and the event."""
    stub.add_job("j", runtime=0.2, log=((0.1, b"line\n"),), has_header=False)
    trigger = RayJobTrigger("j", poll_interval=0.1)
    trigger.task_instance = SimpleNamespace(**vars(TASK), task=None)
    waits, wait = asyncio.Event(), log_channel.wait_until_read

    async def wait_long(timeout: float) -> bool:
        if timeout > 30:  # not the checkpoint's
            waits.set()
            await asyncio.sleep(3600)
        return await wait(timeout)

    monkeypatch.setattr(log_channel, "wait_until_read", wait_long)
    running = asyncio.create_task(events_of(trigger))
    await waits.wait()

    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert await read() == len(b"line\n")
