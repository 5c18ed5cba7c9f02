"""The lines of a watch for who takes them one by one, in another thread and at their own pace."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Sequence
from contextlib import ExitStack, suppress
from queue import Empty, SimpleQueue
from typing import Any

from airflow_synapse.rayjobs.crossing import Crossing
from airflow_synapse.rayjobs.job.outcome import Outcome
from airflow_synapse.rayjobs.reporting import Emit

_MAX_BATCHES = 64
"""Batches of lines that wait for a slow reader."""


def stream(
    crossing: Crossing, watch: Callable[[Emit], Coroutine[Any, Any, Outcome]]
) -> Generator[str, None, Outcome]:
    """Yield the lines of a watch as they appear; the outcome is the value of the generator.

    Closing the generator cancels the watch.

    :param watch: Watches, and hands lines over. It waits while the reader is slow.
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
    """A queue of limited length, of which an exception in the reader's thread leaves nothing locked."""

    def __init__(self) -> None:
        self._batches: SimpleQueue[Sequence[str] | None] = SimpleQueue()
        self._room: SimpleQueue[None] = SimpleQueue()
        self._is_closed = False
        for _ in range(_MAX_BATCHES):
            self._room.put(None)

    def put(self, batch: Sequence[str]) -> None:
        """Add a batch, once there is room for it; nobody wants it after :meth:`close`."""
        while not self._is_closed:
            with suppress(Empty):
                self._room.get(timeout=0.2)
                self._batches.put(batch)
                return

    def end(self) -> None:
        """Say that no more will come."""
        self._batches.put(None)

    def get(self) -> Sequence[str] | None:
        """Return the next batch once there is one, None after the last."""
        batch = self._batches.get()
        self._room.put(None)
        return batch

    def close(self) -> None:
        """Want no more."""
        self._is_closed = True
