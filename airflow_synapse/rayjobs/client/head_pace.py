"""Finds out how many requests a head node can handle, from how long its answers take."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

_FIRST = 2.0
_MOST = 64.0
"""Requests that are under way at the same time, at first and at most."""

_TIMES_REST = 1.5
_RISE_THAT_IS_NONE = 0.05
"""An answer may take this many times as long as at rest, or this many seconds longer. Beyond that, other
clients' requests, which wait behind ours, would take more than twice as long."""

_FAST = 0.5
_SLOW = 0.1
"""By how much the number under way grows with each answer, before the head was first found busy, and later
for all that are under way together."""

_CUT = 0.7
"""The factor for the number of requests under way when the head node turns out to be busy."""

_REST_IS_KNOWN_FOR = 30.0
_SAMPLES_OF_REST = 3
"""Seconds after which it is measured anew how long an answer takes at rest, and the looks that takes. Until
then one request at a time is under way."""

_NEW_SHARE = 0.2
"""The weight of the last answer in what is typical."""

_USUAL_LOOK = 0.003
"""Seconds that a look is assumed to take at first, as with Ray 2.60 on an idle head node."""


_SHORTEST_LOOK = 0.0005
"""Seconds that no look falls below: where this process is busy, its own delay may seem to be all of it."""


class HeadPace:
    """How many requests may be under way, and how many looks a second that makes. Pure.

    As long as answers take about as long as at rest, more requests are sent at the same time; when they
    take longer, fewer. So each head is asked as much as it bears, and a slow one is not drowned.
    """

    def __init__(self) -> None:
        self._limit = _FIRST
        self._is_growing_fast = True
        self._rest: float | None = None
        self._rest_known_at = 0.0
        self._samples: list[float] = []
        self._typical = _USUAL_LOOK
        self._cut_at = float("-inf")
        self._paid_at = float("-inf")

    @property
    def look_seconds(self) -> float:
        """Seconds that a look takes at rest."""
        return _USUAL_LOOK if self._rest is None else max(self._rest, _SHORTEST_LOOK)

    @property
    def bearable_rise(self) -> float:
        """Seconds by which other people's requests may be held up."""
        return max(self.look_seconds * (_TIMES_REST - 1.0), _RISE_THAT_IS_NONE)

    @property
    def looks_per_second(self) -> float:
        """How many looks a second the head answers, by what is known now."""
        return max(1.0, int(self._limit)) / max(self._typical, 1e-4)

    def limit(self, now: float) -> int:
        """Return how many requests may be under way.

        :param now: A monotonic time in seconds.
        """
        if self._is_rest_unknown(now):
            return 1
        return max(1, int(self._limit) - (now < self._paid_at))

    def note(self, latency: float, now: float, *, is_alone: bool, is_full: bool) -> None:
        """Take note of how long a look took.

        :param latency: Seconds.
        :param is_alone: Whether no other request of ours was under way when it was sent.
        :param is_full: Whether as many were under way as may be.
        """
        latency = max(0.0, latency)
        self._typical += _NEW_SHARE * (latency - self._typical)
        if is_alone:
            self._note_rest(latency, now)
        if self._rest is None:
            return
        if latency > self._rest + self.bearable_rise:
            self._cut(latency, now)
        elif is_full:
            self._limit += _FAST if self._is_growing_fast else _SLOW / self._limit
            self._limit = min(self._limit, _MOST)

    def charge(self, looks: float, now: float) -> None:
        """Leave room for something that kept the head node as busy as this many looks do."""
        self._paid_at = max(now, self._paid_at) + looks * self.look_seconds

    def _is_rest_unknown(self, now: float) -> bool:
        return self._rest is None or now - self._rest_known_at > _REST_IS_KNOWN_FOR

    def _note_rest(self, latency: float, now: float) -> None:
        if not self._is_rest_unknown(now):
            self._rest = min(latency, self._rest or latency)
            return
        self._samples.append(latency)
        if len(self._samples) >= _SAMPLES_OF_REST:
            self._rest, self._rest_known_at = min(self._samples), now
            self._samples.clear()

    def _cut(self, latency: float, now: float) -> None:
        """Send fewer, once for all answers that were under way at the same time."""
        if now - self._cut_at >= latency:
            self._limit = max(1.0, self._limit * _CUT)
            self._cut_at = now
            self._is_growing_fast = False


class LoopDelay:
    """How late the event loop is, so that its own delay is not mistaken for the head node's."""

    _TICK = 0.01
    _LONGEST = 64

    def __init__(self) -> None:
        self._users = 0
        self._due = 0.0
        self._late: deque[tuple[float, float]] = deque(maxlen=self._LONGEST)
        self._timer: asyncio.TimerHandle | None = None

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch the loop meanwhile."""
        self._users += 1
        if self._timer is None:
            self._schedule()
        try:
            yield
        finally:
            self._users -= 1
            if not self._users and self._timer is not None:
                self._timer.cancel()
                self._timer = None

    def since(self, began: float) -> float:
        """Return for how many seconds the loop was late since then, by its own clock."""
        now = asyncio.get_running_loop().time()
        late = sum(late for at, late in self._late if at >= began)
        return late + max(0.0, now - self._due)

    def _schedule(self) -> None:
        loop = asyncio.get_running_loop()
        self._due = loop.time() + self._TICK
        self._timer = loop.call_at(self._due, self._tick)

    def _tick(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._due > self._TICK / 4:
            self._late.append((now, now - self._due))
        self._schedule()
