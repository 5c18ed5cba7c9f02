"""Every line of a log comes once and in order, whichever way it is read and whatever breaks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from airflow_synapse.exceptions import RayClusterUnreachableError
from airflow_synapse.rayjobs.models import JobInfo, RayCluster
from airflow_synapse.rayjobs.patience import OutageLog
from airflow_synapse.rayjobs.watching.cluster_watch import ClusterWatch, shared_watch
from airflow_synapse.rayjobs.watching.log_follower import LogFollower
from tests.rayjobs.watching.conftest import FAST, LOGGER
from tests.support import stub_dashboard as routes
from tests.support.faults import Answer, CutBody, Reset
from tests.support.paces import FAST_PACE
from tests.support.stub_dashboard import StubDashboard
from tests.support.stub_jobs import NEVER

LINES = [f"line {number}" for number in range(500)]
LOG = "".join(f"{line}\n" for line in LINES).encode()


class Reader:
    """A follower with what it emits."""

    def __init__(self, watch: ClusterWatch, position: int = 0, patience: float = 20.0) -> None:
        self.lines: list[str] = []
        self._has_more = asyncio.Event()
        self.outages = OutageLog(LOGGER, patience)
        self.follower = LogFollower(
            watch, emit=self._emit, position=position, logger=LOGGER, outages=self.outages
        )

    def _emit(self, lines: Any) -> None:
        self.lines += lines
        self._has_more.set()

    async def wait_for(self, statement: Callable[[], bool]) -> None:
        while not statement():
            self._has_more.clear()
            await asyncio.wait_for(self._has_more.wait(), 20)

    @contextlib.asynccontextmanager
    async def following(self, info: JobInfo) -> AsyncIterator[None]:
        task = asyncio.create_task(self.follower.follow(info))
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            self.follower.close()


async def test_lines_come_while_the_job_runs(
    stub: StubDashboard, watch: ClusterWatch, way: str
) -> None:
    """What a running job prints comes soon, each line once."""
    job = stub.add_job("j", runtime=NEVER)
    info = await watch.api.get_info("j")
    reader = Reader(watch)

    async with reader.following(info):
        for number in range(10):
            job.append(b"line %d\nhalf" % number)
            await reader.wait_for(lambda: reader.lines[-1:] == [f"line {number}"])  # noqa: B023
            job.append(b" of a line\n")
        await reader.wait_for(lambda: len(reader.lines) == 22)

    assert reader.lines[2:] == [
        line for number in range(10) for line in (f"line {number}", "half of a line")
    ]
    assert reader.follower.position == len(job.log)


@pytest.mark.parametrize(
    "fault", [CutBody(100), CutBody(3000), Reset(), Answer(503), Answer(500, b"oops")], ids=repr
)
async def test_connections_that_break_lose_and_repeat_nothing(
    stub: StubDashboard, watch: ClusterWatch, way: str, fault: Any
) -> None:
    """However often a read breaks off, every line comes once and in order."""
    job = stub.add_job("j", log=((0.0, LOG[:2000]),), runtime=NEVER, has_header=False)
    info = await watch.api.get_info("j")
    reader = Reader(watch)
    # Over the dashboard a read starts from byte 0, so a cut that never moves would never end.
    stub.inject(fault, times=6, route=way)

    async with reader.following(info):
        await reader.wait_for(lambda: len(reader.lines) > 50)
        job.append(LOG[2000:])
        stub.inject(fault, times=2, route=way)
        await reader.wait_for(lambda: len(reader.lines) == 500)

    assert reader.lines == LINES


async def test_follower_goes_on_at_the_position_of_another(
    stub: StubDashboard, watch: ClusterWatch, way: str
) -> None:
    """A watch that moves to another process loses and repeats nothing."""
    job = stub.add_job("j", log=((0.0, LOG[:2345]),), runtime=NEVER, has_header=False)
    info = await watch.api.get_info("j")
    first = Reader(watch)
    async with first.following(info):
        await first.wait_for(lambda: len(first.lines) > 100)
    job.append(LOG[2345:])
    job.finish()

    second = Reader(watch, first.follower.position)
    await second.follower.drain(await watch.api.get_info("j"))

    assert first.lines + second.lines == LINES


async def test_drain_reads_to_the_last_byte(
    stub: StubDashboard, watch: ClusterWatch, way: str
) -> None:
    """Of an ended job all comes, also a last line without a newline, through passing failures."""
    stub.add_job("j", log=((0.0, LOG + b"no newline"),), has_header=False)
    stub.inject(CutBody(1000), times=2, route=way)
    stub.inject(Answer(503), route=way)
    reader = Reader(watch)

    await reader.follower.drain(await watch.api.get_info("j"))

    assert reader.lines == [*LINES, "no newline"]
    assert list(reader.follower.last_lines) == reader.lines[-20:]


async def test_drain_gives_up_in_time(stub: StubDashboard, watch: ClusterWatch) -> None:
    """A cluster that is away for too long is an outage, not an empty log."""
    stub.add_job("j", log=((0.0, LOG),))
    info = await watch.api.get_info("j")
    stub.inject(Answer(503), times=None)
    reader = Reader(watch, patience=0.1)

    with pytest.raises(RayClusterUnreachableError, match="503"):
        await reader.follower.drain(info)


@pytest.mark.parametrize("status", [400, 403, 405, 502])
async def test_drain_leaves_out_what_alone_can_t_be_read(
    stub: StubDashboard,
    watch: ClusterWatch,
    caplog: pytest.LogCaptureFixture,
    status: int,
) -> None:
    """While the status route answers, a log that can't be read is a warning that says why."""
    watch.pace = replace(FAST_PACE, patience_for_end=0.2)
    stub.add_job("j", log=((0.0, LOG),))
    stub.inject(Answer(404), times=None, route=routes.AGENT_LOG)
    stub.inject(Answer(status), times=None, route=routes.LOGS)
    reader = Reader(watch)

    await reader.follower.drain(await watch.api.get_info("j"))

    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert "read up to byte 0. The rest can't be read: it answered" in warnings[0]
    assert str(status) in warnings[0]
    assert reader.lines == []


