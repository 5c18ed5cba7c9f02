"""Watchers of one cluster share one watch, one reading and one line, whatever happens to the token."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import pytest

from airflow_synapse.exceptions import RayAuthenticationError
from airflow_synapse.rayjobs.models import RayCluster
from airflow_synapse.rayjobs.watching.cluster_watch import WatchLimits, shared_watch
from airflow_synapse.rayjobs.watching.job_watcher import JobWatcher, WatchOptions
from tests.support.paces import FAST_PACE
from tests.support.stub_dashboard import StubDashboard
from tests.support.token_proxy import TokenProxy, until

LOGGER = logging.getLogger("the task's log")
FAST = WatchLimits(requests_per_second=1000.0)


@dataclass
class Source:
    """Gives a token, and counts how often it was asked."""

    token: str = field(compare=False)
    newest: RayCluster | None = field(default=None, compare=False)
    asked: int = field(default=0, compare=False)

    async def read(self, cluster: RayCluster) -> RayCluster:
        self.asked += 1
        return replace(cluster, token=self.token)


@pytest.fixture
async def proxy(stub: StubDashboard) -> AsyncIterator[TokenProxy]:
    async with TokenProxy(stub.url) as proxy:
        yield proxy


async def watch(cluster: RayCluster, job_id: str, lines: list[str]) -> str:
    async with shared_watch(cluster, FAST, pace=FAST_PACE) as shared:
        watcher = JobWatcher(
            shared,
            job_id,
            options=WatchOptions(poll_interval=0.05),
            emit=lines.extend,
            logger=LOGGER,
        )
        return (await watcher.watch()).status


async def test_watch_is_shared_whatever_the_token(proxy: TokenProxy) -> None:
    """Who comes after the token has changed joins those who came before; another source is another watch."""
    old = RayCluster(proxy.url, token="old", source=Source("old"))
    new = RayCluster(proxy.url, token="new", source=Source("new"))

    async with shared_watch(old) as first, shared_watch(new) as second:
        assert first is second
    async with shared_watch(RayCluster(proxy.url, token="old")) as other, shared_watch(old) as own:
        assert other is not own


async def test_jobs_live_through_many_tokens(stub: StubDashboard, proxy: TokenProxy) -> None:
    """Each line comes once, each job ends as it ended, and each token is asked for about once."""
    jobs, source = [f"j{number}" for number in range(20)], Source(proxy.valid)
    log = tuple((0.05 * number, b"line %d\n" % number) for number in range(40))
    for job_id in jobs:
        stub.add_job(job_id, runtime=2.2, log=log, has_header=False)
    cluster = RayCluster(proxy.url, token=proxy.valid, source=source, request_timeout=5.0)
    lines: dict[str, list[str]] = {job_id: [] for job_id in jobs}

    def renew(token: str) -> None:
        source.token = token

    with proxy.rotating(0.2, renew):
        statuses = await asyncio.gather(*(watch(cluster, job, lines[job]) for job in jobs))

    assert set(statuses) == {"SUCCEEDED"}
    for job_id in jobs:
        assert lines[job_id] == [f"line {number}" for number in range(40)]
    assert source.asked <= 4 * int(proxy.valid.removeprefix("token-")) + 4


async def test_refusal_is_one_warning_and_one_line(
    stub: StubDashboard, proxy: TokenProxy, caplog: pytest.LogCaptureFixture
) -> None:
    """A token that comes late is told once, and so is that it came."""
    caplog.set_level(logging.INFO, LOGGER.name)
    stub.add_job("j", runtime=0.6)
    source = Source(proxy.valid)
    cluster = RayCluster(proxy.url, token=proxy.valid, source=source, request_timeout=5.0)
    watching = asyncio.create_task(watch(cluster, "j", []))
    await until(lambda: proxy.let_in > 2)

    late = proxy.rotate()
    await until(lambda: len(proxy.refused) > 3)
    source.token = late

    assert await watching == "SUCCEEDED"
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    lines = [text for text in caplog.messages if "again after" in text]
    assert len(warnings) == len(lines) == 1
    assert "refuses our credentials (401)" in warnings[0]


async def test_refused_watchers_ask_once_per_pause_together(
    stub: StubDashboard, proxy: TokenProxy
) -> None:
    """Fifty watchers whose token stays wrong cost one reading per pause, and then all hear of it."""
    for number in range(50):
        stub.add_job(f"j{number}", runtime=60.0)
    source = Source("wrong")
    cluster = RayCluster(proxy.url, token="wrong", source=source, request_timeout=5.0)

    results = await asyncio.gather(
        *(watch(cluster, f"j{number}", []) for number in range(50)), return_exceptions=True
    )

    assert {type(result) for result in results} == {RayAuthenticationError}
    assert source.asked <= 40
