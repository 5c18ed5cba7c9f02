"""Limits how many logs of one cluster are read at the same time, and lets them take turns."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from anyio import CancelScope

LONGEST_TURN = 0.5
"""Seconds after which a log gives up its place if another log waits."""


class LogPlace:
    """A place that is taken.

    :param turn: Seconds after which it is left if another log waits.
    :param told: Called when the turn begins.
    """

    def __init__(self, turn: float, told: Callable[[], None]) -> None:
        self.scope = CancelScope()
        self.until = float("inf")
        self._turn = turn
        self._told = told

    @property
    def is_wanted(self) -> bool:
        """Whether the place has to be left. The scope in which it is used is cancelled then, too."""
        return self.scope.cancel_called

    def begin(self) -> None:
        """Let the turn begin, if it has not begun."""
        if self.until == float("inf"):
            self.until = asyncio.get_running_loop().time() + self._turn
            self._told()


class LogPlaces:
    """Places in which logs are read. With more logs than places, they take turns.

    A log that has had its place for a while gives it to a log that waits, and continues later. A log that
    left in the middle waits behind those that were read to their end the last time. So the one line of
    a quiet log does not wait until chatty logs have ended, which may be never.

    :param count: How many logs are read at the same time.
    :param longest_turn: Seconds after which a place is left if another log waits.
    """

    def __init__(self, count: int, *, longest_turn: float = LONGEST_TURN) -> None:
        self._free = count
        self._longest_turn = longest_turn
        self._taken: list[LogPlace] = []
        self._queues: tuple[deque[asyncio.Future[None]], ...] = (deque(), deque())
        self.waiting = 0
        self._timer: asyncio.TimerHandle | None = None

    @asynccontextmanager
    async def place(
        self, *, is_behind: bool = False, begins_later: bool = False
    ) -> AsyncIterator[LogPlace]:
        """Wait for a place, and give it.

        :param is_behind: Whether the log left its last place in the middle.
        :param begins_later: Whether its turn begins only at :meth:`LogPlace.begin`: who first has to read
            again what it has would else never get on.
        """
        await self._enter(is_behind=is_behind)
        place = LogPlace(self._longest_turn, self._reclaim)
        self._taken.append(place)
        if not begins_later:
            place.begin()
        try:
            yield place
        finally:
            self._taken.remove(place)
            self._leave()

    async def _enter(self, *, is_behind: bool) -> None:
        if self._free:  # then nobody waits
            self._free -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues[is_behind].append(turn)
        self.waiting += 1
        self._reclaim()
        try:
            await turn
        except asyncio.CancelledError:
            if turn.cancelled():
                self.waiting -= 1
            else:  # the place was given just now
                self._leave()
            raise

    def _leave(self) -> None:
        """Give the place to the next one."""
        for queue in self._queues:
            while queue:
                turn = queue.popleft()
                if not turn.done():
                    self.waiting -= 1
                    turn.set_result(None)
                    return
        self._free += 1

    def _reclaim(self) -> None:
        """Ask as many logs to leave as are waiting, starting with the longest overdue."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        leaving = sum(place.is_wanted for place in self._taken)
        staying = [place for place in self._taken if not place.is_wanted]
        staying.sort(key=lambda place: place.until)
        loop = asyncio.get_running_loop()
        for place in staying[: max(0, self.waiting - leaving)]:
            if place.until > loop.time():
                if place.until != float("inf"):
                    self._timer = loop.call_at(place.until, self._reclaim)
                return
            place.scope.cancel()