async def test_drain_outlasts_what_comes_on(stub: StubDashboard, watch: ClusterWatch) -> None:
    """However often a log breaks off, as long as each read brings more of it none is left out."""
    watch.pace = replace(FAST_PACE, patience_for_end=0.0)
    stub.add_job("j", log=((0.0, LOG),), has_header=False)
    stub.inject(CutBody(500), times=8, route=routes.AGENT_LOG)
    reader = Reader(watch)

    await reader.follower.drain(await watch.api.get_info("j"))

    assert reader.lines == LINES


@pytest.mark.parametrize("status", [403, 503])
async def test_log_that_alone_can_t_be_read_is_told_once(
    stub: StubDashboard,
    watch: ClusterWatch,
    caplog: pytest.LogCaptureFixture,
    status: int,
) -> None:
    """While only the log is out of reach, one line says so, and one when it goes on."""
    watch.pace = replace(FAST_PACE, log_failing_is_news_after=0.05)
    caplog.set_level(logging.INFO)
    stub.add_job("j", runtime=NEVER, log=((0.0, b"one\n"),), has_header=False)
    stub.inject(Answer(status), times=None, route=routes.LOGS)
    stub.inject(Answer(status), times=None, route=routes.AGENT_LOG)
    reader = Reader(watch)
    following = asyncio.create_task(reader.follower.follow(await watch.api.get_info("j")))

    def texts() -> list[str]:
        return [record.getMessage() for record in caplog.records]

    while not any("at the moment" in text for text in texts()):
        await asyncio.sleep(0.01)
    reads = stub.count(routes.LOGS) + stub.count(routes.AGENT_LOG)
    while stub.count(routes.LOGS) + stub.count(routes.AGENT_LOG) < reads + 2:
        await asyncio.sleep(0.01)
    stub.heal()
    await reader.wait_for(lambda: reader.lines == ["one"])
    while not any("can be read again after" in text for text in texts()):
        await asyncio.sleep(0.01)
    following.cancel()

    assert sum(f"read at the moment: it answered {status}" in text for text in texts()) == 1
    assert sum("The log of Ray job j can be read again after" in text for text in texts()) == 1


