"""Runs asynchronous work for ordinary code, on an event loop in its own thread.

The thread that waits may get an exception at any moment: Ctrl-C, a task's timeout, a kill. So the two
threads share nothing that such an exception can leave locked. That rules out what ``threading`` implements in
Python: conditions and everything built on them, such as events, ``queue.Queue`` and
``concurrent.futures.Future`` (python/cpython#74174). A ``SimpleQueue`` is written in C.
"""

from __future__ import annotations

import _thread
import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

T = TypeVar("T")

_CANCELS_AGAIN_AFTER = 3.0
"""Seconds after which work that is still under way is cancelled again, because libraries may swallow a
cancellation before Python 3.12."""


class Crossing:
    """Runs asynchronous work for ordinary code, until it is closed.

    As the loop has a thread of its own, this works inside a running event loop (a notebook) and inside a
    signal handler.

    Use it as a context manager. Leaving it cancels what is under way, and waits until that has ended.
    """

    def __init__(self) -> None:
        self.is_closed = False
        self.is_over = False
        self.under_way: set[Crossed[Any]] = set()
        self._pid = os.getpid()
        self._is_started = False
        self._first = _thread.allocate_lock()
        self._thread: int | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: asyncio.Event | None = None
        self._waiting: list[SimpleQueue[None]] = []

    def __enter__(self) -> Crossing:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(
        self,
        work: Callable[[], Coroutine[Any, Any, T]],
        interruption: Interruption | None = None,
    ) -> T:
        """Return what the work returns. If an exception comes to this thread, the work is cancelled.

        Either way, the work has ended when this returns, so nothing goes on behind the caller's back.

        :param interruption: What may cancel the work from elsewhere.
        :raises RuntimeError: if the crossing is closed, or is called from its own event loop.
        :raises asyncio.CancelledError: if the interruption came.
        """
        if self._thread == _thread.get_ident():
            raise RuntimeError("the event loop of a crossing can't wait for itself")
        crossed = self.prepare(work)
        try:
            crossed.begin()
            if interruption is not None:
                interruption.reach(crossed)
            return crossed.result()
        except BaseException:  # the work's own, or one that came to this thread
            crossed.cancel()
            self._wait_until(lambda: crossed.has_ended)
            raise

    def prepare(self, work: Callable[[], Coroutine[Any, Any, T]]) -> Crossed[T]:
        """Return the work before it begins, so that who begins it can cancel it, whatever happens meanwhile.

        :raises RuntimeError: if the crossing is closed, or was made before this process was forked.
        """
        if not self._is_started and not self.is_closed:
            # In one step: an exception in the middle of Thread.start() leaves threading's books in disorder.
            # If it comes before the next line there may be two threads, of which the second ends at once.
            _thread.start_new_thread(self._run, ())
            self._is_started = True
        if self._pid == os.getpid():
            self._wait_until(lambda: self._loop is not None or self.is_closed)
        if self._loop is None or self.is_closed or self._pid != os.getpid():
            raise RuntimeError("this crossing is closed")
        return Crossed(self, self._loop, work)

    def close(self) -> None:
        """Cancel what is under way, and wait until it has ended. May be called twice."""
        self.is_closed = True
        if self._loop is None or self._closing is None:
            return  # a thread that is about to begin sees that it is closed
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._closing.set)
        # A forked process has no such thread, and when the interpreter ends it stands still.
        is_ours = self._pid == os.getpid() and self._thread != _thread.get_ident()
        if is_ours and not sys.is_finalizing():
            self._wait_until(lambda: self.is_over)

    def _wait_until(self, is_so: Callable[[], bool]) -> None:
        """Wait without a timeout: SimpleQueue's goes wrong if a signal handler takes longer (python < 3.13)."""
        news: SimpleQueue[None] = SimpleQueue()
        self._waiting.append(news)
        try:
            while not is_so():
                news.get()
        finally:
            self._waiting.remove(news)

    def tell(self) -> None:
        """Have everybody who waits look again. Called on the loop's thread."""
        for news in tuple(self._waiting):
            news.put(None)

    def _run(self) -> None:
        if not self._first.acquire(blocking=False):
            return
        try:
            asyncio.run(self._live())
        finally:
            self._end()

    def _end(self) -> None:
        self.is_over = self.is_closed = True
        for crossed in tuple(self.under_way):
            crossed.give_up()
        self.tell()

    async def _live(self) -> None:
        """Run what is asked for until the crossing is closed."""
        closing = asyncio.Event()
        self._thread = _thread.get_ident()
        self._closing, self._loop = closing, asyncio.get_running_loop()
        self.tell()
        if not self.is_closed:
            await closing.wait()
        for crossed in tuple(self.under_way):
            crossed.cancel_now()
        me = asyncio.current_task()
        while tasks := [task for task in asyncio.all_tasks() if task is not me]:
            _, stubborn = await asyncio.wait(tasks, timeout=_CANCELS_AGAIN_AFTER)
            for task in stubborn:
                task.cancel()
        self._end()  # here, as asyncio.run() still waits for its threads, such as one that resolves a name


