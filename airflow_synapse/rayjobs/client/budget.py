"""So many requests a second for one cluster, shared by all that ask for something there."""

from __future__ import annotations

import asyncio
from collections import deque
from enum import Enum

_SHARE_OF_DEBT = 0.5
"""What of the rate goes into paying off what requests cost beyond what was taken for them."""


class Lane(Enum):
    """What a request is for. The value is the lane's share when requests have to queue."""

    END = 4
    """What is left to do for a job that has ended: it holds up a task that could go on."""

    STATUS = 2
    LOG = 1


class RequestBudget:
    """Hands out the right to send requests, at a steady rate.

    Who asks within a lane is served in turn, so all jobs get the same. Between lanes the rate is
    shared by their weights (stride scheduling), and what one does not use the others get.

    :param rate: Requests per second.
    :param burst: Requests that may go out at once after a pause.
    """

    def __init__(self, rate: float, *, burst: float | None = None) -> None:
        self.rate = rate
        self._burst = max(1.0, rate / 5 if burst is None else burst)
        self._tokens = self._burst
        self._debt = 0.0
        self._filled_at = 0.0
        self._queues: dict[Lane, deque[tuple[float, asyncio.Future[None]]]] = {
            lane: deque() for lane in Lane
        }
        self._passes = dict.fromkeys(Lane, 0.0)
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_short(self) -> bool:
        """Whether somebody has to wait at present."""
        return any(self._queues.values())

    async def take(self, lane: Lane, cost: float = 1.0) -> None:
        """Wait for the right to send a request.

        :param cost: How many ordinary requests this one is worth.
        """
        self._fill()
        if self._tokens >= 1.0 and not self.is_short:
            self._tokens -= cost
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue = self._queues[lane]
        if not queue:  # a lane that rested has no claim to what it did not use
            busy = [self._passes[other] for other in Lane if self._queues[other]]
            self._passes[lane] = max(self._passes[lane], min(busy, default=0.0))
        queue.append((cost, turn))
        self._serve()
        await turn

    def charge(self, lane: Lane, cost: float) -> None:
        """Take note of a request that turned out to be worth ``cost`` more than was taken for it.

        It is paid off by and by, so that nobody has to wait until all of it is.
        """
        self._fill()
        self._debt += cost
        self._passes[lane] += cost / lane.value

    def _fill(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._filled_at:
            new = (now - self._filled_at) * self.rate
            paid = min(self._debt, new * _SHARE_OF_DEBT)
            self._debt -= paid
            self._tokens = min(self._burst, self._tokens + new - paid)
        self._filled_at = now

    def _serve(self) -> None:
        """Give all that can be given now, and come back when there is more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._fill()
        while self.is_short and self._tokens >= 1.0:
            lane = min((lane for lane in Lane if self._queues[lane]), key=self._passes.__getitem__)
            cost, turn = self._queues[lane].popleft()
            if not turn.done():  # cancelled while it waited
                self._tokens -= cost
                self._passes[lane] += cost / lane.value
                turn.set_result(None)
        if self.is_short:
            missing = (1.0 - self._tokens) / (self.rate * (1.0 - _SHARE_OF_DEBT))
            self._timer = asyncio.get_running_loop().call_later(max(missing, 0.001), self._serve)
