"""Looks at the status of many jobs, on a stub dashboard that counts requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from aiohttp import web

from airflow_synapse.exceptions import (
    RayAuthenticationError,
    RayClusterUnreachableError,
    RayJobNotFoundError,
)
from airflow_synapse.rayjobs.models import JobInfo, RayCluster
from airflow_synapse.rayjobs.reporting import OUTAGES, REQUESTS
from airflow_synapse.rayjobs.watching.cluster_watch import ClusterWatch, WatchLimits, shared_watch
from tests.support import stub_dashboard as routes
from tests.support.faults import Answer, Delay
from tests.support.paces import FAST_PACE
from tests.support.stub_dashboard import StubDashboard
from tests.support.stub_jobs import NEVER

MANY = 200
PACE = replace(FAST_PACE, first_retry=0.05, longest_retry=0.1)


class Counts:
    """Metrics that a test can read."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def count(self, name: str, value: int = 1) -> None:
        self.counts[name] = self.counts.get(name, 0) + value

    def gauge(self, name: str, value: float) -> None: ...

    def timing(self, name: str, seconds: float) -> None: ...


@pytest.fixture
def counts() -> Counts:
    return Counts()


@pytest.fixture
async def watch(stub: StubDashboard, counts: Counts) -> AsyncIterator[ClusterWatch]:
    """A cluster's watch with a large budget and short pauses."""
    cluster = RayCluster(stub.url, request_timeout=5.0)
    limits = WatchLimits(requests_per_second=5000.0)
    async with shared_watch(cluster, limits, pace=PACE, metrics=counts) as watch:
        yield watch


def now() -> float:
    return asyncio.get_running_loop().time()


def add_jobs(stub: StubDashboard, count: int) -> list[str]:
    for number in range(count):
        stub.add_job(f"j{number}", runtime=NEVER)
    return [f"j{number}" for number in range(count)]


async def look_at(watch: ClusterWatch, job_ids: list[str], **options: float) -> list[JobInfo]:
    options.setdefault("at", now())
    return await asyncio.gather(*(watch.board.look(job_id, **options) for job_id in job_ids))


async def test_few_jobs_are_asked_for_one_by_one(stub: StubDashboard, watch: ClusterWatch) -> None:
    """The list of all jobs is not worth it for some."""
    jobs = add_jobs(stub, 5)

    infos = await look_at(watch, jobs)

    assert [info.job_id for info in infos] == jobs
    assert stub.count(routes.LIST_JOBS) == 0
    assert stub.count(routes.GET_JOB) == 5


async def test_many_jobs_are_answered_by_one_list(
    stub: StubDashboard, watch: ClusterWatch, counts: Counts
) -> None:
    """What would be 200 requests is one."""
    jobs = add_jobs(stub, MANY)
    stub.jobs["j7"].finish("FAILED")

    infos = await look_at(watch, jobs)

    assert [info.job_id for info in infos] == jobs
    assert [info.job_id for info in infos if info.status == "FAILED"] == ["j7"]
    assert stub.count() == 1
    assert counts.counts[REQUESTS] == 1


async def test_list_tells_ends_before_their_looks_are_due(
    stub: StubDashboard, watch: ClusterWatch
) -> None:
    """A job that ended is told at once to a watcher that would have looked an hour later."""
    jobs = add_jobs(stub, MANY)
    early = asyncio.create_task(watch.board.look("j0", at=now() + 3600))
    late = asyncio.create_task(watch.board.look("j1", at=now() + 3600))
    stub.jobs["j0"].finish()

    await look_at(watch, jobs[2:])

    assert (await asyncio.wait_for(early, 10)).status == "SUCCEEDED"
    assert not late.done()
    late.cancel()


async def test_dear_list_is_left_alone(stub: StubDashboard, watch: ClusterWatch) -> None:
    """Where the list takes much longer than the looks that it replaces, it is read once, not again."""
    stub.inject(Delay(3.0), times=None, route=routes.LIST_JOBS)
    jobs = add_jobs(stub, 30)

    for _ in range(3):
        await look_at(watch, jobs)

    assert stub.count(routes.LIST_JOBS) == 1
    assert stub.count(routes.GET_JOB) == 60


async def test_refused_list_is_done_without(stub: StubDashboard, watch: ClusterWatch) -> None:
    """A proxy that lets only single jobs through is no reason to fail."""
    jobs = add_jobs(stub, MANY)
    stub.inject(Answer(500, b"no lists here"), times=None, route=routes.LIST_JOBS)

    infos = await look_at(watch, jobs)

    assert len(infos) == MANY
    assert stub.count(routes.LIST_JOBS) == 1


async def test_list_that_failed_once_is_read_again_soon(stub: StubDashboard) -> None:
    """One bad answer does not make thousands of jobs wait for single looks for minutes."""
    jobs = add_jobs(stub, MANY)
    stub.inject(Answer(500, b"no list now"), route=routes.LIST_JOBS)

    async with shared_watch(RayCluster(stub.url), pace=replace(PACE, list_retry=0.0)) as watch:
        while stub.count(routes.LIST_JOBS) < 2:
            await look_at(watch, jobs)


async def test_list_that_is_none_is_done_without(stub: StubDashboard, watch: ClusterWatch) -> None:
    """What can't be read as a list of jobs is not believed."""
    jobs = add_jobs(stub, MANY)
    stub.inject(Answer(200, b'["j1", 2'), times=None, route=routes.LIST_JOBS)

    assert len(await look_at(watch, jobs)) == MANY


