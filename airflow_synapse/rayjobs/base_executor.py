"""Everything about jobs that needs no plugin, from ordinary synchronous code."""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, aclosing, suppress
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from anyio import fail_after
from anyio.from_thread import BlockingPortal, start_blocking_portal

from airflow_synapse.exceptions import (
    ExecutionError,
    RayClusterUnreachableError,
    RayJobTimeoutError,
    RayLogNotFoundError,
)
from airflow_synapse.rayjobs.client.dashboard import SETTLES_IN, RayJobClient
from airflow_synapse.rayjobs.job import stopping
from airflow_synapse.rayjobs.job.failures import error_of, not_ended
from airflow_synapse.rayjobs.job.results import read_result
from airflow_synapse.rayjobs.job.stopping import stop_and_tell
from airflow_synapse.rayjobs.logs.reading import read_last_lines, read_log
from airflow_synapse.rayjobs.models import JobInfo, RayCluster
from airflow_synapse.rayjobs.patience import OutageLog, outlast
from airflow_synapse.rayjobs.reporting import NO_METRICS, Emit, Logger, Metrics
from airflow_synapse.rayjobs.watching.cluster_watch import shared_watch
from airflow_synapse.rayjobs.watching.job_watcher import JobWatcher, WatchOptions
from airflow_synapse.rayjobs.watching.log_follower import read_new_lines

T = TypeVar("T")
log = logging.getLogger(__name__)

_WAIT_POLL_INTERVAL = 2.0
_GRACE = 1.0
"""Seconds after which a wait that has run out ends also if the server does not answer."""

_NOTICE_AFTER = 4.0
"""Seconds after which a job is named that is not stopped yet. Airflow gives ``on_kill`` five in a
worker, then it kills the process (``WatchedSubprocess.kill`` of its supervisor)."""

_MAX_BATCHES = 64
"""Batches of lines that wait for a slow reader of :meth:`BaseRayExecutor.stream_logs`."""


