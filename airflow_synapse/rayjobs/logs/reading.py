"""Reads a job's log as raw bytes from a byte position.

It asks the agent on the job's node, which serves ranges of files. If the agent can't be reached, it asks
the dashboard's ``/api/v0/logs/file``, which has no offset. Ray's other routes are of no use here: the
websocket loses the rest of a log at a line over 4 MiB, a byte that is not UTF-8 or a flush inside a
character, ``/api/jobs/{id}/logs`` loads the whole log into three processes, and
``/api/v0/logs/stream`` leaks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing

from airflow_synapse.exceptions import LAST_LINES, RayLogNotFoundError
from airflow_synapse.rayjobs.client.agents import UNUSABLE, is_agent_usable
from airflow_synapse.rayjobs.client.answers import AgentUnusableError
from airflow_synapse.rayjobs.client.jobs_api import JobsApi
from airflow_synapse.rayjobs.logs.lines import LineAssembler
from airflow_synapse.rayjobs.models import JobInfo


def driver_log(job_id: str) -> str:
    """Return the name of a job's log in Ray's log directory (``JOB_LOGS_PATH_TEMPLATE``)."""
    return f"job-driver-{job_id}.log"


async def read_from(api: JobsApi, info: JobInfo, position: int) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of a job's log from ``position`` to its present end.

    :raises RayLogNotFoundError: if there is no log, or less of it than was read before.
    """
    name = driver_log(info.job_id)
    if is_agent_usable(info):
        try:
            async with aclosing(api.read_range(info, name, position)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except AgentUnusableError:
            UNUSABLE.note_failure(info.driver_agent_http_address or "")
        else:
            return
    async with aclosing(api.read_file(info, name)) as chunks:
        async for chunk in _without(chunks, position, info):
            yield chunk


async def read_log(
    api: JobsApi, info: JobInfo, *, last_lines: int | None = None
) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of a job's log to its present end: all of them, or only the last lines.

    :raises RayLogNotFoundError: if there is no log.
    """
    if last_lines is None:
        source = read_from(api, info, 0)
    else:
        source = api.read_file(info, driver_log(info.job_id), last_lines=last_lines)
    async with aclosing(source) as chunks:
        async for chunk in chunks:
            yield chunk


async def _without(
    chunks: AsyncGenerator[bytes, None], position: int, info: JobInfo
) -> AsyncGenerator[bytes, None]:
    """Yield the chunks without the first ``position`` bytes.

    :raises RayLogNotFoundError: if there are fewer. Every log has at least the line that Ray
        begins it with, and under load the route sometimes answers as if a log were empty.
    """
    total, wanted = 0, max(position, 1)
    async for chunk in chunks:
        start = max(0, position - total)
        total += len(chunk)
        if start < len(chunk):
            yield chunk[start:]
    if total < wanted:
        raise RayLogNotFoundError(
            job_id=info.job_id, reason=f"has a log of {total} bytes, but {wanted} were expected"
        )


async def read_last_lines(api: JobsApi, info: JobInfo, count: int = LAST_LINES) -> list[str]:
    """Return the last lines of a job's log, or of its message if it never had a log."""
    if info.driver_node_id is None:
        return (info.message or "").splitlines()[-count:]
    lines: deque[str] = deque(maxlen=count)
    assembler = LineAssembler()
    async with aclosing(read_log(api, info, last_lines=count)) as chunks:
        async for chunk in chunks:
            lines.extend(assembler.feed(chunk, now=0.0))
    lines.extend(assembler.flush())
    return list(lines)
