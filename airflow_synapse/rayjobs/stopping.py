"""Stops a job that nobody will watch any more, and tells a log how that went."""

from __future__ import annotations

import asyncio

from airflow_synapse.exceptions import AirflowSynapseError, RayJobNotFoundError
from airflow_synapse.rayjobs.client import RayJobClient
from airflow_synapse.rayjobs.models import Logger
from airflow_synapse.rayjobs.outages import OutageLog, outlast
from airflow_synapse.rayjobs.submission import stop

_PATIENCE = 120.0
"""Seconds of an outage after which the job is left behind."""

_LONGEST_PAUSE = 5.0
"""Seconds between two tries to reach the cluster at most: whoever is asked to end has not long."""


async def stop_and_tell(
    client: RayJobClient, job_id: str, *, logger: Logger, notice_after: float
) -> bool:
    """Stop the job and see that it is stopped, through outages of the cluster.

    Raises nothing: a job that can't be stopped is named loudly instead.

    :param notice_after: Seconds after which a job that is not stopped yet is named, as whoever
        waits for this may be killed by then.
    :return: Whether it has ended for sure.
    """
    cluster = client.cluster.dashboard_url
    by_hand = f"stop it with `ray job stop {job_id} --address {cluster}`"
    notice = asyncio.get_running_loop().call_later(
        notice_after,
        logger.error,
        "Ray job %s on %s is not stopped yet. If no later line tells of its end, %s.",
        job_id,
        cluster,
        by_hand,
    )
    outages = OutageLog(
        logger,
        _PATIENCE,
        consequence=f"if no later line tells of the end of Ray job {job_id}, {by_hand}",
        longest_pause=_LONGEST_PAUSE,
    )
    try:
        was_running = await outlast(outages, lambda: stop(client, job_id))
    except RayJobNotFoundError:
        logger.info("Ray job %s is gone, so there is nothing to stop.", job_id)
    except AirflowSynapseError as exc:
        logger.error("Ray job %s may be left behind: %s", job_id, exc)  # noqa: TRY400  # the text tells all
        return False
    else:
        how = "was stopped" if was_running else "had already ended"
        logger.info("Ray job %s %s.", job_id, how)
    finally:
        notice.cancel()
    return True
