"""Asks Airflow, from inside the triggerer, whether anybody still wants the job of a task instance.

It makes only asynchronous calls, because the SDK's synchronous ones raise inside ``on_kill``.
"""

from __future__ import annotations

from typing import Any

from airflow_synapse.handover.task_states import (
    DEFERRED,
    OVER,
    RUNNING,
    UP_FOR_RETRY,
    question_about,
    state_in,
)
from airflow_synapse.handover.xcom_keys import JOB_ID_KEY, LOG_POSITION_KEY, is_handed_back
from airflow_synapse.triggers.xcoms import get_xcom


async def is_wanted(task_instance: Any, job_id: str) -> bool:
    """Return whether the task instance, in its current try, still wants this very job.

    It may be in any state, because a kill may come late: this trigger may be of a try that has ended, or
    another triggerer may have taken it over.

    - deferred or running: it wants the job, unless it has told that it has another one. A try that has just
      begun has not told yet, but it stops a job that it does not want.
    - up_for_retry: its next try takes the job over.
    - waiting to be scheduled: a user has cleared it, unless a trigger has handed the job back.

    :param task_instance: What the triggerer put into ``trigger.task_instance``. None for a trigger
        that runs outside Airflow, which no task waits for.
    """
    if task_instance is None:
        return False
    state = await _state(task_instance)
    if state in OVER:
        return False
    if state in (DEFERRED, RUNNING):
        return await get_xcom(task_instance, JOB_ID_KEY) in (None, job_id)
    if state == UP_FOR_RETRY:
        return True
    return is_handed_back(await get_xcom(task_instance, LOG_POSITION_KEY), job_id)


async def _state(task_instance: Any) -> str | None:
    from airflow.sdk.execution_time.comms import GetTaskStates
    from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

    answer = await SUPERVISOR_COMMS.asend(GetTaskStates(**question_about(task_instance)))
    return state_in(answer, task_instance)
