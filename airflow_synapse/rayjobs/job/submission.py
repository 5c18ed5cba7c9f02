"""Starts a job at most once, and sends its packages once."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from contextlib import ExitStack

import aiohttp

from airflow_synapse.exceptions import (
    JobIdConflictError,
    RayClusterUnreachableError,
)
from airflow_synapse.rayjobs.client.addresses import check_new_job_id
from airflow_synapse.rayjobs.client.answers import IdInUseError
from airflow_synapse.rayjobs.client.jobs_api import JobsApi
from airflow_synapse.rayjobs.job.sole_upload import sole_upload
from airflow_synapse.rayjobs.models import JobInfo, JobSpec
from airflow_synapse.rayjobs.packing.packages import Package
from airflow_synapse.rayjobs.patience import Backoff
from airflow_synapse.rayjobs.reporting import UploadProgress

log = logging.getLogger(__name__)

_WORTH_WAITING_FOR = 1024 * 1024
"""Bytes. Only one task at a time sends a package of this size or more. Each action also has a small one."""

_LONGEST_PAUSE = 0.5
"""The longest pause before the last check whether another machine has sent a package, in seconds."""


async def upload(
    api: JobsApi, package: Package, *, on_progress: UploadProgress | None = None
) -> None:
    """Send a package, unless the cluster has it. If another task is sending it, wait for that."""
    if await api.has_package(package.uri):
        return
    if package.size < _WORTH_WAITING_FOR:
        await _send(api, package, on_progress)
        return
    async with sole_upload(package.uri, api.cluster.address):
        # Another machine may have sent it by now, or may be about to start, just as this one is.
        await asyncio.sleep(random.uniform(0.0, _LONGEST_PAUSE))  # noqa: S311  # no secret depends on it
        if not await api.has_package(package.uri):
            await _send(api, package, on_progress)


async def _send(api: JobsApi, package: Package, on_progress: UploadProgress | None) -> None:
    stack = ExitStack()
    try:
        path = await asyncio.to_thread(stack.enter_context, package.zipped())
        log.info("Uploading %s, %s bytes before it was zipped.", package.name, f"{package.size:,}")
        await api.upload_package(package.uri, path, on_progress=on_progress)
    finally:
        await asyncio.to_thread(stack.close)


async def submit(api: JobsApi, spec: JobSpec, job_id: str) -> bool:
    """Start the job, unless it was started before. Ends within the request timeout.

    Ray refuses a second job with the same submission ID. So if an answer gets lost, the job is looked up
    by its ID, and it is sent again only if the cluster does not know it.

    :return: True if this call started the job, False if it was there already.
    :raises JobIdConflictError: if another job has the submission ID.
    :raises RayJobSubmissionError: if Ray refused the job.
    :raises RayClusterUnreachableError: if it could not be found out in time whether the job was started.
        Calling again with the same ID is safe.
    """
    check_new_job_id(job_id)
    submission = _Submission(api, spec, job_id)
    while True:
        try:
            return await submission.send()
        except RayClusterUnreachableError as lost:
            if submission.was_never_sent(lost):
                raise api.unreachable(lost.reason) from lost
            if await submission.look_up(lost):
                return True


def refuse_other(api: JobsApi, info: JobInfo, spec: JobSpec) -> None:
    """Check that the job with this submission ID is the one that the spec describes.

    :raises JobIdConflictError: if it is another job.
    """
    if not spec.is_run_by(info):
        raise JobIdConflictError(
            job_id=info.job_id,
            cluster=api.cluster.address,
            status=info.status,
            reason=f"it is {info.status} and was submitted by somebody else or to run something else",
        )


class _Submission:
    """The steps of one submission."""

    def __init__(self, api: JobsApi, spec: JobSpec, job_id: str) -> None:
        self._api = api
        self._spec = spec
        self._job_id = job_id
        self._deadline = time.monotonic() + api.cluster.request_timeout
        self._backoff = Backoff(first=0.2, cap=2.0)
        self._may_have_arrived = False

    async def send(self) -> bool:
        timeout = remaining(self._deadline)
        try:
            await self._api.post_job(self._spec, self._job_id, timeout=timeout)
        except IdInUseError:
            info = await self._api.get_info(self._job_id, timeout=remaining(self._deadline))
            refuse_other(self._api, info, self._spec)
            return self._may_have_arrived
        return True

    def was_never_sent(self, lost: RayClusterUnreachableError) -> bool:
        if not self._may_have_arrived and isinstance(lost.__cause__, aiohttp.ClientConnectorError):
            return True
        self._may_have_arrived = True
        return False

    async def look_up(self, lost: RayClusterUnreachableError) -> bool:
        """Return whether the job is there after all, as soon as the cluster can say."""
        while True:
            pause = self._backoff.next_pause(lost.retry_after)
            await asyncio.sleep(min(pause, remaining(self._deadline)))
            if time.monotonic() >= self._deadline:
                raise lost
            timeout = remaining(self._deadline)
            try:
                info = await self._api.find_info(self._job_id, timeout=timeout)
            except RayClusterUnreachableError:
                continue
            if info is not None:
                refuse_other(self._api, info, self._spec)
            return info is not None


def remaining(deadline: float) -> float:
    """Return the seconds left, but always enough to try a request."""
    return max(0.05, deadline - time.monotonic())
