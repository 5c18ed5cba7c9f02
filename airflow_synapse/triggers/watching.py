"""What a trigger does with HTTP. The trigger imports it in a thread, as that takes 0.2 s once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import cache
from typing import Any

from airflow_synapse import settings
from airflow_synapse.exceptions import (
    AirflowSynapseError,
    RayJobTimeoutError,
    RayLogNotFoundError,
)
from airflow_synapse.handover.airflow_values import is_safe
from airflow_synapse.handover.events import Event, error_of_lasting_job, event_of_end
from airflow_synapse.hooks.connection import RayConnection
from airflow_synapse.hooks.metrics import AirflowMetrics
from airflow_synapse.rayjobs.client.budget import Lane
from airflow_synapse.rayjobs.client.dashboard import RayJobClient
from airflow_synapse.rayjobs.job.results import read_result
from airflow_synapse.rayjobs.job.stopping import stop_and_tell
from airflow_synapse.rayjobs.models import ACTION_KEY, SUCCEEDED, JobInfo
from airflow_synapse.rayjobs.reporting import JOBS_WATCHED, Logger
from airflow_synapse.rayjobs.watching.cluster_watch import ClusterWatch, WatchLimits, shared_watch
from airflow_synapse.rayjobs.watching.job_watcher import JobWatcher, WatchOptions
from airflow_synapse.triggers.log_channel import has_room
from airflow_synapse.triggers.log_checkpoint import LogCheckpoint

MAX_RESULT_IN_EVENT = 32 * 1024
"""Bytes of a result that travels in the event; a larger one is read by the worker."""

_NOTICE_AFTER = 1.5
"""Seconds after which a job is named that is not stopped yet. Up to Python 3.11, the triggerer ends a
trigger two seconds after it began to kill it."""


async def watch_job(
    connection: RayConnection,
    job_id: str,
    *,
    options: WatchOptions,
    checkpoint: LogCheckpoint,
    fetch_result: bool,
    logger: Any,
) -> Event:
    """Watch the job, show its log and return the event of its end.

    :raises AirflowSynapseError: if the watch could not go on. Where a deadline passed, the job was
        stopped.
    """
    limits = WatchLimits(settings.requests_per_second(), settings.log_streams())
    async with shared_watch(connection.cluster, limits, metrics=metrics()) as watch:

        def show(lines: Sequence[str]) -> None:
            for line in lines:
                logger.info(line)  # a line of the job, not a format
            checkpoint.note(watcher.log_position)

        watcher = JobWatcher(
            watch, job_id, options=options, emit=show, logger=logger, has_room=has_room
        )
        try:
            info = await _keeping(checkpoint, watcher)
        except RayJobTimeoutError as exc:
            if not await _stop(watch.client, job_id, logger):
                raise error_of_lasting_job(exc) from exc
            raise
        return event_of_end(
            info,
            cluster=connection.cluster.dashboard_url,
            last_lines=watcher.last_lines,
            result=await _small_result(watch, info, logger) if fetch_result else None,
        )


async def stop_job(connection: RayConnection, job_id: str, *, logger: Logger) -> None:
    """Stop the job through outages, and tell how that went instead of raising."""
    async with RayJobClient(connection.cluster) as client:
        await _stop(client, job_id, logger)


async def _stop(client: RayJobClient, job_id: str, logger: Logger) -> bool:
    return await stop_and_tell(client, job_id, logger=logger, notice_after=_NOTICE_AFTER)


async def _keeping(checkpoint: LogCheckpoint, watcher: JobWatcher) -> JobInfo:
    """Return the job as it ended; meanwhile its place in the log is kept."""
    keeping = asyncio.create_task(checkpoint.keep())
    try:
        return await watcher.watch()
    except asyncio.CancelledError:
        await checkpoint.flush()
        raise
    finally:
        keeping.cancel()


async def _small_result(watch: ClusterWatch, info: JobInfo, logger: Logger) -> Event | None:
    """Return ``{"result": …}``, None where the worker has to look for itself."""
    if info.status != SUCCEEDED or ACTION_KEY not in info.metadata:
        return None
    await watch.budget.take(Lane.END)
    try:
        result = await read_result(watch.client, info, max_bytes=MAX_RESULT_IN_EVENT)
    except AirflowSynapseError as exc:
        level = logger.warning if isinstance(exc, RayLogNotFoundError) else logger.debug
        level("The job's result was not read here: %s", exc)
        return None
    return result if result is not None and is_safe(result["result"]) else None


@cache
def metrics() -> AirflowMetrics:
    """Return where figures go. The first call blocks: Airflow reads a file of names at the first figure."""
    airflow_metrics = AirflowMetrics(in_triggerer=True)
    airflow_metrics.gauge(JOBS_WATCHED, 0)
    return airflow_metrics
