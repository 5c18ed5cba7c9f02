"""Reads what a job has reported: a file beside its log, and one for each artifact."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import replace

from airflow_synapse.exceptions import RayClusterUnreachableError, RayLogNotFoundError
from airflow_synapse.rayjobs.client.jobs_api import JobsApi
from airflow_synapse.rayjobs.job.report_lines import Artifact, JobReport, parse_report
from airflow_synapse.rayjobs.job.storage import read_kept
from airflow_synapse.rayjobs.models import COPIES_KEY, JobInfo
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


async def read_report(
    api: JobsApi, info: JobInfo, *, max_bytes: int = MAX_REPORT, storage: str | None = None
) -> JobReport:
    """Return what the job has reported so far.

    :param max_bytes: How much of it to read. The report says if that was not all.
    :param storage: The root of all jobs' storage, where copies are that outlive a node.
    """
    if info.driver_node_id is None:
        return JobReport()
    files = _Files(api, info, storage)
    try:
        data = await files.read_lines(report_file(info.job_id), max_bytes)
    except RayLogNotFoundError as exc:
        return JobReport.lost(_LOST) if exc.is_node_gone else JobReport()
    return await asyncio.to_thread(parse_report, data[:max_bytes], is_cut=len(data) > max_bytes)


_LOST = (
    "What the job reported is lost, because its node is gone. With a storage_path, a copy would have "
    "outlived it."
)


async def read_artifact(
    api: JobsApi, info: JobInfo, name: str, *, storage: str | None = None
) -> bytes:
    """Return the bytes of an artifact.

    :param storage: As for :func:`read_report`.
    :raises RayLogNotFoundError: if the job has reported no such artifact, or it is gone.
    """
    backoff = Backoff(first=0.2)
    for _ in range(_BELIEVED_AFTER - 1):
        try:
            return await _read_artifact(api, info, name, storage)
        except _IncompleteError:  # or it was replaced between our two looks
            await asyncio.sleep(backoff.next_pause())
    try:
        return await _read_artifact(api, info, name, storage)
    except _IncompleteError as exc:
        raise RayLogNotFoundError(job_id=info.job_id, reason=str(exc)) from exc


class _IncompleteError(Exception):
    pass


async def _read_artifact(api: JobsApi, info: JobInfo, name: str, storage: str | None) -> bytes:
    report = await read_report(api, info, storage=storage)
    artifact = next((known for known in report.artifacts if known.name == name), None)
    if artifact is None:
        raise RayLogNotFoundError(
            job_id=info.job_id,
            reason=f"has reported no artifact {name!r}; {_others(report.artifacts)}",
        )
    filename = artifact_file(info.job_id, artifact.token)
    try:
        data = await _Files(api, info, storage).read(filename, artifact.size)
    except RayLogNotFoundError as exc:
        raise _IncompleteError(f"has lost its artifact {name!r}: the file is gone") from exc
    if len(data) != artifact.size:
        raise _IncompleteError(f"has an artifact {name!r} that is incomplete or was overwritten")
    return data


def _others(artifacts: list[Artifact]) -> str:
    names = [repr(artifact.name) for artifact in artifacts]
    more = len(names) - _SHOWN_NAMES
    shown = names[:_SHOWN_NAMES] + ([f"{more} more"] if more > 0 else [])
    return f"it has {', '.join(shown)}" if names else "it has reported none"


class _Files:
    """The files of a job, wherever they are: on the head, on the node of its driver, or in its storage."""

    def __init__(self, api: JobsApi, info: JobInfo, storage: str | None) -> None:
        self._api, self._info, self._storage = api, info, storage

    async def read_lines(self, filename: str, most: int) -> bytes:
        """Return a file that ends with a line break, unless it really does not."""
        backoff = Backoff(first=0.2)
        for _ in range(_BELIEVED_AFTER - 1):
            data = await self.read(filename, most)
            if data.endswith(b"\n") or len(data) > most:
                return data
            await asyncio.sleep(backoff.next_pause())
        return await self.read(filename, most)

    async def read(self, filename: str, most: int) -> bytes:
        """Return the first bytes of a file, a few more than ``most`` if there are more."""
        failure: RayLogNotFoundError | RayClusterUnreachableError | None = None
        for place in self._nodes():
            try:
                return await self._read_from(place, filename, most)
            except (RayLogNotFoundError, RayClusterUnreachableError) as exc:
                failure = exc
        kept = await self._read_kept(filename, most)
        if kept is None and failure is not None:
            raise failure
        return kept or b""

    def _nodes(self) -> Iterator[JobInfo]:
        # The head stays, while another node may hang for a while before it counts as dead.
        head = self._info.metadata.get(COPIES_KEY)
        if head is not None:
            yield replace(self._info, driver_node_id=head)
        yield self._info

    async def _read_from(self, place: JobInfo, filename: str, most: int) -> bytes:
        data = bytearray()
        async with aclosing(self._api.read_file(place, filename)) as chunks:
            async for chunk in chunks:
                data += chunk
                if len(data) > most:
                    break
        return bytes(data)

    async def _read_kept(self, filename: str, most: int) -> bytes | None:
        if self._storage is None:
            return None
        return await read_kept(self._storage, self._info, filename, max_bytes=most + 1)
