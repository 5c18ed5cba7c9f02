"""A watch lasts until the job has ended and the last line is out, whatever the network does."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from airflow_synapse.exceptions import (
    RayAuthenticationError,
    RayClusterUnreachableError,
    RayJobNotFoundError,
    RayJobTimeoutError,
)
from airflow_synapse.rayjobs.client import bodies
from airflow_synapse.rayjobs.models import RayCluster
from airflow_synapse.rayjobs.watching.cluster_watch import ClusterWatch, shared_watch
from airflow_synapse.rayjobs.watching.job_watcher import PENDING_TIMEOUT, JobWatcher, WatchOptions
from tests.rayjobs.watching.conftest import FAST, LOGGER
from tests.support import stub_dashboard as routes
from tests.support.fault_proxy import FaultProxy
from tests.support.faults import Answer, Hang
from tests.support.paces import FAST_PACE
from tests.support.stub_dashboard import StubDashboard
from tests.support.stub_jobs import NEVER


class Lines(list[str]):
    def emit(self, lines: Sequence[str]) -> None:
        self += lines


def a_watcher(watch: ClusterWatch, lines: Lines | None = None, **options: Any) -> JobWatcher:
    return JobWatcher(
        watch,
        "j",
        options=WatchOptions(poll_interval=0.05, **options),
        emit=(lines if lines is not None else Lines()).emit,
        logger=LOGGER,
    )


def told(caplog: pytest.LogCaptureFixture, level: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == level]


@pytest.mark.parametrize("status", ["SUCCEEDED", "FAILED", "STOPPED"])
async def test_watch_ends_with_the_job(
    stub: StubDashboard, watch: ClusterWatch, caplog: pytest.LogCaptureFixture, status: str
) -> None:
    """The job is returned as it ended, its lines are out, and its changes were told once each."""
    log = ((0.0, b"one\n"), (0.1, b"two\n"))
    stub.add_job("j", pending=0.2, runtime=0.3, log=log, status=status, has_header=False)
    lines = Lines()
    watcher = a_watcher(watch, lines)

    info = await watcher.watch()

    assert info.status == status
    assert lines == ["one", "two"]
    assert watcher.last_lines == ("one", "two")
    assert watcher.log_position == len("one\ntwo\n")
    assert told(caplog, "INFO") == [
        f"Ray job j is {name}." for name in ("PENDING", "RUNNING", status)
    ]


async def test_lines_come_while_the_job_runs(stub: StubDashboard, watch: ClusterWatch) -> None:
    """A line is out before the job has ended."""
    job = stub.add_job("j", runtime=NEVER, has_header=False)
    lines = Lines()
    watching = asyncio.create_task(a_watcher(watch, lines).watch())

    job.append(b"first\n")
    while not lines:
        await asyncio.sleep(0.01)
    job.append(b"second")
    job.finish()
    await asyncio.wait_for(watching, 10)

    assert lines == ["first", "second"]


async def test_watch_goes_on_at_a_position(stub: StubDashboard, watch: ClusterWatch) -> None:
    """Who takes a watch over shows only what is missing."""
    stub.add_job("j", log=((0.0, b"one\ntwo\nthree\n"),), has_header=False)
    lines = Lines()

    await a_watcher(watch, lines, log_position=4).watch()

    assert lines == ["two", "three"]


async def test_status_does_not_wait_for_the_position_in_the_log(
    stub: StubDashboard, watch: ClusterWatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A triggerer that has just started learns the position late; the job is watched meanwhile."""
    job = stub.add_job("j", runtime=NEVER, log=((0.0, b"one\ntwo\nthree\n"),), has_header=False)
    lines = Lines()
    position: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    watcher = JobWatcher(
        watch,
        "j",
        options=WatchOptions(poll_interval=0.05),
        emit=lines.emit,
        logger=LOGGER,
        position=position,
    )
    watching = asyncio.create_task(watcher.watch())
    while stub.count(routes.GET_JOB) < 3:
        await asyncio.sleep(0.01)
    was_told, were_shown = told(caplog, "INFO"), list(lines)

    position.set_result(4)
    while not lines:
        await asyncio.sleep(0.01)
    job.finish()
    await asyncio.wait_for(watching, 10)

    assert (was_told, were_shown) == (["Ray job j is RUNNING."], [])
    assert lines == ["two", "three"]
    assert watcher.log_position == len("one\ntwo\nthree\n")


