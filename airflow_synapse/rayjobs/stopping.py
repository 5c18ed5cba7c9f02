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

_NOTICE_AFTER = 4.0
"""Seconds after which the job that is not stopped yet is named: Airflow gives ``on_kill`` five in a
worker, then it kills the process (``WatchedSubprocess.kill`` of its supervisor)."""


async def stop_and_tell(client: RayJobClient, job_id: str, *, logger: Logger) -> bool:
    """Stop the job and see that it is stopped, through outages of the cluster.

    Raises nothing: a job that can't be stopped is named loudly instead.

    :return: Whether it has ended for sure.
    """
    cluster = client.cluster.dashboard_url
    notice = asyncio.get_running_loop().call_later(
        _NOTICE_AFTER,
        logger.error,
        "Ray job %s on %s is not stopped yet. If this is the last line about it, it is left running: "
        "stop it with `ray job stop %s --address %s`.",
        job_id,
        cluster,
        job_id,
        cluster,
    )
    try:
        was_running = await outlast(OutageLog(logger, _PATIENCE), lambda: stop(client, job_id))
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
