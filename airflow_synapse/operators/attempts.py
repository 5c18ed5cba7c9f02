"""Decides which job a try of a task is about, so that a new worker finds what a dead one submitted.

Ray refuses a second job with the same submission ID. So to submit a job only once, it is enough to derive
its ID from facts that Airflow does not change while a task instance lives. Pure.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from airflow_synapse.exceptions import (
    JobIdConflictError,
    RayAuthenticationError,
    RayClusterUnreachableError,
)
from airflow_synapse.handover.job_metadata import DEPLOYMENT_KEY, task_metadata
from airflow_synapse.handover.xcom_keys import JOB_ID_KEY
from airflow_synapse.rayjobs.models import OWNER_KEY, PENDING, RUNNING, SUCCEEDED, JobInfo, JobSpec

MAYBE_FOREIGN = (
    "Ray job %s on %s belongs to the same task and run, but maybe to another Airflow: this one has no "
    "[ray] deployment or [api] base_url that would tell them apart. So that job is left alone, and a new "
    "one is submitted."
)
"""What to log about a job that may belong to another Airflow, with its ID and cluster."""

_TAKEN_OVER = "Ray job %s of an earlier try is taken over as it is, although %s. If you need a new job, clear this task."
_NOT_TAKEN_OVER = "Ray job %s of an earlier try is %s, but it is not taken over, because %s. A new job is submitted."

_WORTH_TAKING_OVER = frozenset({PENDING, RUNNING, SUCCEEDED})
_RUN_STARTED_KEY = "airflow_run_started"
_RUN_CLEARS_KEY = "airflow_run_clears"
_NAME_LENGTH = 40
_HASH_LENGTH = 16


@dataclass(frozen=True)
class TaskTry:
    """One try of a task instance.

    :param deployment: What distinguishes this Airflow from others on the same cluster, empty if nothing
        does.
    :param try_number: Airflow's number for this try. It grows with each retry and each clear.
    :param max_tries: What Airflow set when it created the task instance (``retries``) or when a user
        cleared it (``try_number + retries``). Neither a retry nor an edit of the DAG changes it.
    :param retries: The task's ``retries`` now. It is only shown in the job's metadata.
    :param run_started: When the DAG run started. A clear of a finished run, or a new run in place of a
        deleted one, changes it.
    :param run_clears: How often a user has cleared any task of the DAG run.
    :param had_job: Whether an earlier try certainly had a job, because it kept the job's ID.
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
        """What a job says about whom it was submitted for. It is the same for all tries."""
        identity = [self.deployment, self.dag_id, self.run_id, self.task_id, self.map_index]
        return hashlib.sha256(json.dumps(identity).encode()).hexdigest()

    def metadata(self) -> dict[str, str]:
        """Return the job's metadata, which the Ray dashboard shows."""
        return {
            **task_metadata(self.dag_id, self.run_id, self.task_id, self.map_index),
            "airflow_try_number": str(self.try_number),
            **self._since_clear(),
            "airflow_retries": str(self.retries),
            _RUN_CLEARS_KEY: str(self.run_clears),
            DEPLOYMENT_KEY: self.deployment,
            OWNER_KEY: self.owner,
        }

    def job_id(self, number: int, *, given: str | None = None) -> str:
        """Return the submission ID of a job of this task instance.

        :param number: 1 for its first job, and a higher number for each later one.
        :param given: The user's own ID. The first job uses it unchanged, later ones append their number.
        """
        if given is not None:
            return given if number == 1 else f"{given}.{number}"
        identity = hashlib.sha256(f"{self.owner}.{number}".encode()).hexdigest()
        parts = [_readable(self.dag_id), _readable(self.task_id)]
        if self.map_index >= 0:
            parts.append(str(self.map_index))
        return ".".join([*parts, str(number), identity[:_HASH_LENGTH]])

    def number_of(self, job_id: str, *, given: str | None = None) -> int:
        """Return the number of a job of this task instance, 0 if no job of it has this ID."""
        numbers = [1, *map(int, re.findall(r"\.([0-9]{1,9})\b", job_id))]
        return next((n for n in numbers if self.job_id(n, given=given) == job_id), 0)

    def was_cleared_after(self, job: JobInfo) -> bool:
        """Whether a user has certainly cleared this task since the job was submitted."""
        return _differs(job, self._since_clear())

    def may_be_cleared_after(self, job: JobInfo) -> bool:
        """Whether something in the DAG run was cleared since the job was submitted, maybe this task.

        Airflow leaves ``max_tries`` as it is if the task's worker was dead, or if ``retries`` was lowered
        together with the clear.
        """
        return job.metadata.get(_RUN_CLEARS_KEY, "0") != str(self.run_clears)

    def may_be_foreign(self, job: JobInfo) -> bool:
        """Whether a job of this owner may belong to another Airflow without a name.

        Scheduled runs have the same ids everywhere, but they do not start in the same microsecond.
        """
        return not self.deployment and _differs(job, {_RUN_STARTED_KEY: self.run_started})

    def _since_clear(self) -> dict[str, str]:
        return {
            "airflow_max_tries": str(self.max_tries),
            _RUN_STARTED_KEY: self.run_started,
        }


