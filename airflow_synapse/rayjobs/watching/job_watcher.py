"""Watches one job to its end: its status, its log and its limits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from anyio import CancelScope, move_on_after

from airflow_synapse.exceptions import (
    AirflowSynapseError,
    RayClusterUnreachableError,
    RayJobTimeoutError,
)
from airflow_synapse.rayjobs.client.budget import Lane
from airflow_synapse.rayjobs.client.credentials.refusals import RefusalLog
from airflow_synapse.rayjobs.client.jobs_api import answered_within
from airflow_synapse.rayjobs.logs.reading import read_last_lines
from airflow_synapse.rayjobs.models import PENDING, SUCCEEDED, JobInfo
from airflow_synapse.rayjobs.patience import OutageLog
from airflow_synapse.rayjobs.reporting import END_DELAY, Emit, Logger
from airflow_synapse.rayjobs.waiting.reasons import Reason
from airflow_synapse.rayjobs.watching.cluster_watch import ClusterWatch
from airflow_synapse.rayjobs.watching.log_follower import LogFollower
from airflow_synapse.rayjobs.watching.waiting_log import WaitingLog

_LONGEST_DRAIN = 3600.0
"""Seconds for the rest of an ended job's log. Only one that never ends takes longer."""

PENDING_TIMEOUT = "pending_timeout"
"""The name of the limit on how long a job may wait to be scheduled."""

_GRACE = 1.0
"""Seconds by which a look may take longer than the limits of the job allow."""


@dataclass(frozen=True)
class WatchOptions:
    """How to watch a job.

    :param poll_interval: Seconds between two status requests at most.
    :param stream_logs: Whether to read the job's log.
    :param log_position: The byte of the log to start from.
    :param unreachable_timeout: Seconds to wait for a cluster that gives no usable answer.
    :param deadlines: Absolute times (seconds since the epoch, by the cluster's clock) by which the job
        must have ended, by the name of the limit that a user set. :data:`PENDING_TIMEOUT` holds only
        while the job is PENDING.
    :param longest_watch: Seconds, by the name of the limit, after which a watch ends on this machine's
        clock.
    :param log_lines_per_second: How many lines of the log are shown on average, 0 for all.
    :param shows_message: Whether to show Ray's message in place of the log of a job that never ran. Its error
        has it, too.
    :param fetch_result: Whether to read what the job's action returned.
    """

    poll_interval: float = 5.0
    stream_logs: bool = True
    log_position: int = 0
    unreachable_timeout: float = 600.0
    deadlines: Mapping[str, float] = field(default_factory=dict)
    longest_watch: Mapping[str, float] = field(default_factory=dict)
    log_lines_per_second: float = 0.0
    shows_message: bool = False
    fetch_result: bool = False


