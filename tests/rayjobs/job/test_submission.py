"""A job is started once, whatever gets lost, and is seen to be stopped."""

from __future__ import annotations

import random
import re
import socket
import threading
import time
from pathlib import Path

import pytest

from airflow_synapse.exceptions import (
    JobIdConflictError,
    RayClusterUnreachableError,
    RayJobNotFoundError,
    RayJobTimeoutError,
)
from airflow_synapse.rayjobs import RayJobExecutor
from airflow_synapse.rayjobs.client.jobs_api import jobs_api
from airflow_synapse.rayjobs.job.stopping import stop
from airflow_synapse.rayjobs.job.submission import submit
from airflow_synapse.rayjobs.models import JobSpec, RayCluster
from tests.support import stub_dashboard as routes
from tests.support.faults import Answer, CutBody, Delay, Hang, LoseAnswer, Reset
from tests.support.stub_dashboard import StubDashboard
from tests.support.stub_jobs import NEVER


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text("name: p\nactions: {run: {entrypoint: 'actions:run'}}\n")
    return tmp_path


def test_lost_answer_starts_one_job(stub_dashboard: StubDashboard, folder: Path) -> None:
    """If the server starts the job and the connection is cut, its id is returned, once."""
    stub_dashboard.script(runtime=NEVER)
    stub_dashboard.inject(LoseAnswer(), route=routes.SUBMIT)
    executor = RayJobExecutor(stub_dashboard.url, working_dir=folder)

    job_id = executor.submit("run")

    assert list(stub_dashboard.jobs) == [job_id]
    assert stub_dashboard.count(routes.SUBMIT) == 1


@pytest.mark.parametrize("fault", [Reset(), Answer(503), Answer(500, b"oops")])
def test_lost_request_is_sent_again(
    stub_dashboard: StubDashboard, folder: Path, fault: Reset | Answer
) -> None:
    """If the request did not arrive, the same id is sent again."""
    stub_dashboard.inject(fault, route=routes.SUBMIT)
    executor = RayJobExecutor(stub_dashboard.url, working_dir=folder)

    job_id = executor.submit("run", job_id="the-id")

    assert list(stub_dashboard.jobs) == [job_id] == ["the-id"]


def test_submission_after_an_unknown_end_is_found_again(stub_dashboard: StubDashboard) -> None:
    """After a submission that could not be cleared up, the same call finds its job."""
    executor = RayJobExecutor(stub_dashboard.url, request_timeout=1.0)
    stub_dashboard.script(runtime=NEVER)
    stub_dashboard.inject(LoseAnswer(), route=routes.SUBMIT)
    # The first look is the one before the submission.
    stub_dashboard.inject(Answer(404, b"Job the-id does not exist"), route=routes.GET_JOB)
    stub_dashboard.inject(Answer(503), times=None, route=routes.GET_JOB)
    with pytest.raises(RayClusterUnreachableError):
        executor.submit_entrypoint("true", job_id="the-id")
    stub_dashboard.heal()

    assert executor.submit_entrypoint("true", job_id="the-id") == "the-id"
    assert stub_dashboard.count(routes.SUBMIT) == 1


