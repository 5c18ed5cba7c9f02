"""Limits the requests to a cluster to what its head node can handle, and to a given rate.

All clients of a cluster on one event loop share one budget.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import Enum
from weakref import WeakKeyDictionary, WeakValueDictionary

from airflow_synapse.rayjobs.client.head_pace import HeadPace, LoopDelay

REQUESTS_PER_SECOND = 1000.0
"""The most requests per second to a cluster unless configured otherwise."""


class Lane(Enum):
    """What a request is for. The value is the lane's share when requests have to queue."""

    KILL = 0
    """Stops a job that nobody wants any more. It goes before all other requests."""

    END = 4
    """What is left to do for a job that has ended: a task that could go on waits for it."""

    CALL = 3
    """A call that somebody waits for: a submission, an upload, a question about one job."""

    STATUS = 2
    LOG = 1


class Kind(Enum):
    """What a request costs the head node."""

    LOOK = "look"
    """A status request for one job. How long it takes shows how busy the head node is."""

    LIST = "list"
    """A list of all jobs, which holds up everything else."""

    OTHER = "other"
    """Any other short request."""

    STREAM = "stream"
    """A transfer of many bytes, or a request that the head does not answer itself."""


_LONGEST_KEPT = 5.0
"""Seconds after which a hanging request loses its place."""


class _Queues:
    """Requests that wait, served by the weights of their lanes (stride scheduling), kills first.

    Requests within a lane are served in turn, so all jobs get the same. What one lane does not use the
    others get.
    """

    def __init__(self) -> None:
        self._queues: dict[Lane, deque[asyncio.Future[None]]] = {lane: deque() for lane in Lane}
        self._passes = {lane: 0.0 for lane in Lane if lane is not Lane.KILL}
        self._now = 0.0

    def __bool__(self) -> bool:
        return any(self._queues.values())

    def wait(self, lane: Lane) -> asyncio.Future[None]:
        """Return what is done when the request may go on."""
        if lane in self._passes and not self._queues[lane]:  # no claim to what was not used
            self._passes[lane] = max(self._passes[lane], self._now)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues[lane].append(turn)
        return turn

    def let_one_go(self) -> bool:
        """Let the next request be sent, and return whether one was still waiting."""
        turn = self._pop()
        if turn is None or turn.done():  # cancelled while it waited
            return False
        turn.set_result(None)
        return True

    def _pop(self) -> asyncio.Future[None] | None:
        if self._queues[Lane.KILL]:
            return self._queues[Lane.KILL].popleft()
        waiting = [lane for lane in self._passes if self._queues[lane]]
        if not waiting:
            return None
        lane = min(waiting, key=self._passes.__getitem__)
        self._now = self._passes[lane]
        self._passes[lane] += 1.0 / lane.value
        return self._queues[lane].popleft()


