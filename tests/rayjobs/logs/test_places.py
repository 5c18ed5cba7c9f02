"""Logs take turns in the places that a cluster has for them."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from airflow_synapse.rayjobs.logs.places import LogPlace, LogPlaces


async def read_for_ever(places: LogPlaces, *, is_behind: bool = False) -> LogPlace:
    """Keep a place until it has to be left."""
    async with places.place(is_behind=is_behind) as place:
        with place.scope:
            await asyncio.sleep(3600)
    return place


async def test_there_are_as_many_places_as_said() -> None:
    """One more log waits until one leaves."""
    places = LogPlaces(2, longest_turn=3600)
    async with AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(places.place())
        third = asyncio.create_task(read_for_ever(places))
        await asyncio.sleep(0)
        assert places.waiting == 1

    await asyncio.sleep(0.01)
    assert places.waiting == 0
    third.cancel()


async def test_place_is_kept_while_nobody_wants_it() -> None:
    """A log that is alone is read in one go."""
    places = LogPlaces(1, longest_turn=0.01)
    async with places.place() as place:
        await asyncio.sleep(0.05)

    assert not place.is_wanted


async def test_place_is_left_to_who_waits() -> None:
    """However long a log would go on, the next one gets its turn."""
    places = LogPlaces(1, longest_turn=0.02)
    reading = asyncio.create_task(read_for_ever(places))
    await asyncio.sleep(0)

    async with places.place() as place:
        assert not place.is_wanted

    assert (await reading).scope.cancelled_caught


async def test_as_many_leave_as_are_wanted() -> None:
    """One that waits takes one place, of who has had it the longest."""
    places = LogPlaces(3, longest_turn=0.02)
    reading = []
    for _ in range(3):
        reading.append(asyncio.create_task(read_for_ever(places)))
        await asyncio.sleep(0.001)

    async with places.place():
        await asyncio.sleep(0.05)
        assert [task.done() for task in reading] == [True, False, False]

    for task in reading:
        task.cancel()


async def test_turn_may_begin_later() -> None:
    """A log that is read again from its start is not sent away before it has got on."""
    places = LogPlaces(1, longest_turn=0.01)
    order: list[str] = []

    async def read_again() -> None:
        async with places.place(begins_later=True) as place:
            with place.scope:
                await asyncio.sleep(0.05)
                order.append("read again")
                place.begin()
                await asyncio.sleep(3600)

    reading = asyncio.create_task(read_again())
    await asyncio.sleep(0)
    async with places.place():
        order.append("next")
    await reading

    assert order == ["read again", "next"]


async def test_place_that_is_left_while_somebody_gives_up_is_taken() -> None:
    """No place gets lost between a waiter that was cancelled and one that comes at that moment."""
    places = LogPlaces(1, longest_turn=3600)
    async with places.place():
        waiting = asyncio.create_task(read_for_ever(places))
        await asyncio.sleep(0)
        waiting.cancel()

    async with places.place():
        await asyncio.gather(waiting, return_exceptions=True)

    assert (places.waiting, places._free) == (0, 1)


async def test_who_left_in_the_middle_waits_behind_the_others() -> None:
    """A quiet log goes before chatty ones that were there first."""
    places = LogPlaces(1, longest_turn=3600)
    order: list[str] = []

    async def read(name: str, *, is_behind: bool) -> None:
        async with places.place(is_behind=is_behind):
            order.append(name)

    async with places.place():
        waiting = [
            asyncio.create_task(read("chatty", is_behind=True)),
            asyncio.create_task(read("quiet", is_behind=False)),
        ]
        await asyncio.sleep(0)
    await asyncio.gather(*waiting)

    assert order == ["quiet", "chatty"]


async def test_who_gives_up_waiting_takes_no_place() -> None:
    """Also if it is cancelled at the moment in which it gets one."""
    places = LogPlaces(1, longest_turn=3600)
    async with places.place():
        waiting = asyncio.create_task(read_for_ever(places))
        await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting

    async with places.place():
        assert places.waiting == 0
