"""The one module that opens sockets: what it sends, and what it makes of slow and odd servers."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from email.utils import formatdate
from pathlib import Path
from unittest.mock import ANY

import aiohttp
import pytest
from aiohttp import web
from packaging.version import Version

from airflow_synapse.exceptions import (
    RayAddressError,
    RayClusterUnreachableError,
    RayJobNotFoundError,
    RayJobSubmissionError,
    RayLogNotFoundError,
)
from airflow_synapse.rayjobs.client.answers import IdInUseError
from airflow_synapse.rayjobs.client.dashboard import DashboardApi
from airflow_synapse.rayjobs.client.jobs_api import JobsApi, jobs_api
from airflow_synapse.rayjobs.job.results import read_result, result_file
from airflow_synapse.rayjobs.models import (
    ACTION_KEY,
    PARTS_KEY,
    SPEC_KEY,
    SUBMITTED_KEY,
    JobInfo,
    JobSpec,
    RayCluster,
)
from tests.support import stub_dashboard as routes
from tests.support.fault_proxy import FaultProxy
from tests.support.faults import Answer, Hang
from tests.support.stub_dashboard import StubDashboard, encode
from tests.support.stub_jobs import NEVER, NODE_ID


@pytest.fixture
async def api(stub: StubDashboard) -> AsyncIterator[JobsApi]:
    async with jobs_api(RayCluster(stub.url, request_timeout=1.0)) as api:
        yield api


async def test_job_is_sent_with_its_fingerprint(stub: StubDashboard, api: JobsApi) -> None:
    """All of the spec is sent, and in the metadata by what it is known again."""
    spec = JobSpec("run", {"env_vars": {"A": "1"}}, {"who": "me"}, {"entrypoint_num_cpus": 2})

    await api.post_job(spec, "j")

    assert stub.jobs["j"].request == {
        "submission_id": "j",
        "entrypoint": "run",
        "runtime_env": {"env_vars": {"A": "1"}},
        "metadata": {
            "who": "me",
            SPEC_KEY: spec.fingerprint,
            PARTS_KEY: json.dumps(spec.parts),
            SUBMITTED_KEY: ANY,
        },
        "entrypoint_num_cpus": 2,
    }
    with pytest.raises(IdInUseError):
        await api.post_job(spec, "j")


async def test_job_that_ray_refuses_is_told_in_its_words(api: JobsApi) -> None:
    """A field that this Ray does not know is a refusal, not an outage."""
    spec = JobSpec("run", resources={"entrypoint_odd": 1})

    with pytest.raises(RayJobSubmissionError, match="unexpected keyword argument 'entrypoint_odd'"):
        await api.post_job(spec, "j")


async def test_bad_request_about_anything_else_refuses_no_job(
    stub: StubDashboard, api: JobsApi
) -> None:
    """A proxy's 400 to a look at a job says nothing about its submission."""
    stub.inject(Answer(400), route=routes.GET_JOB)

    with pytest.raises(RayAddressError, match="it answered 400, which a Ray dashboard does not"):
        await api.get_info("j")


async def test_only_submission_jobs_are_listed(stub: StubDashboard, api: JobsApi) -> None:
    """Drivers that were not submitted have no id and are left out."""
    stub.add_job("j", runtime=NEVER)
    driver = {**stub.jobs["j"].details(), "type": "DRIVER", "submission_id": None}
    stub.inject(Answer(200, web.json_response([driver, stub.jobs["j"].details()]).body))

    assert [info.job_id for info in await api.list_jobs()] == ["j"]


@pytest.mark.parametrize("job_id", ["raysubmit_ä b", "a%2Fb", "a?b#c", "x" * 250])
async def test_odd_ids_of_others_are_asked_for_as_they_are(
    stub: StubDashboard, api: JobsApi, job_id: str
) -> None:
    """A job that somebody else named oddly can be looked at and stopped."""
    stub.add_job(job_id, runtime=NEVER)

    assert (await api.get_info(job_id)).job_id == job_id
    assert await api.request_stop(job_id) is True


async def test_prefix_of_the_url_is_kept() -> None:
    """Behind a proxy the dashboard may live below a path."""
    seen: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append(request.path)
        return web.json_response({"ray_version": "2.60.0"})

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/ray/prefix/"
    async with jobs_api(RayCluster(url)) as api:
        await api.get_version()
    await runner.cleanup()

    assert seen == ["/ray/prefix/api/version"]


