"""Whether a task still waits for a job, as Airflow tells a trigger."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from airflow.sdk.execution_time.comms import (
    ErrorResponse,
    GetTaskStates,
    GetXCom,
    TaskStatesResult,
    XComResult,
)

from airflow_synapse.triggers.task_state import still_waits_for


class Supervisor:
    """Answers what Airflow would."""

    def __init__(self) -> None:
        self.states: dict[str, str] = {}
        self.job_id: str | None = "j"
        self.asked: list[GetTaskStates] = []
        self.answer: Any = None

    async def asend(self, request: GetTaskStates | GetXCom) -> Any:
        if isinstance(request, GetXCom):
            return XComResult(key=request.key, value=self.job_id)
        self.asked.append(request)
        return self.answer or TaskStatesResult(task_states={"run": dict(self.states)})


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    supervisor = Supervisor()
    module = "airflow.sdk.execution_time.task_runner"
    with patch(f"{module}.SUPERVISOR_COMMS", supervisor, create=True):
        yield supervisor


def a_task_instance(map_index: int = -1) -> Any:
    return SimpleNamespace(dag_id="dag", task_id="task", run_id="run", map_index=map_index)


async def test_deferred_task_waits_for_its_job(supervisor: Supervisor) -> None:
    """A deferred task whose XCom names the job waits for it."""
    supervisor.states = {"task": "deferred"}

    assert await still_waits_for(a_task_instance(), "j")
    assert supervisor.asked[0].map_index is None


@pytest.mark.parametrize("state", ["running", "failed", "success", "up_for_retry", "removed"])
async def test_task_in_another_state_does_not_wait(supervisor: Supervisor, state: str) -> None:
    """Who is not deferred waits for nothing."""
    supervisor.states = {"task": state}

    assert not await still_waits_for(a_task_instance(), "j")


async def test_cleared_task_has_no_state(supervisor: Supervisor) -> None:
    """A task that was just cleared has no state at all."""
    assert not await still_waits_for(a_task_instance(), "j")


async def test_task_that_waits_for_its_next_job(supervisor: Supervisor) -> None:
    """A cleared task that is deferred again waits for another job, so this one may be stopped."""
    supervisor.states = {"task": "deferred"}
    supervisor.job_id = "the next one"

    assert not await still_waits_for(a_task_instance(), "j")


async def test_task_without_the_id_in_xcom_is_believed(supervisor: Supervisor) -> None:
    """In doubt the job goes on."""
    supervisor.states = {"task": "deferred"}
    supervisor.job_id = None

    assert await still_waits_for(a_task_instance(), "j")


async def test_mapped_task_is_asked_for_by_its_index(supervisor: Supervisor) -> None:
    """Of a mapped task only its own index counts."""
    supervisor.states = {"task_3": "deferred", "task_4": "failed"}

    assert await still_waits_for(a_task_instance(3), "j")
    assert not await still_waits_for(a_task_instance(4), "j")
    assert [request.map_index for request in supervisor.asked] == [3, 4]


async def test_trigger_without_a_task_is_not_waited_for(supervisor: Supervisor) -> None:
    """Outside Airflow there is no task to ask about."""
    assert not await still_waits_for(None, "j")
    assert supervisor.asked == []


async def test_answer_that_is_none_is_an_error(supervisor: Supervisor) -> None:
    """An error of Airflow's API tells neither that the task waits nor that it does not."""
    supervisor.answer = ErrorResponse()

    with pytest.raises(TypeError, match="Airflow was asked for task states, but answered"):
        await still_waits_for(a_task_instance(), "j")
