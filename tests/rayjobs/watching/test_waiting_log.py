"""The log of a task says why its job waits: a line for each new fact."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from airflow_synapse.exceptions import RayJobTimeoutError
from airflow_synapse.rayjobs.models import RayCluster
from airflow_synapse.rayjobs.waiting.reasons import Cause, Reason
from airflow_synapse.rayjobs.watching.cluster_watch import ClusterWatch, shared_watch
from airflow_synapse.rayjobs.watching.endings import watch_to_end
from airflow_synapse.rayjobs.watching.job_watcher import PENDING_TIMEOUT, JobWatcher, WatchOptions
from airflow_synapse.rayjobs.watching.waiting_log import WaitingLog
from tests.rayjobs.watching.conftest import LOGGER
from tests.support import stub_dashboard as routes
from tests.support.faults import Answer
from tests.support.paces import FAST_PACE
from tests.support.stub_dashboard import StubDashboard
from tests.support.stub_jobs import NEVER, StubNode

EAGER = replace(FAST_PACE, waiting_is_news_after=0.02, waiting_look=0.05)


@pytest.fixture
async def watch(stub: StubDashboard) -> AsyncIterator[ClusterWatch]:
    async with shared_watch(RayCluster(stub.url), pace=EAGER) as watch:
        yield watch


def a_watcher(watch: ClusterWatch, **options: object) -> JobWatcher:
    return JobWatcher(
        watch,
        "j",
        options=WatchOptions(poll_interval=0.05, **options),  # type: ignore[arg-type]
        emit=lambda _: None,
        logger=LOGGER,
    )


@pytest.fixture
def log(watch: ClusterWatch) -> WaitingLog:
    return WaitingLog(watch, "j", logger=LOGGER)


def busy(free: int) -> Reason:
    return Reason(Cause.BUSY, f"asks for 4 CPU; {free} of 16 are free", "asks for 4 CPU")


async def test_reason_and_its_change_are_told_once_each(
    stub: StubDashboard, watch: ClusterWatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A job that waits is explained, and so is what it waits for next; then it runs in peace."""
    stub.nodes = [StubNode(total={"CPU": 4.0}, free={"CPU": 1.0})]
    job = stub.add_job("j", pending=NEVER)
    job.request["entrypoint_num_cpus"] = 2
    watching = asyncio.create_task(a_watcher(watch).watch())

    while "1 of 4 are free" not in caplog.text or stub.count(routes.NODES) < 4:
        await asyncio.sleep(0.01)
    job.request["entrypoint_num_cpus"] = 8
    while "no node" not in caplog.text:
        await asyncio.sleep(0.01)
    job.run()
    while "is RUNNING" not in caplog.text:
        await asyncio.sleep(0.01)
    looks = stub.count(routes.NODES)
    asked = stub.count(routes.GET_JOB)
    while stub.count(routes.GET_JOB) < asked + 5:
        await asyncio.sleep(0.01)
    job.finish()
    await asyncio.wait_for(watching, 10)

    assert [record.getMessage() for record in caplog.records] == [
        "Ray job j is PENDING.",
        "Ray job j asks for 2 CPU; 1 of 4 are free.",
        "Ray job j asks for 8 CPU; no node has more than 4.",
        "Ray job j is RUNNING.",
        "Ray job j is SUCCEEDED.",
    ]
    assert stub.count(routes.NODES) <= looks + 1