async def test_outage_of_the_cluster_is_not_told_again_for_the_log(
    stub: StubDashboard,
    watch: ClusterWatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What the status watch has told already is no news of the log."""
    watch.pace = replace(FAST_PACE, log_failing_is_news_after=0.0)
    stub.add_job("j", runtime=NEVER)
    info = await watch.api.get_info("j")
    stub.inject(Answer(503), times=None)
    reader = Reader(watch)
    with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
        error = watch.api.unreachable("it answered 503")
        await asyncio.wait_for(reader.outages.wait_out(error), 0.01)
    following = asyncio.create_task(reader.follower.follow(info))

    while stub.count(routes.LOGS) + stub.count(routes.AGENT_LOG) < 3:
        await asyncio.sleep(0.01)
    following.cancel()

    assert [r.getMessage() for r in caplog.records if "The log of" in r.getMessage()] == []


async def test_log_that_is_gone_is_a_warning(
    stub: StubDashboard, watch: ClusterWatch, caplog: pytest.LogCaptureFixture
) -> None:
    """If the file or its node is gone, that is said once, and the job's end counts all the same."""
    stub.add_job("j")
    stub.inject(Answer(404), times=None, route=routes.AGENT_LOG)
    stub.inject(
        Answer(500, b"A file is not found at: /tmp/ray/job-driver-j.log"),
        times=None,
        route=routes.LOGS,
    )
    reader = Reader(watch)

    await reader.follower.drain(await watch.api.get_info("j"))

    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 1
    assert "The log of Ray job j was read up to byte 0. The rest can't be read" in warnings[0]
    assert reader.lines == []


async def test_log_that_seems_empty_is_looked_at_again(
    stub: StubDashboard, watch: ClusterWatch
) -> None:
    """Under load Ray now and then answers as if a log were empty; that is not believed."""
    stub.inject(Answer(404), times=None, route=routes.AGENT_LOG)
    stub.inject(Answer(200, b""), times=2, route=routes.LOGS)
    stub.add_job("j", log=((0.0, b"one\n"),), has_header=False)
    reader = Reader(watch)

    await reader.follower.drain(await watch.api.get_info("j"))

    assert reader.lines == ["one"]


async def test_job_that_never_ran_has_no_log(stub: StubDashboard, watch: ClusterWatch) -> None:
    """A job without a node has no log, and none is asked for; its error has what Ray says."""
    stub.add_job("j", status="FAILED", ever_ran=False, message="one\ntwo", error_type="X")
    reader = Reader(watch)
    info = await watch.api.get_info("j")

    await reader.follower.drain(info)

    assert reader.lines == []
    assert stub.count(routes.LOGS) == stub.count(routes.AGENT_LOG) == 0


async def test_held_back_progress_shows_by_itself(stub: StubDashboard, watch: ClusterWatch) -> None:
    """The last state of a bar that stands still comes out without another byte."""
    watch.pace = replace(FAST_PACE, progress_interval=0.1)
    job = stub.add_job("j", runtime=NEVER, has_header=False)
    job.append(b"10%\r20%\r")
    reader = Reader(watch)

    async with reader.following(await watch.api.get_info("j")):
        await reader.wait_for(lambda: "20%" in reader.lines)

    assert reader.lines in (["20%"], ["10%", "20%"])


async def test_big_log_leaves_the_event_loop_to_others(
    stub_dashboard: StubDashboard,
) -> None:
    """While 20 MB are read, nothing else on the loop waits long."""
    log = b"".join(b"%0100d\n" % number for number in range(200_000))
    stub_dashboard.add_job("j", log=((0.0, log),), has_header=False)
    gaps: list[float] = []
    counted = 0

    def count(lines: Any) -> None:
        nonlocal counted
        counted += len(lines)

    async def beat() -> None:
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(0.001)
            gaps.append(loop.time() - before)

    async with shared_watch(RayCluster(stub_dashboard.url), FAST, pace=FAST_PACE) as watch:
        info = await watch.api.get_info("j")
        follower = LogFollower(
            watch, emit=count, position=0, logger=LOGGER, outages=OutageLog(LOGGER, 20.0)
        )
        beating = asyncio.create_task(beat())
        await follower.drain(info)
        beating.cancel()

    assert counted == 200_000
    assert len(gaps) > 20  # with a pause of a millisecond at least between two