async def test_end_of_a_job_waits_for_the_position_in_its_log(
    stub: StubDashboard, watch: ClusterWatch
) -> None:
    """No line is shown twice, though the job has ended before the position is known."""
    stub.add_job("j", log=((0.0, b"one\ntwo\n"),), has_header=False)
    lines = Lines()
    position: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    options = WatchOptions(poll_interval=0.05)
    watcher = JobWatcher(
        watch, "j", options=options, emit=lines.emit, logger=LOGGER, position=position
    )
    watching = asyncio.create_task(watcher.watch())
    while not stub.count(routes.GET_JOB):
        await asyncio.sleep(0.01)

    position.set_result(4)

    assert (await asyncio.wait_for(watching, 10)).status == "SUCCEEDED"
    assert lines == ["two"]


async def test_last_lines_of_a_failure_are_whole_after_a_takeover(
    stub: StubDashboard, watch: ClusterWatch
) -> None:
    """A watch that began near the end of the log still tells its last twenty lines."""
    log = b"".join(b"line %d\n" % number for number in range(30))
    stub.add_job("j", status="FAILED", log=((0.0, log),), has_header=False)
    lines = Lines()
    watcher = a_watcher(watch, lines, log_position=log.index(b"line 28"))

    await watcher.watch()

    assert list(lines) == ["line 28", "line 29"]
    assert list(watcher.last_lines) == [f"line {number}" for number in range(10, 30)]


async def test_last_lines_of_a_short_log_come_once_after_a_takeover(
    stub: StubDashboard, watch: ClusterWatch
) -> None:
    """What the watch itself has shown is not told a second time."""
    log = b"".join(b"line %d\n" % number for number in range(10))
    stub.add_job("j", status="FAILED", log=((0.0, log),), has_header=False)
    watcher = a_watcher(watch, log_position=log.index(b"line 5"))

    await watcher.watch()

    assert list(watcher.last_lines) == [f"line {number}" for number in range(10)]


async def test_log_is_not_read_if_nobody_wants_it(stub: StubDashboard, watch: ClusterWatch) -> None:
    """Without log streaming no line is emitted, but a failed job's last ones are known."""
    stub.add_job("j", runtime=0.1, status="FAILED", log=((0.0, b"boom\n"),), has_header=False)
    lines = Lines()
    watcher = a_watcher(watch, lines, stream_logs=False)

    await watcher.watch()

    assert lines == []
    assert watcher.last_lines == ("boom",)


async def test_outage_is_told_once_and_loses_nothing(
    stub_dashboard: StubDashboard, caplog: pytest.LogCaptureFixture
) -> None:
    """While the dashboard can't be reached there is one warning, then one line that it is back."""
    job = stub_dashboard.add_job("j", runtime=NEVER, has_header=False)
    lines = Lines()
    with FaultProxy(stub_dashboard.url) as proxy:
        async with shared_watch(
            RayCluster(proxy.url, request_timeout=0.5), FAST, pace=FAST_PACE
        ) as watch:
            watching = asyncio.create_task(a_watcher(watch, lines).watch())
            for number in range(30):
                job.append(b"line %d\n" % number)
                if number == 5:
                    await asyncio.to_thread(proxy.set, is_refusing=True)
                    await asyncio.to_thread(proxy.cut)
                if number == 15:
                    await asyncio.to_thread(proxy.fail_with_status, 503)
                    await asyncio.to_thread(proxy.set, is_refusing=False)
                if number == 25:
                    await asyncio.to_thread(proxy.heal)
                await asyncio.sleep(0.04)
            await asyncio.sleep(0.2)
            job.finish()
            info = await asyncio.wait_for(watching, 20)

    assert info.status == "SUCCEEDED"
    assert lines == [f"line {number}" for number in range(30)]
    assert len(told(caplog, "WARNING")) == 1
    assert f"The Ray cluster at {proxy.url} is unreachable" in told(caplog, "WARNING")[0]
    assert [text for text in told(caplog, "INFO") if "reachable again" in text] != []
    assert len([text for text in told(caplog, "INFO") if "reachable again" in text]) == 1


