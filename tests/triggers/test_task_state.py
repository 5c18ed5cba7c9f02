"""Whether a task still waits for a job, as Airflow tells a trigger."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, patch

import pytest
from airflow.sdk.execution_time.comms import ErrorResponse, GetTaskStates, TaskStatesResult
from airflow.sdk.execution_time.xcom import XCom

from airflow_synapse.triggers.task_state import still_waits_for


class Supervisor:
    """Answers what Airflow would."""

    def __init__(self) -> None:
        self.states: dict[str, str] = {}
        self.asked: list[GetTaskStates] = []
        self.answer: Any = None

    async def asend(self, request: GetTaskStates) -> Any:
        self.asked.append(request)
        return self.answer or TaskStatesResult(task_states={"run": dict(self.states)})


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    supervisor = Supervisor()
    module = "airflow.sdk.execution_time.task_runner"
    with patch(f"{module}.SUPERVISOR_COMMS", supervisor, create=True):
        yield supervisor


@pytest.fixture
def job_in_xcom() -> Iterator[AsyncMock]:
    """The id of the job that the task's present try waits for."""
    with patch.object(XCom, "aget_one", autospec=True, return_value="j") as aget_one:
        yield aget_one


def a_task_instance(map_index: int = -1) -> Any:
    return SimpleNamespace(dag_id="dag", task_id="task", run_id="run", map_index=map_index)


async def test_deferred_task_waits_for_its_job(
    supervisor: Supervisor, job_in_xcom: AsyncMock
) -> None:
    """A deferred task whose XCom names the job waits for it."""
    supervisor.states = {"task": "deferred"}

    assert await still_waits_for(a_task_instance(), "j")
    assert supervisor.asked[0].map_index is None


@pytest.mark.parametrize("state", ["running", "failed", "success", "up_for_retry", "removed"])
async def test_task_in_another_state_does_not_wait(
    supervisor: Supervisor, job_in_xcom: AsyncMock, state: str
) -> None:
    """Who is not deferred waits for nothing."""
    supervisor.states = {"task": state}

    assert not await still_waits_for(a_task_instance(), "j")


async def test_cleared_task_has_no_state(supervisor: Supervisor, job_in_xcom: AsyncMock) -> None:
    """A task that was just cleared has no state at all."""
    assert not await still_waits_for(a_task_instance(), "j")


async def test_task_that_waits_for_its_next_job(
    supervisor: Supervisor, job_in_xcom: AsyncMock
) -> None:
    """A cleared task that is deferred again waits for another job, so this one may be stopped."""
    supervisor.states = {"task": "deferred"}
    job_in_xcom.return_value = "the next one"

    assert not await still_waits_for(a_task_instance(), "j")


async def test_task_without_the_id_in_xcom_is_believed(
    supervisor: Supervisor, job_in_xcom: AsyncMock
) -> None:
    """In doubt the job goes on."""
    supervisor.states = {"task": "deferred"}
    job_in_xcom.return_value = None

    assert await still_waits_for(a_task_instance(), "j")


async def test_mapped_task_is_asked_for_by_its_index(
    supervisor: Supervisor, job_in_xcom: AsyncMock
) -> None:
    """Of a mapped task only its own index counts."""
    supervisor.states = {"task_3": "deferred", "task_4": "failed"}

    assert await still_waits_for(a_task_instance(3), "j")
    assert not await still_waits_for(a_task_instance(4), "j")
    assert [request.map_index for request in supervisor.asked] == [3, 4]


async def test_trigger_without_a_task_is_not_waited_for(supervisor: Supervisor) -> None:
    """Outside Airflow there is no task to ask about."""
    assert not await still_waits_for(None, "j")
    assert supervisor.asked == []


async def test_answer_that_is_none_counts_as_not_waiting(supervisor: Supervisor) -> None:
    """An error of Airflow's API is no word of a waiting task."""
    supervisor.answer = ErrorResponse()

    assert not await still_waits_for(a_task_instance(), "j")
