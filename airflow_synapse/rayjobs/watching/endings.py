"""Watches a job to its end, stops it at a limit and reads its result."""

from __future__ import annotations

from airflow_synapse.exceptions import AirflowSynapseError, RayJobTimeoutError, RayLogNotFoundError
from airflow_synapse.rayjobs.client.budget import Lane
from airflow_synapse.rayjobs.client.jobs_api import answered_within
from airflow_synapse.rayjobs.job import start_limit
from airflow_synapse.rayjobs.job.failures import still_running
from airflow_synapse.rayjobs.job.outcome import Outcome
from airflow_synapse.rayjobs.job.results import read_result
from airflow_synapse.rayjobs.job.stopping import stop_and_tell
from airflow_synapse.rayjobs.models import ACTION_KEY, SUCCEEDED, JobInfo
from airflow_synapse.rayjobs.reporting import Logger
from airflow_synapse.rayjobs.waiting.reasons import Reason
from airflow_synapse.rayjobs.watching.cluster_watch import ClusterWatch
from airflow_synapse.rayjobs.watching.job_watcher import JobWatcher


async def watch_to_end(
    watcher: JobWatcher,
    *,
    watch: ClusterWatch,
    logger: Logger,
    notice_after: float,
    max_result: int | None = None,
) -> Outcome:
    """Watch a job to its end, and return how it ended. If a limit passes, the job is stopped.

    A job that SUCCEEDED before it could be stopped is a success.

    :param watch: The watch of the job's cluster.
    :param notice_after: Seconds after which a job that is not stopped yet is named.
    :param max_result: Bytes of its action's result that may be read, None not to read it.
    :raises RayJobTimeoutError: if a limit passed. It says so if the job could not be stopped.
    :raises AirflowSynapseError: if anything else kept the watch from seeing the end; the job keeps running.
    """
    try:
        info = await watcher.watch()
    except RayJobTimeoutError as exc:
        job_id = watcher.job_id
        # Now, because a job that waits keeps a stop waiting, too.
        logger.warning("Ray job %s %s, so it is being stopped.", job_id, exc.reason)
        if not await stop_and_tell(watch.api, job_id, logger=logger, notice_after=notice_after):
            by_hand = watch.api.cluster.how_to_stop(job_id)
            raise still_running(exc, stop_command=by_hand) from exc
        done = await _done_all_the_same(watch, job_id)
        if done is None:
            raise
        await watcher.finish(info := done)
    return Outcome(
        job_id=watcher.job_id,
        cluster=watch.api.cluster.address,
        info=info,
        last_lines=tuple(watcher.last_lines),
        waited_for=await _reason(watcher, info, watch, logger),
        document=None if max_result is None else await _result(watch, info, logger, max_result),
    )


async def _reason(
    watcher: JobWatcher, info: JobInfo, watch: ClusterWatch, logger: Logger
) -> Reason | None:
    """Return why the job waited to be started, if Ray gave up on it and the cluster tells."""
    if watcher.waited_for is not None or not start_limit.has_passed(info):
        return watcher.waited_for
    try:
        return await watch.reason_in_hindsight(info.job_id)
    except Exception as exc:  # noqa: BLE001  # the end of the job matters more
        logger.debug("Why Ray job %s waited can't be told: %r", info.job_id, exc)
        return None


async def _done_all_the_same(watch: ClusterWatch, job_id: str) -> JobInfo | None:
    """Return a job that was done before it could be stopped, None if it was stopped or nobody knows.

    What it did counts, even if nobody could see its end in time.
    """
    try:
        info = await watch.api.in_lane(Lane.END).get_info(job_id)
    except AirflowSynapseError:
        return None
    return info if info.status == SUCCEEDED else None


async def _result(
    watch: ClusterWatch, info: JobInfo, logger: Logger, max_bytes: int
) -> dict[str, object] | None:
    """Return ``{"result": …}``, or None if there is none or it must be read again later."""
    if info.status != SUCCEEDED or ACTION_KEY not in info.metadata:
        return None
    api = watch.api.in_lane(Lane.END)
    try:
        async with watch.log_places[Lane.END].place():
            reading = read_result(api, info, max_bytes=max_bytes)
            return await answered_within(api, api.cluster.request_timeout, reading)
    except AirflowSynapseError as exc:
        level = logger.warning if isinstance(exc, RayLogNotFoundError) else logger.debug
        level("The job's result was not read here: %s", exc)
        return None
