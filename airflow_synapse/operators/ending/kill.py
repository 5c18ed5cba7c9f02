"""Decides what becomes of a job when its task's process is told to end.

SIGTERM does not say why it comes. A user may have ended the task. But the scheduler or the API server may
also have been away, the machine may be shutting down, or this process may belong to a try that Airflow has
given up long ago.
"""

from __future__ import annotations

from enum import Enum
from typing import Any

from airflow_synapse.handover.task_states import OVER, RUNNING
from airflow_synapse.operators.ending import airflow_word
from airflow_synapse.operators.ending.next_try import is_try_left


class Fate(Enum):
    """What becomes of the job."""

    UNWANTED = "The task was killed, so Ray job %s is not wanted any more."
    NEXT_TRY = (
        "This process was told to end, but nobody ended the task. Ray job %s is left to the next try, which "
        "will take it over."
    )
    OTHER_TRY = "Ray job %s is left as it is, because another try of this task decides about it."
    NO_TRY = "This process was told to end, and no try is left that could take over Ray job %s."

    @property
    def sentence(self) -> str:
        """What to log about the job, with its ID."""
        return self.value

    @property
    def stops(self) -> bool:
        """Whether nobody will want the job any more."""
        return self in (Fate.UNWANTED, Fate.NO_TRY)


def fate_after_kill(task_instance: Any, *, takes_over: bool) -> Fate:
    """Return what becomes of the job of this try. Asks Airflow, which takes up to four seconds.

    Without an Airflow to ask, whoever killed the task meant it.

    :param takes_over: Whether a later try may take over the job.
    """
    if not airflow_word.is_there():
        return Fate.UNWANTED
    state = airflow_word.state_of(task_instance)
    if state in OVER:
        return Fate.UNWANTED
    if state not in (RUNNING, airflow_word.NO_ANSWER):
        return Fate.OTHER_TRY if not takes_over else Fate.NEXT_TRY
    if is_try_left(task_instance) and takes_over:
        return Fate.NEXT_TRY
    if state == RUNNING and airflow_word.is_superseded(task_instance):
        return Fate.OTHER_TRY
    return Fate.NO_TRY
