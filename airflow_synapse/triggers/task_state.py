"""Asks Airflow, from inside the triggerer, whether a task instance still waits for its job.

It makes only asynchronous calls, because the SDK's synchronous ones raise inside ``on_kill``.
"""

from __future__ import annotations

from typing import Any

from airflow_synapse.handover.xcom_keys import JOB_ID_KEY
from airflow_synapse.triggers.xcoms import get_xcom

_DEFERRED = "deferred"


async def still_waits_for(task_instance: Any, job_id: str) -> bool:
    """Return whether the task instance is deferred and waits for this very job.

    A cleared task may already be deferred again and wait for its next job. Each try keeps the ID of its
    job in an XCom, which tells the two cases apart.

    :param task_instance: What the triggerer put into ``trigger.task_instance``. None for a trigger
        that runs outside Airflow, which no task waits for.
    """
    if task_instance is None or await _state(task_instance) != _DEFERRED:
        return False
    current = await get_xcom(task_instance, JOB_ID_KEY)
    return current in (None, job_id)


async def _state(task_instance: Any) -> str | None:
    """Return the task instance's state in its current try, None if it has none or was deleted."""
    from airflow.sdk.execution_time.comms import GetTaskStates, TaskStatesResult
    from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

    is_mapped = task_instance.map_index is not None and task_instance.map_index >= 0
    answer = await SUPERVISOR_COMMS.asend(
        GetTaskStates(
            dag_id=task_instance.dag_id,
            task_ids=[task_instance.task_id],
            run_ids=[task_instance.run_id],
            map_index=task_instance.map_index if is_mapped else None,
        )
    )
    if not isinstance(answer, TaskStatesResult):
        raise TypeError(f"Airflow was asked for task states, but answered {answer!r}")
    states = answer.task_states.get(task_instance.run_id, {})
    suffix = f"_{task_instance.map_index}" if is_mapped else ""
    state: str | None = states.get(f"{task_instance.task_id}{suffix}")
    return state
