"""Hands the lines of a watch to a reader, one by one and as fast as it reads them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Sequence
from contextlib import ExitStack
from queue import SimpleQueue
from typing import Any

from airflow_synapse.rayjobs.crossing import Crossing
from airflow_synapse.rayjobs.job.outcome import Outcome
from airflow_synapse.rayjobs.reporting import Emit

_MAX_BATCHES = 64
"""The most batches of lines that wait for a slow reader."""


HasRoom = Callable[[], bool]


def stream(
    crossing: Crossing, watch: Callable[[Emit, HasRoom], Coroutine[Any, Any, Outcome]]
) -> Generator[str, None, Outcome]:
    """Yield the lines of a watch as they appear; the outcome is the value of the generator.

    Closing the generator cancels the watch.

    :param watch: Watches, and hands lines over while there is room for them.
    """
    batches = _Batches()
    with ExitStack() as stack:
        watching = crossing.prepare(lambda: watch(batches.put, batches.has_room))
        stack.callback(watching.cancel)
        stack.callback(batches.close)
        watching.begin()
        watching.on_end(batches.end)
        while (batch := batches.get()) is not None:
            yield from batch
        return watching.result()


async def astream(
    watch: Callable[[Emit, HasRoom], Coroutine[Any, Any, Outcome]],
) -> AsyncGenerator[str, None]:
    """Yield the lines of a watch on the same event loop. Closing the generator cancels the watch."""
    batches: deque[Sequence[str]] = deque()
    has_news = asyncio.Event()

    def put(batch: Sequence[str]) -> None:
        batches.append(batch)
        has_news.set()

    watching = asyncio.create_task(watch(put, lambda: len(batches) < _MAX_BATCHES))
    watching.add_done_callback(lambda _: has_news.set())
    try:
        has_ended = False
        while not has_ended:
            await has_news.wait()
            has_news.clear()
            has_ended = watching.done()
            while batches:
                for line in batches.popleft():
                    yield line
        await watching
    finally:
        while not watching.done():
            watching.cancel()  # more than once: before Python 3.12 libraries may swallow a cancellation
            await asyncio.wait({watching}, timeout=0.5)


class _Batches:
    """A queue whose writer, on an event loop, never waits but asks whether there is room."""

    def __init__(self) -> None:
        self._batches: SimpleQueue[Sequence[str] | None] = SimpleQueue()
        self._is_closed = False

    def has_room(self) -> bool:
        """Return whether more lines may come; after :meth:`close` nobody waits for room."""
        return self._is_closed or self._batches.qsize() < _MAX_BATCHES

    def put(self, batch: Sequence[str]) -> None:
        """Add a batch."""
        if not self._is_closed:
            self._batches.put(batch)

    def end(self) -> None:
        """Say that no more will come."""
        self._batches.put(None)

    def get(self) -> Sequence[str] | None:
        """Return the next batch once there is one, None after the last."""
        return self._batches.get()

    def close(self) -> None:
        """Want no more."""
        self._is_closed = True
