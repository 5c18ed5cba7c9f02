"""A job that nobody will watch any more is stopped, or named."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from airflow_synapse.rayjobs.client.jobs_api import JobsApi, jobs_api
from airflow_synapse.rayjobs.job.stopping import stop_and_tell
from airflow_synapse.rayjobs.models import RayCluster
from tests.support.faults import Answer, Hang
from tests.support.stub_dashboard import StubDashboard
from tests.support.stub_jobs import NEVER

LOGGER = logging.getLogger("the task's log")


@pytest.fixture(autouse=True)
def everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


@pytest.fixture
async def api(stub: StubDashboard) -> AsyncIterator[JobsApi]:
    async with jobs_api(RayCluster(stub.url, request_timeout=1.0)) as api:
        yield api


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]


async def test_running_job_is_stopped(
    stub: StubDashboard, api: JobsApi, caplog: pytest.LogCaptureFixture
) -> None:
    """It is seen to be stopped, and that is said."""
    stub.add_job("j", runtime=NEVER)

    assert await stop_and_tell(api, "j", logger=LOGGER, notice_after=60.0)

    assert stub.jobs["j"].status == "STOPPED"
    assert "Ray job j was stopped." in caplog.text
    assert errors(caplog) == []


@pytest.mark.parametrize("fault", [Answer(503), Hang()])
async def test_dashboard_that_is_down_for_a_while_is_waited_for(
    stub: StubDashboard,
    api: JobsApi,
    caplog: pytest.LogCaptureFixture,
    fault: Answer | Hang,
) -> None:
    """An outage at the moment of a kill does not save the job."""
    stub.add_job("j", runtime=NEVER)
    stub.inject(fault, times=2)

    assert await stop_and_tell(api, "j", logger=LOGGER, notice_after=60.0)

    assert stub.jobs["j"].status == "STOPPED"
    assert "If no later line says that Ray job j has ended, stop it with" in caplog.text


async def test_job_that_can_t_be_stopped_is_named(
    stub: StubDashboard,
    api: JobsApi,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """After a bounded time the log names the job that is left behind, and why."""
    stub.add_job("j", runtime=NEVER)
    stub.inject(Answer(503), times=None)

    is_stopped = await stop_and_tell(api, "j", logger=LOGGER, notice_after=60.0, patience=0.2)

    assert not is_stopped
    assert len(errors(caplog)) == 1
    assert "Ray job j may still be running" in errors(caplog)[0]
    assert "503" in errors(caplog)[0]


async def test_job_is_named_before_airflow_kills_the_process(
    stub: StubDashboard,
    api: JobsApi,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What to do by hand stands in the log while the stop is still being tried. That is no error yet."""
    stub.add_job("j", runtime=NEVER)
    stub.inject(Hang(), times=None)
    stopped = asyncio.create_task(stop_and_tell(api, "j", logger=LOGGER, notice_after=0.05))

    while "has not stopped yet" not in caplog.text:
        await asyncio.sleep(0.01)
    stub.heal()

    assert f"`ray job stop j --address {stub.url}`" in caplog.text
    assert await stopped
    assert not errors(caplog)
    assert "Ray job j was stopped." in caplog.text


async def test_job_that_waits_for_resources_is_named(
    stub: StubDashboard, api: JobsApi, caplog: pytest.LogCaptureFixture
) -> None:
    """Ray says that it stopped such a job, and leaves it: that is said plainly."""
    stub.add_job("j", pending=NEVER, stop_delay=NEVER)

    assert not await stop_and_tell(api, "j", logger=LOGGER, notice_after=60.0)

    assert "still PENDING" in errors(caplog)[0]


async def test_job_that_is_gone_needs_no_stop(
    api: JobsApi, caplog: pytest.LogCaptureFixture
) -> None:
    """There is nothing left that could run."""
    assert await stop_and_tell(api, "nobody", logger=LOGGER, notice_after=60.0)

    assert "The cluster does not know Ray job nobody, so there was nothing to stop." in caplog.text
