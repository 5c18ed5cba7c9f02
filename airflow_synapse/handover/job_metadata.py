"""The metadata with which a job says for which task instance it was submitted. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

DEPLOYMENT_KEY = "airflow_deployment"
"""Metadata: which Airflow submitted the job."""

WAITS_KEY = "airflow_waits"
"""Metadata: whether the task waits for the job to end."""

STOP_ON_KILL_KEY = "airflow_stop_on_kill"
"""Metadata: whether the job is to be stopped if nobody waits for it any more."""

_LARGEST_INDEX = 2**31 - 1
"""The largest map index that fits into Airflow's database."""


def task_metadata(dag_id: str, run_id: str, task_id: str, map_index: int) -> dict[str, str]:
    """Return Airflow's ids of a task instance, as metadata of its job."""
    return {
        "airflow_dag_id": dag_id,
        "airflow_run_id": run_id,
        "airflow_task_id": task_id,
        "airflow_map_index": str(map_index),
    }


def wait_metadata(*, waits: bool, stop_on_kill: bool) -> dict[str, str]:
    """Return what a task wants of its job, as metadata of the job."""
    return {WAITS_KEY: _word(waits), STOP_ON_KILL_KEY: _word(stop_on_kill)}


def _word(value: bool) -> str:  # noqa: FBT001  # it is what is written
    return str(value).lower()


@dataclass(frozen=True)
class TaskInstanceRef:
    """Which task instance.

    :param map_index: -1 for a task that is not mapped.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int = -1

    def __str__(self) -> str:
        index = f"[{self.map_index}]" if self.map_index >= 0 else ""
        return f"{self.dag_id}.{self.task_id}{index} of run {self.run_id}"

    @classmethod
    def of_job(cls, metadata: Mapping[str, str]) -> TaskInstanceRef | None:
        """Return the task instance that a job says it was submitted for, None if it names none."""
        ids = (metadata.get(name, "") for name in task_metadata("", "", "", -1))
        dag_id, run_id, task_id, map_index = ids
        if not (dag_id and run_id and task_id):
            return None
        return cls(dag_id, run_id, task_id, to_map_index(map_index))

    def metadata(self) -> dict[str, str]:
        """Return the metadata of a job that was submitted for it."""
        return task_metadata(self.dag_id, self.run_id, self.task_id, self.map_index)


def to_map_index(text: str) -> int:
    """Return a map index: -1 if the text is not a number, the largest if it is too large."""
    if not text.isdecimal():
        return -1
    return int(text) if len(text) < len(str(_LARGEST_INDEX)) else _LARGEST_INDEX