@dataclass(frozen=True)
class Attempt:
    """The job that this try is about.

    :param job_id: Its submission ID.
    :param found: What the cluster knows about it, None if it has yet to be submitted.
    :param left_behind: A job that nobody has stopped, from before a clear or of an earlier try that must
        not be taken over.
    :param maybe_foreign: A job that looks left behind, but may belong to another Airflow.
    :param is_outdated: Whether the job left behind waits to run something that is no longer asked for.
    :param notice: What the task's log must warn of, empty if nothing.
    """

    job_id: str
    found: JobInfo | None = None
    left_behind: JobInfo | None = None
    maybe_foreign: JobInfo | None = None
    is_outdated: bool = False
    notice: str = ""


@dataclass(frozen=True)
class Expectation:
    """What a try expects of a job that it takes over.

    :param spec: What the try would submit.
    :param has_result: Whether the result of a job that has SUCCEEDED can be had, if one is needed. It is
        only asked if everything else is as expected.
    """

    spec: JobSpec
    has_result: Callable[[JobInfo], bool] = lambda _: True


def before_anything_was_sent(
    find: Callable[[str], JobInfo | None],
) -> Callable[[str], JobInfo | None]:
    """Return the same look-up for a task that never ran before: its errors name no job that may still run."""

    def find_quietly(job_id: str) -> JobInfo | None:
        try:
            return find(job_id)
        except (RayClusterUnreachableError, RayAuthenticationError) as exc:
            raise exc.about(None) from exc

    return find_quietly


def choose_attempt(
    this_try: TaskTry,
    find: Callable[[str], JobInfo | None],
    *,
    cluster: str,
    given: str | None = None,
    follows: str | None = None,
    list_jobs: Callable[[], Iterable[JobInfo]] = tuple,
    takes_over: bool = True,
    expected: Expectation | None = None,
) -> Attempt:
    """Return the job to take over, or the submission ID for a new one.

    The latest job of this task instance is taken over unless a user has cleared the task since:

    - a RUNNING job as it is, with a notice of what the try expects otherwise;
    - a PENDING job, unless it is to run something else;
    - a job that has SUCCEEDED, if it ran the same, nothing in the DAG run was cleared since and its
      result is there.

    Otherwise a new job is needed, even if Ray still shows a phantom of a deleted job. If no earlier try
    is known to have submitted that new job, a worker that is gone may just have sent it. So it gets the
    same ID, and only one of the two gets through.

    :param find: Looks up a submission ID on the cluster.
    :param cluster: The cluster's address, for an error.
    :param given: The user's own ID.
    :param follows: The job of this try that Ray gave up on, if another is to wait in its place. Jobs before
        it may have been deleted.
    :param list_jobs: Lists all jobs of the cluster, which is expensive. It is only asked if an earlier try
        certainly had a job that can't be found by its number.
    :param takes_over: Whether the job of an earlier try may be taken over.
    :param expected: What a job must be like to be taken over. None: like any of its owner's.
    :raises JobIdConflictError: if a job that belongs to somebody else has the ID.
    """
    ended = this_try.number_of(follows, given=given) if follows else 0
    number, latest = _latest(this_try, find, given, at_least=ended)
    if latest is None and this_try.had_job:
        number, latest = _latest_in_list(this_try, list_jobs(), given)
    used = max(number, ended, this_try.try_number - 1 if this_try.had_job else 0)
    new = Attempt(this_try.job_id(used + 1, given=given))
    if latest is None:
        return new
    _refuse_other(this_try, latest, cluster)
    if (
        takes_over
        and latest.status in _WORTH_TAKING_OVER
        and not this_try.was_cleared_after(latest)
    ):
        return _checked(this_try, latest, expected, new)
    if latest.is_terminal:
        return new
    if this_try.may_be_foreign(latest):
        return replace(new, maybe_foreign=latest)
    return replace(new, left_behind=latest)


