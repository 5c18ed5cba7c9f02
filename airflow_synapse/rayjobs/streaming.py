"""Hands the lines of a watch to a reader in another thread, one by one and as fast as it reads them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Sequence
from contextlib import ExitStack, suppress
from queue import Empty, SimpleQueue
from typing import Any

from airflow_synapse.rayjobs.crossing import Crossing
from airflow_synapse.rayjobs.job.outcome import Outcome
from airflow_synapse.rayjobs.reporting import Emit

_MAX_BATCHES = 64
"""The most batches of lines that wait for a slow reader."""


def stream(
    crossing: Crossing, watch: Callable[[Emit], Coroutine[Any, Any, Outcome]]
) -> Generator[str, None, Outcome]:
    """Yield the lines of a watch as they appear. The generator's return value is the outcome.

    Closing the generator cancels the watch.

    :param watch: Watches a job and hands its lines over. It waits while the reader is slow.
    """
    batches = _Batches()
    with ExitStack() as stack:
        watching = crossing.start(lambda: watch(batches.put))
        stack.callback(watching.cancel)
        stack.callback(batches.close)
        watching.on_end(batches.end)
        while (batch := batches.get()) is not None:
            yield from batch
        return watching.result()


class _Batches:
    """A queue of limited length. An exception in the reader's thread leaves nothing in it locked."""

    def __init__(self) -> None:
        self._batches: SimpleQueue[Sequence[str] | None] = SimpleQueue()
        self._room: SimpleQueue[None] = SimpleQueue()
        self._is_closed = False
        for _ in range(_MAX_BATCHES):
            self._room.put(None)

    def put(self, batch: Sequence[str]) -> None:
        """Add a batch as soon as there is room for it. After :meth:`close`, drop it."""
        while not self._is_closed:
            with suppress(Empty):
                self._room.get(timeout=0.2)
                self._batches.put(batch)
                return

    def end(self) -> None:
        """Say that no more will come."""
        self._batches.put(None)

    def get(self) -> Sequence[str] | None:
        """Wait for the next batch and return it, None after the last."""
        batch = self._batches.get()
        self._room.put(None)
        return batch

    def close(self) -> None:
        """Say that nobody reads any more."""
        self._is_closed = True
