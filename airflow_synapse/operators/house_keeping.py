"""Operators that stop jobs and delete old ones."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_synapse import settings
from airflow_synapse.collecting import texts
from airflow_synapse.collecting.orphans import CollectPace
from airflow_synapse.collecting.supervisor import ask_in_task
from airflow_synapse.collecting.sweep import Sweep, Swept
from airflow_synapse.durations import to_interval, to_seconds
from airflow_synapse.exceptions import RayJobNotFoundError
from airflow_synapse.handover.job_metadata import DEPLOYMENT_KEY
from airflow_synapse.hooks.cluster_arguments import ClusterArguments
from airflow_synapse.hooks.cluster_ref import CLUSTER_FIELDS
from airflow_synapse.hooks.template_values import to_required_text
from airflow_synapse.plurals import counted
from airflow_synapse.rayjobs.models import OWNER_KEY, JobInfo

if TYPE_CHECKING:
    from airflow.sdk import Context

_UNREACHABLE_TIMEOUT = 600.0

_LEAST_AGE = 60.0
"""Seconds. Until a job has been over for that long, its task may still read its log and result."""

_PROGRESS_EVERY = 100


class StopRayJobOperator(ClusterArguments):
    """Stops a job and waits until it has stopped. Does nothing if the job has already ended.

    Returns whether the job was running.

    :param job_id: The job's submission ID.
    :param ray_conn_id: The connection to its cluster.
    :param missing_ok: Whether to succeed if the cluster does not know the job. Otherwise the task
        fails with :class:`~airflow_synapse.exceptions.RayJobNotFoundError`.
    :param unreachable_timeout: How long to wait for a cluster that gives no usable answer: seconds, a
        timedelta or an ISO 8601 duration.
    """

    template_fields: Sequence[str] = ("job_id", *CLUSTER_FIELDS)
    ui_color = "#dff0fb"

    def __init__(
        self,
        *,
        job_id: str,
        missing_ok: bool = False,
        unreachable_timeout: float | timedelta | str = _UNREACHABLE_TIMEOUT,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job_id = job_id
        self.missing_ok = missing_ok
        self.unreachable_timeout = to_interval(
            unreachable_timeout, "unreachable_timeout", default=_UNREACHABLE_TIMEOUT
        )

    def execute(self, context: Context) -> bool:  # noqa: ARG002  # Airflow's signature
        """Stop the job."""
        self.job_id = to_required_text(self.job_id, "job_id")
        hook = self.cluster_hook(unreachable_timeout=self.unreachable_timeout)
        try:
            was_running = hook.stop(self.job_id)
        except RayJobNotFoundError:
            if not self.missing_ok:
                raise
            self.log.info("The cluster does not know Ray job %s.", self.job_id)
            return False
        how = "was stopped" if was_running else "had already ended"
        self.log.info("Ray job %s %s.", self.job_id, how)
        return was_running


class DeleteRayJobsOperator(ClusterArguments):
    """Deletes jobs that ended long ago from a cluster's list of jobs.

    A cluster remembers every job. So its list of jobs, which the Ray dashboard and this provider read,
    gets slower over time. The jobs' logs stay on their nodes. While a task has a job that runs or ended later,
    its other jobs stay, too. Returns how many jobs were deleted.

    :param older_than: How long ago a job must have ended: seconds, a timedelta or an ISO 8601 duration
        of at least a minute. Make it longer than tasks wait for their retries.
    :param ray_conn_id: The connection to the cluster.
    :param only_own: Whether to delete only jobs that this Airflow submitted, or everybody's.
    :param only_show: Whether to only log which jobs would be deleted.
    :param unreachable_timeout: How long to wait for a cluster that gives no usable answer: seconds, a
        timedelta or an ISO 8601 duration.
    """

    template_fields: Sequence[str] = ("older_than", *CLUSTER_FIELDS)
    ui_color = "#dff0fb"

    def __init__(
        self,
        *,
        older_than: float | timedelta | str = timedelta(days=7),
        only_own: bool = True,
        only_show: bool = False,
        unreachable_timeout: float | timedelta | str = _UNREACHABLE_TIMEOUT,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.older_than = older_than
        self.only_own = only_own
        self.only_show = only_show
        self.unreachable_timeout = to_interval(
            unreachable_timeout, "unreachable_timeout", default=_UNREACHABLE_TIMEOUT
        )

    def execute(self, context: Context) -> int:  # noqa: ARG002  # Airflow's signature
        """Delete the jobs."""
        age = to_seconds(self.older_than, "older_than")
        if age is None or age < _LEAST_AGE:
            raise ValueError(f"older_than is {self.older_than!r}, but must be at least a minute.")
        if self.only_own and not settings.deployment():
            self.log.warning(
                "This Airflow has no name, so it can't tell its jobs from those of other Airflows without a "
                "name. Set [ray] deployment or [api] base_url."
            )
        hook = self.cluster_hook(unreachable_timeout=self.unreachable_timeout)
        executor = hook.get_conn()
        with executor:
            all_jobs = executor.list_jobs()
            limit = (time.time() - age) * 1000
            jobs = self._due(all_jobs, limit)
            found = counted(len(jobs), "job")
            self.log.info("Found %s to delete, of %d on the cluster.", found, len(all_jobs))
            if self.only_show:
                self.log.info("These would be deleted:\n%s", "\n".join(job.job_id for job in jobs))
                return 0
            for number, job in enumerate(jobs, 1):
                with suppress(RayJobNotFoundError):  # somebody else has deleted it
                    executor.delete(job.job_id)
                if number % _PROGRESS_EVERY == 0:
                    self.log.info("Deleted %d of %d.", number, len(jobs))
        return len(jobs)

    def _due(self, all_jobs: Sequence[JobInfo], limit: float) -> list[JobInfo]:
        """Return the jobs to delete. The jobs of a task go together: it tells the latest by those before it."""
        due = {job.job_id: job for job in all_jobs if self._is_due(job, limit)}
        staying = {job.metadata.get(OWNER_KEY) for job in all_jobs if job.job_id not in due}
        staying.discard(None)
        return [job for job in due.values() if job.metadata.get(OWNER_KEY) not in staying]

    def _is_due(self, job: JobInfo, limit: float) -> bool:
        if not job.is_terminal or not job.end_time or job.end_time > limit:
            return False
        return not self.only_own or job.metadata.get(DEPLOYMENT_KEY) == settings.deployment()


class ReapRayJobsOperator(ClusterArguments):
    """Stops the jobs of this Airflow that nobody wants any more, because their task is over or was deleted.

    Triggerers that watch Ray jobs do this all the time. Use it in a scheduled DAG if no task of this Airflow
    ever waits in a triggerer.

    Two looks have to agree before a job is stopped. The task waits between them in its worker slot:
    ``[ray] collect_interval`` if tasks are over, ``[ray] collect_gone_after`` if tasks were deleted, and no
    time if there is nothing to stop. Returns how many jobs were stopped.

    :param ray_conn_id: The connection to the cluster.
    :param only_show: Whether to only log which jobs look as if nobody wanted them. This takes one look.
    :param unreachable_timeout: How long to wait for a cluster that gives no usable answer: seconds, a timedelta
        or an ISO 8601 duration.
    """

    template_fields: Sequence[str] = CLUSTER_FIELDS
    ui_color = "#dff0fb"

    def __init__(
        self,
        *,
        only_show: bool = False,
        unreachable_timeout: float | timedelta | str = _UNREACHABLE_TIMEOUT,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.only_show = only_show
        self.unreachable_timeout = to_interval(
            unreachable_timeout, "unreachable_timeout", default=_UNREACHABLE_TIMEOUT
        )

    def execute(self, context: Context) -> int:  # noqa: ARG002  # Airflow's signature
        """Stop the jobs."""
        deployment = settings.deployment()
        if not deployment:
            self.log.warning(texts.NO_NAME)
            return 0
        executor = self.cluster_hook(unreachable_timeout=self.unreachable_timeout).get_conn()
        sweep = Sweep(
            executor,
            ask_in_task,
            deployment=deployment,
            pace=CollectPace(settings.collect_interval(), settings.collect_gone_after()),
        )
        if self.only_show:
            for suspect in sweep.suspects():
                self.log.info("Ray job %s would be stopped: %s.", suspect.job.job_id, suspect)
            return 0
        swept = sweep.run(self.log.info)
        self._tell(swept, executor.cluster.address)
        return len(swept.stopped)

    def _tell(self, swept: Swept, cluster: str) -> None:
        for orphan in swept.stopped:
            self.log.info(texts.STOPPED, orphan.job.job_id, cluster, orphan)
        for orphan, error in swept.not_stopped:
            self.log.warning(texts.NOT_STOPPED, orphan.job.job_id, cluster, orphan, error)
        if swept.spared:
            command = texts.by_force(self.cluster_ref)
            self.log.error(texts.refusal(len(swept.spared), cluster=cluster, command=command))