def _checked(
    this_try: TaskTry, job: JobInfo, expected: Expectation | None, new: Attempt
) -> Attempt:
    """Return a job that no clear is known to have discarded, or ``new`` if it is not as expected."""
    other = expected.spec.differences(job) if expected else ()
    reasons = [f"it was submitted with other values of {', '.join(other)}"] if other else []
    if this_try.may_be_cleared_after(job):
        reasons.append("a task of this DAG run was cleared since it was submitted, maybe this one")
    why = " and ".join(reasons)
    if job.status == RUNNING or (job.status == PENDING and not other):
        return Attempt(job.job_id, job, notice=_TAKEN_OVER % (job.job_id, why) if why else "")
    if job.status == PENDING:
        notice = _NOT_TAKEN_OVER % (job.job_id, job.status, why)
        return replace(new, left_behind=job, is_outdated=True, notice=notice)
    if why:
        return replace(new, notice=_NOT_TAKEN_OVER % (job.job_id, job.status, why))
    if expected and not expected.has_result(job):
        return new
    return Attempt(job.job_id, job)


def _latest(
    this_try: TaskTry, find: Callable[[str], JobInfo | None], given: str | None, *, at_least: int
) -> tuple[int, JobInfo | None]:
    """Return the number and state of the latest job that the cluster knows, or 0 and None.

    A job's number is not higher than that of the try that submitted it, unless Airflow ran a try twice or
    the try waited with several jobs, one after the other.

    :param at_least: The number of a job that this try is known to have had.
    """
    number = max(this_try.try_number, at_least)
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


def _latest_in_list(
    this_try: TaskTry, jobs: Iterable[JobInfo], given: str | None
) -> tuple[int, JobInfo | None]:
    """Return the same as :func:`_latest`, however many jobs before the latest were deleted."""
    own = (job for job in jobs if job.metadata.get(OWNER_KEY) == this_try.owner)
    numbered = {this_try.number_of(job.job_id, given=given): job for job in own}
    numbered.pop(0, None)
    number = max(numbered, default=0)
    return number, numbered.get(number)


def _refuse_other(this_try: TaskTry, info: JobInfo, cluster: str) -> None:
    if info.metadata.get(OWNER_KEY) != this_try.owner and not info.is_phantom:
        raise JobIdConflictError(
            job_id=info.job_id,
            cluster=cluster,
            status=info.status,
            reason=f"it is {info.status} and was not submitted by this run of this task",
        )


def task_try(context: Any, *, retries: int, deployment: str) -> TaskTry:
    """Return the try that an Airflow context is about."""
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
    """Whether the last try that kept any XComs kept a job's ID.

    Airflow deletes the XComs of earlier tries before a try begins. Only the list of what it deleted is
    left (``TIRunContext.xcom_keys_to_clear``, Airflow 3.1 to 3.3).
    """
    told = getattr(ti, "_ti_context_from_server", None)
    return JOB_ID_KEY in (getattr(told, "xcom_keys_to_clear", None) or ())


def _differs(job: JobInfo, expected: dict[str, str]) -> bool:
    return any(job.metadata.get(key) != value for key, value in expected.items())


def _readable(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]+", "-", name)[:_NAME_LENGTH].strip("-") or "x"