@pytest.mark.parametrize(
    "fault", [Answer(429, headers={"Retry-After": "0"}), Answer(500), Answer(200, b"oops"), Hang()]
)
async def test_passing_failure_of_the_status_is_outlasted(
    stub: StubDashboard, fault: Answer | Hang
) -> None:
    """Whatever a dashboard answers for a while, or if it does not, the watch goes on."""
    stub.add_job("j", runtime=0.2)
    stub.inject(fault, times=2, route=routes.GET_JOB)

    async with shared_watch(
        RayCluster(stub.url, request_timeout=0.2), FAST, pace=FAST_PACE
    ) as watch:
        assert (await a_watcher(watch).watch()).status == "SUCCEEDED"


async def test_outage_that_lasts_too_long_ends_the_watch(
    stub: StubDashboard, watch: ClusterWatch
) -> None:
    """After ``unreachable_timeout`` the watch gives up with what the last try said."""
    stub.add_job("j", runtime=NEVER)
    stub.inject(Answer(502), times=None)
    began = time.monotonic()

    with pytest.raises(RayClusterUnreachableError, match="502"):
        await a_watcher(watch, unreachable_timeout=0.3).watch()

    assert 0.3 <= time.monotonic() - began < 2


async def test_short_outages_don_t_add_up(stub: StubDashboard, watch: ClusterWatch) -> None:
    """The time of an outage counts from its own beginning."""
    job = stub.add_job("j", runtime=NEVER)
    watching = asyncio.create_task(a_watcher(watch, unreachable_timeout=0.4).watch())
    for _ in range(3):
        stub.inject(Answer(502), times=None, route=routes.GET_JOB)
        await asyncio.sleep(0.2)
        stub.heal()
        seen = stub.count(routes.GET_JOB)
        while stub.count(routes.GET_JOB) < seen + 2:
            await asyncio.sleep(0.01)
    job.finish()

    assert (await asyncio.wait_for(watching, 10)).status == "SUCCEEDED"


@pytest.mark.parametrize("status", [401, 403])
async def test_credentials_that_stay_refused_end_the_watch(
    stub: StubDashboard, watch: ClusterWatch, status: int
) -> None:
    """A token that expired while the job runs is waited out for a while, and then the job goes on alone."""
    stub.add_job("j", runtime=NEVER)
    watching = asyncio.create_task(a_watcher(watch).watch())
    while stub.count(routes.GET_JOB) < 2:
        await asyncio.sleep(0.01)
    stub.inject(Answer(status), times=None, route=routes.GET_JOB)

    with pytest.raises(RayAuthenticationError, match=str(status)):
        await asyncio.wait_for(watching, 10)


@pytest.mark.parametrize("status", [400, 403, 405, 502])
async def test_log_route_alone_decides_nothing(
    stub: StubDashboard,
    watch: ClusterWatch,
    status: int,
) -> None:
    """A proxy that does not pass the log ends no watch, neither while the job runs nor after."""
    watch.pace = replace(FAST_PACE, patience_for_end=0.2)
    stub.add_job("j", runtime=0.3, log=((0.0, b"one\n"),))
    stub.inject(Answer(404), times=None, route=routes.AGENT_LOG)
    stub.inject(Answer(status), times=None, route=routes.LOGS)

    info = await asyncio.wait_for(a_watcher(watch).watch(), 10)

    assert info.status == "SUCCEEDED"
    assert stub.count(routes.LOGS) > 1


async def test_job_that_is_gone_ends_the_watch(stub: StubDashboard, watch: ClusterWatch) -> None:
    """A restarted head forgets its jobs: the watch says that the job is gone."""
    stub.add_job("j", runtime=NEVER)
    watching = asyncio.create_task(a_watcher(watch).watch())
    while stub.count(routes.GET_JOB) < 2:
        await asyncio.sleep(0.01)
    stub.forget_all()

    with pytest.raises(RayJobNotFoundError, match="Ray job j"):
        await asyncio.wait_for(watching, 10)


