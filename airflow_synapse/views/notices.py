"""Why there is no job to show, in words. Pure."""

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
"""Seconds after which a page looks again: for what changes often, and for what hardly does."""

FINISHED_STATES = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})
"""The states in which a task stays unless a user clears it."""


@dataclass(frozen=True)
class Notice:
    """What a page says instead of a job, or of its log.

    :param title: In a few words.
    :param text: What happened and what to do.
    :param refresh: Seconds after which it may be otherwise, 0 if it won't.
    """

    title: str
    text: str
    refresh: float = 0.0


NO_TASK = Notice("No such task instance", "Airflow knows no such task instance (any more).")


def notice_of_task(task: TaskRecord) -> Notice | None:
    """Return why the task has no job that can be looked at, None if it has one."""
    has_finished = task.state in FINISHED_STATES
    if not task.is_of_ray:
        return Notice("No Ray task", "This task runs no Ray job.")
    if task.job_id is None and has_finished:
        return Notice("No Ray job", f"The task is {task.state} and no job was submitted for it.")
    if task.job_id is None:
        return Notice("No Ray job yet", "The task has not submitted its job yet.", refresh=SOON)
    if task.cluster_ref is None:
        return Notice(
            "Connection not known",
            "Airflow does not know any more which connection this task used: it is a template or "
            "differs by map index, and Airflow keeps the values of a task's last runs only. The task's "
            'log and its link "Ray job" may tell more.',
        )
    return None


def no_connection(conn_id: str) -> Notice:
    """Return what to say if the API server has no such connection."""
    return Notice(
        "Connection not found",
        f"The API server finds no connection {conn_id!r}. This page is made by the API server, so "
        "the connection has to be in Airflow's database, or in a secrets backend or the environment "
        "of the API server as well.",
    )


def unknown_job(cluster: str) -> Notice:
    """Return what to say of a job that the cluster does not know."""
    return Notice(
        "Job not known to the cluster",
        f"The Ray cluster at {cluster} does not know this job (any more). A restarted head node "
        "forgets its jobs, and they can be deleted.",
    )


def foreign_job() -> Notice:
    """Return what to say of a job that was submitted for something else."""
    return Notice(
        "Not this task's job",
        "The XCom job_id of this task names a job that was not submitted for it, or one of another DAG "
        "whose logs you may not see. So it is not shown.",
    )


def notice_of_error(error: AirflowSynapseError) -> Notice:
    """Return what to say if the cluster can't be asked."""
    if isinstance(error, RayClusterUnreachableError):
        return Notice("Ray cluster unreachable", f"{error} Seen from the API server.", LATER)
    if isinstance(error, RayAuthenticationError):
        return Notice("Ray cluster refused", str(error))
    return Notice("Ray cluster can't be asked", f"{error} Seen from the API server.")
