"""Reads what a job has reported: a file beside its log, and one for each artifact."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

from airflow_synapse.exceptions import RayLogNotFoundError
from airflow_synapse.rayjobs.client.jobs_api import JobsApi
from airflow_synapse.rayjobs.job.report_lines import Artifact, JobReport, parse_report
from airflow_synapse.rayjobs.models import JobInfo
from airflow_synapse.rayjobs.patience import Backoff

MAX_REPORT = 65 * 1024 * 1024
"""The most bytes of a report that are read. The action runtime writes a little less."""
MAX_ARTIFACT = 65 * 1024 * 1024
"""The most bytes of an artifact."""

_BELIEVED_AFTER = 4
"""Tries, after which an empty or a shorter file is believed. A busy head sometimes sends one."""
_SHOWN_NAMES = 10


def report_file(job_id: str) -> str:
    """Return the name of the file with a job's report in Ray's log directory."""
    return f"airflow-synapse-report-{job_id}.jsonl"


def artifact_file(job_id: str, token: str) -> str:
    """Return the name of the file with an artifact. The job's ID keeps it from being another job's file."""
    return f"airflow-synapse-artifact-{job_id}-{token}"


async def read_report(api: JobsApi, info: JobInfo, *, max_bytes: int = MAX_REPORT) -> JobReport:
    """Return what the job has reported so far.

    :param max_bytes: How much of it to read. The report says if that was not all.
    """
    if info.driver_node_id is None:
        return JobReport()
    try:
        data = await _read_lines(api, info, max_bytes)
    except RayLogNotFoundError as exc:
        if exc.is_node_gone:
            return JobReport.lost(
                "What the job reported is lost, because its node is gone. With a storage_path, a copy "
                "would have outlived it."
            )
        return JobReport()
    return await asyncio.to_thread(parse_report, data[:max_bytes], is_cut=len(data) > max_bytes)


async def read_artifact(api: JobsApi, info: JobInfo, name: str) -> bytes:
    """Return the bytes of an artifact.

    :raises RayLogNotFoundError: if the job has reported no such artifact, or it is gone.
    """
    backoff = Backoff(first=0.2)
    for _ in range(_BELIEVED_AFTER - 1):
        try:
            return await _read_artifact(api, info, name)
        except _IncompleteError:  # or it was replaced between our two looks
            await asyncio.sleep(backoff.next_pause())
    try:
        return await _read_artifact(api, info, name)
    except _IncompleteError as exc:
        raise RayLogNotFoundError(job_id=info.job_id, reason=str(exc)) from exc


class _IncompleteError(Exception):
    pass


async def _read_artifact(api: JobsApi, info: JobInfo, name: str) -> bytes:
    report = await read_report(api, info)
    artifact = next((known for known in report.artifacts if known.name == name), None)
    if artifact is None:
        raise RayLogNotFoundError(
            job_id=info.job_id,
            reason=f"has reported no artifact {name!r}; {_others(report.artifacts)}",
        )
    try:
        data = await _read(api, info, artifact_file(info.job_id, artifact.token), artifact.size)
    except RayLogNotFoundError as exc:
        raise _IncompleteError(f"has lost its artifact {name!r}: the file is gone") from exc
    if len(data) != artifact.size:
        raise _IncompleteError(f"has an artifact {name!r} that is incomplete or was overwritten")
    return bytes(data)


def _others(artifacts: list[Artifact]) -> str:
    names = [repr(artifact.name) for artifact in artifacts]
    more = len(names) - _SHOWN_NAMES
    shown = names[:_SHOWN_NAMES] + ([f"{more} more"] if more > 0 else [])
    return f"it has {', '.join(shown)}" if names else "it has reported none"


async def _read_lines(api: JobsApi, info: JobInfo, most: int) -> bytes:
    backoff = Backoff(first=0.2)
    for _ in range(_BELIEVED_AFTER - 1):
        data = await _read(api, info, report_file(info.job_id), most)
        if data.endswith(b"\n") or len(data) > most:
            return bytes(data)
        await asyncio.sleep(backoff.next_pause())
    return bytes(await _read(api, info, report_file(info.job_id), most))


async def _read(api: JobsApi, info: JobInfo, filename: str, most: int) -> bytearray:
    data = bytearray()
    async with aclosing(api.read_file(info, filename)) as chunks:
        async for chunk in chunks:
            data += chunk
            if len(data) > most:
                break
    return data
