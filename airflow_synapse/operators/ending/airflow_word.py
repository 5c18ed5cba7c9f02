"""Asks Airflow, from a task's process, whether anybody still wants its job.

A signal handler must not ask: it may have interrupted the very request whose answer it would wait for.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from http import HTTPStatus
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from airflow_synapse.handover.task_states import question_about, state_in

_LONGEST_WAIT = 2.0
"""Seconds to wait for an answer. Airflow kills a task's process five seconds after SIGTERM."""


NO_ANSWER = "unknown"
"""Our word for a state that Airflow did not tell."""


def is_there() -> bool:
    """Return whether this is a task's process, with a supervisor to ask."""
    return _supervisor() is not None


def state_of(task_instance: Any) -> str | None:
    """Return the task instance's state in its current try (see :func:`.state_in`), or :data:`NO_ANSWER`."""
    from airflow.sdk.execution_time.comms import GetTaskStates

    answer = _ask(lambda: GetTaskStates(**question_about(task_instance)))
    try:
        return state_in(answer, task_instance)
    except TypeError:
        return NO_ANSWER


def is_superseded(task_instance: Any) -> bool:
    """Return whether Airflow has certainly begun to prepare another try.

    Airflow gives a task instance a new ID for each try (``TaskInstance.prepare_db_for_next_try``), so it no
    longer knows the ID of a try that was superseded. Of the questions that name this ID, asking for the
    inactive assets of the task is one that changes nothing.
    """
    if not is_there():
        return False
    from airflow.sdk.exceptions import AirflowRuntimeError
    from airflow.sdk.execution_time.comms import ValidateInletsAndOutlets

    answer = _ask(lambda: ValidateInletsAndOutlets(ti_id=task_instance.id))
    if not isinstance(answer, AirflowRuntimeError):
        return False
    return (answer.error.detail or {}).get("status_code") == HTTPStatus.NOT_FOUND


def _supervisor() -> Any:
    # Airflow imports it in the processes of tasks. To import it elsewhere would be slow.
    runner = sys.modules.get("airflow.sdk.execution_time.task_runner")
    return getattr(runner, "SUPERVISOR_COMMS", None)


def _ask(question: Callable[[], Any]) -> Any:
    """Return the supervisor's answer, or the error instead of one.

    Another thread waits for it, as long as that takes, because what the supervisor sends has to be read.
    """
    answers: SimpleQueue[Any] = SimpleQueue()

    def send() -> None:
        try:
            answers.put(_supervisor().send(question()))
        except Exception as exc:  # noqa: BLE001  # whatever it is, Airflow does not say
            answers.put(exc)

    Thread(target=send, daemon=True).start()
    try:
        return answers.get(timeout=_LONGEST_WAIT)
    except Empty as exc:
        return exc
