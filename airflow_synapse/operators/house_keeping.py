"""Stops jobs, and makes clusters forget old ones."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_synapse import settings
from airflow_synapse.durations import to_seconds
from airflow_synapse.exceptions import RayJobNotFoundError
from airflow_synapse.handover.job_metadata import DEPLOYMENT_KEY
from airflow_synapse.hooks.cluster_arguments import ClusterArguments
from airflow_synapse.hooks.cluster_ref import CLUSTER_FIELDS

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_synapse.rayjobs.models import JobInfo

_LEAST_AGE = 60.0
"""Seconds that a job has to be over: until then its task may still read its log and its result."""

_PROGRESS_EVERY = 100


class StopRayJobOperator(ClusterArguments):
    """Stops a job and sees that it is stopped; a job that has ended is left as it is.

    Returns whether the job was running.

    :param job_id: The job's submission id.
    :param ray_conn_id: The connection of its cluster.
    :param missing_ok: Whether it is fine that the cluster does not know the job. Otherwise the task
        fails with :class:`~airflow_synapse.exceptions.RayJobNotFoundError`.
    :param unreachable_timeout: Seconds to wait for a cluster that gives no usable answer.
    """

    template_fields: Sequence[str] = ("job_id", *CLUSTER_FIELDS)
    ui_color = "#dff0fb"

    def __init__(
        self,
        *,
        job_id: str,
        missing_ok: bool = False,
        unreachable_timeout: float = 600.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.job_id = job_id
        self.missing_ok = missing_ok
        self.unreachable_timeout = unreachable_timeout

    def execute(self, context: Context) -> bool:  # noqa: ARG002  # Airflow's signature
        """Stop the job."""
        hook = self.cluster_hook(unreachable_timeout=self.unreachable_timeout)
        try:
            was_running = hook.stop(self.job_id)
        except RayJobNotFoundError:
            if not self.missing_ok:
                raise
            self.log.info("The cluster does not know Ray job %s.", self.job_id)
            return False
        how = "is stopped" if was_running else "had already ended"
        self.log.info("Ray job %s %s.", self.job_id, how)
        return was_running


class DeleteRayJobsOperator(ClusterArguments):
    """Makes a cluster forget jobs that ended long ago.

    A cluster remembers every job, and its list of jobs, which the Ray dashboard and this provider
    read, grows slow. The logs of the jobs stay on their nodes. Returns how many jobs were deleted.

    :param older_than: How long ago a job must have ended: seconds, timedelta or ISO 8601 duration; at
        least a minute. Keep it longer than tasks may wait for their retries.
    :param ray_conn_id: The connection of the cluster.
    :param only_own: Whether only jobs that this Airflow submitted count, or those of everybody.
    :param only_show: Whether to show which jobs would be deleted, and delete none.
    :param unreachable_timeout: Seconds to wait for a cluster that gives no usable answer.
    """

    template_fields: Sequence[str] = ("older_than", *CLUSTER_FIELDS)
    ui_color = "#dff0fb"

    def __init__(
        self,
        *,
        older_than: float | timedelta | str = timedelta(days=7),
        only_own: bool = True,
        only_show: bool = False,
        unreachable_timeout: float = 600.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.older_than = older_than
        self.only_own = only_own
        self.only_show = only_show
        self.unreachable_timeout = unreachable_timeout

    def execute(self, context: Context) -> int:  # noqa: ARG002  # Airflow's signature
        """Delete the jobs."""
        age = to_seconds(self.older_than, "older_than")
        if age is None or age < _LEAST_AGE:
            raise ValueError(f"older_than is {self.older_than!r}, but must be at least a minute.")
        if self.only_own and not settings.deployment():
            self.log.warning(
                "This Airflow has no name, so jobs of other nameless ones on the cluster count as its own. "
                "Set [ray] deployment or [api] base_url."
            )
        hook = self.cluster_hook(unreachable_timeout=self.unreachable_timeout)
        executor = hook.get_conn()
        with executor:
            all_jobs = executor.list_jobs()
            limit = (time.time() - age) * 1000
            jobs = [job for job in all_jobs if self._is_due(job, limit)]
            self.log.info(
                "%d of the %d jobs that the cluster remembers are to be deleted.",
                len(jobs),
                len(all_jobs),
            )
            if self.only_show:
                self.log.info("They are:\n%s", "\n".join(job.job_id for job in jobs))
                return 0
            for number, job in enumerate(jobs, 1):
                with suppress(RayJobNotFoundError):  # somebody else was quicker
                    executor.delete(job.job_id)
                if number % _PROGRESS_EVERY == 0:
                    self.log.info("%d jobs are deleted.", number)
        return len(jobs)

    def _is_due(self, job: JobInfo, limit: float) -> bool:
        if not job.is_terminal or not job.end_time or job.end_time > limit:
            return False
        return not self.only_own or job.metadata.get(DEPLOYMENT_KEY) == settings.deployment()
