"""Keeps a trigger's position in a job's log in an XCom, where the next triggerer finds it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from airflow_synapse.handover.xcom_keys import LOG_POSITION_KEY, handed_back, log_position
from airflow_synapse.rayjobs.reporting import Logger
from airflow_synapse.triggers import log_channel
from airflow_synapse.triggers.xcoms import get_xcom, set_xcom


@dataclass(frozen=True)
class CheckpointPace:
    """The times of checkpoints, in seconds unless stated otherwise.

    :param interval: The shortest time between two checkpoints of one job.
    :param write_time: The shortest time for each write. Checkpoints are written one after another, so
        a thousand jobs that print do not keep the database busy.
    :param patience: How long a checkpoint waits for Airflow's supervisor to read the lines before it.
        The supervisor reads lines and requests from different sockets, so a checkpoint could overtake
        lines, which a crash would then lose.
    :param flush_timeout: How long the last checkpoint may take during a shutdown of the triggerer, and how
        long to wait for the lines before it. Nobody tells the trigger that it was written, but Airflow's
        supervisor still writes it while this process lives.
    :param tries_to_read: How often to ask Airflow for the last checkpoint.
    :param pause_before_reading_again: The pause between two of these tries.
    """

    interval: float = 0.7
    write_time: float = 0.015
    patience: float = 60.0
    flush_timeout: float = 2.0
    tries_to_read: int = 3
    pause_before_reading_again: float = 1.0


USUAL_PACE = CheckpointPace()

_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


class LogCheckpoint:
    """The byte of a job's log from which another triggerer must continue.

    :param task_instance: What the triggerer put into ``trigger.task_instance``. None for a trigger
        that runs outside Airflow, which keeps no checkpoint.
    :param job_id: The job. A checkpoint of another job does not count.
    :param logger: Where to say that Airflow can't be asked.
    :param pace: How often the checkpoint is written, and how long that may take.
    """

    def __init__(
        self,
        task_instance: Any,
        job_id: str,
        *,
        logger: Logger,
        pace: CheckpointPace = USUAL_PACE,
    ) -> None:
        self._pace = pace
        self._task_instance = task_instance
        self._job_id = job_id
        self._logger = logger
        self._shown = 0
        self._written = 0
        self._has_news = asyncio.Event()

    async def read(self) -> int:
        """Return the byte to start from, 0 if there is no checkpoint."""
        for _ in range(self._pace.tries_to_read if self._task_instance is not None else 0):
            try:
                kept = await get_xcom(self._task_instance, LOG_POSITION_KEY)
            except Exception as exc:  # noqa: BLE001  # depends on what Airflow's API server did
                self._logger.debug("The position in the log could not be read: %r", exc)
                await asyncio.sleep(self._pace.pause_before_reading_again)
            else:
                self._written = self._shown = self._position_in(kept)
                return self._written
        return 0

    def note(self, position: int) -> None:
        """Remember that all lines before this byte have been written to the log."""
        self._shown = position
        self._has_news.set()

    async def keep(self) -> None:
        """Write checkpoints as lines are shown, until cancelled. A quiet job costs nothing."""
        while self._task_instance is not None:
            await self._has_news.wait()
            self._has_news.clear()
            while self._shown != self._written:
                await asyncio.sleep(self._pace.interval)
                position = self._shown
                if await log_channel.wait_until_read(self._pace.patience):
                    async with _turn(self._pace.write_time):
                        await self._write(position)

    async def flush(self) -> None:
        """Write the last checkpoint if there is enough time."""
        if self._task_instance is not None and self._shown != self._written:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._write_last(), self._pace.flush_timeout)

    async def hand_back(self) -> None:
        """Note that a worker decides about the job, before it gets an event that does not tell of its end."""
        if self._task_instance is not None:
            value = handed_back(self._job_id, self._shown)
            with suppress(Exception):  # the event matters more
                setting = set_xcom(self._task_instance, LOG_POSITION_KEY, value)
                await asyncio.wait_for(setting, self._pace.flush_timeout)

    async def _write_last(self) -> None:
        if await log_channel.wait_until_read(self._pace.flush_timeout):
            await self._write(self._shown)

    async def _write(self, position: int) -> None:
        value = log_position(self._job_id, position)
        try:
            await set_xcom(self._task_instance, LOG_POSITION_KEY, value)
        except Exception as exc:  # noqa: BLE001  # the next checkpoint makes up for it
            self._logger.debug("The position in the log could not be kept: %r", exc)
        else:
            self._written = position

    def _position_in(self, kept: Any) -> int:
        if not isinstance(kept, dict) or kept.get("job_id") != self._job_id:
            return 0
        position = kept.get("position")
        return position if isinstance(position, int) and position > 0 else 0


@asynccontextmanager
async def _turn(least: float) -> AsyncIterator[None]:
    """Wait for a turn, so that this triggerer writes one checkpoint at a time, in order.

    :param least: The shortest length of a turn, in seconds.
    """
    lock = _turns.setdefault(asyncio.get_running_loop(), asyncio.Lock())
    async with lock:
        began = time.monotonic()
        yield
        await asyncio.sleep(max(0.0, began + least - time.monotonic()))