def test_many_submitters_start_one_job(stub_dashboard: StubDashboard) -> None:
    """Submitters of the same at the same time all get the id of the one job."""
    stub_dashboard.script(runtime=NEVER)
    results: list[str] = []
    executor = RayJobExecutor(stub_dashboard.url)
    threads = [
        threading.Thread(
            target=lambda: results.append(executor.submit_entrypoint("true", job_id="the-id"))
        )
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert results == ["the-id"] * 8
    assert list(stub_dashboard.jobs) == ["the-id"]


def test_foreign_job_under_the_id_conflicts(stub_dashboard: StubDashboard) -> None:
    """A job that somebody else submitted, without our metadata, is never taken for ours."""
    stub_dashboard.add_job("the-id", "true", runtime=NEVER)

    with pytest.raises(
        JobIdConflictError, match=r"already has the submission ID the-id: it is RUNNING"
    ):
        RayJobExecutor(stub_dashboard.url).submit_entrypoint("true", job_id="the-id")

    assert stub_dashboard.count(routes.SUBMIT) == 0


async def test_submission_tells_whether_it_started_the_job(stub_dashboard: StubDashboard) -> None:
    """The first call starts the job, the second finds it, and a lost answer counts as started."""
    async with jobs_api(RayCluster(stub_dashboard.url)) as api:
        assert await submit(api, JobSpec("true"), "first") is True
        assert await submit(api, JobSpec("true"), "first") is False
        stub_dashboard.inject(LoseAnswer(), route=routes.SUBMIT)
        assert await submit(api, JobSpec("true"), "second") is True

    assert list(stub_dashboard.jobs) == ["first", "second"]


@pytest.mark.parametrize("seed", range(12))
async def test_any_row_of_faults_starts_one_job(stub_dashboard: StubDashboard, seed: int) -> None:
    """However requests and answers get lost, there is one job in the end, or none and an error."""
    faults = [Reset(), LoseAnswer(), Answer(503), CutBody(3), Answer(500, b"oops"), Delay(0.02)]
    chance = random.Random(seed)
    for _ in range(chance.randint(1, 4)):
        route = chance.choice([routes.SUBMIT, routes.GET_JOB])
        stub_dashboard.inject(chance.choice(faults), route=route)
    stub_dashboard.script(runtime=NEVER)

    async with jobs_api(RayCluster(stub_dashboard.url, request_timeout=20.0)) as api:
        await submit(api, JobSpec("true"), "the-id")

    assert list(stub_dashboard.jobs) == ["the-id"]


async def test_refused_connection_is_told_at_once(stub_dashboard: StubDashboard) -> None:
    """If nothing can have arrived there is nothing to look up: no time is spent on it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    began = time.monotonic()

    async with jobs_api(RayCluster(url, request_timeout=20.0)) as api:
        with pytest.raises(RayClusterUnreachableError, match="refused"):
            await submit(api, JobSpec("true"), "the-id")

    assert time.monotonic() - began < 2


async def test_server_that_hangs_at_the_submission_ends_in_time(
    stub_dashboard: StubDashboard,
) -> None:
    """A submission that is never answered ends within the request timeout, naming the job."""
    stub_dashboard.inject(Hang(), times=None)
    began = time.monotonic()

    async with jobs_api(RayCluster(stub_dashboard.url, request_timeout=0.5)) as api:
        with pytest.raises(RayClusterUnreachableError, match="Job the-id may still be running"):
            await submit(api, JobSpec("true"), "the-id")

    assert time.monotonic() - began < 1


async def test_stop_is_confirmed(stub_dashboard: StubDashboard) -> None:
    """Ray's answer to a stop is a request taken; it is over once the job is STOPPED."""
    stub_dashboard.add_job("j", runtime=NEVER, stop_delay=0.5)
    async with jobs_api(RayCluster(stub_dashboard.url)) as api:
        assert await stop(api, "j") is True
        assert (await api.get_info("j")).status == "STOPPED"
        assert await stop(api, "j") is False

    assert stub_dashboard.count(routes.STOP) == 1


async def test_job_that_ends_while_it_is_stopped_was_not_stopped(
    stub_dashboard: StubDashboard,
) -> None:
    """If the job succeeds before the stop takes hold, it was not stopped."""
    stub_dashboard.add_job("j", runtime=0.3, stop_delay=5.0)

    async with jobs_api(RayCluster(stub_dashboard.url)) as api:
        assert await stop(api, "j") is False


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ({"pending": NEVER, "stop_delay": NEVER}, "still PENDING after 0.7 s"),
        ({"runtime": NEVER, "stop_delay": NEVER}, "still RUNNING after 0.7 s"),
    ],
)
async def test_job_that_does_not_stop_is_told(
    stub_dashboard: StubDashboard, script: dict[str, float], told: str
) -> None:
    """A job that goes on after the request timeout is an error that says in which state it is."""
    stub_dashboard.add_job("j", **script)

    async with jobs_api(RayCluster(stub_dashboard.url, request_timeout=0.7)) as api:
        with pytest.raises(RayJobTimeoutError, match=re.escape(told)):
            await stop(api, "j")


async def test_unknown_job_can_not_be_stopped(stub_dashboard: StubDashboard) -> None:
    """Stopping a job that is gone says that it is gone."""
    async with jobs_api(RayCluster(stub_dashboard.url)) as api:
        with pytest.raises(RayJobNotFoundError, match="nobody"):
            await stop(api, "nobody")
