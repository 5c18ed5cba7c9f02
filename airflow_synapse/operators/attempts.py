"""Which job a task's try is about: ids from which a new worker finds what a dead one submitted.

Ray refuses a second job under one submission id. An id that is made of what Airflow never changes
within one run of a task is therefore all that is needed to submit once. Pure.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from airflow_synapse.exceptions import JobIdConflictError
from airflow_synapse.rayjobs.models import OWNER_KEY, PENDING, RUNNING, SUCCEEDED, JobInfo

_ADOPTABLE = frozenset({PENDING, RUNNING, SUCCEEDED})
_NAME_LENGTH = 40
_HASH_LENGTH = 16


@dataclass(frozen=True)
class TaskRun:
    """One task instance between two clears by a user.

    :param deployment: What tells this Airflow from another on the same cluster, its base URL.
    :param clears: How often a user has cleared it: Airflow keeps ``max_tries = retries`` and raises
        it by ``try_number`` at a clear.
    :param try_number: Airflow's number of this try, over all clears.
    """

    deployment: str
    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    clears: int
    try_number: int

    @property
    def owner(self) -> str:
        """What a job says of whom it was submitted for. Same for all tries up to a clear."""
        identity = [
            self.deployment,
            self.dag_id,
            self.run_id,
            self.task_id,
            self.map_index,
            self.clears,
        ]
        return hashlib.sha256(json.dumps(identity).encode()).hexdigest()

    @property
    def tries_since_clear(self) -> int:
        """The number of this try, counted from the last clear on."""
        return max(1, self.try_number - self.clears)

    def metadata(self) -> dict[str, str]:
        """Return what goes into the job's metadata, to be read in the Ray dashboard."""
        return {
            "airflow_dag_id": self.dag_id,
            "airflow_run_id": self.run_id,
            "airflow_task_id": self.task_id,
            "airflow_map_index": str(self.map_index),
            "airflow_try_number": str(self.try_number),
            OWNER_KEY: self.owner,
        }

    def job_id(self, attempt: int, *, given: str | None = None) -> str:
        """Return the submission id of an attempt.

        :param attempt: 1 for the first job, more for each that replaces a failed one.
        :param given: The user's own id, to which only a later attempt adds its number.
        """
        if given is not None:
            return given if attempt == 1 else f"{given}.{attempt}"
        identity = hashlib.sha256(f"{self.owner}.{attempt}".encode()).hexdigest()
        parts = [_readable(self.dag_id), _readable(self.task_id)]
        if self.map_index >= 0:
            parts.append(str(self.map_index))
        return ".".join([*parts, str(attempt), identity[:_HASH_LENGTH]])


@dataclass(frozen=True)
class Attempt:
    """The job that this try is about.

    :param job_id: Its submission id.
    :param found: What the cluster knows of it, None if it is still to be submitted.
    """

    job_id: str
    found: JobInfo | None = None


def choose_attempt(
    run: TaskRun,
    find: Callable[[str], JobInfo | None],
    *,
    cluster: str,
    given: str | None = None,
) -> Attempt:
    """Return the job to adopt, or the id under which to submit a new one.

    The latest job of this task run is adopted if it runs, waits or has succeeded. If it FAILED, was
    STOPPED or is gone, the next attempt is due.

    :param find: Looks a submission id up on the cluster.
    :param cluster: The dashboard URL, for an error.
    :param given: The user's own id.
    :raises JobIdConflictError: if an id belongs to somebody else's job.
    """
    attempt = run.tries_since_clear
    while attempt >= 1:
        job_id = run.job_id(attempt, given=given)
        info = find(job_id)
        if info is not None:
            _refuse_other(run, info, cluster)
            if info.status in _ADOPTABLE:
                return Attempt(job_id, info)
            break
        attempt -= 1
    due = attempt + 1 if given is not None else max(run.tries_since_clear, attempt + 1)
    return Attempt(run.job_id(due, given=given))


def _refuse_other(run: TaskRun, info: JobInfo, cluster: str) -> None:
    if info.metadata.get(OWNER_KEY) != run.owner:
        raise JobIdConflictError(
            job_id=info.job_id,
            cluster=cluster,
            status=info.status,
            reason=f"it is {info.status} and was not submitted by this run of this task",
        )


def task_run(context: Any, *, retries: int, deployment: str) -> TaskRun:
    """Return the task run of an Airflow context."""
    ti = context["ti"]
    return TaskRun(
        deployment=deployment,
        dag_id=ti.dag_id,
        run_id=ti.run_id,
        task_id=ti.task_id,
        map_index=ti.map_index if ti.map_index is not None else -1,
        clears=max(0, (ti.max_tries or 0) - retries),
        try_number=ti.try_number,
    )


def _readable(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name)[:_NAME_LENGTH].strip("-") or "x"
