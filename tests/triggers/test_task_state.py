"""Whether a task still wants a job, as Airflow tells a trigger."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from airflow.sdk.execution_time.comms import (
    ErrorResponse,
    GetTaskStates,
    GetXCom,
    SetXCom,
    TaskStatesResult,
    XComResult,
)

from airflow_synapse.triggers.log_checkpoint import LogCheckpoint
from airflow_synapse.triggers.task_state import is_wanted


class Supervisor:
    """Answers what Airflow would."""

    def __init__(self) -> None:
        self.states: dict[str, str | None] = {}
        self.xcoms: dict[str, Any] = {"job_id": "j"}
        self.asked: list[GetTaskStates] = []
        self.answer: Any = None

    async def asend(self, request: GetTaskStates | GetXCom | SetXCom) -> Any:
        if isinstance(request, GetXCom):
            return XComResult(key=request.key, value=self.xcoms.get(request.key))
        if isinstance(request, SetXCom):
            self.xcoms[request.key] = request.value
            return None
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

    assert await is_wanted(a_task_instance(), "j")
    assert supervisor.asked[0].map_index is None


@pytest.mark.parametrize("state", ["failed", "success", "skipped", "removed", "restarting"])
async def test_task_that_is_over_wants_no_job(supervisor: Supervisor, state: str) -> None:
    """A user has marked or cleared it, or it has ended otherwise."""
    supervisor.states = {"task": state}

    assert not await is_wanted(a_task_instance(), "j")


async def test_deleted_task_wants_no_job(supervisor: Supervisor) -> None:
    """Airflow does not know it any more, because its run was deleted."""
    assert not await is_wanted(a_task_instance(), "j")


@pytest.mark.parametrize("state", [None, "scheduled", "queued"])
async def test_cleared_task_wants_no_job(supervisor: Supervisor, state: str | None) -> None:
    """It waits for the scheduler, and will get a new job."""
    supervisor.states = {"task": state}

    assert not await is_wanted(a_task_instance(), "j")


@pytest.mark.parametrize("state", ["up_for_retry", None, "scheduled", "queued", "running"])
async def test_job_that_a_trigger_has_handed_back_is_wanted(
    supervisor: Supervisor, state: str | None
) -> None:
    """Its watch could not continue, and a worker decides whether the next try takes it over."""
    supervisor.states = {"task": state}

    await LogCheckpoint(a_task_instance(), "j", logger=logging.getLogger()).hand_back()

    assert await is_wanted(a_task_instance(), "j")


@pytest.mark.parametrize("state", ["up_for_retry", "running"])
async def test_job_of_an_older_try_may_be_wanted(supervisor: Supervisor, state: str) -> None:
    """The next try is to take the job over, or has just done so."""
    supervisor.states = {"task": state}

    assert await is_wanted(a_task_instance(), "j")


async def test_task_that_runs_its_next_job(supervisor: Supervisor) -> None:
    """A cleared task that runs again has told its new job, so the old one may be stopped."""
    supervisor.states = {"task": "running"}
    supervisor.xcoms = {"job_id": "the next one"}

    assert not await is_wanted(a_task_instance(), "j")


async def test_task_that_waits_for_its_next_job(supervisor: Supervisor) -> None:
    """A cleared task that is deferred again waits for another job, so this one may be stopped."""
    supervisor.states = {"task": "deferred"}
    supervisor.xcoms = {"job_id": "the next one"}

    assert not await is_wanted(a_task_instance(), "j")


async def test_task_without_the_id_in_xcom_is_believed(supervisor: Supervisor) -> None:
    """In doubt the job goes on."""
    supervisor.states = {"task": "deferred"}
    supervisor.xcoms = {}

    assert await is_wanted(a_task_instance(), "j")


async def test_mapped_task_is_asked_for_by_its_index(supervisor: Supervisor) -> None:
    """Of a mapped task only its own index counts."""
    supervisor.states = {"task_3": "deferred", "task_4": "failed"}

    assert await is_wanted(a_task_instance(3), "j")
    assert not await is_wanted(a_task_instance(4), "j")
    assert [request.map_index for request in supervisor.asked] == [3, 4]


async def test_trigger_without_a_task_is_not_waited_for(supervisor: Supervisor) -> None:
    """Outside Airflow there is no task to ask about."""
    assert not await is_wanted(None, "j")
    assert supervisor.asked == []


async def test_answer_that_is_none_is_an_error(supervisor: Supervisor) -> None:
    """An error of Airflow's API tells neither that the task waits nor that it does not."""
    supervisor.answer = ErrorResponse()

    with pytest.raises(TypeError, match="Airflow was asked for task states, but answered"):
        await is_wanted(a_task_instance(), "j")
