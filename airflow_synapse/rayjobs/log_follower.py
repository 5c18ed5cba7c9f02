"""A job's log as lines, from a byte position on, through lost connections to the last byte.

The log is read as raw bytes, again and again from where the last read ended: from the agent on the
job's node, which serves ranges of files, or where that can't be reached over the dashboard's
``/api/v0/logs/file``, which knows no offset. Ray's other routes are of no use here: the websocket loses
the rest of a log at a line over 4 MiB, a byte that is not UTF-8 or a flush inside a character,
``/api/jobs/{id}/logs`` loads the whole log into three processes, and ``/api/v0/logs/stream`` leaks.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from airflow_synapse.exceptions import (
    LAST_LINES,
    RayClusterUnreachableError,
    RayLogNotFoundError,
)
from airflow_synapse.rayjobs.answers import AgentUnusableError
from airflow_synapse.rayjobs.client import RayJobClient
from airflow_synapse.rayjobs.log_lines import PROGRESS_INTERVAL, LineAssembler
from airflow_synapse.rayjobs.models import JobInfo, Logger
from airflow_synapse.rayjobs.outages import OutageLog, outlast
from airflow_synapse.rayjobs.retries import Backoff

_SLICE = 16 * 1024
"""Bytes turned into lines before other tasks of the event loop get their turn."""

_MISSING_IS_NEWS_AFTER = 4
"""How often in a row a log may be missing before that is believed: it may come late."""

_MIN_PAUSE = 0.4
_MAX_PAUSE = 2.0
"""Seconds between two reads of a log that grows, and of one that is quiet."""

_MAX_PAUSE_OF_FAILURES = 10.0
"""Seconds between two tries to read a log that can't be read, at most."""

_FAILING_IS_NEWS_AFTER = 15.0
"""Seconds after which it is told that a log can't be read."""

_REREAD_BYTES_PER_SECOND = 2_000_000
"""What reading a log over the dashboard, each time from its start, may cost on the average."""

_AGENT_IS_TRIED_AGAIN_AFTER = 600.0
"""Seconds for which an agent that can't be used from here is remembered."""

_unusable_agents: dict[str, float] = {}

Emit = Callable[[Sequence[str]], None]


def driver_log(job_id: str) -> str:
    """Return the name of a job's log in Ray's log directory (``JOB_LOGS_PATH_TEMPLATE``)."""
    return f"job-driver-{job_id}.log"


def is_agent_usable(info: JobInfo) -> bool:
    """Return whether the agent on the job's node may be asked, as far as is known."""
    address = info.driver_agent_http_address
    if not address or not address.startswith("http://"):
        return False
    return time.monotonic() >= _unusable_agents.get(address, 0.0)


async def read_from(
    client: RayJobClient, info: JobInfo, position: int
) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of a job's log from ``position`` to its present end.

    :raises RayLogNotFoundError: if there is no log, or less of it than was read before.
    """
    name = driver_log(info.job_id)
    if is_agent_usable(info):
        try:
            async with aclosing(client.read_agent_file(info, name, position)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except AgentUnusableError:
            until = time.monotonic() + _AGENT_IS_TRIED_AGAIN_AFTER
            _unusable_agents[info.driver_agent_http_address or ""] = until
        else:
            return
    async with aclosing(client.read_file(info, name)) as chunks:
        async for chunk in _without(chunks, position, info):
            yield chunk


async def _without(
    chunks: AsyncGenerator[bytes, None], position: int, info: JobInfo
) -> AsyncGenerator[bytes, None]:
    """Yield the chunks less the first ``position`` bytes.

    :raises RayLogNotFoundError: if there are fewer. Every log has at least the line with which Ray
        begins it, and under load the route now and then answers as if a log were empty.
    """
    total, wanted = 0, max(position, 1)
    async for chunk in chunks:
        start = max(0, position - total)
        total += len(chunk)
        if start < len(chunk):
            yield chunk[start:]
    if total < wanted:
        raise RayLogNotFoundError(
            job_id=info.job_id, reason=f"has a log of {total} bytes, of which {wanted} are expected"
        )


async def read_last_lines(
    client: RayJobClient, info: JobInfo, count: int = LAST_LINES
) -> list[str]:
    """Return the last lines of a job's log, or of its message if it never had a log."""
    if info.driver_node_id is None:
        return (info.message or "").splitlines()[-count:]
    lines: deque[str] = deque(maxlen=count)
    assembler = LineAssembler()
    name = driver_log(info.job_id)
    async with aclosing(client.read_file(info, name, last_lines=count)) as chunks:
        async for chunk in chunks:
            lines.extend(assembler.feed(chunk, now=0.0))
    lines.extend(assembler.flush())
    return list(lines)


