"""Logs of many jobs on one cluster and one event loop: none starves the others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pytest

from airflow_synapse.rayjobs.client.budget import Lane
from airflow_synapse.rayjobs.models import RayCluster
from airflow_synapse.rayjobs.patience import OutageLog
from airflow_synapse.rayjobs.reporting import LOG_BYTES
from airflow_synapse.rayjobs.watching.cluster_watch import ClusterWatch, WatchLimits, shared_watch
from airflow_synapse.rayjobs.watching.log_follower import LogFollower
from tests.rayjobs.watching.conftest import LOGGER
from tests.rayjobs.watching.test_status_board import Counts
from tests.support import stub_dashboard as routes
from tests.support.faults import Answer, Hang
from tests.support.stub_dashboard import StubDashboard
from tests.support.stub_jobs import NEVER

if TYPE_CHECKING:
    from aiohttp import web


class Log:
    """A follower of one job's log, and what it emitted."""

    def __init__(self, watch: ClusterWatch, job_id: str, **options: Any) -> None:
        self.lines: list[str] = []
        self.channel: Channel | None = None
        self._watch, self._job_id = watch, job_id
        outages = OutageLog(LOGGER, 20.0)
        self.follower = LogFollower(
            watch, emit=self._emit, position=0, logger=LOGGER, outages=outages, **options
        )

    def _emit(self, lines: Sequence[str]) -> None:
        self.lines += lines
        if self.channel is not None:
            self.channel.emit(lines)

    async def follow(self) -> None:
        await self.follower.follow(await self._watch.api.get_info(self._job_id))

    async def drain(self) -> None:
        await self.follower.drain(await self._watch.api.get_info(self._job_id))


async def test_jobs_take_turns_where_streams_are_few(
    stub: StubDashboard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No more logs are read at a time than allowed, and all lines of all jobs come."""
    stub.inject(Answer(404), times=None, route=routes.AGENT_LOG)
    send_log = stub._send_log

    async def send_log_slowly(request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(0.02)
        return await send_log(request)

    monkeypatch.setattr(stub, "_send_log", send_log_slowly)
    jobs = [stub.add_job(f"j{number}", runtime=NEVER, has_header=False) for number in range(12)]
    limits = WatchLimits(requests_per_second=5000.0, log_streams=3)

    async with shared_watch(RayCluster(stub.url), limits) as watch:
        logs = [Log(watch, job.job_id) for job in jobs]
        following = [asyncio.create_task(log.follow()) for log in logs]
        for number in range(5):
            for job in jobs:
                job.append(b"%s %d\n" % (job.job_id.encode(), number))
            await asyncio.sleep(0.05)
        while any(len(log.lines) < 5 for log in logs):
            await asyncio.sleep(0.02)
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)

    for job, log in zip(jobs, logs, strict=True):
        assert log.lines == [f"{job.job_id} {number}" for number in range(5)]
    assert stub.most_log_requests == 3


async def test_log_of_a_chatty_job_lets_others_pass(stub_dashboard: StubDashboard) -> None:
    """A line of a quiet job comes while a long log is still being shown."""
    log = b"".join(b"%050d\n" % number for number in range(200_000))
    stub_dashboard.add_job("chatty", log=((0.0, log),), has_header=False)
    stub_dashboard.add_job("quiet", log=((0.0, b"here\n"),), has_header=False)

    async with shared_watch(RayCluster(stub_dashboard.url)) as watch:
        chatty, quiet = Log(watch, "chatty"), Log(watch, "quiet")
        draining = asyncio.create_task(chatty.drain())
        while not chatty.lines:
            await asyncio.sleep(0)
        await quiet.drain()
        shown_before = len(chatty.lines)
        await draining

    assert quiet.lines == ["here"]
    assert shown_before < len(chatty.lines) == 200_000


async def test_log_of_a_job_that_ended_waits_for_no_stream(stub: StubDashboard) -> None:
    """What still runs and keeps all streams busy does not hold up what has ended."""
    stub.inject(Answer(404), times=None, route=routes.AGENT_LOG)
    stub.add_job("runs", runtime=NEVER)
    stub.add_job("ended", log=((0.0, b"last\n"),), has_header=False)

    limits = WatchLimits(log_streams=1)

    async with (
        shared_watch(RayCluster(stub.url), limits) as watch,
        watch.log_places[Lane.LOG].place(),
    ):
        ended = Log(watch, "ended")
        await asyncio.wait_for(ended.drain(), 20)

    assert ended.lines == ["last"]


class Channel:
    """Takes so many lines a second, as Airflow's supervisor does."""

    def __init__(self, lines_per_second: float) -> None:
        self._rate = lines_per_second
        self._free_at = 0.0

    def has_room(self) -> bool:
        return time.monotonic() >= self._free_at

    def emit(self, lines: Sequence[str]) -> None:
        self._free_at = max(self._free_at, time.monotonic()) + len(lines) / self._rate


def endless(jobs: int, stub: StubDashboard) -> list[str]:
    """Add jobs that have a million lines to show, and return their ids."""
    log = b"x" * 50 + b"\n"
    for number in range(jobs):
        stub.add_job(f"chatty{number}", runtime=NEVER, log=((0.0, log * 100_000),))
    return [f"chatty{number}" for number in range(jobs)]


@pytest.mark.parametrize("chatty", [16, 60])
@pytest.mark.parametrize("end", [False, True], ids=["line", "end"])
async def test_jobs_that_print_without_end_starve_nobody(
    stub_dashboard: StubDashboard, chatty: int, *, end: bool
) -> None:
    """A quiet job's line, and a job's end, come while all the others have more to show."""
    channel = Channel(2500.0)
    stub_dashboard.add_job(
        "quiet", runtime=0.0 if end else NEVER, log=((0.0, b"here\n"),), has_header=False
    )
    async with shared_watch(RayCluster(stub_dashboard.url)) as watch:
        logs = [
            Log(watch, job, has_room=channel.has_room) for job in endless(chatty, stub_dashboard)
        ]
        for log in logs:
            log.channel = channel
        following = [asyncio.create_task(log.follow()) for log in logs]
        while sum(len(log.lines) > 100 for log in logs) < 16:
            await asyncio.sleep(0.01)
        quiet = Log(watch, "quiet", has_room=channel.has_room)
        shown = sum(len(log.lines) for log in logs)
        reading = asyncio.create_task(quiet.drain() if end else quiet.follow())
        while quiet.lines != ["here"]:
            await asyncio.sleep(0.01)
        shown = sum(len(log.lines) for log in logs) - shown
        for task in (*following, reading):
            task.cancel()
        await asyncio.gather(*following, reading, return_exceptions=True)

    assert shown < 3 * 2500  # what three seconds of the channel have room for


async def test_chatty_jobs_share_fairly(stub_dashboard: StubDashboard) -> None:
    """With more logs than places each gets its part, and each line comes once."""
    channel = Channel(20_000.0)
    for number in range(8):
        lines = b"".join(b"%d %d\n" % (number, line) for line in range(3_000))
        stub_dashboard.add_job(f"j{number}", log=((0.0, lines),), has_header=False)
    async with shared_watch(RayCluster(stub_dashboard.url), WatchLimits(log_streams=2)) as watch:
        logs = [Log(watch, f"j{number}", has_room=channel.has_room) for number in range(8)]
        for log in logs:
            log.channel = channel
        await asyncio.gather(*(log.drain() for log in logs))

    for number, log in enumerate(logs):
        assert log.lines == [f"{number} {line}" for line in range(3_000)]


async def test_logs_that_stall_hold_nobody(stub: StubDashboard) -> None:
    """A log whose bytes do not come gives its place to others."""
    stub.inject(Hang(), times=2, route=routes.AGENT_LOG)
    for number in range(3):
        stub.add_job(f"j{number}", runtime=NEVER, log=((0.0, b"here\n"),), has_header=False)
    limits = WatchLimits(log_streams=2)

    async with shared_watch(RayCluster(stub.url), limits) as watch:
        stalled = [Log(watch, f"j{number}") for number in range(2)]
        following = [asyncio.create_task(log.follow()) for log in stalled]
        while stub.count(routes.AGENT_LOG) < 2:
            await asyncio.sleep(0.01)
        third = Log(watch, "j2")
        following.append(asyncio.create_task(third.follow()))
        while third.lines != ["here"]:
            await asyncio.sleep(0.01)
        assert stub.count(routes.LOGS) == 0  # the others have not given up
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)