async def test_deadline_ends_the_watch_and_names_the_limit(
    stub: StubDashboard, watch: ClusterWatch
) -> None:
    """When a limit of the user has passed, the error names it; the job is not touched."""
    stub.add_job("j", runtime=NEVER, log=((0.0, b"working\n"),))
    watcher = a_watcher(watch, deadlines={"job_timeout": time.time() + 0.3})
    began = time.monotonic()

    with pytest.raises(
        RayJobTimeoutError, match="still RUNNING at the end of its job_timeout"
    ) as caught:
        await watcher.watch()

    assert 0.25 <= time.monotonic() - began < 2
    assert caught.value.status == "RUNNING"
    assert caught.value.last_lines[-1] == "working"
    assert stub.count(routes.STOP) == 0


async def test_deadline_ends_the_watch_in_an_outage_too(
    stub: StubDashboard, watch: ClusterWatch
) -> None:
    """A limit of the user is not put off because the cluster is unreachable, and both are told."""
    stub.add_job("j", runtime=NEVER)
    watcher = a_watcher(watch, deadlines={"job_timeout": time.time() + 0.5})
    watching = asyncio.create_task(watcher.watch())
    while stub.count(routes.GET_JOB) < 2:
        await asyncio.sleep(0.01)
    stub.inject(Answer(502), times=None)
    began = time.monotonic()

    with pytest.raises(
        RayJobTimeoutError,
        match="was RUNNING when it was last seen, and at the end of its job_timeout the cluster is "
        "unreachable: it answered 502",
    ) as caught:
        await asyncio.wait_for(watching, 10)

    assert time.monotonic() - began < 2
    assert caught.value.status == "RUNNING"


async def test_deadline_that_passes_in_an_outage_of_a_job_never_seen(
    stub: StubDashboard, watch: ClusterWatch
) -> None:
    """Also who has never got an answer keeps to the limit."""
    stub.inject(Answer(502), times=None)

    with pytest.raises(RayJobTimeoutError, match="was never seen, and at the end of its job_tim"):
        await a_watcher(watch, deadlines={"job_timeout": time.time() + 0.2}).watch()


async def test_pending_deadline_holds_only_while_the_job_waits(
    stub: StubDashboard, watch: ClusterWatch
) -> None:
    """A job that was scheduled in time may run on; one that was not is told to ask for less."""
    stub.add_job("j", pending=0.1, runtime=0.4)
    in_time = a_watcher(watch, deadlines={PENDING_TIMEOUT: time.time() + 0.3})
    assert (await in_time.watch()).status == "SUCCEEDED"
    stub.add_job("j", pending=NEVER)
    too_late = a_watcher(watch, deadlines={PENDING_TIMEOUT: time.time() + 0.2})

    with pytest.raises(
        RayJobTimeoutError,
        match=re.escape("Compare the resources that it requests with `ray status`"),
    ):
        await too_late.watch()


async def test_pending_deadline_that_has_passed_does_not_hasten_a_running_job(
    stub: StubDashboard, watch: ClusterWatch
) -> None:
    """A job that runs longer than it might have waited is asked about as rarely as any other."""
    stub.add_job("j", runtime=0.5)

    await a_watcher(watch, deadlines={PENDING_TIMEOUT: time.time() - 10}).watch()

    assert stub.count(routes.GET_JOB) < 30


async def test_deadline_that_has_passed_does_not_hide_an_end(
    stub: StubDashboard, watch: ClusterWatch
) -> None:
    """A job that ended before anybody looked is a job that ended."""
    stub.add_job("j")

    info = await a_watcher(watch, deadlines={"job_timeout": time.time() - 10}).watch()

    assert info.status == "SUCCEEDED"


