"""Asks Airflow, from inside the triggerer, what became of a task instance."""

from __future__ import annotations

from typing import Any


async def is_still_deferred(task_instance: Any) -> bool:
    """Return whether the task instance is deferred in the try that this trigger belongs to.

    :param task_instance: What the triggerer put into ``trigger.task_instance``; None for a trigger
        that runs outside Airflow, which no task waits for.
    """
    if task_instance is None:
        return False
    from airflow.sdk.execution_time.comms import GetTaskStates, TaskStatesResult
    from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

    map_index = task_instance.map_index
    answer = await SUPERVISOR_COMMS.asend(
        GetTaskStates(
            dag_id=task_instance.dag_id,
            task_ids=[task_instance.task_id],
            run_ids=[task_instance.run_id],
            map_index=map_index if map_index is not None and map_index >= 0 else None,
        )
    )
    if not isinstance(answer, TaskStatesResult):
        return False
    states = answer.task_states.get(task_instance.run_id, {})
    key = task_instance.task_id
    if map_index is not None and map_index >= 0:
        key = f"{key}_{map_index}"
    return bool(states.get(key) == "deferred")