async def test_job_that_is_not_listed_is_asked_for(
    stub: StubDashboard, watch: ClusterWatch
) -> None:
    """Only the cluster's own word about a job means that it is gone."""
    jobs = add_jobs(stub, MANY)
    gone = asyncio.create_task(watch.board.look("gone", at=now()))

    await look_at(watch, jobs)

    with pytest.raises(RayJobNotFoundError):
        await asyncio.wait_for(gone, 10)
    assert stub.count(routes.GET_JOB) == 1


async def test_hurried_look_comes_early(stub: StubDashboard, watch: ClusterWatch) -> None:
    """A hint that a job may have ended is followed if there is a request to spare."""
    add_jobs(stub, 1)
    looking = asyncio.create_task(watch.board.look("j0", at=now() + 3600))
    await asyncio.sleep(0)

    watch.board.hurry("j0")
    watch.board.hurry("unknown")

    assert (await asyncio.wait_for(looking, 10)).status == "RUNNING"


async def test_outage_is_found_out_by_few_requests(
    stub: StubDashboard, watch: ClusterWatch, counts: Counts
) -> None:
    """All who wait hear of it once; then one request at a time asks whether the cluster is back."""
    jobs = add_jobs(stub, MANY)
    stub.inject(Answer(503), times=None)

    results = await asyncio.wait_for(
        asyncio.gather(
            *(watch.board.look(job_id, at=now()) for job_id in jobs), return_exceptions=True
        ),
        20,
    )
    waiting = [
        asyncio.create_task(watch.board.look(job_id, at=now(), patience=60.0)) for job_id in jobs
    ]
    await asyncio.sleep(0.5)
    during = stub.count()
    stub.heal()
    infos = await asyncio.wait_for(asyncio.gather(*waiting), 20)

    assert all(isinstance(result, RayClusterUnreachableError) for result in results)
    assert {result.job_id for result in results if hasattr(result, "job_id")} == set(jobs)
    assert during <= 40
    assert len(infos) == MANY
    assert counts.counts[OUTAGES] == 1


async def test_patience_ends(stub: StubDashboard, watch: ClusterWatch) -> None:
    """Who knows of the outage hears of it again when its patience is over, with what happened last."""
    add_jobs(stub, 1)
    stub.inject(Answer(503), times=None)

    with pytest.raises(RayClusterUnreachableError, match="503"):
        await asyncio.wait_for(watch.board.look("j0", at=now(), patience=0.4), 20)


async def test_refused_credentials_are_told_to_each(
    stub: StubDashboard, watch: ClusterWatch
) -> None:
    """They are no outage."""
    jobs = add_jobs(stub, 3)
    stub.inject(Answer(401), times=None)

    results = await asyncio.gather(
        *(watch.board.look(job_id, at=now()) for job_id in jobs), return_exceptions=True
    )

    assert [type(result) for result in results] == [RayAuthenticationError] * 3


async def test_cancelled_look_is_forgotten(stub: StubDashboard, watch: ClusterWatch) -> None:
    """Nothing is asked for a watcher that has left."""
    add_jobs(stub, 2)
    leaving = asyncio.create_task(watch.board.look("j0", at=now() + 0.05))
    await asyncio.sleep(0)
    leaving.cancel()

    await watch.board.look("j1", at=now() + 0.1)

    assert [call.path for call in stub.calls] == ["/api/jobs/j1"]


async def test_broken_board_leaves_nobody_waiting(
    stub: StubDashboard, watch: ClusterWatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A defect of ours ends the looks, and the next look starts anew."""
    add_jobs(stub, 1)
    with monkeypatch.context() as broken:
        broken.setattr(watch.board, "_next_due", lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            await asyncio.wait_for(watch.board.look("j0", at=now()), 10)

    assert (await asyncio.wait_for(watch.board.look("j0", at=now()), 10)).status == "RUNNING"


class BadJob(StubDashboard):
    """A dashboard of which one job can't be asked for."""

    fault = "error"

    async def _get_job(self, request: web.Request) -> web.Response:
        if request.match_info["job_id"] == "bad":
            if self.fault == "hang":
                await asyncio.sleep(3600)
            return web.Response(status=500, text="it broke")
        return await super()._get_job(request)


@pytest.mark.parametrize("fault", ["error", "hang"])
async def test_job_that_can_t_be_asked_for_touches_no_other(counts: Counts, fault: str) -> None:
    """It is no outage of the cluster, however often its own answer fails."""
    async with BadJob() as stub:
        stub.fault = fault
        jobs = add_jobs(stub, 5)
        stub.add_job("bad", runtime=NEVER)
        cluster = RayCluster(stub.url, request_timeout=0.3)
        async with shared_watch(cluster, pace=PACE, metrics=counts) as watch:
            bad: list[BaseException] = []

            async def look_for_ever() -> None:
                while True:
                    try:
                        await watch.board.look("bad", at=now())
                    except RayClusterUnreachableError as error:
                        bad.append(error)

            looking = asyncio.create_task(look_for_ever())
            while len(bad) < 4:
                assert len(await look_at(watch, jobs)) == 5
            looking.cancel()

    assert OUTAGES not in counts.counts


async def test_cluster_of_which_only_one_job_is_watched_may_be_away(
    stub: StubDashboard, watch: ClusterWatch, counts: Counts
) -> None:
    """Where nothing else answers either, it is the cluster's outage."""
    add_jobs(stub, 1)
    stub.inject(Answer(503), times=None)

    for _ in range(3):
        with pytest.raises(RayClusterUnreachableError):
            await watch.board.look("j0", at=now())

    assert counts.counts[OUTAGES] == 1
