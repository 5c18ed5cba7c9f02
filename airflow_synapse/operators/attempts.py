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
from airflow_synapse.handover.job_metadata import DEPLOYMENT_KEY, task_metadata
from airflow_synapse.handover.xcom_keys import JOB_ID_KEY
from airflow_synapse.rayjobs.models import OWNER_KEY, PENDING, RUNNING, SUCCEEDED, JobInfo

MAYBE_FOREIGN = (
    "Ray job %s on %s is of the same task and run, but maybe of another Airflow: neither [ray] deployment "
    "nor [api] base_url of this one tells them apart. So it is left alone, and a new job is submitted."
)
"""What to say of a job that may be another Airflow's, with its id and cluster."""

_ADOPTABLE = frozenset({PENDING, RUNNING, SUCCEEDED})
_RUN_STARTED_KEY = "airflow_run_started"
_NAME_LENGTH = 40
_HASH_LENGTH = 16


@dataclass(frozen=True)
class TaskTry:
    """One try of a task instance.

    :param deployment: What tells this Airflow from another on the same cluster; empty if nothing does.
    :param try_number: Airflow's number of this try, which grows over retries and clears alike.
    :param max_tries: What Airflow set when it created the task instance (``retries``) or a user
        cleared it (``try_number + retries``). Neither a retry nor an edit of the DAG changes it.
    :param retries: The task's ``retries``, now.
    :param run_started: When the DAG run started; anew after a clear of a finished or deleted run.
    :param run_clears: How often a user has cleared any task of the DAG run.
    :param had_job: Whether an earlier try had a job for sure: it got as far as to keep its id.
    """

    deployment: str
    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    try_number: int
    max_tries: int = 0
    retries: int = 0
    run_started: str = ""
    run_clears: int = 0
    had_job: bool = False

    @property
    def owner(self) -> str:
        """What a job says of whom it was submitted for. Same for all tries."""
        identity = [self.deployment, self.dag_id, self.run_id, self.task_id, self.map_index]
        return hashlib.sha256(json.dumps(identity).encode()).hexdigest()

    def metadata(self) -> dict[str, str]:
        """Return what goes into the job's metadata, to be read in the Ray dashboard."""
        return {
            **task_metadata(self.dag_id, self.run_id, self.task_id, self.map_index),
            "airflow_try_number": str(self.try_number),
            **self._since_clear(),
            **self._beside_clear(),
            DEPLOYMENT_KEY: self.deployment,
            OWNER_KEY: self.owner,
        }

    def job_id(self, number: int, *, given: str | None = None) -> str:
        """Return the submission id of a job of this task instance.

        :param number: 1 for its first job, more for each that came later.
        :param given: The user's own id, to which only a later job adds its number.
        """
        if given is not None:
            return given if number == 1 else f"{given}.{number}"
        identity = hashlib.sha256(f"{self.owner}.{number}".encode()).hexdigest()
        parts = [_readable(self.dag_id), _readable(self.task_id)]
        if self.map_index >= 0:
            parts.append(str(self.map_index))
        return ".".join([*parts, str(number), identity[:_HASH_LENGTH]])

    def was_cleared_after(self, job: JobInfo) -> bool:
        """Whether a user has cleared this task since the job was submitted.

        A clear raises ``max_tries``, unless ``retries`` was lowered at the same time. Then only the
        count of clears tells, and that of the whole DAG run: so a job that runs is still kept.
        """
        if _differs(job, self._since_clear()):
            return True
        beside = [_differs(job, {key: value}) for key, value in self._beside_clear().items()]
        return all(beside) and job.is_terminal

    def may_be_foreign(self, job: JobInfo) -> bool:
        """Whether a job of this owner may be of another Airflow that has no name either.

        Runs of a schedule have the same ids everywhere, but do not start in the same microsecond.
        """
        return not self.deployment and _differs(job, {_RUN_STARTED_KEY: self.run_started})

    def _since_clear(self) -> dict[str, str]:
        return {
            "airflow_max_tries": str(self.max_tries),
            _RUN_STARTED_KEY: self.run_started,
        }

    def _beside_clear(self) -> dict[str, str]:
        return {"airflow_retries": str(self.retries), "airflow_run_clears": str(self.run_clears)}


