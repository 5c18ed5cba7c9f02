"""Waits in the worker for a job, as :class:`~airflow_synapse.triggers.ray_job.RayJobTrigger` does elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_synapse.exceptions import RayJobTimeoutError
from airflow_synapse.handover.xcom_keys import DASHBOARD_URL_KEY
from airflow_synapse.hooks.ray_job import RayJobHook

if TYPE_CHECKING:
    from airflow_synapse.rayjobs.watching.job_watcher import WatchOptions


def wait_in_worker(
    hook: RayJobHook, job_id: str, *, options: WatchOptions, logger: Any
) -> dict[str, Any]:
    """Show the job's log until it ends, and return the same event as the trigger would.

    :raises RayJobTimeoutError: if a deadline passed. The job was stopped.
    """
    from airflow_synapse.handover.events import error_of_lasting_job, event_of_end

    def show(lines: Sequence[str]) -> None:
        for line in lines:
            logger.info(line)  # a line of the job, not a format

    executor = hook.get_conn()
    try:
        info, last_lines = executor.watch(job_id, options=options, emit=show, logger=logger)
    except RayJobTimeoutError as exc:
        if not hook.stop_and_tell(job_id, logger=logger):
            raise error_of_lasting_job(exc) from exc
        raise
    event = event_of_end(info, cluster=executor.cluster.dashboard_url, last_lines=last_lines)
    return {**event, DASHBOARD_URL_KEY: hook.job_page(job_id)}
