"""What Airflow's states of a task instance say about its job. Pure."""

from __future__ import annotations

from typing import Any

DELETED = "deleted"
"""Our word for a task instance that Airflow does not know any more. Airflow's own states are never this."""

OVER = frozenset(
    {"restarting", "failed", "success", "skipped", "upstream_failed", "removed", DELETED}
)
"""The states of a task instance that a user ended, or that ended otherwise: nobody wants its job."""

DEFERRED = "deferred"
RUNNING = "running"
UP_FOR_RETRY = "up_for_retry"


def question_about(task_instance: Any) -> dict[str, Any]:
    """Return the fields of Airflow's ``GetTaskStates`` that ask for one task instance."""
    return {
        "dag_id": task_instance.dag_id,
        "task_ids": [task_instance.task_id],
        "run_ids": [task_instance.run_id],
        "map_index": task_instance.map_index if _is_mapped(task_instance) else None,
    }


def state_in(answer: Any, task_instance: Any) -> str | None:
    """Return the state that Airflow's ``TaskStatesResult`` has for the task instance.

    None is the state of a task instance that waits for the scheduler. One that is not in the answer is
    :data:`DELETED`.

    :raises TypeError: if the answer is something else.
    """
    states = getattr(answer, "task_states", None)
    if not isinstance(states, dict):
        raise TypeError(f"Airflow was asked for task states, but answered {answer!r}")
    suffix = f"_{task_instance.map_index}" if _is_mapped(task_instance) else ""
    states_of_run = states.get(task_instance.run_id) or {}
    state: str | None = states_of_run.get(f"{task_instance.task_id}{suffix}", DELETED)
    return state


def _is_mapped(task_instance: Any) -> bool:
    return task_instance.map_index is not None and task_instance.map_index >= 0