class LogFollower:
    """Hands the lines of one job's log to ``emit``, each once and in order.

    :param client: The cluster's client.
    :param emit: Takes the next lines. Called on the event loop, so it must be quick.
    :param position: The byte of the log to start from.
    :param logger: Where to say that a log can't be read.
    :param outages: What is known of the cluster's outages, shared with the status watch.
    """

    def __init__(
        self,
        client: RayJobClient,
        *,
        emit: Emit,
        position: int,
        logger: Logger,
        outages: OutageLog,
    ) -> None:
        self._client = client
        self._emit = emit
        self._lines = LineAssembler(position)
        self._logger = logger
        self._tick: asyncio.TimerHandle | None = None
        self._outages = outages
        self._times_missing = 0
        self._missing_is_told = False
        self._failing_since: float | None = None
        self._failure_is_told = False
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)

    @property
    def position(self) -> int:
        """The byte from which a later follower has to go on."""
        return self._lines.position

    async def follow(self, info: JobInfo) -> None:
        """Emit lines as they appear, until cancelled."""
        pause = _MIN_PAUSE
        backoff = Backoff(first=_MIN_PAUSE, cap=_MAX_PAUSE_OF_FAILURES)
        while True:
            before = self._lines.received
            failure_pause = 0.0
            try:
                await self._read(info)
            except RayClusterUnreachableError as exc:
                self._note_failure(info, exc)
                failure_pause = backoff.next_pause(exc.retry_after)
            except RayLogNotFoundError as exc:
                self._warn_if_missing(exc)
            else:
                self._note_success(info)
                backoff.reset()
            has_grown = self._lines.received > before
            if has_grown:
                self._times_missing = 0
            pause = _MIN_PAUSE if has_grown else min(_MAX_PAUSE, pause * 1.5)
            await asyncio.sleep(max(pause, failure_pause, self._cost(info)))

    def _cost(self, info: JobInfo) -> float:
        """Return the seconds that the next read has to wait for not to be a burden."""
        if is_agent_usable(info):
            return 0.0
        return self._lines.received / _REREAD_BYTES_PER_SECOND

    async def drain(self, info: JobInfo) -> None:
        """Emit what is left of an ended job's log, to its last byte.

        :raises RayClusterUnreachableError: if the cluster was unreachable for too long.
        """
        if info.driver_node_id is None:
            self._out((info.message or "").splitlines())
            return
        backoff = Backoff(first=0.3, cap=10.0)
        self._times_missing = min(self._times_missing, _MISSING_IS_NEWS_AFTER - 1)
        while True:
            try:
                await outlast(self._outages, lambda: self._read(info))
                break
            except RayLogNotFoundError as exc:
                self._warn_if_missing(exc)
                if self._times_missing >= _MISSING_IS_NEWS_AFTER:
                    break
                await asyncio.sleep(backoff.next_pause())
        self._note_success(info)
        self._out(self._lines.flush())
        self.close()

    def close(self) -> None:
        """Forget the progress state that may wait to be shown."""
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None

    async def _read(self, info: JobInfo) -> None:
        chunks = read_from(self._client, info, self._lines.received)
        loop = asyncio.get_running_loop()
        async with aclosing(chunks):
            async for chunk in chunks:
                for start in range(0, len(chunk), _SLICE):
                    self._out(self._lines.feed(chunk[start : start + _SLICE], loop.time()))
                    await asyncio.sleep(0)
                if self._lines.has_progress and self._tick is None:
                    self._tick = loop.call_later(PROGRESS_INTERVAL, self._show_progress)

    def _show_progress(self) -> None:
        loop = asyncio.get_running_loop()
        self._out(self._lines.tick(loop.time()))
        self._tick = None
        if self._lines.has_progress:
            self._tick = loop.call_later(PROGRESS_INTERVAL, self._show_progress)

    def _out(self, lines: Sequence[str]) -> None:
        if lines:
            self.last_lines.extend(lines)
            self._emit(lines)

    def _note_failure(self, info: JobInfo, error: RayClusterUnreachableError) -> None:
        """Say that only the log can't be read; an outage of the whole cluster is told elsewhere."""
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
        is_news = not self._failure_is_told and now - self._failing_since >= _FAILING_IS_NEWS_AFTER
        if is_news and not self._outages.is_under_way:
            self._failure_is_told = True
            self._logger.warning(
                "The log of Ray job %s can't be read for the time being: %s. Its status is watched "
                "all the same.",
                info.job_id,
                error.reason,
            )

    def _note_success(self, info: JobInfo) -> None:
        if self._failure_is_told and self._failing_since is not None:
            seconds = time.monotonic() - self._failing_since
            self._logger.info("The log of Ray job %s goes on after %.1f s.", info.job_id, seconds)
        self._failing_since = None
        self._failure_is_told = False

    def _warn_if_missing(self, error: RayLogNotFoundError) -> None:
        self._times_missing += 1
        if self._times_missing >= _MISSING_IS_NEWS_AFTER and not self._missing_is_told:
            self._missing_is_told = True
            self._logger.warning(
                "The log of Ray job %s can't be read: %s. Its status is watched all the same.",
                error.job_id,
                error.reason,
            )