@pytest.mark.parametrize("ahead", [1200.0, -1200.0])
async def test_limit_is_counted_on_the_cluster_s_clock(
    stub: StubDashboard, watch: ClusterWatch, ahead: float
) -> None:
    """A triggerer whose clock is 20 minutes off neither stops a job early nor lets it run on."""
    stub.clock_ahead = ahead
    now = time.time() + ahead
    stub.add_job("j", runtime=0.2)

    in_time = await a_watcher(watch, deadlines={"job_timeout": now + 600}).watch()
    stub.add_job("j", runtime=NEVER)
    with pytest.raises(RayJobTimeoutError, match="still RUNNING at the end of its job_timeout"):
        await a_watcher(watch, deadlines={"job_timeout": now - 5}).watch()

    assert in_time.status == "SUCCEEDED"


async def test_limit_waits_for_a_cluster_that_has_not_told_its_time() -> None:
    """Our own clock may be wrong, and the job would be stopped for that."""
    nobody_listens = RayCluster("http://127.0.0.1:9")
    options = {"deadlines": {"job_timeout": time.time() - 600}, "unreachable_timeout": 0.2}

    async with shared_watch(nobody_listens, FAST, pace=FAST_PACE) as watch:
        with pytest.raises(RayClusterUnreachableError):
            await a_watcher(watch, **options).watch()


async def test_pending_deadline_that_passes_in_an_outage_is_no_end(
    stub: StubDashboard, watch: ClusterWatch
) -> None:
    """By then the job may run, so somebody has to look first."""
    job = stub.add_job("j", pending=NEVER)
    deadline = time.time() + 0.3
    watching = asyncio.create_task(a_watcher(watch, deadlines={PENDING_TIMEOUT: deadline}).watch())
    while stub.count(routes.GET_JOB) < 2:
        await asyncio.sleep(0.01)
    stub.inject(Answer(502), times=None)
    job.run()
    while time.time() < deadline + 0.1:
        await asyncio.sleep(0.01)

    stub.heal()
    while stub.count(routes.LOGS) + stub.count(routes.AGENT_LOG) < 1:
        await asyncio.sleep(0.01)
    job.finish()

    assert (await watching).status == "SUCCEEDED"


async def test_cancelled_watch_leaves_nothing_behind(stub: StubDashboard) -> None:
    """Cancelling passes through at once and ends the log's reader and the cluster's watch, too."""
    stub.add_job("j", runtime=NEVER)
    before = asyncio.all_tasks()

    async def watch_alone() -> None:
        async with shared_watch(RayCluster(stub.url)) as watch:
            await a_watcher(watch).watch()

    watching = asyncio.create_task(watch_alone())
    while stub.count(routes.AGENT_LOG) < 2:
        await asyncio.sleep(0.01)

    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(watching, 1)

    ours = [task for task in asyncio.all_tasks() - before if "airflow_synapse" in repr(task)]
    assert ours == []
    assert stub.count(routes.STOP) == 0


async def test_pace_slows_down(stub: StubDashboard, watch: ClusterWatch) -> None:
    """Right after the beginning the status is asked for often, and never more than needed later."""
    watch.pace = replace(FAST_PACE, eagerness=10.0)
    job = stub.add_job("j", runtime=NEVER)
    watcher = JobWatcher(
        watch, "j", options=WatchOptions(poll_interval=0.2), emit=Lines().emit, logger=LOGGER
    )
    watching = asyncio.create_task(watcher.watch())
    await asyncio.sleep(0.7)

    asked = stub.count(routes.GET_JOB)
    job.finish()
    await asyncio.wait_for(watching, 10)

    assert 3 <= asked <= 6


async def test_end_of_a_job_whose_log_drips_is_told(
    stub: StubDashboard,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A log that comes byte by byte is left out after a while, because the status decides."""
    monkeypatch.setattr(bodies, "SLOWEST_BODY", bodies.SlowestBody(seconds=0.05))
    monkeypatch.setattr(stub, "_send_log", _drip)
    stub.inject(Answer(404), times=None, route=routes.AGENT_LOG)
    stub.add_job("j", runtime=0.0)

    quick = replace(FAST_PACE, patience_for_end=0.1, tries_of_end=2)
    async with shared_watch(RayCluster(stub.url), FAST, pace=quick) as other:
        info = await a_watcher(other).watch()

    assert info.status == "SUCCEEDED"
    assert "The rest can't be read: it sent" in caplog.text


async def _drip(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    while True:
        await response.write(b"x")
        await asyncio.sleep(0.01)
