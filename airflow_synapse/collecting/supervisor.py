"""Asks Airflow for the states of tasks, by way of the supervisor of a triggerer or of a task's process."""

from __future__ import annotations

import asyncio
from typing import Any

from airflow_synapse.collecting.orphans import States
from airflow_synapse.collecting.questions import Question

ANSWER_TIMEOUT = 30.0
"""Seconds to wait for an answer. The first one of a fresh triggerer took up to 22 s (Airflow 3.3.2)."""

_asked: set[asyncio.Future[Any]] = set()
"""Questions without an answer so far. The event loop has only weak references to its tasks."""


def is_there() -> bool:
    """Return whether this process has a supervisor to ask, as triggerers and tasks do."""
    from airflow.sdk.execution_time import task_runner

    return hasattr(task_runner, "SUPERVISOR_COMMS")


async def ask_in_triggerer(question: Question) -> States:
    """Return the states that the question asks for.

    A question that takes too long is not cancelled. On Airflow 3.1 and 3.2, the next one would get its
    answer.

    :raises asyncio.TimeoutError: if there is no answer in time.
    """
    from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

    asking = asyncio.ensure_future(SUPERVISOR_COMMS.asend(_message(question)))
    _asked.add(asking)
    asking.add_done_callback(_forget)
    await asyncio.wait({asking}, timeout=ANSWER_TIMEOUT)
    if not asking.done():
        raise asyncio.TimeoutError(f"no answer within {ANSWER_TIMEOUT:g} s")
    return _states(question, asking.result())


def ask_in_task(question: Question) -> States:
    """Return the states that the question asks for, in the process of a task. Blocks."""
    from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

    return _states(question, SUPERVISOR_COMMS.send(_message(question)))


def _forget(asking: asyncio.Future[Any]) -> None:
    _asked.discard(asking)
    if not asking.cancelled():
        asking.exception()  # so that nobody is told that it was never retrieved


def _message(question: Question) -> Any:
    from airflow.sdk.execution_time.comms import GetTaskStates

    return GetTaskStates(
        dag_id=question.dag_id,
        task_ids=list(question.task_ids),
        run_ids=list(question.run_ids),
    )


def _states(question: Question, answer: Any) -> States:
    from airflow.sdk.execution_time.comms import TaskStatesResult

    if not isinstance(answer, TaskStatesResult):
        raise TypeError(f"Airflow was asked for task states, but answered {answer!r:.500}")
    return question.read(answer.task_states)