@dataclass(frozen=True)
class Attempt:
    """The job that this try is about.

    :param job_id: Its submission id.
    :param found: What the cluster knows of it, None if it is still to be submitted.
    :param left_behind: A job from before a clear, or of a try that is not to be taken over, that nobody
        has stopped.
    :param maybe_foreign: A job that looks like one left behind, but may be another Airflow's.
    """

    job_id: str
    found: JobInfo | None = None
    left_behind: JobInfo | None = None
    maybe_foreign: JobInfo | None = None


def choose_attempt(
    this_try: TaskTry,
    find: Callable[[str], JobInfo | None],
    *,
    cluster: str,
    given: str | None = None,
    adopts: bool = True,
) -> Attempt:
    """Return the job to adopt, or the id under which to submit a new one.

    The latest job of this task instance is adopted if it runs, waits or has succeeded since the last
    clear. Otherwise the next one is due, also if what is there is all that Ray noted down of a deleted
    job. If no try was seen to submit that one, it may still be on its way from a worker that is gone, so
    the new one goes by the same id: only one gets through.

    :param find: Looks a submission id up on the cluster.
    :param cluster: The dashboard URL, for an error.
    :param given: The user's own id.
    :param adopts: Whether the job of an earlier try may be taken over.
    :raises JobIdConflictError: if an id belongs to somebody else's job.
    """
    number, latest = _latest(this_try, find, given)
    if latest is None:
        due = this_try.try_number if this_try.had_job else 1  # what an earlier try had is gone
        return Attempt(this_try.job_id(due, given=given))
    _refuse_other(this_try, latest, cluster)
    if latest.status in _ADOPTABLE and adopts and not this_try.was_cleared_after(latest):
        return Attempt(latest.job_id, latest)
    due = max(number + 1, this_try.try_number) if this_try.had_job else number + 1
    job_id = this_try.job_id(due, given=given)
    if latest.is_terminal:
        return Attempt(job_id)
    if this_try.may_be_foreign(latest):
        return Attempt(job_id, maybe_foreign=latest)
    return Attempt(job_id, left_behind=latest)


def _latest(
    this_try: TaskTry, find: Callable[[str], JobInfo | None], given: str | None
) -> tuple[int, JobInfo | None]:
    """Return the number and state of the latest job that the cluster knows, 0 and None if none.

    No job has a higher number than the try that submitted it, unless Airflow ran one try twice.
    """
    number = this_try.try_number
    latest = find(this_try.job_id(number, given=given))
    if latest is not None:
        while (newer := find(this_try.job_id(number + 1, given=given))) is not None:
            number, latest = number + 1, newer
        return number, latest
    while number > 1:
        number -= 1
        latest = find(this_try.job_id(number, given=given))
        if latest is not None:
            return number, latest
    return 0, None


def _refuse_other(this_try: TaskTry, info: JobInfo, cluster: str) -> None:
    if info.metadata.get(OWNER_KEY) != this_try.owner and not info.is_phantom:
        raise JobIdConflictError(
            job_id=info.job_id,
            cluster=cluster,
            status=info.status,
            reason=f"it is {info.status} and was not submitted by this run of this task",
        )


def task_try(context: Any, *, retries: int, deployment: str) -> TaskTry:
    """Return the task run of an Airflow context."""
    ti, dag_run = context["ti"], context.get("dag_run")
    started = getattr(dag_run, "start_date", None)
    return TaskTry(
        deployment=deployment,
        dag_id=ti.dag_id,
        run_id=ti.run_id,
        task_id=ti.task_id,
        map_index=ti.map_index if ti.map_index is not None else -1,
        try_number=ti.try_number,
        max_tries=ti.max_tries or 0,
        retries=retries,
        run_started=started.isoformat() if started else "",
        run_clears=getattr(dag_run, "clear_number", 0) or 0,
        had_job=_had_job(ti),
    )


def _had_job(ti: Any) -> bool:
    """Whether the last try that kept an XCom kept a job's id.

    Airflow deletes the XComs of earlier tries before a try begins; the list of what it deleted is
    all that is left (``TIRunContext.xcom_keys_to_clear``, Airflow 3.1 to 3.3).
    """
    told = getattr(ti, "_ti_context_from_server", None)
    return JOB_ID_KEY in (getattr(told, "xcom_keys_to_clear", None) or ())


def _differs(job: JobInfo, expected: dict[str, str]) -> bool:
    return any(job.metadata.get(key) != value for key, value in expected.items())


def _readable(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name)[:_NAME_LENGTH].strip("-") or "x"
