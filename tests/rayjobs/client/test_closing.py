"""Whoever is cancelled at whatever moment, nothing stays open."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import aiohttp
import pytest
from anyio import CancelScope

from airflow_synapse.rayjobs.client.closing import close_for_sure
from airflow_synapse.rayjobs.models import RayCluster
from airflow_synapse.rayjobs.watching.cluster_watch import shared_watch
from airflow_synapse.rayjobs.watching.job_watcher import JobWatcher, WatchOptions
from tests.support.paces import FAST_PACE
from tests.support.stub_dashboard import StubDashboard
from tests.support.stub_jobs import NEVER

LOGGER = logging.getLogger("the task's log")


class Door:
    """Takes its time to close."""

    def __init__(self) -> None:
        self.closes, self.may_close = asyncio.Event(), asyncio.Event()
        self.is_closed = False

    async def close(self) -> None:
        self.closes.set()
        await self.may_close.wait()
        self.is_closed = True


async def test_cancellation_waits_until_all_is_closed() -> None:
    """However often it comes. After that, it takes effect."""
    door = Door()
    closing = asyncio.create_task(close_for_sure(door.close()))
    await door.closes.wait()
    for _ in range(3):
        closing.cancel()
        await asyncio.sleep(0)

    door.may_close.set()
    with pytest.raises(asyncio.CancelledError):
        await closing

    assert door.is_closed


async def test_cancelled_scope_closes_too() -> None:
    """In a scope that is cancelled already, anyio cancels each await."""
    door = Door()
    door.may_close.set()
    with CancelScope() as scope:
        scope.cancel()
        await close_for_sure(door.close())

    assert door.is_closed


async def test_what_closing_raises_is_raised() -> None:
    """It is not lost in the task that closes."""

    async def break_off() -> None:
        raise OSError("broken")

    with pytest.raises(OSError, match="broken"):
        await close_for_sure(break_off())


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> list[aiohttp.ClientSession]:
    """All HTTP sessions that were made."""
    made: list[aiohttp.ClientSession] = []
    init = aiohttp.ClientSession.__init__

    def note(session: aiohttp.ClientSession, *args: Any, **kwargs: Any) -> None:
        made.append(session)
        init(session, *args, **kwargs)

    monkeypatch.setattr(aiohttp.ClientSession, "__init__", note)
    return made


@pytest.mark.parametrize("runtime", [0.0, NEVER], ids=["ended", "running"])
async def test_watch_that_is_cancelled_anywhere_leaves_nothing_open(
    stub: StubDashboard, sessions: list[aiohttp.ClientSession], runtime: float
) -> None:
    """At each of its first steps, and so in the middle of closing, no session and no task is left."""
    stub.add_job("j", runtime=runtime, log=((0.0, b"line\n" * 100),))

    async def watch() -> None:
        async with shared_watch(RayCluster(stub.url), pace=FAST_PACE) as shared:
            options = WatchOptions(poll_interval=0.05)
            watcher = JobWatcher(shared, "j", options=options, emit=len, logger=LOGGER)
            await watcher.watch()

    for steps in range(90):
        watching = asyncio.create_task(watch())
        for _ in range(steps):
            await asyncio.sleep(0 if steps < 60 else 0.001)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        assert not [session for session in sessions if not session.closed], steps
        sessions.clear()
