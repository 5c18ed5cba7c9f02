"""Everything that synchronous code can do with jobs without a plugin."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Collection, Generator, Mapping
from contextlib import ExitStack, aclosing
from dataclasses import replace
from datetime import timedelta
from typing import Any

from airflow_synapse.durations import to_interval
from airflow_synapse.exceptions import (
    AirflowSynapseError,
    RayClusterUnreachableError,
    RayJobTimeoutError,
)
from airflow_synapse.rayjobs.client.dashboard import SETTLES_IN
from airflow_synapse.rayjobs.client.jobs_api import answered_within
from airflow_synapse.rayjobs.crossing import Crossing
from airflow_synapse.rayjobs.job import results, stopping
from airflow_synapse.rayjobs.job.failures import not_ended
from airflow_synapse.rayjobs.job.outcome import Outcome
from airflow_synapse.rayjobs.job_output import JobOutput
from airflow_synapse.rayjobs.models import JobInfo
from airflow_synapse.rayjobs.reporting import Emit, Logger
from airflow_synapse.rayjobs.streaming import astream, stream
from airflow_synapse.rayjobs.waiting.reasons import Reason
from airflow_synapse.rayjobs.watching.endings import watch_to_end
from airflow_synapse.rayjobs.watching.job_watcher import JobWatcher, WatchOptions

log = logging.getLogger(__name__)

_LONGEST_WAIT = 300.0
_WAIT_POLL_INTERVAL = 2.0
_GRACE = 1.0
"""Seconds by which a wait may exceed its limit if the server does not answer."""

_NOTICE_AFTER = 4.0
"""Seconds after which the log names a job that has not stopped yet. Airflow gives ``on_kill`` five seconds
in a worker, then it kills the process (``WatchedSubprocess.kill`` of its supervisor)."""


class BaseRayExecutor(JobOutput, ABC):
    """Everything about jobs on one cluster that needs no plugin.

    Each call opens its own connection. Inside ``with executor:``, all calls share one connection.
    Every call ends within ``request_timeout``, even if the server accepts it and never answers. Some calls
    take as long as there is work to do: :meth:`wait`, :meth:`get_logs`, :meth:`stream_logs`, and
    :meth:`submit` while it uploads. For these the limit applies to each answer and to each part of an
    upload. :meth:`delete` may take three seconds longer. ``RAY_ADDRESS`` and ``RAY_API_SERVER_ADDRESS``
    have no effect.

    :param cluster: Where the cluster's Jobs API is, and the credentials for it.
    :param unreachable_timeout: Seconds to keep trying while the cluster gives no usable answer. 0 raises
        an error at once.
    """

    @abstractmethod
    def submit(
        self,
        action_name: str | Callable[..., Any],
        params: Mapping[str, Any] | None = None,
        *,
        job_id: str | None = None,
        **kwargs: Any,
    ) -> str:
        """Start an action as a job and return its submission ID."""

    def get_status(self, job_id: str) -> str:
        """Return Ray's status of the job: PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED.

        :raises RayJobNotFoundError: if the cluster does not know the job.
        """
        return self.get_info(job_id).status

    def get_info(self, job_id: str) -> JobInfo:
        """Return everything that the cluster knows about the job.

        :raises RayJobNotFoundError: if the cluster does not know the job.
        """
        return self._call(lambda api: api.get_info(job_id))

    def find_info(self, job_id: str) -> JobInfo | None:
        """Return everything that the cluster knows about the job, None if it does not know the job."""
        return self._call(lambda api: api.find_info(job_id))

    def find_reason(self, job_id: str) -> Reason | None:
        """Return why a job is PENDING, None if it is not or if the cluster does not tell.

        Never raises an error of the cluster: the reason is an addition to what is known about a job.
        """

        async def look() -> Reason | None:
            async with self._watching() as watch:
                return await watch.reason(job_id)

        return self._cross(look)

    def stream_logs(
        self,
        job_id: str,
        *,
        log_position: int = 0,
        unreachable_timeout: float | timedelta | str | None = None,
    ) -> Generator[str, None, Outcome]:
        """Yield the lines of the job's log as they appear, until the job has ended and no line is left.

        :param log_position: The byte of the log to start from.
        :param unreachable_timeout: Used instead of the executor's own.
        :return: How the job ended. This is the return value of the generator.
        :raises RayJobNotFoundError: if the cluster does not know the job.
        :raises RayClusterUnreachableError: if the cluster gives no usable answer for too long.
        """
        options = self._follow_options(log_position, unreachable_timeout)
        with ExitStack() as stack:
            crossing = self._crossing or stack.enter_context(Crossing())
            return (
                yield from stream(
                    crossing,
                    lambda emit, has_room: self._watch(
                        job_id, options, emit, logger=log, reader_has_room=has_room
                    ),
                )
            )

    async def stream_logs_async(
        self,
        job_id: str,
        *,
        log_position: int = 0,
        unreachable_timeout: float | timedelta | str | None = None,
    ) -> AsyncGenerator[str, None]:
        """Yield lines as :meth:`stream_logs` does, on the caller's event loop. Raises the same."""
        options = self._follow_options(log_position, unreachable_timeout)
        lines = astream(
            lambda emit, has_room: self._watch(
                job_id, options, emit, logger=log, reader_has_room=has_room
            )
        )
        async with aclosing(lines):
            async for line in lines:
                yield line

    def _follow_options(
        self, log_position: int, unreachable_timeout: float | timedelta | str | None
    ) -> WatchOptions:
        return WatchOptions(
            poll_interval=_WAIT_POLL_INTERVAL,
            log_position=log_position,
            unreachable_timeout=to_interval(
                unreachable_timeout, "unreachable_timeout", default=self.unreachable_timeout
            ),
            shows_message=True,
        )

    def get_result(self, job_id: str, timeout: float | timedelta | str | None = None) -> Any:
        """Return what the job's action returned.

        :param timeout: How long to wait for the job's end: seconds, a timedelta or an ISO 8601 duration. By
            default, the job must have ended.
        :raises RayJobFailedError: if the job FAILED.
        :raises RayJobStoppedError: if it was STOPPED.
        :raises ExecutionError: if it has no result, because it still runs or runs no plugin action, or
            because the result is gone.
        :raises RayJobTimeoutError: if it did not end within the timeout.
        """
        if timeout is not None:
            self.wait(job_id, timeout)
        return self._call(
            lambda api: results.get_result(api, job_id, storage=self.storage_path), is_bounded=False
        )

    def stop(self, job_id: str) -> bool:
        """Stop the job and wait until it has stopped.

        :return: True if it was running and is now stopped, False if it had already ended.
        :raises RayJobNotFoundError: if the cluster does not know the job.
        :raises RayJobTimeoutError: if it did not end within ``request_timeout``. That is so for a job that
            waits for resources.
        """
        return self._call(lambda api: stopping.stop(api, job_id))

    def stop_all(self, job_ids: Collection[str]) -> dict[str, bool | AirflowSynapseError]:
        """Stop jobs, many at a time, and return for each whether it was running, or its error."""
        return self._call(lambda api: stopping.stop_all(api, job_ids), is_bounded=False)

    def stop_and_tell(
        self, job_id: str, *, logger: Logger, patience: float = stopping.PATIENCE
    ) -> bool:
        """Stop the job, even through outages, and log the outcome instead of raising an error.

        :param patience: Seconds of an outage after which the job is left behind.
        :return: Whether the job has certainly ended.
        """

        async def work() -> bool:
            async with self._watching() as watch:
                return await stopping.stop_and_tell(
                    watch.api,
                    job_id,
                    logger=logger,
                    notice_after=_NOTICE_AFTER,
                    patience=patience,
                )

        return self._cross(work)

    def wait(
        self,
        job_id: str,
        timeout_seconds: float | timedelta | str = _LONGEST_WAIT,
        poll_interval: float | timedelta | str = _WAIT_POLL_INTERVAL,
    ) -> str:
        """Wait for the job to end and return its status, SUCCEEDED.

        :param timeout_seconds: How long to wait: seconds, a timedelta or an ISO 8601 duration. After that, the
            job keeps running.
        :param poll_interval: The longest time between two status requests, in the same forms.
        :raises RayJobFailedError: if it FAILED.
        :raises RayJobStoppedError: if it was STOPPED.
        :raises RayJobTimeoutError: if time ran out.
        :raises RayJobNotFoundError: if the cluster does not know the job.
        """
        seconds = to_interval(timeout_seconds, "timeout_seconds", default=_LONGEST_WAIT)
        impatient = replace(
            self.cluster, request_timeout=min(self.cluster.request_timeout, seconds)
        )
        options = WatchOptions(
            poll_interval=to_interval(poll_interval, "poll_interval", default=_WAIT_POLL_INTERVAL),
            stream_logs=False,
            unreachable_timeout=seconds,
            longest_watch={"timeout_seconds": seconds},
        )

        limit = seconds + _GRACE

        async def watched() -> Outcome:
            async with self._watching(impatient) as watch:
                watcher = JobWatcher(
                    watch, job_id, options=options, emit=lambda _: None, logger=log
                )
                info = await answered_within(watch.api, limit, watcher.watch())
                lines = tuple(watcher.last_lines)
                return Outcome(job_id, self.cluster.address, info, last_lines=lines)

        try:
            outcome = self._cross(watched)
        except (RayClusterUnreachableError, RayJobTimeoutError) as exc:
            raise not_ended(job_id, exc, seconds=seconds, cluster=self.cluster.address) from exc
        error = outcome.error()
        if error is not None:
            raise error
        return outcome.status

    def list_jobs(self) -> list[JobInfo]:
        """Return all submission jobs that the cluster remembers."""
        return self._call(lambda api: api.list_jobs())

    def delete(self, job_id: str) -> bool:
        """Make the cluster forget a job that has ended. Its log stays, so never reuse its ID.

        If the job has just ended, this waits up to three seconds, because Ray would record it again.

        :raises RayJobNotFoundError: if the cluster does not know the job.
        :raises RayJobSubmissionError: if the job has not ended.
        """
        return self._call(lambda api: api.delete(job_id), pause=SETTLES_IN)

    def get_version(self) -> str:
        """Return the version of Ray that the cluster runs."""
        return str(self._call(lambda api: api.get_version())["ray_version"])

    def watch(self, job_id: str, *, options: WatchOptions, emit: Emit, logger: Logger) -> Outcome:
        """Watch the job to its end and return how it ended. If a limit passes, stop the job.

        :raises RayJobTimeoutError: if a limit passed.
        :raises AirflowSynapseError: if anything else kept the watch from seeing the end.
        """
        return self._cross(lambda: self._watch(job_id, options, emit, logger=logger))

    async def _watch(
        self,
        job_id: str,
        options: WatchOptions,
        emit: Emit,
        *,
        logger: Logger,
        reader_has_room: Callable[[], bool] | None = None,
    ) -> Outcome:
        async with self._watching() as watch:
            return await watch_to_end(
                JobWatcher(
                    watch,
                    job_id,
                    options=options,
                    emit=emit,
                    logger=logger,
                    reader_has_room=reader_has_room,
                ),
                watch=watch,
                logger=logger,
                notice_after=_NOTICE_AFTER,
                max_result=results.MAX_RESULT if options.fetch_result else None,
            )
