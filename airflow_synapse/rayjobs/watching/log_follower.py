"""Reads a job's log as lines from a byte position to the last byte, despite lost connections.

The log is read as raw bytes, again and again from where the last read ended.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from anyio import CancelScope

from airflow_synapse.exceptions import (
    LAST_LINES,
    AirflowSynapseError,
    RayAuthenticationError,
    RayClusterUnreachableError,
    RayLogNotFoundError,
)
from airflow_synapse.plurals import counted
from airflow_synapse.rayjobs.client.agents import is_agent_usable
from airflow_synapse.rayjobs.client.budget import Lane
from airflow_synapse.rayjobs.logs.line_limit import LineLimit
from airflow_synapse.rayjobs.logs.lines import LineAssembler
from airflow_synapse.rayjobs.logs.places import LogPlace
from airflow_synapse.rayjobs.logs.reading import read_from
from airflow_synapse.rayjobs.logs.turns import end_of_turn, log_turns
from airflow_synapse.rayjobs.models import JobInfo
from airflow_synapse.rayjobs.patience import OutageLog
from airflow_synapse.rayjobs.reporting import LOG_BYTES, Emit, Logger
from airflow_synapse.rayjobs.watching.cluster_watch import ClusterWatch
from airflow_synapse.rayjobs.watching.pace import Pace

_MISSING_IS_NEWS_AFTER = 4
"""How many reads in a row must find no log before it counts as missing, because it may come late."""

_PATIENCE_WHEN_BUSY = 10.0
"""If reads have to queue, a quiet log pauses this many times as long as its last read queued, so that
logs that grow get the requests."""

_REREAD_BYTES_PER_SECOND = 2_000_000
"""How much may be read on average if the dashboard sends a log from its start each time."""

_WORTH_A_READ = 100.0
"""Bytes per second of an ended job's log for which it is read on after a read that broke."""

_PAUSE_OF_A_READER = 0.01
"""Seconds until a slow reader is asked again whether it wants more lines."""

_LONGEST_KEPT = 2_000
"""Characters of each of the last lines that are kept in case the job fails."""