async def test_wrong_address_is_told_before_anything_is_opened() -> None:
    """Nothing is sent to what is no URL."""
    async with jobs_api(RayCluster("head:8265")) as api:
        with pytest.raises(RayAddressError, match="must start with http"):
            await api.get_version()


async def test_closed_client_may_be_closed_again(stub: StubDashboard) -> None:
    """Closing is idempotent, and an API that is used again opens again."""
    api = jobs_api(RayCluster(stub.url))
    await api.close()
    await api.get_version()
    await api.close()
    await api.close()


# Deleting


async def test_job_that_has_just_ended_is_deleted_later(
    stub: StubDashboard, api: JobsApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray would note a job down anew that is deleted while its monitor still looks after it."""
    monkeypatch.setattr(DashboardApi, "settles_in", 0.7)
    stub.add_job("j")
    began = time.monotonic()

    assert await api.delete("j") is True

    assert 0.6 < time.monotonic() - began < 1.5


async def test_job_that_ended_long_ago_is_deleted_at_once(
    stub: StubDashboard, api: JobsApi
) -> None:
    """Who clears away many old jobs waits for none of them."""
    stub.add_job("j", ended_ago=10.0)
    began = time.monotonic()

    assert await api.delete("j") is True

    assert time.monotonic() - began < 1.0


async def test_age_of_a_job_is_by_the_cluster_s_clock(stub: StubDashboard, api: JobsApi) -> None:
    """A cluster whose clock is an hour ahead tells by its own when a job has ended long ago."""
    stub.add_job("j", ended_ago=-3600.0)
    an_hour_ahead = {"Date": formatdate(time.time() + 3610, usegmt=True)}
    details = web.json_response(stub.jobs["j"].details()).body
    stub.inject(Answer(200, details, an_hour_ahead), route=routes.GET_JOB)
    began = time.monotonic()

    assert await api.delete("j") is True

    assert time.monotonic() - began < 1.0


# Packages


async def test_package_is_uploaded_as_it_is(
    stub: StubDashboard, api: JobsApi, tmp_path: Path
) -> None:
    """Every byte arrives, and then the cluster has the package."""
    uri, content = "gcs://_ray_pkg_1.zip", bytes(range(256)) * 4096
    (tmp_path / "package.zip").write_bytes(content)
    assert await api.has_package(uri) is False

    await api.upload_package(uri, tmp_path / "package.zip")

    assert stub.packages == {uri: content}
    assert await api.has_package(uri) is True


@pytest.mark.skipif(
    Version(aiohttp.__version__) < Version("3.14"),
    reason="an older aiohttp takes more into its buffers than this server reads in a second",
)
async def test_slow_upload_may_take_its_time(tmp_path: Path) -> None:
    """A big package over a thin line takes longer than a request may, as long as bytes go out."""
    received = 0

    async def swallow(request: web.Request) -> web.Response:
        nonlocal received
        async for chunk in request.content.iter_chunked(512 * 1024):
            received += len(chunk)
            await asyncio.sleep(0.05)
        return web.Response()

    app = web.Application()
    app.router.add_put("/{path:.*}", swallow)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    (tmp_path / "package.zip").write_bytes(b"x" * 24 * 1024**2)
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    began = time.monotonic()

    async with jobs_api(RayCluster(url, request_timeout=1.0)) as api:
        await api.upload_package("gcs://_ray_pkg_1.zip", tmp_path / "package.zip")
    await runner.cleanup()

    assert received == 24 * 1024**2
    assert time.monotonic() - began > 1.5


async def test_upload_that_is_not_read_ends_in_time(
    stub_dashboard: StubDashboard, tmp_path: Path
) -> None:
    """A server, or a network, that stops taking bytes is noticed within the request timeout."""
    (tmp_path / "package.zip").write_bytes(b"x" * 32 * 1024**2)
    began = time.monotonic()

    with FaultProxy(stub_dashboard.url) as proxy:
        proxy.set(is_stalled=True)
        async with jobs_api(RayCluster(proxy.url, request_timeout=0.5)) as api:
            with pytest.raises(
                RayClusterUnreachableError, match="stopped reading during the upload of a package"
            ):
                await api.upload_package("gcs://_ray_pkg_1.zip", tmp_path / "package.zip")

    assert time.monotonic() - began < 3


async def test_upload_that_is_not_answered_ends_in_time(
    stub: StubDashboard, api: JobsApi, tmp_path: Path
) -> None:
    """A server that takes a package and says nothing is an outage."""
    (tmp_path / "package.zip").write_bytes(b"x")
    stub.inject(Hang(), route=routes.PUT_PACKAGE)
    began = time.monotonic()

    with pytest.raises(RayClusterUnreachableError):
        await api.upload_package("gcs://_ray_pkg_1.zip", tmp_path / "package.zip")

    assert time.monotonic() - began < 3


# Files and results


async def test_file_of_an_unknown_node_is_not_found(stub: StubDashboard, api: JobsApi) -> None:
    """A node that left took its logs along."""
    stub.add_job("j")
    info = JobInfo("j", "SUCCEEDED", driver_node_id="ff" * 28)

    with pytest.raises(RayLogNotFoundError, match="Agent for node id"):
        [chunk async for chunk in api.read_file(info, "job-driver-j.log")]


async def test_result_is_read_up_to_a_limit(stub: StubDashboard, api: JobsApi) -> None:
    """A result over the limit is None, one within it comes whole."""
    info = JobInfo("j", "SUCCEEDED", driver_node_id=NODE_ID)
    stub.files[result_file("j")] = b'{"result": "%s"}' % (b"x" * 100_000)

    assert await read_result(api, info, max_bytes=1000) is None
    assert await read_result(api, info) == {"result": "x" * 100_000}


async def test_web_page_is_no_log(stub: StubDashboard, api: JobsApi) -> None:
    """A proxy that answers 200 with its own page does not get its words into a task's log."""
    stub.add_job("j")
    page = Answer(200, b"<html>Welcome", headers={"Content-Type": "text/html; charset=utf-8"})
    stub.inject(page, times=None, route=routes.LOGS)
    info = await api.get_info("j")

    with pytest.raises(RayClusterUnreachableError, match="a web page instead of a file"):
        [chunk async for chunk in api.read_file(info, "job-driver-j.log")]


@pytest.mark.parametrize("body", [b"", b'{"resu'], ids=repr)
async def test_result_that_seems_missing_is_asked_for_again(
    stub: StubDashboard, api: JobsApi, body: bytes
) -> None:
    """A busy head now and then answers as if a file were empty; an action's result is there."""
    info = JobInfo("j", "SUCCEEDED", driver_node_id=NODE_ID, metadata={ACTION_KEY: "train"})
    stub.files[result_file("j")] = b'{"result": 1}'
    stub.inject(Answer(200, body), times=3, route=routes.LOGS)

    assert await read_result(api, info) == {"result": 1}


async def test_result_of_a_job_that_never_ran(api: JobsApi) -> None:
    """Without a node there is nowhere to look."""
    with pytest.raises(RayLogNotFoundError, match="never ran on a node"):
        await read_result(api, JobInfo("j", "FAILED"))


async def test_job_that_is_not_there_is_not_found(api: JobsApi) -> None:
    """404 in Ray's own words is about the job."""
    with pytest.raises(RayJobNotFoundError, match="Ray job nobody"):
        await api.get_info("nobody")
    assert await api.find_info("nobody") is None


async def test_active_jobs_are_those_that_have_not_ended(stub: StubDashboard, api: JobsApi) -> None:
    """They are known by their metadata; rows without any, or with odd ones, are left out."""
    wanted = {"a": "1", "b": "2"}
    rows = (("both", wanted), ("one", {"a": "1"}), ("none", None), ("odd", [1]))
    for name, metadata in rows:
        stub.add_job(name, runtime=NEVER).request["metadata"] = metadata
    stub.add_job("waits", pending=NEVER).request["metadata"] = {**wanted, "c": "3"}
    stub.add_job("ended").request["metadata"] = wanted

    found = await api.list_active(wanted)

    assert [job.job_id for job in found] == ["both", "waits"]


async def test_long_list_blocks_nobody(stub: StubDashboard, api: JobsApi) -> None:
    """Other tasks get their turn while the rows of a list are read."""
    rows = [stub.add_job(f"job-{number}").details() for number in range(1000)]
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    assert isinstance(api, DashboardApi)
    other = asyncio.create_task(take_turns())
    jobs = await api._pick(bytearray(encode(rows)), lambda _: True)
    other.cancel()

    assert len(jobs) == 1000
    assert turns >= 1000 / 25
