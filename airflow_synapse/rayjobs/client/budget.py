"""So many requests a second for one cluster, shared by all that ask for something there."""

from __future__ import annotations

import asyncio
from collections import deque
from enum import Enum
from weakref import WeakKeyDictionary, WeakValueDictionary

REQUESTS_PER_SECOND = 100.0
"""What a cluster is asked at most where nobody says otherwise."""

_SHARE_OF_DEBT = 0.5
"""The share of the rate that pays for what requests cost beyond what was taken for them."""


class Lane(Enum):
    """What a request is for. The value is the lane's share when requests have to queue."""

    KILL = 0
    """Stops a job that nobody wants any more. It goes before all others."""

    END = 4
    """What is left to do for a job that has ended: a task that could go on waits for it."""

    CALL = 3
    """A call that somebody waits for: a submission, an upload, a question about one job."""

    STATUS = 2
    LOG = 1


_SHARING = tuple(lane for lane in Lane if lane is not Lane.KILL)


class RequestBudget:
    """Gives the right to send requests, at a steady rate.

    Requests within a lane are served in turn, so all jobs get the same. Lanes share the rate by their
    weights (stride scheduling), and what one does not use the others get.

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
        self._passes = dict.fromkeys(_SHARING, 0.0)
        self._queued_for = dict.fromkeys(Lane, 0.0)
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_short(self) -> bool:
        """Whether a request has to wait at present."""
        return any(self._queues.values())

    def queued_for(self, lane: Lane) -> float:
        """Return for how many seconds the lane's last request had to wait."""
        return self._queued_for[lane]

    async def take(self, lane: Lane, cost: float = 1.0) -> None:
        """Wait for the right to send a request.

        :param cost: How many ordinary requests this one is worth.
        """
        self._fill()
        if self._tokens >= 1.0 and not self.is_short:
            self._tokens -= cost
            self._queued_for[lane] = 0.0
            return
        loop = asyncio.get_running_loop()
        began, turn = loop.time(), loop.create_future()
        self._enter(lane)
        self._queues[lane].append((cost, turn))
        self._serve()
        await turn
        self._queued_for[lane] = loop.time() - began

    def charge(self, lane: Lane, cost: float) -> None:
        """Take note of a request that turned out to be worth ``cost`` more than was taken for it.

        It is paid off bit by bit, so that nobody has to wait until all of it is.
        """
        self._fill()
        self._debt += cost
        if lane in self._passes:
            self._passes[lane] += cost / lane.value

    def _enter(self, lane: Lane) -> None:
        """Give a lane that rested no claim to what it did not use."""
        if lane in self._passes and not self._queues[lane]:
            busy = [self._passes[other] for other in _SHARING if self._queues[other]]
            self._passes[lane] = max(self._passes[lane], min(busy, default=0.0))

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
            lane = self._next_lane()
            cost, turn = self._queues[lane].popleft()
            if not turn.done():  # cancelled while it waited
                self._tokens -= cost
                if lane in self._passes:
                    self._passes[lane] += cost / lane.value
                turn.set_result(None)
        if self.is_short:
            missing = (1.0 - self._tokens) / (self.rate * (1.0 - _SHARE_OF_DEBT))
            self._timer = asyncio.get_running_loop().call_later(max(missing, 0.001), self._serve)

    def _next_lane(self) -> Lane:
        if self._queues[Lane.KILL]:
            return Lane.KILL
        return min((lane for lane in _SHARING if self._queues[lane]), key=self._passes.__getitem__)


_Budgets = WeakValueDictionary[tuple[str, float], RequestBudget]
_budgets: WeakKeyDictionary[asyncio.AbstractEventLoop, _Budgets] = WeakKeyDictionary()


def shared_budget(address: str, rate: float) -> RequestBudget:
    """Return the budget that all sessions with one address share on the running event loop.

    It lives as long as somebody holds it, whatever credentials each session has.
    """
    budgets = _budgets.setdefault(asyncio.get_running_loop(), WeakValueDictionary())
    budget = budgets.get((address, rate))
    if budget is None:
        budget = budgets[address, rate] = RequestBudget(rate)
    return budget