class RequestBudget:
    """Gives the right to send requests.

    :param rate: Requests per second at most, of all kinds.
    :param burst: Requests that may go out at once after a pause.
    :param pace: How many requests the head node can handle.
    """

    def __init__(
        self, rate: float, *, burst: float | None = None, pace: HeadPace | None = None
    ) -> None:
        self.rate = rate
        self.pace = pace or HeadPace()
        self._burst = max(1.0, rate / 5 if burst is None else burst)
        self._tokens = self._burst
        self._filled_at = 0.0
        self._delay = LoopDelay()
        self._in_flight = 0
        self._listing = 0
        self._lists_begun = 0
        self.list_seconds = 0.0
        self._for_a_place = _Queues()
        self._for_a_token = _Queues()
        self._queued_for = dict.fromkeys(Lane, 0.0)
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_short(self) -> bool:
        """Whether a request must wait at present."""
        return bool(self._for_a_place) or bool(self._for_a_token)

    @property
    def looks_per_second(self) -> float:
        """How many status requests per second the head node can handle, as far as is known, within the rate."""
        return min(self.rate, self.pace.looks_per_second)

    @property
    def places(self) -> int:
        """How many requests may be under way at present."""
        return self.pace.limit(asyncio.get_running_loop().time())

    def queued_for(self, lane: Lane) -> float:
        """Return for how many seconds the lane's last request had to wait."""
        return self._queued_for[lane]

    @asynccontextmanager
    async def turn(self, lane: Lane, kind: Kind = Kind.OTHER) -> AsyncIterator[Turn]:
        """Wait for the right to send a request, and keep a place for it until it is over.

        A request that hangs gives its place to others after a while.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        has_place = kind is not Kind.STREAM
        if has_place:
            await self._take_place(lane)
        turn = Turn(self, kind, has_place=has_place)
        giving_up = loop.call_later(_LONGEST_KEPT, turn.leave)
        try:
            await self._take_token(lane)
            self._queued_for[lane] = loop.time() - began
            with self._delay.watched():
                turn.sent()
                yield turn
        finally:
            giving_up.cancel()
            turn.leave()

    def leave(self) -> None:
        """Give a place to the next request."""
        self._in_flight -= 1
        self._serve_places()

    def charge(self, looks: float) -> None:
        """Note that something kept the head node as busy as this many status requests do."""
        self.pace.charge(looks, asyncio.get_running_loop().time())

    def begin(self, kind: Kind) -> _Sent:
        """Note that a request is sent now, and return what :meth:`end` takes."""
        if kind is Kind.LIST:
            self._listing += 1
            self._lists_begun += 1
        now = asyncio.get_running_loop().time()
        return _Sent(now, self._lists_begun, is_alone=self._in_flight == 1)

    def end(self, kind: Kind, sent: _Sent) -> None:
        """Note that it is being answered."""
        now = asyncio.get_running_loop().time()
        seconds = max(0.0, now - sent.at - self._delay.since(sent.at))
        if kind is Kind.LIST:
            self._listing -= 1
            self.list_seconds = seconds
        elif kind is Kind.LOOK and not self._listing and sent.lists_begun == self._lists_begun:
            is_full = self._in_flight >= self.pace.limit(now)
            self.pace.note(seconds, now, is_alone=sent.is_alone, is_full=is_full)

    async def _take_place(self, lane: Lane) -> None:
        """Wait until the head node has room for another request. Kills do not wait."""
        limit = self.pace.limit(asyncio.get_running_loop().time())
        if lane is Lane.KILL or (self._in_flight < limit and not self._for_a_place):
            self._in_flight += 1
            return
        turn = self._for_a_place.wait(lane)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the place was given just now
                self._in_flight -= 1
                self._serve_places()
            raise

    def _serve_places(self) -> None:
        limit = self.pace.limit(asyncio.get_running_loop().time())
        while self._for_a_place and self._in_flight < limit:
            if self._for_a_place.let_one_go():
                self._in_flight += 1

    async def _take_token(self, lane: Lane) -> None:
        """Wait until the rate allows one more request."""
        self._fill()
        if self._tokens >= 1.0 and not self._for_a_token:
            self._tokens -= 1.0
            return
        turn = self._for_a_token.wait(lane)
        self._serve_tokens()
        await turn

    def _fill(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._filled_at:
            new = (now - self._filled_at) * self.rate
            self._tokens = min(self._burst, self._tokens + new)
        self._filled_at = now

    def _serve_tokens(self) -> None:
        """Grant all turns that are free now, and come back when there are more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._fill()
        while self._for_a_token and self._tokens >= 1.0:
            if self._for_a_token.let_one_go():
                self._tokens -= 1.0
        if self._for_a_token:
            missing = (1.0 - self._tokens) / self.rate
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(missing, 0.001), self._serve_tokens)


@dataclass(frozen=True)
class _Sent:
    """A request on its way.

    :param at: When it was sent, on the event loop's clock.
    :param lists_begun: How many lists had been asked for.
    :param is_alone: Whether no other request kept a place then.
    """

    at: float
    lists_begun: int
    is_alone: bool


class Turn:
    """One request's right to be sent.

    :param budget: The budget that gave it.
    :param has_place: Whether it keeps a place among those under way.
    """

    def __init__(self, budget: RequestBudget, kind: Kind, *, has_place: bool) -> None:
        self._budget = budget
        self._kind = kind
        self._has_place = has_place
        self._sent: _Sent | None = None

    def sent(self) -> None:
        """Note that the request is sent now."""
        self._sent = self._budget.begin(self._kind)

    def answered(self) -> None:
        """Note that its answer begins."""
        sent, self._sent = self._sent, None
        if sent is not None:
            self._budget.end(self._kind, sent)

    def leave(self) -> None:
        """Give up the place, if it is still kept."""
        if self._has_place:
            self._has_place = False
            self._budget.leave()
        if self._sent is not None and self._kind is Kind.LIST:
            self.answered()  # it failed or hangs


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
