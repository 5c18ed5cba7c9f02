"""Stops a job that nobody will watch any more, and logs how that went."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection

from airflow_synapse.exceptions import (
    AirflowSynapseError,
    RayClusterGoneError,
    RayJobNotFoundError,
    RayJobTimeoutError,
)
from airflow_synapse.rayjobs.client.budget import Lane
from airflow_synapse.rayjobs.client.jobs_api import JobsApi
from airflow_synapse.rayjobs.job.submission import remaining
from airflow_synapse.rayjobs.models import PENDING, STOPPED, JobInfo
from airflow_synapse.rayjobs.patience import Backoff, OutageLog, outlast
from airflow_synapse.rayjobs.reporting import Logger

STOP_POLL_INTERVAL = 0.3
"""Seconds between two status requests for a job that was asked to stop."""

PATIENCE = 120.0
"""Seconds of an outage after which the job is left behind."""

_AT_A_TIME = 50
"""How many jobs are stopped at the same time."""

_LONGEST_PAUSE = 5.0
"""The longest pause between two tries to reach the cluster, in seconds. A process that is being killed has
little time."""


async def stop_and_tell(
    api: JobsApi,
    job_id: str,
    *,
    logger: Logger,
    notice_after: float,
    patience: float = PATIENCE,
) -> bool:
    """Stop the job and wait until it has stopped, even through outages of the cluster.

    This raises nothing. If the job can't be stopped, the log names it as an error.

    :param notice_after: Seconds after which the log names a job that has not stopped yet, because the
        caller may be killed soon.
    :param patience: Seconds of an outage after which the job is left behind.
    :return: Whether the job has certainly ended.
    """
    cluster = api.cluster.address
    by_hand = f"stop it with `{api.cluster.how_to_stop(job_id)}`"
    notice = asyncio.get_running_loop().call_later(
        notice_after,
        logger.warning,  # no error: a job that handles SIGTERM takes some seconds
        "Ray job %s on %s has not stopped yet. If no later line says that it has ended, %s.",
        job_id,
        cluster,
        by_hand,
    )
    outages = OutageLog(
        logger,
        patience,
        consequence=f"If no later line says that Ray job {job_id} has ended, {by_hand}.",
        backoff=Backoff(cap=_LONGEST_PAUSE),
    )
    try:
        was_running = await outlast(outages, lambda: stop(api, job_id))
    except RayClusterGoneError as exc:
        logger.info("Ray job %s needs no stop: %s", job_id, exc)
    except RayJobNotFoundError:
        logger.info("The cluster does not know Ray job %s, so there was nothing to stop.", job_id)
    except AirflowSynapseError as exc:
        advice = f"If it is, {by_hand}."
        logger.error("Ray job %s may still be running: %s %s", job_id, exc, advice)  # noqa: TRY400  # the text says it all
        return False
    else:
        how = "was stopped" if was_running else "had already ended"
        logger.info("Ray job %s %s.", job_id, how)
    finally:
        notice.cancel()
    return True


async def stop(api: JobsApi, job_id: str) -> bool:
    """Stop the job and wait until it has stopped. Ends within the request timeout.

    :return: True if it was running and is now STOPPED, False if it ended otherwise.
    :raises RayJobTimeoutError: if it did not end in time. That is so for a job that waits for resources:
        Ray remembers the request and stops the job only once it is scheduled.
    """
    api = api.in_lane(Lane.KILL)
    deadline = time.monotonic() + api.cluster.request_timeout
    info = await api.get_info(job_id)
    if info.is_terminal:
        return False
    await api.request_stop(job_id)
    while True:
        await asyncio.sleep(STOP_POLL_INTERVAL)
        info = await api.get_info(job_id, timeout=remaining(deadline))
        if info.is_terminal:
            return info.status == STOPPED
        if time.monotonic() + STOP_POLL_INTERVAL >= deadline:
            raise _not_stopped(api, info)


async def stop_all(api: JobsApi, job_ids: Collection[str]) -> dict[str, bool | AirflowSynapseError]:
    """Stop jobs, many at a time.

    :return: For each job, whether it was running and is now STOPPED, or why it could not be stopped. A job that
        the cluster does not know was not running.
    """
    places = asyncio.Semaphore(_AT_A_TIME)

    async def one(job_id: str) -> bool | AirflowSynapseError:
        async with places:
            try:
                return await stop(api, job_id)
            except RayJobNotFoundError:
                return False
            except AirflowSynapseError as exc:
                return exc

    ends = await asyncio.gather(*(one(job_id) for job_id in job_ids))
    return dict(zip(job_ids, ends, strict=True))


def _not_stopped(api: JobsApi, info: JobInfo) -> RayJobTimeoutError:
    limit = f"{api.cluster.request_timeout:g} s"
    if info.status == PENDING:
        hint = (
            "If a job waits for resources or for its runtime_env, Ray stops it only once it is scheduled. "
            "Until then it stays in the list of jobs and may still start."
        )
    else:
        hint = "It keeps running. Try again, or look at its supervisor's log."
    return RayJobTimeoutError(
        job_id=info.job_id,
        cluster=api.cluster.address,
        status=info.status,
        reason=f"was asked to stop, but is still {info.status} after {limit}",
        hint=hint,
    )