class LogFollower:
    """Hands the lines of one job's log to ``emit``, each once and in order.

    :param watch: The cluster's watch.
    :param emit: Takes the next lines. Called on the event loop, so it must be quick.
    :param position: The byte of the log to start from.
    :param logger: Where to say that a log can't be read.
    :param outages: What is known about the cluster's outages, shared with the status watch.
    :param lines_per_second: How many lines are shown on average, 0 for all.
    :param has_room: Whether ``emit`` can take lines without blocking, if that may change.
    """

    def __init__(
        self,
        watch: ClusterWatch,
        *,
        emit: Emit,
        position: int,
        logger: Logger,
        outages: OutageLog,
        lines_per_second: float = 0.0,
        has_room: Callable[[], bool] | None = None,
        reader_has_room: Callable[[], bool] | None = None,
    ) -> None:
        self._watch = watch
        self._api = watch.api
        self._pace = watch.pace
        self._limit = LineLimit(lines_per_second)
        self._has_room = has_room
        self._reader_has_room = reader_has_room
        self._emit = emit
        self._lines = LineAssembler(position, progress_interval=watch.pace.progress_interval)
        self._logger = logger
        self._tick: asyncio.TimerHandle | None = None
        self._outages = outages
        self._queued_for = 0.0
        self.is_behind = False
        self._patience = _Patience(watch.pace)
        self._times_missing = 0
        self._missing_is_told = False
        self._failing_since: float | None = None
        self._failure_is_told = False
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)

    @property
    def position(self) -> int:
        """The byte from which a later follower must continue."""
        return self._lines.position

    async def follow(self, info: JobInfo) -> None:
        """Emit lines as they appear, until cancelled. Continues if they can't be read."""
        loop = asyncio.get_running_loop()
        backoff = self._pace.log_backoff()
        grew_at, was_growing = loop.time(), False
        while True:
            before = self._lines.received
            failure_pause = 0.0
            try:
                await self._read(info, Lane.LOG)
            except RayLogNotFoundError as exc:
                self._warn_if_missing(info, exc)
            except AirflowSynapseError as exc:
                self._note_failure(info, exc)
                failure_pause = backoff.next_pause(_retry_after(exc))
            else:
                self._note_success(info)
                backoff.reset()
            is_growing = self._lines.received > before
            if is_growing:
                self._times_missing = 0
                grew_at = loop.time()
            elif was_growing:
                self._watch.board.hurry(info.job_id)  # a log falls silent when its job ends
            was_growing = is_growing
            if self.is_behind and not failure_pause:
                await asyncio.sleep(self._cost(info))
                continue
            pause = self._pace.log_read if is_growing else self._quiet_pause(loop.time() - grew_at)
            await asyncio.sleep(max(pause, failure_pause, self._cost(info)))

    async def read_once(self, info: JobInfo) -> None:
        """Emit the new lines of the log, if it has begun.

        :raises AirflowSynapseError: if it can't be read, or not all of it.
        """
        if info.driver_node_id is not None:
            await self._read(info, Lane.LOG)

    def _quiet_pause(self, quiet_for: float) -> float:
        """Return the seconds until the next read of a log that does not grow."""
        pace = self._pace
        pause = min(max(pace.log_read, quiet_for * pace.slowing_down), pace.quiet_log_read)
        return max(pause, self._queued_for * _PATIENCE_WHEN_BUSY)

    def _cost(self, info: JobInfo) -> float:
        """Return the seconds that the next read must wait so that it is no burden."""
        if is_agent_usable(info):
            return 0.0
        return self._lines.received / _REREAD_BYTES_PER_SECOND

    async def drain(self, info: JobInfo) -> None:
        """Emit what is left of an ended job's log, to its last byte.

        If only the log can't be read for about a minute, or another try would be useless, the rest is
        left out with a warning, because the status decides how a job ended.

        :raises RayClusterUnreachableError: if the cluster was unreachable for too long.
        """
        if info.driver_node_id is None:  # it never ran
            return
        backoff = self._pace.log_backoff()
        self._times_missing = min(self._times_missing, _MISSING_IS_NEWS_AFTER - 1)
        while True:
            before, began, pause = self._lines.received, time.monotonic(), 0.0
            try:
                await self._read(info, Lane.END)
                self._note_success(info)
                if not self.is_behind:
                    break
            except (RayClusterUnreachableError, RayAuthenticationError) as exc:
                enough = before + (time.monotonic() - began) * _WORTH_A_READ
                if not await self._is_worth_another_try(info, exc, enough):
                    break
                pause = backoff.next_pause(_retry_after(exc))
            except AirflowSynapseError as exc:
                self._warn_if_missing(info, exc)
                if self._times_missing >= _MISSING_IS_NEWS_AFTER:
                    break
                pause = backoff.next_pause()
            await asyncio.sleep(pause)
        self._out(self._lines.flush())
        self._tell_left_out(is_end=True)
        self.close()

    def show(self, lines: Sequence[str]) -> None:
        """Emit lines that are not of the log."""
        self._out(lines)

    async def _is_worth_another_try(
        self, info: JobInfo, error: AirflowSynapseError, enough: float
    ) -> bool:
        """Return whether the rest of an ended job's log may still be read, and log it if not.

        :param enough: The byte beyond which the read that failed was worth its time.
        """
        if not await self._does_cluster_answer(info) or self._lines.received > enough:
            self._patience = _Patience(self._pace)
            return True
        if self._patience.is_over(time.monotonic()):
            self._tell_rest_is_left_out(info, error)
            return False
        return True

    async def _does_cluster_answer(self, info: JobInfo) -> bool:
        """Wait until the cluster answers, and return whether it answered at once.

        :raises RayClusterUnreachableError: if that lasts too long.
        """
        at_once = True
        while True:
            try:
                await self._api.in_lane(Lane.END).get_info(info.job_id)
            except RayClusterUnreachableError as error:
                at_once = False
                await self._outages.wait_out(error)
                continue
            except AirflowSynapseError:
                pass  # this is an answer, and the job's end is known
            self._outages.over()
            return at_once

    def close(self) -> None:
        """Forget a progress state that may still wait to be shown."""
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None

    async def _read(self, info: JobInfo, lane: Lane) -> None:
        """Take in what was added to the log since the last read, or as much as there is time for."""
        loop, before = asyncio.get_running_loop(), self._lines.received
        began = loop.time()
        # Over the dashboard a log comes from its start, so its turn begins once there is something new.
        has_to_read_again = not is_agent_usable(info)
        async with self._watch.log_places[lane].place(
            is_behind=self.is_behind, begins_later=has_to_read_again
        ) as place:
            self._queued_for = loop.time() - began
            try:
                with place.scope:
                    await self._take_in_all(read_from(self._api.in_lane(lane), info, before), place)
            finally:
                self._watch.metrics.count(LOG_BYTES, self._lines.received - before)
            self.is_behind = place.is_wanted
        self._queued_for += self._api.budget.queued_for(lane)

    async def _take_in_all(self, chunks: AsyncGenerator[bytes, None], place: LogPlace) -> None:
        async with aclosing(chunks) as parts:
            async for chunk in parts:
                place.begin()
                with CancelScope(shield=True):  # who has waited for its turn takes it
                    await self._take_in(chunk, place)
                if place.is_wanted:
                    return

    async def _take_in(self, chunk: bytes, place: LogPlace) -> None:
        loop, turns, start = asyncio.get_running_loop(), log_turns(), 0
        while start < len(chunk) and (start == 0 or not place.is_wanted):
            await self._wait_for_reader()
            async with turns.turn(self._has_room) as most_lines:
                end = end_of_turn(chunk, start, most_lines)
                self._out(self._lines.feed(chunk[start:end], loop.time()))
            start = end
        if self._lines.has_progress and self._tick is None:
            self._tick = loop.call_later(self._pace.progress_interval, self._show_progress)

    async def _wait_for_reader(self) -> None:
        """Wait until the reader wants more, while other logs take their turns."""
        while self._reader_has_room is not None and not self._reader_has_room():  # noqa: ASYNC110
            await asyncio.sleep(_PAUSE_OF_A_READER)  # no event comes out of another thread

    def _show_progress(self) -> None:
        loop = asyncio.get_running_loop()
        self._out(self._lines.tick(loop.time()))
        self._tick = None
        if self._lines.has_progress:
            self._tick = loop.call_later(self._pace.progress_interval, self._show_progress)

    def _out(self, lines: Sequence[str]) -> None:
        if not lines:
            return
        self.last_lines.extend(line[:_LONGEST_KEPT] for line in lines[-LAST_LINES:])
        shown = self._limit.admit(lines, time.monotonic())
        if shown:
            self._emit(shown)
        self._tell_left_out()

    def _tell_left_out(self, *, is_end: bool = False) -> None:
        count = self._limit.left_out(time.monotonic(), is_end=is_end)
        if count:
            self._logger.warning(
                "%s left out here, because the job writes more than the limit set for its log. The Ray "
                "dashboard at %s has the whole log.",
                f"{counted(count, 'line')} {'was' if count == 1 else 'were'}",
                self._api.cluster.address,
            )

    def _note_failure(self, info: JobInfo, error: AirflowSynapseError) -> None:
        """Warn that only the log can't be read. An outage of the whole cluster is logged elsewhere."""
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
        is_news = (
            not self._failure_is_told
            and now - self._failing_since >= self._pace.log_failing_is_news_after
        )
        if is_news and not self._outages.is_under_way:
            self._failure_is_told = True
            self._logger.warning(
                "The log of Ray job %s can't be read at the moment: %s. Its status is still "
                "watched.",
                info.job_id,
                _reason(error),
            )

    def _note_success(self, info: JobInfo) -> None:
        if self._failure_is_told and self._failing_since is not None:
            seconds = time.monotonic() - self._failing_since
            self._logger.info(
                "The log of Ray job %s can be read again after %.1f s.", info.job_id, seconds
            )
        self._failing_since = None
        self._failure_is_told = False

    def _warn_if_missing(self, info: JobInfo, error: AirflowSynapseError) -> None:
        self._times_missing += 1
        if self._times_missing >= _MISSING_IS_NEWS_AFTER and not self._missing_is_told:
            self._missing_is_told = True
            self._tell_rest_is_left_out(info, error)

    def _tell_rest_is_left_out(self, info: JobInfo, error: AirflowSynapseError) -> None:
        self._logger.warning(
            "The log of Ray job %s was read up to byte %d. The rest can't be read: %s. Its status "
            "still counts.",
            info.job_id,
            self._lines.received,
            _reason(error),
        )


