"""The request budget of a cluster. Times are compared from below only, so a busy machine is no failure."""

from __future__ import annotations

import asyncio

import pytest

from airflow_synapse.rayjobs.client.budget import Kind, Lane, RequestBudget, shared_budget


async def take_all(budget: RequestBudget, lane: Lane, count: int, order: list[Lane]) -> None:
    async def one() -> None:
        async with budget.turn(lane, Kind.STREAM):
            order.append(lane)

    await asyncio.gather(*(one() for _ in range(count)))


async def test_rate_holds_whoever_asks() -> None:
    """Many that ask at once get no more than the rate and one burst."""
    budget = RequestBudget(100.0, burst=5)
    loop = asyncio.get_running_loop()
    began = loop.time()

    await take_all(budget, Lane.STATUS, 35, [])

    assert loop.time() - began >= 0.28


async def test_nobody_waits_while_there_is_enough() -> None:
    """Requests within the burst go out at once."""
    budget = RequestBudget(0.001, burst=5)

    await asyncio.wait_for(take_all(budget, Lane.LOG, 5, []), 10)

    assert not budget.is_short


async def test_lanes_share_by_weight() -> None:
    """Where all queue, the end of a job gets four times what logs get, and none gets nothing."""
    budget = RequestBudget(500.0, burst=1)
    order: list[Lane] = []
    await take_all(budget, Lane.LOG, 1, [])

    sharing = (Lane.END, Lane.STATUS, Lane.LOG)
    await asyncio.gather(*(take_all(budget, lane, 70, order) for lane in sharing))

    first = order[:70]
    assert 37 <= first.count(Lane.END) <= 43
    assert 17 <= first.count(Lane.STATUS) <= 23
    assert 7 <= first.count(Lane.LOG) <= 13


async def test_one_lane_may_have_it_all() -> None:
    """What the others do not use is not kept for them, and not owed to them later."""
    budget = RequestBudget(500.0, burst=1)
    order: list[Lane] = []
    await take_all(budget, Lane.STATUS, 100, order)

    await asyncio.gather(*(take_all(budget, lane, 30, order) for lane in (Lane.STATUS, Lane.LOG)))

    assert order[100:118].count(Lane.LOG) <= 8


async def test_who_leaves_takes_nothing() -> None:
    """A caller that is cancelled while it waits gives its place to the next."""
    budget = RequestBudget(20.0, burst=1)
    await take_all(budget, Lane.LOG, 1, [])
    leaving = asyncio.create_task(take_all(budget, Lane.LOG, 1, []))
    await asyncio.sleep(0)
    staying = asyncio.create_task(take_all(budget, Lane.LOG, 1, []))
    await asyncio.sleep(0)

    leaving.cancel()

    with pytest.raises(asyncio.CancelledError):
        await leaving
    await asyncio.wait_for(staying, 10)


async def test_kill_goes_first() -> None:
    """However many wait, the request that stops a job is the next to go out."""
    budget = RequestBudget(1e-6, burst=1)
    order: list[Lane] = []
    await take_all(budget, Lane.LOG, 1, [])
    lanes = (*(lane for lane in Lane if lane is not Lane.KILL), Lane.KILL)
    waiting = [asyncio.create_task(take_all(budget, lane, 3, order)) for lane in lanes]
    while sum(len(queue) for queue in budget._for_a_token._queues.values()) < 3 * len(lanes):
        await asyncio.sleep(0)

    budget._burst = budget._tokens = 3.0
    budget._serve_tokens()
    while len(order) < 3:
        await asyncio.sleep(0)

    assert order == [Lane.KILL] * 3
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_sessions_with_one_address_share_a_budget() -> None:
    """It is the cluster that is spared, whoever asks it; another rate or address is another budget."""
    ours = shared_budget("http://head:8265", 10.0)

    assert shared_budget("http://head:8265", 10.0) is ours
    assert shared_budget("http://head:8266", 10.0) is not ours
    assert shared_budget("http://head:8265", 20.0) is not ours


async def test_lane_that_queued_for_long_is_not_served_last_for_long() -> None:
    """What it had counts for nothing once others come."""
    budget = RequestBudget(1000.0, burst=1)
    await take_all(budget, Lane.STATUS, 200, [])
    order: list[Lane] = []

    logs = asyncio.create_task(take_all(budget, Lane.LOG, 50, order))
    await asyncio.sleep(0)
    await take_all(budget, Lane.STATUS, 1, order)
    await logs

    assert order.index(Lane.STATUS) < 5
