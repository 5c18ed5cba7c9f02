"""Keeps logs from starving each other and the event loop, however fast jobs write."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary

_TURN = 0.004
"""Seconds for which turning bytes into lines and showing them may block the event loop."""

_FEWEST_LINES = 8
_MOST_LINES = 4_000
_MOST_LINES_INTO_A_CHANNEL = 64
_MOST_BYTES = 64 * 1024
"""What is read in one turn: at least this many lines, and at most this many lines and bytes. The limit is
lower if the lines go into a channel that may be full."""

_PAUSE_OF_A_CHANNEL = 0.01
"""Seconds until a full channel is checked again."""


class LogTurns:
    """One log at a time reads some lines, then everything else on the event loop has its turn.

    How many lines fit into a turn is learned from how long they took: showing a line in Airflow's
    triggerer costs about fifty times what it costs to hand it to a function.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._lines = 64.0

    @asynccontextmanager
    async def turn(self, has_room: Callable[[], bool] | None = None) -> AsyncIterator[int]:
        """Wait for a turn, and yield how many lines may be read in it.

        :param has_room: Whether the channel that lines go into has room, if it may be full.
        """
        async with self._lock:
            most = int(self._lines)
            if has_room is not None:
                most = min(most, _MOST_LINES_INTO_A_CHANNEL)
                while not has_room():  # noqa: ASYNC110  # a socket's buffer sends no event
                    await asyncio.sleep(_PAUSE_OF_A_CHANNEL)
            began = time.perf_counter()
            yield most
            took = time.perf_counter() - began
            ideal = self._lines * _TURN / max(took, _TURN / 4)
            smoothed = self._lines + 0.5 * (ideal - self._lines)
            self._lines = min(max(smoothed, _FEWEST_LINES), _MOST_LINES)
            await asyncio.sleep(0)


def end_of_turn(chunk: bytes, start: int, most_lines: int) -> int:
    """Return the position up to which one turn may read a chunk."""
    end = min(len(chunk), start + _MOST_BYTES)
    if chunk.count(b"\n", start, end) <= most_lines:
        return end
    position = start
    for _ in range(most_lines):
        position = chunk.index(b"\n", position) + 1
    return position


_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, LogTurns] = WeakKeyDictionary()


def log_turns() -> LogTurns:
    """Return the turns of the running event loop."""
    return _turns.setdefault(asyncio.get_running_loop(), LogTurns())
