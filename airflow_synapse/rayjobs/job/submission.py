"""Starts a job at most once, and sends its packages once."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from contextlib import suppress

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
from airflow_synapse.rayjobs.threads import entered_in_thread

log = logging.getLogger(__name__)

_WORTH_WAITING_FOR = 1024 * 1024
"""Bytes. Only one task at a time sends a package of this size or more. Each action also has a small one."""

_LONGEST_PAUSE = 0.5
"""The longest pause before the last check whether another machine has sent a package, in seconds."""

_LONGEST_FOLLOW_UP = 30.0
"""Seconds that a cancelled submission waits for the answer to what it has sent, or looks for the job."""


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
    async with entered_in_thread(package.zipped) as path:
        log.info("Uploading %s, %s bytes before it was zipped.", package.name, f"{package.size:,}")
        await api.upload_package(package.uri, path, on_progress=on_progress)


async def submit(
    api: JobsApi,
    spec: JobSpec,
    job_id: str,
    *,
    on_sent: Callable[[], object] = lambda: None,
) -> bool:
    """Start the job, unless it was started before. Ends within the request timeout.

    Ray refuses a second job with the same submission ID. So if an answer gets lost, the job is looked up
    by its ID, and it is sent again only if the cluster does not know it.

    After a cancellation, nothing is sent. What was sent before is followed up for at most 30 s, until the
    job is there or Ray has refused it. Only then does the cancellation pass.

    :param on_sent: Called when the request is about to be sent, so from then on the job may exist.
    :return: True if this call started the job, False if it was there already.
    :raises JobIdConflictError: if another job has the submission ID.
    :raises RayJobSubmissionError: if Ray refused the job.
    :raises RayClusterUnreachableError: if it could not be found out in time whether the job was started.
        Calling again with the same ID is safe.
    """
    check_new_job_id(job_id)
    submission = _Submission(api, spec, job_id, on_sent)
    working = asyncio.ensure_future(submission.run())
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        submission.cancel(working)
        while not working.done():  # who cancels again can't hurry Ray
            with suppress(asyncio.CancelledError):
                await asyncio.wait({working})
        if not working.cancelled():
            working.exception()  # retrieved, because the caller looks for the job itself
        raise


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

    def __init__(
        self, api: JobsApi, spec: JobSpec, job_id: str, on_sent: Callable[[], object]
    ) -> None:
        self._api = api
        self._spec = spec
        self._job_id = job_id
        self._on_sent = on_sent
        self._deadline = time.monotonic() + api.cluster.request_timeout
        self._backoff = Backoff(first=0.2, cap=2.0)
        self._is_sent = False
        self._is_cancelled = False

    async def run(self) -> bool:
        is_again = False
        while True:
            try:
                return await self._send(is_again=is_again)
            except RayClusterUnreachableError as lost:
                if not self._is_sent:
                    raise lost.about(None) from lost
                if await self._look_up(lost):
                    return True
                is_again = True

    def cancel(self, working: asyncio.Future[bool]) -> None:
        """Send nothing any more, but find out what became of what was sent."""
        self._is_cancelled = True
        self._deadline = time.monotonic() + _LONGEST_FOLLOW_UP
        if not self._is_sent:
            working.cancel()

    async def _send(self, *, is_again: bool) -> bool:
        timeout = remaining(self._deadline)
        try:
            await self._api.post_job(
                self._spec, self._job_id, timeout=timeout, before_sending=self._before_sending
            )
        except IdInUseError:
            info = await self._api.get_info(self._job_id, timeout=remaining(self._deadline))
            refuse_other(self._api, info, self._spec)
            return is_again
        return True

    def _before_sending(self) -> None:
        if self._is_cancelled:
            raise self._api.unreachable("the submission was cancelled")
        self._is_sent = True
        self._on_sent()

    async def _look_up(self, lost: RayClusterUnreachableError) -> bool:
        """Return whether the job is there after all, as soon as the cluster can say.

        After a cancellation, "not yet" is no answer: the request may still be on its way.
        """
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
                return True
            if not self._is_cancelled:
                return False


def remaining(deadline: float) -> float:
    """Return the seconds left, but always enough to try a request."""
    return max(0.05, deadline - time.monotonic())
