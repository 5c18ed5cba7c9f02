"""A job's log as lines, from a byte position on, through lost connections to the last byte.

The log is read as raw bytes over ``/api/v0/logs/{stream,file}``. The Jobs API's own routes are of
no use here: the websocket loses the rest of a log at a line over 4 MiB, a byte that is not UTF-8 or
a flush inside a character, and ``/api/jobs/{id}/logs`` loads the whole log into three processes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from airflow_synapse.exceptions import (
    LAST_LINES,
    RayClusterUnreachableError,
    RayLogNotFoundError,
)
from airflow_synapse.rayjobs.client import RayJobClient
from airflow_synapse.rayjobs.log_lines import PROGRESS_INTERVAL, LineAssembler
from airflow_synapse.rayjobs.models import JobInfo, Logger
from airflow_synapse.rayjobs.retries import Backoff

_SLICE = 16 * 1024
"""Bytes turned into lines before other tasks of the event loop get their turn."""

_MISSING_IS_NEWS_AFTER = 3
"""How often in a row a log may be missing before it is worth a warning: it may come late."""

Emit = Callable[[Sequence[str]], None]


def driver_log(job_id: str) -> str:
    """Return the name of a job's log in Ray's log directory (``JOB_LOGS_PATH_TEMPLATE``)."""
    return f"job-driver-{job_id}.log"


async def read_from(
    client: RayJobClient, info: JobInfo, position: int, *, follow: bool = False
) -> AsyncGenerator[bytes, None]:
    """Yield the bytes of a job's log from ``position`` on.

    Ray's route knows no offset, so what lies before is read and dropped.
    """
    async with aclosing(client.read_file(info, driver_log(info.job_id), follow=follow)) as chunks:
        async for chunk in chunks:
            if position >= len(chunk):
                position -= len(chunk)
                continue
            yield chunk[position:]
            position = 0


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
    """

    def __init__(self, client: RayJobClient, *, emit: Emit, position: int, logger: Logger) -> None:
        self._client = client
        self._emit = emit
        self._lines = LineAssembler(position)
        self._logger = logger
        self._tick: asyncio.TimerHandle | None = None
        self._times_missing = 0
        self.last_lines: deque[str] = deque(maxlen=LAST_LINES)

    @property
    def position(self) -> int:
        """The byte from which a later follower has to go on."""
        return self._lines.position

    async def follow(self, info: JobInfo) -> None:
        """Emit lines as they appear, until cancelled."""
        backoff = Backoff(first=0.3, cap=10.0)
        while True:
            before = self._lines.received
            try:
                await self._read(info, follow=True)
            except RayClusterUnreachableError as exc:
                self._logger.debug("The log of job %s broke off: %s", info.job_id, exc.reason)
            except RayLogNotFoundError as exc:
                self._warn_if_missing(exc)
            if self._lines.received > before:
                backoff.reset()
                self._times_missing = 0
            await asyncio.sleep(backoff.next_pause())

    async def drain(self, info: JobInfo, *, give_up_after: float) -> None:
        """Emit what is left of an ended job's log, to its last byte.

        :param give_up_after: Seconds to keep trying while the cluster is unreachable.
        :raises RayClusterUnreachableError: if it was for that long.
        """
        if info.driver_node_id is None:
            self._out((info.message or "").splitlines())
            return
        loop = asyncio.get_running_loop()
        deadline = loop.time() + give_up_after
        backoff = Backoff(first=0.3, cap=10.0)
        while True:
            try:
                await self._read(info, follow=False)
                break
            except RayClusterUnreachableError as exc:
                if loop.time() >= deadline:
                    raise
                await asyncio.sleep(backoff.next_pause(exc.retry_after))
            except RayLogNotFoundError as exc:
                self._times_missing = _MISSING_IS_NEWS_AFTER - 1
                self._warn_if_missing(exc)
                break
        self._out(self._lines.flush())
        self.close()

    def close(self) -> None:
        """Forget the progress state that may wait to be shown."""
        if self._tick is not None:
            self._tick.cancel()
            self._tick = None

    async def _read(self, info: JobInfo, *, follow: bool) -> None:
        chunks = read_from(self._client, info, self._lines.received, follow=follow)
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

    def _warn_if_missing(self, error: RayLogNotFoundError) -> None:
        self._times_missing += 1
        if self._times_missing == _MISSING_IS_NEWS_AFTER:
            self._logger.warning(
                "The log of Ray job %s can't be read: %s. Its status is watched all the same.",
                error.job_id,
                error.reason,
            )
