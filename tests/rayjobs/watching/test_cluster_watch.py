"""Who shares what of a cluster's watch."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from airflow_synapse.rayjobs.models import RayCluster
from airflow_synapse.rayjobs.watching.cluster_watch import WatchLimits, shared_watch
from tests.support.stub_dashboard import StubDashboard
from tests.support.stub_jobs import NEVER

URL = "http://127.0.0.1:8265"


async def test_watchers_of_a_cluster_share() -> None:
    """One session and one budget, for as long as somebody watches."""
    async with shared_watch(RayCluster(URL)) as first:
        async with shared_watch(RayCluster(URL)) as second:
            assert second is first
        async with shared_watch(RayCluster(URL)) as third:
            assert third is first
    async with shared_watch(RayCluster(URL)) as later:
        assert later is not first


@pytest.mark.parametrize(
    "other",
    [
        RayCluster(URL, token="other"),
        RayCluster(URL, headers={"X-Key": "other"}),
        RayCluster(URL, cookies={"session": "other"}),
        RayCluster(URL, verify=False),
        RayCluster(URL, client_cert="me.pem"),
        RayCluster(URL, client_cert=None, client_key="me.key"),
        RayCluster("http://127.0.0.1:8266"),
    ],
    ids=["token", "headers", "cookies", "verify", "certificate", "key", "address"],
)
async def test_other_credentials_share_nothing(other: RayCluster) -> None:
    """A session holds credentials, so it serves only those who have the same."""
    async with shared_watch(RayCluster(URL)) as ours, shared_watch(other) as theirs:
        assert theirs is not ours
        assert theirs.api is not ours.api


async def test_other_limits_have_a_budget_of_their_own() -> None:
    """Who sets another rate gets it."""
    async with (
        shared_watch(RayCluster(URL), WatchLimits(7.0)) as slow,
        shared_watch(RayCluster(URL)) as usual,
    ):
        assert slow.api.budget.rate == 7.0
        assert usual.api.budget.rate > 7.0


async def test_nothing_is_left_when_nobody_watches(stub: StubDashboard) -> None:
    """The last who leaves ends all tasks and closes the connections."""
    stub.add_job("j", runtime=NEVER)
    before = asyncio.all_tasks()

    async with AsyncExitStack() as stack:
        watches = [
            await stack.enter_async_context(shared_watch(RayCluster(stub.url))) for _ in range(3)
        ]
        await watches[0].board.look("j", at=0.0)
        connections = watches[0].api._session._dashboard

    ours = [task for task in asyncio.all_tasks() - before if "airflow_synapse" in repr(task)]
    assert ours == []
    assert connections.closed


async def test_watch_that_closes_while_it_waits_leaves_no_task(stub: StubDashboard) -> None:
    """Each watch closes while its board waits for the next look, and what waits there ends as well."""
    stub.add_job("j", runtime=NEVER)
    before = asyncio.all_tasks()

    async with shared_watch(RayCluster(stub.url)) as watch:
        await watch.board.look("j", at=0.0)
        await asyncio.sleep(0.05)
    await asyncio.sleep(0)

    assert [task for task in asyncio.all_tasks() - before if "Event.wait" in repr(task)] == []
