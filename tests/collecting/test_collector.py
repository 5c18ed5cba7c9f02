"""When a triggerer begins to look for jobs that nobody wants any more, and how it asks Airflow."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from airflow.sdk.exceptions import ErrorType
from airflow.sdk.execution_time import (
    cache,  # noqa: F401  # as a triggerer has
    task_runner,
)
from airflow.sdk.execution_time.comms import ErrorResponse, GetTaskStates, TaskStatesResult

from airflow_synapse.collecting import supervisor
from airflow_synapse.collecting.orphans import GONE
from airflow_synapse.collecting.questions import questions_about
from airflow_synapse.triggers.ray_job import RayJobTrigger
from tests.collecting.airflow_states import HERE, Airflow, a_task, add_job, answer, until
from tests.support import stub_dashboard as routes
from tests.support.paces import FAST_PACE
from tests.support.stub_dashboard import StubDashboard
from tests.triggers.watching import connect, events_of, messages

TRAIN = a_task("train")
of_which_task: contextvars.ContextVar[str] = contextvars.ContextVar("task", default="")


class Supervisor:
    """Answers as the supervisor of a triggerer and of a task does."""

    def __init__(self) -> None:
        self.airflow = Airflow()
        self.asked: list[GetTaskStates] = []
        self.answers = asyncio.Event()
        self.answers.set()

    async def asend(self, message: Any) -> Any:
        await self.answers.wait()
        return self.send(message)

    def send(self, message: Any) -> Any:
        if not isinstance(message, GetTaskStates):
            return ErrorResponse(error=ErrorType.CONNECTION_NOT_FOUND)
        self.asked.append(message)
        return TaskStatesResult(task_states=answer(message, self.airflow.states))


@pytest.fixture
def comms(monkeypatch: pytest.MonkeyPatch) -> Supervisor:
    comms = Supervisor()
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", comms, raising=False)
    return comms


@pytest.fixture
async def stub(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> AsyncIterator[StubDashboard]:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(RayJobTrigger, "pace", FAST_PACE)
    monkeypatch.setattr(RayJobTrigger, "log", logging.getLogger("the task's log"))
    monkeypatch.setenv("AIRFLOW__RAY__DEPLOYMENT", HERE)
    monkeypatch.setenv("AIRFLOW__RAY__COLLECT_INTERVAL", "0.03")
    monkeypatch.setenv("AIRFLOW__RAY__COLLECT_GONE_AFTER", "0.1")
    async with StubDashboard() as stub:
        connect(monkeypatch, stub.url)
        stub.add_job("watched", runtime=0.0)
        yield stub


@pytest.fixture(autouse=True)
def whose_lines(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Each record says in whose context it was logged, by which Airflow chooses the log."""

    def mark(record: logging.LogRecord) -> bool:
        record.of = of_which_task.get()
        return True

    caplog.handler.addFilter(mark)
    yield
    caplog.handler.removeFilter(mark)


async def test_collector_outlives_the_trigger_that_came_first(
    stub: StubDashboard, comms: Supervisor, caplog: pytest.LogCaptureFixture
) -> None:
    """A job that is orphaned after the last trigger has ended is stopped; the triggerer's own log says so."""
    of_which_task.set("the first trigger's")
    await events_of(RayJobTrigger("watched"))

    job = add_job(stub, "orphan", TRAIN)
    comms.airflow.states = {TRAIN: "failed"}
    await until(lambda: any("Ray job orphan" in line for line in messages(caplog)))

    assert job.status == "STOPPED"
    (record,) = (one for one in caplog.records if "Ray job orphan" in one.getMessage())
    assert record.of == ""  # type: ignore[attr-defined]


async def test_second_trigger_starts_no_second_lookout(
    stub: StubDashboard, comms: Supervisor
) -> None:
    """One look per interval, however many triggers there are."""
    await asyncio.gather(*(events_of(RayJobTrigger("watched")) for _ in range(5)))

    (names,) = [
        [task.get_coro().__qualname__ for task in asyncio.all_tasks()]  # type: ignore[union-attr]
    ]
    assert names.count("Lookout.keep_looking") == 1


async def test_cluster_that_is_back_is_looked_at_again(
    stub: StubDashboard, comms: Supervisor
) -> None:
    """If a lookout has ended, the next trigger on its cluster starts another."""

    def lookouts() -> set[Any]:
        return {task for task in asyncio.all_tasks() if "keep_looking" in str(task)}

    await events_of(RayJobTrigger("watched"))
    (first,) = lookouts()
    first.cancel()
    await asyncio.wait({first})

    await events_of(RayJobTrigger("watched"))

    assert len(lookouts()) == 1


async def test_airflow_without_a_name_collects_nothing_and_says_so_once(
    stub: StubDashboard,
    comms: Supervisor,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It could not tell its jobs from those of others."""
    monkeypatch.setenv("AIRFLOW__RAY__DEPLOYMENT", "")
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "http://localhost:8080")

    await asyncio.gather(*(events_of(RayJobTrigger("watched")) for _ in range(3)))

    assert sum("This Airflow has no name" in line for line in messages(caplog)) == 1
    assert not any("keep_looking" in str(task) for task in asyncio.all_tasks())


async def test_bad_setting_is_told_and_ends_no_trigger(
    stub: StubDashboard,
    comms: Supervisor,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The trigger that reads it first goes on."""
    monkeypatch.setenv("AIRFLOW__RAY__COLLECT_INTERVAL", "often")

    (event,) = await events_of(RayJobTrigger("watched"))

    assert event["status"] == "SUCCEEDED"
    assert any("[ray] collect_interval" in line for line in messages(caplog))


async def test_trigger_outside_a_triggerer_starts_nothing(stub: StubDashboard) -> None:
    """There is no Airflow to ask."""
    await events_of(RayJobTrigger("watched"))

    assert not any("keep_looking" in str(task) for task in asyncio.all_tasks())
    assert stub.count(routes.LIST_JOBS) == 0


async def test_one_message_has_all_that_airflow_has_to_know(comms: Supervisor) -> None:
    """Tasks and runs are named, so that Airflow does not read the history of a DAG."""
    comms.airflow.states = {TRAIN: None, a_task("train", 1): "running"}
    (question,) = questions_about([TRAIN, a_task("train", 1), a_task("gone")])

    told = await supervisor.ask_in_triggerer(question)

    assert told == {TRAIN: None, a_task("train", 1): "running", a_task("gone"): GONE}
    assert told == supervisor.ask_in_task(question)
    assert (comms.asked[0].task_ids, comms.asked[0].run_ids) == (["gone", "train"], ["run"])


async def test_answer_that_is_late_is_no_answer(
    comms: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The question is not cancelled: on Airflow 3.1 the next one would get its answer."""
    monkeypatch.setattr(supervisor, "ANSWER_TIMEOUT", 0.01)
    comms.answers.clear()
    (question,) = questions_about([TRAIN])

    with pytest.raises(asyncio.TimeoutError):
        await supervisor.ask_in_triggerer(question)

    (asked,) = supervisor._asked
    comms.answers.set()
    await asked
    assert not supervisor._asked


async def test_error_is_no_answer(comms: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of Airflow's API says nothing about a task."""
    monkeypatch.setattr(comms, "send", lambda _: ErrorResponse())
    (question,) = questions_about([TRAIN])

    with pytest.raises(TypeError, match="Airflow was asked for task states"):
        await supervisor.ask_in_triggerer(question)