async def test_lines_beyond_the_limit_are_left_out_and_counted(
    stub: StubDashboard, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says how many lines it lacks and where they are, and keeps the job's last lines."""
    log = b"".join(b"line %d\n" % number for number in range(5000))
    stub.add_job("j", log=((0.0, log),), has_header=False)

    async with shared_watch(RayCluster(stub.url)) as watch:
        limited = Log(watch, "j", lines_per_second=10.0)
        await limited.drain()

    shown = len(limited.lines)
    assert limited.lines == [f"line {number}" for number in range(shown)]
    assert 100 <= shown < 5000
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith(f"{5000 - shown} lines were left out here")
    assert stub.url in told
    assert limited.follower.position == len(log)
    assert limited.follower.last_lines[-1] == "line 4999"


async def test_kept_last_lines_are_short(stub: StubDashboard) -> None:
    """What is kept of a log for the error message stays small, whatever the job writes."""
    stub.add_job("j", log=((0.0, (b"x" * 200_000 + b"\n") * 50),), has_header=False)

    async with shared_watch(RayCluster(stub.url)) as watch:
        log = Log(watch, "j")
        await log.drain()

    assert [len(line) for line in log.lines] == [200_000] * 50
    assert sum(len(line) for line in log.follower.last_lines) < 100_000


async def test_bytes_are_counted(stub: StubDashboard) -> None:
    """The metrics tell how much of logs was read."""
    stub.add_job("j", log=((0.0, b"0123456789\n"),), has_header=False)
    counts = Counts()

    async with shared_watch(RayCluster(stub.url), metrics=counts) as watch:
        await Log(watch, "j").drain()

    assert counts.counts[LOG_BYTES] == 11