async def test_cluster_that_tells_nothing_ends_no_watch(
    stub: StubDashboard, watch: ClusterWatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the routes are refused, the job is watched as ever, in silence."""
    job = stub.add_job("j", pending=NEVER)
    for route in routes.WAITING:
        stub.inject(Answer(403), times=None, route=route)
    watching = asyncio.create_task(a_watcher(watch).watch())

    while stub.count(routes.NODES) < 3:
        await asyncio.sleep(0.01)
    job.finish()

    assert (await asyncio.wait_for(watching, 10)).status == "SUCCEEDED"
    assert [record.getMessage() for record in caplog.records] == [
        "Ray job j is PENDING.",
        "Ray job j is SUCCEEDED.",
    ]


def test_numbers_that_go_up_and_down_are_told_ever_more_rarely(
    log: WaitingLog, caplog: pytest.LogCaptureFixture
) -> None:
    """A day of waiting on a busy cluster is a few dozen lines."""
    for second in range(0, 86_400, 5):
        log.note(busy(second // 5 % 4), float(second))

    assert 3 < len(caplog.records) < 40


def test_facts_that_alternate_do_not_flood_the_log(
    log: WaitingLog, caplog: pytest.LogCaptureFixture
) -> None:
    """A node that comes and goes makes one new fact each way, not one per look."""
    gone = Reason(Cause.IMPOSSIBLE, "asks for 4 CPU; no node has any", "none")
    for second in range(0, 3600, 5):
        log.note(busy(1) if second % 10 else gone, float(second))

    assert [record.getMessage() for record in caplog.records][:2] == [
        "Ray job j asks for 4 CPU; no node has any.",
        "Ray job j asks for 4 CPU; 1 of 16 are free.",
    ]
    assert len(caplog.records) < 20


async def test_pending_timeout_tells_the_last_reason(
    stub: StubDashboard, watch: ClusterWatch
) -> None:
    """Who limits the wait learns what the job waited for."""
    stub.nodes = [StubNode(total={"CPU": 4.0}, free={"CPU": 1.0})]
    stub.add_job("j", pending=NEVER).request["entrypoint_num_cpus"] = 2
    watcher = a_watcher(watch, deadlines={PENDING_TIMEOUT: time.time() + 1.5})

    with pytest.raises(RayJobTimeoutError) as caught:
        await watcher.watch()

    assert (
        "is still PENDING at the end of its pending_timeout. It asks for 2 CPU; 1 of 4 are free. "
        in str(caught.value)
    )


async def test_limit_is_told_when_it_passes(
    stub: StubDashboard, caplog: pytest.LogCaptureFixture
) -> None:
    """Not only when the stop of a job that waits has been given up, half a minute later."""
    stub.add_job("j", pending=NEVER, stop_delay=NEVER)
    told_before_stop: list[str] = []

    async def note_what_was_told() -> None:
        while not stub.count(routes.STOP):
            await asyncio.sleep(0.01)
        told_before_stop.extend(record.getMessage() for record in caplog.records)

    cluster = RayCluster(stub.url, request_timeout=0.5)
    async with shared_watch(cluster, pace=EAGER) as watch:
        watcher = a_watcher(watch, deadlines={PENDING_TIMEOUT: time.time() + 0.2})
        noting = asyncio.create_task(note_what_was_told())
        with pytest.raises(RayJobTimeoutError, match="could not be stopped"):
            await watch_to_end(watcher, watch=watch, logger=LOGGER, notice_after=5.0)
        await noting

    assert told_before_stop[-1] == (
        "Ray job j is still PENDING at the end of its pending_timeout, so it is being stopped."
    )


@pytest.mark.parametrize("shows_message", [True, False])
async def test_message_of_a_job_that_never_ran_is_left_to_its_error(
    stub: StubDashboard, watch: ClusterWatch, shows_message: bool
) -> None:
    """A task's log has what Ray says once, in the error; a stream of lines has nothing else to show."""
    stub.add_job("j", status="FAILED", ever_ran=False, message="one\ntwo")
    shown: list[str] = []
    options = WatchOptions(poll_interval=0.05, shows_message=shows_message)
    watcher = JobWatcher(watch, "j", options=options, emit=shown.extend, logger=LOGGER)

    await watcher.watch()

    assert shown == (["one", "two"] if shows_message else [])
    assert len(watcher.last_lines) == len(shown)
