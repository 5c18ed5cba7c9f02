"""Explains why there is no job to show. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_synapse.exceptions import (
    AirflowSynapseError,
    RayAuthenticationError,
    RayClusterUnreachableError,
)
from airflow_synapse.views.task_record import TaskRecord

SOON = 5.0
LATER = 15.0
"""Seconds until a page refreshes itself: for what changes often, and for what rarely changes."""

_WHO_ASKED = "The request came from Airflow's API server."

FINISHED_STATES = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
"""The states that a task keeps until a user clears it."""


@dataclass(frozen=True)
class Notice:
    """What a page shows instead of a job or its log.

    :param title: The reason in a few words.
    :param text: What happened and what to do.
    :param refresh: Seconds until the page should refresh itself, 0 if nothing will change.
    """

    title: str
    text: str
    refresh: float = 0.0


NO_TASK = Notice("No such task instance", "Airflow has no such task instance, or no longer has it.")


def notice_of_task(task: TaskRecord) -> Notice | None:
    """Return why the task has no job to show, None if it has one."""
    has_finished = task.state in FINISHED_STATES
    if not task.is_of_ray:
        return Notice("Not a Ray task", "This task does not run a Ray job.")
    if task.job_id is None and has_finished:
        return Notice(
            "No Ray job", f"The task ended in the state {task.state} and submitted no job."
        )
    if task.job_id is None:
        return Notice("No Ray job yet", "The task has not submitted its job yet.", refresh=SOON)
    if task.cluster_ref is None:
        return Notice(
            "Unknown connection",
            "Airflow no longer knows which connection this task used. The connection ID is a template or "
            "differs by map index, and Airflow keeps such values only for a task's latest runs. The "
            'task\'s log and its link "Ray job" may help.',
        )
    return None


def no_connection(conn_id: str) -> Notice:
    """Return the notice for a connection that the API server does not have."""
    return Notice(
        "Connection not found",
        f"The API server can't find the connection {conn_id!r}. It needs the connection to build this "
        "page. Store the connection in Airflow's database, or give the API server access to the secrets "
        "backend or environment variable that has it.",
    )


def unknown_job(cluster: str) -> Notice:
    """Return the notice for a job that the cluster does not know."""
    return Notice(
        "Job unknown to the cluster",
        f"The Ray cluster at {cluster} does not know this job, or no longer does. The job may have been "
        "deleted, and a head node forgets its jobs when it restarts.",
    )


def foreign_job() -> Notice:
    """Return the notice for a job that something else submitted."""
    return Notice(
        "Not this task's job",
        "This task's XCom job_id names a job that was not submitted for this task, or a job of another "
        "DAG whose logs you are not allowed to see. So the job is not shown.",
    )


def notice_of_error(error: AirflowSynapseError) -> Notice:
    """Return the notice for a cluster that gave no usable answer."""
    if isinstance(error, RayClusterUnreachableError):
        return Notice("Ray cluster unreachable", f"{error} {_WHO_ASKED}", LATER)
    if isinstance(error, RayAuthenticationError):
        return Notice("Ray cluster refused the request", str(error))
    return Notice("Ray cluster can't be queried", f"{error} {_WHO_ASKED}")