class Crossed(Generic[T]):
    """Work under way on the other side of a crossing.

    :param crossing: The crossing.
    :param loop: Its event loop.
    :param work: Begins the work; called on the loop.
    """

    def __init__(
        self,
        crossing: Crossing,
        loop: asyncio.AbstractEventLoop,
        work: Callable[[], Coroutine[Any, Any, T]],
    ) -> None:
        self._crossing = crossing
        self._loop = loop
        self._work = work
        self._task: asyncio.Task[T] | None = None
        self._is_cancelled = False
        self.has_ended = False
        self._ends: SimpleQueue[asyncio.Task[T] | None] = SimpleQueue()

    def begin(self) -> None:
        """Begin the work, once."""
        self._crossing.under_way.add(self)
        with suppress(RuntimeError):  # the loop has just ended
            self._loop.call_soon_threadsafe(self._begin)
        if self._crossing.is_over:
            self.give_up()

    def on_end(self, tell: Callable[[], object]) -> None:
        """Call this on the loop once the work has ended."""
        self._loop.call_soon_threadsafe(self._tell_end_to, tell)

    def cancel(self) -> None:
        """Cancel the work, if it has not ended. It never begins, if it has not begun."""
        try:
            self._loop.call_soon_threadsafe(self.cancel_now)
        except RuntimeError:  # the loop has ended
            self.give_up()

    def result(self) -> T:
        """Return what the work returned, once it has.

        :raises RuntimeError: if the crossing was closed meanwhile.
        """
        task = self._ends.get()
        if task is None or (task.cancelled() and self._crossing.is_closed):
            raise RuntimeError("this crossing was closed while something waited for it")
        return task.result()

    def give_up(self) -> None:
        """Let nobody wait for what never began."""
        self._crossing.under_way.discard(self)
        self.has_ended = True
        self._ends.put(None)

    def cancel_now(self) -> None:
        """Cancel the work, once: a second time would interrupt how it cleans up. Called on the loop."""
        if self._is_cancelled:
            return
        self._is_cancelled = True
        if self._task is not None:
            self._cancel_until_it_ends(self._task)
        else:
            self.give_up()
            self._crossing.tell()

    def _cancel_until_it_ends(self, task: asyncio.Task[T]) -> None:
        if not task.done():
            task.cancel()
            self._loop.call_later(_CANCELS_AGAIN_AFTER, self._cancel_until_it_ends, task)

    def _begin(self) -> None:
        if self._is_cancelled:
            return
        self._task = self._loop.create_task(self._work())
        self._task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[T]) -> None:
        self._crossing.under_way.discard(self)
        self.has_ended = True
        self._ends.put(task)
        self._crossing.tell()

    def _tell_end_to(self, tell: Callable[[], object]) -> None:
        if self._task is not None:
            self._task.add_done_callback(lambda _: tell())


class Interruption:
    """Ends calls from elsewhere: the one under way, and each that comes after it.

    :meth:`come` takes no lock, so a signal handler may call it, whatever it has interrupted.
    """

    def __init__(self) -> None:
        self._has_come = False
        self._reached: Crossed[Any] | None = None

    def come(self) -> None:
        """Cancel what is under way. Calls that begin later are cancelled as they begin."""
        self._has_come = True
        if self._reached is not None:
            self._reached.cancel()

    def reach(self, crossed: Crossed[Any]) -> None:
        """Have the interruption cancel this work, at once if it has come already."""
        self._reached = crossed  # before the question, so that one of the two sees the other
        if self._has_come:
            crossed.cancel()
