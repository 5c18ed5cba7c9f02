"""Asks a cluster about one job, once and quickly, while somebody waits for a page."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

from anyio import fail_after

from airflow_synapse.exceptions import AirflowSynapseError
from airflow_synapse.masking import without_controls
from airflow_synapse.rayjobs.client.credentials.pace import IMPATIENT
from airflow_synapse.rayjobs.client.jobs_api import JobsApi, jobs_api
from airflow_synapse.rayjobs.logs.lines import LineAssembler
from airflow_synapse.rayjobs.logs.reading import read_log
from airflow_synapse.rayjobs.models import PENDING, JobInfo, RayCluster
from airflow_synapse.rayjobs.waiting.reasons import Reason
from airflow_synapse.rayjobs.waiting.waiting_room import WaitingRoom

LOG_LINES = 200
"""How many of the log's last lines are shown."""

_MAX_LOG_BYTES = 256 * 1024
LONGEST_LOOK = 5.0
"""The longest time that a user waits for each part of a page, in seconds."""

_MOST_CLUSTERS = 100
_waiting_rooms: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, WaitingRoom]]
_waiting_rooms = WeakKeyDictionary()
"""What was last seen of clusters on which jobs wait, by address."""


@dataclass(frozen=True)
class JobLook:
    """What the cluster said.

    :param info: The job, None if the cluster does not know it.
    :param log: The last lines of its log, without codes for terminals.
    :param log_problem: Why there is no log, as a sentence.
    :param reason: Why it waits, if it is PENDING and the cluster tells.
    """

    info: JobInfo | None
    log: tuple[str, ...] = ()
    log_problem: str = ""
    reason: Reason | None = None


async def look_at_job(
    cluster: RayCluster, job_id: str, *, longest: float = LONGEST_LOOK
) -> JobLook:
    """Return what the cluster says about the job now.

    :param longest: The longest time for the answer about the job, and again for its log, in seconds.
    :raises AirflowSynapseError: if the cluster can't be asked.
    """
    timeout = min(cluster.request_timeout, longest)
    cluster = replace(cluster, request_timeout=timeout)
    async with jobs_api(cluster, credential_pace=IMPATIENT) as api:
        info = await api.find_info(job_id)
        if info is None:
            return JobLook(info=None)
        if info.driver_node_id is None:
            problem = "The job has no log, because no node has run it."
            return JobLook(info, log_problem=problem, reason=await _reason(api, info))
        try:
            with fail_after(timeout):
                return JobLook(info, log=tuple(await _read_tail(api, info)))
        except TimeoutError:
            problem = f"The cluster did not send the log within {timeout:g} s."
        except AirflowSynapseError as exc:
            problem = str(exc)
        return JobLook(info, log_problem=problem)


async def _reason(api: JobsApi, info: JobInfo) -> Reason | None:
    """Return why a job waits. All who look at jobs of one cluster share what was seen there."""
    if info.status != PENDING:
        return None
    rooms = _waiting_rooms.setdefault(asyncio.get_running_loop(), {})
    if len(rooms) > _MOST_CLUSTERS:
        rooms.clear()
    return await rooms.setdefault(api.cluster.address, WaitingRoom()).reason(api, info.job_id)


async def _read_tail(api: JobsApi, info: JobInfo) -> Sequence[str]:
    tail = bytearray()
    is_cut = False
    async with aclosing(read_log(api, info, last_lines=LOG_LINES)) as chunks:
        async for chunk in chunks:
            tail += chunk
            is_cut = is_cut or len(tail) > _MAX_LOG_BYTES
            del tail[:-_MAX_LOG_BYTES]
    assembler = LineAssembler()
    lines = [*assembler.feed(bytes(tail), now=0.0), *assembler.flush()]
    if is_cut and len(lines) > 1:
        del lines[0]  # its beginning is missing
    return [without_controls(line) for line in lines[-LOG_LINES:]]
