"""The part of a trigger that needs HTTP. The trigger imports it in a thread, because that takes 0.2 s."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from functools import cache
from typing import Any

from airflow_synapse.collecting.collector import look_after
from airflow_synapse.handover.airflow_values import is_safe
from airflow_synapse.hooks.cluster_ref import ClusterRef
from airflow_synapse.hooks.connection import RayConnection
from airflow_synapse.hooks.job_lines import show_lines
from airflow_synapse.hooks.limits import watch_limits
from airflow_synapse.hooks.metrics import AirflowMetrics
from airflow_synapse.rayjobs.job.outcome import Outcome
from airflow_synapse.rayjobs.job.stopping import stop_and_tell
from airflow_synapse.rayjobs.reporting import JOBS_WATCHED, Logger
from airflow_synapse.rayjobs.watching.cluster_watch import ClusterWatch, shared_watch
from airflow_synapse.rayjobs.watching.endings import watch_to_end
from airflow_synapse.rayjobs.watching.job_watcher import JobWatcher, WatchOptions
from airflow_synapse.rayjobs.watching.pace import USUAL_PACE, Pace
from airflow_synapse.triggers.garbage import FREEZER
from airflow_synapse.triggers.log_channel import has_room
from airflow_synapse.triggers.log_checkpoint import LogCheckpoint

MAX_RESULT_IN_EVENT = 32 * 1024
"""Bytes. The event carries a result up to this size. The worker reads a larger one."""

_NOTICE_AFTER = 1.5
"""Seconds after which the log names a job that has not stopped yet. Up to Python 3.11, the triggerer ends
a trigger two seconds after it began to kill it."""


async def watch_job(
    connection: RayConnection,
    job_id: str,
    *,
    options: WatchOptions,
    checkpoint: LogCheckpoint,
    pace: Pace,
    logger: Any,
) -> Outcome:
    """Watch the job, show its log and return how it ended, with its result if that is small.

    :raises AirflowSynapseError: if the watch could not continue. If a deadline passed, the job was
        stopped.
    """
    with FREEZER.one_more_job():
        async with _watching(connection, pace) as watch:
            outcome = await _watch(watch, job_id, options, checkpoint, logger)
    if outcome.document is not None and not is_safe(outcome.document["result"]):
        return replace(outcome, document=None)  # the worker reads it
    return outcome


async def _watch(
    watch: ClusterWatch,
    job_id: str,
    options: WatchOptions,
    checkpoint: LogCheckpoint,
    logger: Any,
) -> Outcome:
    def show(lines: Sequence[str]) -> None:
        show_lines(lines, log=logger)
        checkpoint.note(watcher.log_position)  # noqa: F821  # it is deleted below, once nobody calls this

    # Airflow takes 20 s to answer the first question of a triggerer. The job's status need not wait for it.
    position = asyncio.ensure_future(_position(checkpoint, options, logger, job_id))
    watcher = JobWatcher(
        watch,
        job_id,
        options=options,
        emit=show,
        logger=logger,
        has_room=has_room,
        position=position,
    )
    ending = watch_to_end(
        watcher,
        watch=watch,
        logger=logger,
        notice_after=_NOTICE_AFTER,
        max_result=MAX_RESULT_IN_EVENT if options.fetch_result else None,
    )
    try:
        return await _keeping(checkpoint, ending)
    finally:
        position.cancel()
        del watcher  # which holds show, which holds it: only a garbage collection would free them


async def _position(
    checkpoint: LogCheckpoint, options: WatchOptions, logger: Any, job_id: str
) -> int:
    """Return the byte of the log from which to continue, and say so."""
    position = await checkpoint.read() if options.stream_logs else 0
    if position:
        logger.info(
            "The log of Ray job %s continues at byte %d, where the previous triggerer left off.",
            job_id,
            position,
        )
    return position


async def stop_job(connection: RayConnection, job_id: str, *, logger: Logger) -> None:
    """Stop the job, even through outages, and log the outcome instead of raising an error."""
    async with _watching(connection) as watch:
        await stop_and_tell(watch.api, job_id, logger=logger, notice_after=_NOTICE_AFTER)


def collect_orphans(cluster_ref: ClusterRef) -> None:
    """From now on, stop the jobs on a cluster that nobody wants any more, even after the trigger has ended."""
    look_after(cluster_ref, metrics=metrics())


def _watching(
    connection: RayConnection, pace: Pace = USUAL_PACE
) -> AbstractAsyncContextManager[ClusterWatch]:
    return shared_watch(connection.cluster, watch_limits(), pace=pace, metrics=metrics())


async def _keeping(checkpoint: LogCheckpoint, ending: Awaitable[Outcome]) -> Outcome:
    """Return how the job ended. Until then, keep writing checkpoints."""
    keeping = asyncio.create_task(checkpoint.keep())
    try:
        return await ending
    except asyncio.CancelledError:
        await checkpoint.flush()
        raise
    finally:
        keeping.cancel()


@cache
def metrics() -> AirflowMetrics:
    """Return where metrics go. The first call blocks, because Airflow then reads a file of names."""
    airflow_metrics = AirflowMetrics(in_triggerer=True)
    airflow_metrics.gauge(JOBS_WATCHED, 0)
    return airflow_metrics