async def read_new_lines(
    watch: ClusterWatch, info: JobInfo, *, position: int, emit: Emit, logger: Logger
) -> int:
    """Pass a job's log from a byte position on to ``emit``, and return the byte to continue from.

    While the job runs, these are the lines that exist now. Once it has ended, they are all lines to the
    last byte, despite temporary failures. Raises nothing if the log can't be read: the caller waits for
    the job's end with a call now and then, and the next call continues the log.

    :param position: The byte that an earlier call returned, at first 0.
    """
    follower = LogFollower(
        watch,
        emit=emit,
        position=position,
        logger=logger,
        outages=OutageLog(logger, watch.pace.patience_for_end, backoff=watch.pace.backoff()),
    )
    try:
        await (follower.drain(info) if info.is_terminal else follower.read_once(info))
    except AirflowSynapseError as exc:
        tell = logger.warning if info.is_terminal else logger.debug
        tell("The log of Ray job %s can't be read: %s", info.job_id, exc)
    finally:
        follower.close()
    return follower.position


class _Patience:
    """How long reads of the end of a log may fail."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace
        self._since: float | None = None
        self._tries = 0

    def is_over(self, now: float) -> bool:
        """Note another failure, and return whether it was the last one that is allowed."""
        if self._since is None:
            self._since = now
        self._tries += 1
        is_long = now - self._since >= self._pace.patience_for_end
        return is_long and self._tries >= self._pace.tries_of_end


def _reason(error: AirflowSynapseError) -> str:
    return getattr(error, "reason", "") or str(error)


def _retry_after(error: AirflowSynapseError) -> float | None:
    return error.retry_after if isinstance(error, RayClusterUnreachableError) else None
