"""A head is asked as much as it bears."""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable

import pytest

from airflow_synapse.rayjobs.client.budget import Kind, Lane, RequestBudget
from airflow_synapse.rayjobs.client.head_pace import HeadPace, LoopDelay


class Head:
    """A head in a clock of its own. It answers so many looks at the same time, one after the other beyond."""

    def __init__(self, look: float, workers: int = 1) -> None:
        self.look = look
        self.free_at = [0.0] * workers
        self.pace = HeadPace()
        self.most_under_way = 0

    def run(self, seconds: float, begin: float = 0.0) -> int:
        """Send as much as the pace allows for some seconds, and return how many looks were answered."""
        now, answered, under_way = begin, 0, []
        while now < begin + seconds:
            while len(under_way) < self.pace.limit(now):
                free = min(self.free_at)
                self.free_at.remove(free)
                done = max(now, free) + self.look
                self.free_at.append(done)
                heapq.heappush(under_way, (done, now, not under_way))
            self.most_under_way = max(self.most_under_way, len(under_way))
            now, sent, is_alone = heapq.heappop(under_way)
            is_full = len(under_way) + 1 >= self.pace.limit(now)
            self.pace.note(now - sent, now, is_alone=is_alone, is_full=is_full)
            answered += 1
        return answered


def test_slow_head_gets_one_request_at_a_time() -> None:
    """Other people's looks take at most twice as long as at rest."""
    head = Head(0.1)

    answered = head.run(30.0)

    assert head.most_under_way <= 3
    assert head.pace.limit(29.0) == 1
    assert 250 <= answered <= 300


def test_head_that_works_on_one_at_a_time_is_used_fully() -> None:
    """A rise that nobody feels slows nothing down, and does not grow by itself."""
    head = Head(0.01)

    answered = head.run(120.0)

    assert answered >= 0.9 * 120 / 0.01
    assert head.most_under_way <= 12


def test_head_with_many_workers_gets_many_requests() -> None:
    """What is not felt is not held back."""
    head = Head(0.1, workers=8)

    head.run(10.0)

    assert head.most_under_way >= 8
    assert head.run(10.0, begin=10.0) >= 600


def test_head_that_becomes_slow_is_spared() -> None:
    """And one that recovers is used again."""
    head = Head(0.01)
    head.run(10.0)
    head.look = 0.5
    head.run(100.0, begin=10.0)
    assert head.pace.limit(110.0) <= 2
    head.look = 0.01

    head.run(60.0, begin=110.0)

    assert head.pace.look_seconds == pytest.approx(0.01)
    assert head.pace.limit(170.0) >= 3


def test_what_costs_more_than_a_look_is_made_up_for() -> None:
    """While a large file is paid for, one request fewer is under way."""
    head = Head(0.01)
    head.run(10.0)
    before = head.pace.limit(10.0)

    head.pace.charge(100.0, 10.0)

    assert head.pace.limit(10.5) == before - 1
    assert head.pace.limit(11.5) == before


async def test_own_delay_of_the_loop_is_known() -> None:
    """What blocks this process is not the head's fault."""
    delay, loop = LoopDelay(), asyncio.get_running_loop()
    with delay.watched():
        began = loop.time()
        await asyncio.sleep(0.03)
        time.sleep(0.2)  # on purpose
        await asyncio.sleep(0.03)

        assert 0.15 < delay.since(began) < 2.0


async def wait_for(statement: Callable[[], bool]) -> None:
    while not statement():
        await asyncio.sleep(0)


async def test_no_more_is_under_way_than_the_head_bears() -> None:
    """The others wait, but for kills."""
    budget = RequestBudget(1000.0)
    under_way: list[str] = []
    done = asyncio.Event()

    async def ask(name: str, lane: Lane, kind: Kind) -> None:
        async with budget.turn(lane, kind):
            under_way.append(name)
            await done.wait()

    first = asyncio.create_task(ask("look", Lane.STATUS, Kind.LOOK))
    await wait_for(lambda: under_way == ["look"])
    others = [
        asyncio.create_task(ask("second look", Lane.STATUS, Kind.LOOK)),
        asyncio.create_task(ask("kill", Lane.KILL, Kind.OTHER)),
        asyncio.create_task(ask("log", Lane.LOG, Kind.STREAM)),
    ]
    await wait_for(lambda: len(under_way) == 3)
    assert sorted(under_way) == ["kill", "log", "look"]

    done.set()
    await asyncio.gather(first, *others)


async def test_who_gives_up_keeps_no_place() -> None:
    """A request that is cancelled while it waits or while it is under way leaves its place."""
    budget = RequestBudget(1000.0)

    async def ask() -> None:
        async with budget.turn(Lane.STATUS, Kind.LOOK):
            await asyncio.sleep(3600)

    tasks = [asyncio.create_task(ask()) for _ in range(3)]
    await asyncio.sleep(0.01)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    async with budget.turn(Lane.STATUS, Kind.LOOK):
        assert budget._in_flight == 1


def test_looks_that_seem_to_take_no_time_are_looks_all_the_same() -> None:
    """Where the own delay of a busy process explains all, nothing is divided by zero."""
    pace = HeadPace()
    for _ in range(5):
        pace.note(0.0, 1.0, is_alone=True, is_full=True)

    assert pace.look_seconds > 0
    assert pace.looks_per_second < float("inf")
    assert pace.limit(1.0) >= 1