class BaseRayExecutor(ABC):
    """Everything about jobs on one cluster that needs no plugin.

    Each call opens its own connection; inside ``with executor:`` one connection serves all calls.
    Every call ends within ``request_timeout``, even if the server accepts and never answers, except
    those that take as long as there is something to do: :meth:`wait`, :meth:`get_logs` and
    :meth:`stream_logs`, and :meth:`submit` while it uploads. There the limit is on each answer, and
    on each part of an upload. :meth:`delete` may wait three seconds more. ``RAY_ADDRESS`` and ``RAY_API_SERVER_ADDRESS`` have no say here. What
    is counted goes to :attr:`metrics`.

    :param cluster: Where the cluster's dashboard is and how to be let in.
    :param unreachable_timeout: Seconds to try again while the cluster gives no usable answer; 0
        raises at once.
    """

    def __init__(self, cluster: RayCluster, *, unreachable_timeout: float = 0.0) -> None:
        self.cluster = cluster
        self.unreachable_timeout = unreachable_timeout
        self.metrics: Metrics = NO_METRICS
        self._stack: ExitStack | None = None
        self._portal: BlockingPortal | None = None
        self._client: RayJobClient | None = None

    def __enter__(self) -> BaseRayExecutor:
        self._stack = ExitStack()
        self._portal = self._stack.enter_context(start_blocking_portal())
        self._client = RayJobClient(self.cluster, metrics=self.metrics)
        self._stack.callback(self._portal.call, self._client.close)
        return self

    def __exit__(self, *error: Any) -> None:
        stack, self._stack, self._portal, self._client = self._stack, None, None, None
        if stack is not None:
            stack.__exit__(*error)  # an error cancels what is under way

    @abstractmethod
    def submit(
        self,
        action_name: str,
        params: Mapping[str, Any] | None = None,
        *,
        job_id: str | None = None,
        **kwargs: Any,
    ) -> str:
        """Start an action as a job and return the job's id."""

    def get_status(self, job_id: str) -> str:
        """Return Ray's status of the job: PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED.

        :raises RayJobNotFoundError: if the cluster does not know the job.
        """
        return self.get_info(job_id).status

    def get_info(self, job_id: str) -> JobInfo:
        """Return all that the cluster tells about the job.

        :raises RayJobNotFoundError: if the cluster does not know the job.
        """
        return self._call(lambda client: client.get_info(job_id))

    def find_info(self, job_id: str) -> JobInfo | None:
        """Return all that the cluster tells about the job, None if it does not know it."""
        return self._call(lambda client: client.find_info(job_id))

    def get_logs(self, job_id: str) -> str:
        """Return the whole log of the job so far, or Ray's message if it never had one.

        :raises RayJobNotFoundError: if the cluster does not know the job.
        :raises RayLogNotFoundError: if the log or its node is gone.
        """
        log_bytes = bytearray()
        info = self.copy_log(job_id, log_bytes.extend)
        if info.driver_node_id is None:
            return info.message or ""
        return log_bytes.decode("utf-8", "backslashreplace")

    def copy_log(
        self, job_id: str, write: Callable[[bytes], object], *, last_lines: int | None = None
    ) -> JobInfo:
        """Hand the bytes of the job's log so far to ``write``, however many, and return the job.

        :param write: Takes the next bytes, on another thread. A job that never ran has none.
        :param last_lines: Only so many lines from the end.
        :raises RayJobNotFoundError: if the cluster does not know the job.
        :raises RayLogNotFoundError: if the log or its node is gone.
        """

        async def copy(client: RayJobClient) -> JobInfo:
            info = await client.get_info(job_id)
            if info.driver_node_id is not None:
                async with aclosing(read_log(client, info, last_lines=last_lines)) as chunks:
                    async for chunk in chunks:
                        await asyncio.to_thread(write, chunk)
            return info

        return self._call(copy, is_bounded=False)

    def get_last_lines(self, job_id: str) -> list[str]:
        """Return the last lines of the job's log, or of Ray's message if it never had one.

        Tried once, whatever ``unreachable_timeout`` is: they go with an error that is at hand.
        """

        async def read(client: RayJobClient) -> list[str]:
            return await read_last_lines(client, await client.get_info(job_id))

        return self._call(read, is_patient=False)

    def stream_logs(
        self, job_id: str, *, log_position: int = 0, unreachable_timeout: float | None = None
    ) -> Iterator[str]:
        """Yield the lines of the job's log as they appear, until it has ended and all are out.

        :param log_position: The byte of the log to start from.
        :param unreachable_timeout: Instead of the executor's own.
        :raises RayJobNotFoundError: if the cluster does not know the job.
        :raises RayClusterUnreachableError: if the cluster gives no usable answer for too long.
        """
        batches: queue.Queue[Sequence[str] | None] = queue.Queue(_MAX_BATCHES)
        is_closed = threading.Event()

        def hand_over(batch: Sequence[str] | None) -> None:
            is_taken = False
            while not is_taken and not is_closed.is_set():
                with suppress(queue.Full):
                    batches.put(batch, timeout=0.2)
                    is_taken = True

        with start_blocking_portal() as portal:
            options = WatchOptions(
                poll_interval=_WAIT_POLL_INTERVAL,
                log_position=log_position,
                unreachable_timeout=(
                    self.unreachable_timeout if unreachable_timeout is None else unreachable_timeout
                ),
            )
            watch = portal.start_task_soon(self._watch, job_id, options, hand_over, log)
            watch.add_done_callback(lambda _: hand_over(None))
            try:
                while (batch := batches.get()) is not None:
                    yield from batch
                watch.result()
            finally:
                is_closed.set()
                watch.cancel()

    def get_result(self, job_id: str) -> Any:
        """Return what the job's action returned.

        :raises ExecutionError: if it left no result, because it still runs, failed or runs no
            plugin action.
        """

        async def read(client: RayJobClient) -> Any:
            info = await client.get_info(job_id)
            try:
                return (await read_result(client, info) or {})["result"]
            except RayLogNotFoundError as exc:
                raise ExecutionError(
                    job_id=job_id,
                    cluster=self.cluster.dashboard_url,
                    status=info.status,
                    reason=f"is {info.status} and has left no result ({exc.reason})",
                    hint="Only plugin actions that ended SUCCEEDED leave one, on their node.",
                ) from exc

        return self._call(read)

    def read_new_lines(self, info: JobInfo, *, position: int, emit: Emit, logger: Logger) -> int:
        """Hand the job's log from a byte on to ``emit``, and return from which byte to go on.

        See :func:`airflow_synapse.rayjobs.watching.log_follower.read_new_lines`.
        """
        read = partial(read_new_lines, self.cluster, info, metrics=self.metrics)
        return self._cross(lambda: read(position=position, emit=emit, logger=logger))

    def stop(self, job_id: str) -> bool:
        """Stop the job and see that it is stopped.

        :return: True if it was running and is now stopped, False if it had ended.
        :raises RayJobNotFoundError: if the cluster does not know the job.
        :raises RayJobTimeoutError: if it did not end within ``request_timeout``, as a job that
            waits for resources does not.
        """
        return self._call(lambda client: stopping.stop(client, job_id))

    def stop_and_tell(self, job_id: str, *, logger: Logger) -> bool:
        """Stop the job through outages, and tell how that went instead of raising.

        :return: Whether it has ended for sure.
        """

        async def work() -> bool:
            async with RayJobClient(self.cluster, metrics=self.metrics) as client:
                return await stop_and_tell(
                    client, job_id, logger=logger, notice_after=_NOTICE_AFTER
                )

        return self._cross(work)

    def wait(self, job_id: str, timeout_seconds: float = 300) -> str:
        """Wait for the job to end and return its status, SUCCEEDED.

        :param timeout_seconds: How long to wait. The job keeps running when it is over.
        :raises RayJobFailedError: if it FAILED.
        :raises RayJobStoppedError: if it was STOPPED.
        :raises RayJobTimeoutError: if time ran out.
        :raises RayJobNotFoundError: if the cluster does not know the job.
        """
        impatient = replace(
            self.cluster, request_timeout=min(self.cluster.request_timeout, timeout_seconds)
        )
        options = WatchOptions(
            poll_interval=_WAIT_POLL_INTERVAL,
            stream_logs=False,
            unreachable_timeout=timeout_seconds,
            deadlines={"timeout_seconds": time.time() + timeout_seconds},
        )

        limit = timeout_seconds + _GRACE
        try:
            info, last_lines = self._cross(
                lambda: self._watch(job_id, options, _drop, log, cluster=impatient, limit=limit)
            )
        except (RayClusterUnreachableError, RayJobTimeoutError) as exc:
            raise not_ended(
                job_id, exc, seconds=timeout_seconds, cluster=self.cluster.dashboard_url
            ) from exc
        error = error_of(info, cluster=self.cluster.dashboard_url, last_lines=last_lines)
        if error is not None:
            raise error
        return info.status

    def list_jobs(self) -> list[JobInfo]:
        """Return all submission jobs that the cluster remembers."""
        return self._call(lambda client: client.list_jobs())

    def delete(self, job_id: str) -> bool:
        """Make the cluster forget an ended job. Its log stays: use its id for no other job.

        Of a job that has just ended, up to three seconds later: Ray would note it down anew.

        :raises RayJobNotFoundError: if the cluster does not know the job.
        :raises RayJobSubmissionError: if the job has not ended.
        """
        return self._call(lambda client: client.delete(job_id), pause=SETTLES_IN)

    def get_version(self) -> str:
        """Return the version of Ray that the cluster runs."""
        return str(self._call(lambda client: client.get_version())["ray_version"])

    def watch(
        self, job_id: str, *, options: WatchOptions, emit: Emit, logger: Logger
    ) -> tuple[JobInfo, Sequence[str]]:
        """Watch the job to its end; see :class:`~airflow_synapse.rayjobs.watching.job_watcher.JobWatcher`.

        :return: The job as it ended, and the last lines of its log.
        """
        return self._cross(lambda: self._watch(job_id, options, emit, logger))

    async def _watch(
        self,
        job_id: str,
        options: WatchOptions,
        emit: Emit,
        logger: Logger,
        *,
        cluster: RayCluster | None = None,
        limit: float | None = None,
    ) -> tuple[JobInfo, Sequence[str]]:
        """Watch a job to its end over a connection of its own, for ``limit`` seconds at most."""
        async with shared_watch(cluster or self.cluster, metrics=self.metrics) as watch:
            watcher = JobWatcher(watch, job_id, options=options, emit=emit, logger=logger)
            info = await _within(watch.client, limit, watcher.watch())
            return info, watcher.last_lines

    def _call(
        self,
        work: Callable[[RayJobClient], Awaitable[T]],
        *,
        is_bounded: bool = True,
        is_patient: bool = True,
        pause: float = 0.0,
    ) -> T:
        """Do async work with a client, through outages if that was asked for.

        :param is_bounded: Whether the whole of it, and not only each request, has to end within
            the request timeout.
        :param is_patient: Whether to outlast an outage, if the executor does.
        :param pause: Seconds that it may sleep beyond that.
        """
        limit = self.cluster.request_timeout + pause if is_bounded else None

        async def patiently(client: RayJobClient) -> T:
            if not (self.unreachable_timeout and is_patient):
                return await _within(client, limit, work(client))
            outages = OutageLog(log, self.unreachable_timeout)
            return await outlast(outages, lambda: _within(client, limit, work(client)))

        async def with_own_client() -> T:
            async with RayJobClient(self.cluster, metrics=self.metrics) as client:
                return await patiently(client)

        client = self._client
        if client is None:
            return self._cross(with_own_client)
        return self._cross(lambda: patiently(client))

    def _cross(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run async work from sync code: the one place where the two meet.

        A thread of its own, so that it works inside a running event loop (a notebook) and inside a
        signal handler, and so that an exception in this thread (Ctrl-C, a task's timeout) cancels
        the work at once.
        """
        if self._portal is not None:
            crossing = self._portal.start_task_soon(work)
            try:
                return crossing.result()
            except BaseException:
                crossing.cancel()
                raise
        with start_blocking_portal() as portal:
            return portal.call(work)


async def _within(client: RayJobClient, seconds: float | None, work: Awaitable[T]) -> T:
    """Return what ``work`` returns.

    :raises RayClusterUnreachableError: if that takes longer than so many seconds.
    """
    try:
        with fail_after(seconds):
            return await work
    except TimeoutError as exc:
        raise client.unreachable("it did not answer in time") from exc


def _drop(lines: Sequence[str]) -> None:
    """Take lines that nobody asked for."""