class JobWatcher:
    """Watches one job.

    :param watch: The cluster's watch.
    :param job_id: The job's submission ID.
    :param options: How to watch.
    :param emit: Takes the lines of the job's log.
    :param logger: Where changes of status and outages are told.
    :param has_room: Whether what all logs go into can take lines without blocking, if that may change.
    :param reader_has_room: Whether the reader of this one log wants more lines, if that may change.
    :param position: The byte of the log to start from, if it is still being looked up. Only the log waits
        for it.
    """

    def __init__(
        self,
        watch: ClusterWatch,
        job_id: str,
        *,
        options: WatchOptions,
        emit: Emit,
        logger: Logger,
        has_room: Callable[[], bool] | None = None,
        reader_has_room: Callable[[], bool] | None = None,
        position: asyncio.Future[int] | None = None,
    ) -> None:
        self._watch = watch
        self._job_id = job_id
        self._options = options
        self._logger = logger
        self._began = time.monotonic()
        self._waiting = WaitingLog(watch, job_id, logger=logger)
        self._outages = OutageLog(logger, options.unreachable_timeout, backoff=watch.pace.backoff())
        self._refusals = RefusalLog(logger, watch.pace.credentials.watch_patience)
        self._position = position
        self._follower_at = partial(
            LogFollower,
            watch,
            emit=emit,
            logger=logger,
            outages=self._outages,
            lines_per_second=options.log_lines_per_second,
            has_room=has_room,
            reader_has_room=reader_has_room,
        )
        self._began_at = options.log_position
        self._follower = self._follower_at(position=options.log_position)

    @property
    def job_id(self) -> str:
        """The job's submission ID."""
        return self._job_id

    @property
    def log_position(self) -> int:
        """The byte of the log from which another watcher must continue."""
        return self._follower.position

    @property
    def last_lines(self) -> Sequence[str]:
        """The last lines of the log so far."""
        return tuple(self._follower.last_lines)

    @property
    def waited_for(self) -> Reason | None:
        """Why the job waited to be started when it was last looked at, if anything told."""
        return self._waiting.reason

    async def watch(self) -> JobInfo:
        """Return the job as it ended, once the last line of its log is out.

        :raises RayJobTimeoutError: if a deadline passed. The job was not stopped.
        :raises RayJobNotFoundError: if the cluster does not know the job (any more).
        :raises RayClusterUnreachableError: if the cluster was unreachable for too long.
        :raises RayAuthenticationError: if it refused the credentials.
        """
        try:
            with self._watch.job(), self._watch.api.refusals.told_to(self._refusals):
                return await self._watch_to_end()
        finally:
            self._follower.close()

    async def _watch_to_end(self) -> JobInfo:
        following: asyncio.Task[None] | None = None
        loop = asyncio.get_running_loop()
        began = at = loop.time()
        self._began = time.monotonic()
        status = ""
        try:
            while True:
                info = await self._look(at, status)
                if info.is_terminal:
                    break
                if info.status != status:
                    status = info.status
                    self._logger.info("Ray job %s is %s.", self._job_id, status)
                self._check_deadlines(status)
                self._waiting.see(status)
                if self._options.stream_logs and following is None and info.driver_node_id:
                    following = asyncio.create_task(self._follow(info))
                if following is not None and following.done():
                    await following  # it never ends by itself, so this raises its error
                at = loop.time() + self._pace(loop.time() - began, info.status)
        finally:
            await self._waiting.close()
            await _cancel(following, self._logger)
            self._follower.close()
        now = self._watch.api.clock.now()
        if status and info.end_time and now is not None:
            self._watch.metrics.timing(END_DELAY, max(0.0, now - info.end_time / 1000))
        await self.finish(info)
        return info

    async def finish(self, info: JobInfo) -> None:
        """Show what is left of the log of a job that has ended, and how it ended."""
        await self._finish_log(info)
        self._logger.info("Ray job %s is %s.", self._job_id, info.status)

    async def _look(self, at: float, status: str) -> JobInfo:
        """Return what the cluster knows about the job, at this time of the event loop or after an outage.

        :param status: The job's status when it was last seen.
        """
        try:
            info = await self._look_within_limits(at, status)
        except RayClusterUnreachableError as error:
            info = await self._look_after_outage(error, status)
        self._outages.over()
        self._watch.wrong_server.note_success()
        return info

    async def _look_within_limits(self, at: float, status: str) -> JobInfo:
        """Look, but no longer than the limits allow: the answer takes long if credentials are refused."""
        left = min((left for _, left in self._limits_left(status, is_sure=False)), default=None)
        now = asyncio.get_running_loop().time()
        while True:
            with move_on_after(None if left is None else max(left, at - now) + _GRACE):
                return await self._watch.board.look(self._job_id, at=at)
            self._check_deadlines(status, is_sure=False)

    async def _look_after_outage(self, error: RayClusterUnreachableError, status: str) -> JobInfo:
        wrong_server = self._watch.wrong_server
        while True:
            patience = self._outages.begin(error)
            self._check_deadlines(status, error, is_sure=False)
            await wrong_server.check(error)
            limits = (left for _, left in self._limits_left(status, is_sure=False))
            patience = min([patience, wrong_server.time_left(error), *limits])
            pause = min(self._watch.pace.backoff().next_pause(error.retry_after), patience)
            at = asyncio.get_running_loop().time() + pause
            try:
                return await self._watch.board.look(self._job_id, at=at, patience=patience)
            except RayClusterUnreachableError as later:
                error = later

    def _pace(self, watched: float, status: str) -> float:
        rhythm = self._watch.pace
        eager = max(rhythm.eager_poll, watched * rhythm.eagerness, self._watch.fair_interval)
        pace = min(self._options.poll_interval, eager)
        return max(0.0, min([pace, *(left for _, left in self._limits_left(status))]))

    def _limits_left(self, status: str, *, is_sure: bool = True) -> Iterator[tuple[str, float]]:
        """Yield the limits that apply in this status, with the seconds left of each.

        :param is_sure: Whether the job has just been seen in this status. If not, it may run by now.
        """
        watched = time.monotonic() - self._began
        for name, seconds in self._options.longest_watch.items():
            yield name, seconds - watched
        now = self._watch.api.clock.now()
        if now is None:  # our own clock may be wrong, and the job would be stopped for that
            return
        for name, deadline in self._options.deadlines.items():
            if name != PENDING_TIMEOUT or (status == PENDING and is_sure):
                yield name, deadline - now

    def _check_deadlines(
        self,
        status: str,
        outage: RayClusterUnreachableError | None = None,
        *,
        is_sure: bool = True,
    ) -> None:
        """Raise if a limit has passed.

        :param status: The job's status or, in an ``outage``, its last known status, if any.
        """
        limits = self._limits_left(status, is_sure=is_sure)
        passed = [name for name, left in limits if left <= 0]
        if not passed:
            return
        hint = f"Raise {passed[0]} if the job needs longer."
        if passed[0] == PENDING_TIMEOUT:
            hint = _hint_for_wait(self.waited_for)
        reason = f"is still {status} at the end of its {passed[0]}"
        if outage is not None:
            was = f"was {status} when it was last seen" if status else "was never seen"
            reason = f"{was}, and at the end of its {passed[0]} the cluster is unreachable: {outage.reason}"
        raise RayJobTimeoutError(
            job_id=self._job_id,
            cluster=self._watch.api.cluster.address,
            status=status or None,
            reason=reason,
            hint=hint,
            last_lines=self.last_lines,
        ) from outage

    async def _follow(self, info: JobInfo) -> None:
        await self._know_position()
        await self._follower.follow(info)

    async def _know_position(self) -> None:
        if self._position is not None:
            self._began_at = await asyncio.shield(self._position)
            self._position = None
            self._follower = self._follower_at(position=self._began_at)

    async def _finish_log(self, info: JobInfo) -> None:
        if info.driver_node_id is None:  # it never ran, and has no log
            if self._options.shows_message:
                self._follower.show((info.message or "").splitlines())
            return
        await self._know_position()
        lines = self._follower.last_lines
        if self._options.stream_logs:
            with move_on_after(_LONGEST_DRAIN) as time_for_log:
                await self._follower.drain(info)
            if time_for_log.cancelled_caught:
                self._logger.warning(
                    "The log of Ray job %s has no end after %g minutes, so the rest is left out.",
                    self._job_id,
                    _LONGEST_DRAIN / 60,
                )
            has_seen_all = not self._began_at or len(lines) == lines.maxlen
        else:
            has_seen_all = False
        if info.status != SUCCEEDED and not has_seen_all:
            try:
                api = self._watch.api.in_lane(Lane.END)
                async with self._watch.log_places[Lane.END].place():
                    last_lines = await answered_within(
                        api, api.cluster.request_timeout, read_last_lines(api, info)
                    )
                lines.clear()
                lines.extend(last_lines)
            except AirflowSynapseError as exc:
                self._logger.warning("The end of the job's log can't be read: %s", exc)


def _hint_for_wait(reason: Reason | None) -> str:
    if reason is None:
        return "Compare the resources that it requests with `ray status`, and see whether its runtime_env was still being set up."
    return f"It {reason.text}. Raise {PENDING_TIMEOUT} if it may wait longer."


async def _cancel(task: asyncio.Task[None] | None, logger: Logger) -> None:
    """Cancel a task and see it end. An error of its own must not hide why it was cancelled."""
    if task is None:
        return
    with CancelScope(shield=True):  # in a cancelled scope, anyio cancels each await
        while not task.done():
            task.cancel()  # more than once: before Python 3.12 libraries may swallow a cancellation
            await asyncio.wait({task}, timeout=0.5)
    if not task.cancelled() and (error := task.exception()):
        logger.debug("Following the log ended with %r", error)
