"""Bytes of a log from a position on, from the agent or over the dashboard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from airflow_synapse.exceptions import RayClusterUnreachableError, RayLogNotFoundError
from airflow_synapse.rayjobs.client.jobs_api import JobsApi, jobs_api
from airflow_synapse.rayjobs.logs.reading import read_from
from airflow_synapse.rayjobs.models import JobInfo, RayCluster
from tests.support import stub_dashboard as routes
from tests.support.faults import Answer, CutBody, Hang, Reset
from tests.support.stub_dashboard import StubDashboard

LOG = b"".join(b"line %d\n" % number for number in range(500))


@pytest.fixture
async def api(stub: StubDashboard) -> AsyncIterator[JobsApi]:
    async with jobs_api(RayCluster(stub.url, request_timeout=2.0)) as api:
        yield api


async def test_bytes_are_read_from_a_position(stub: StubDashboard, api: JobsApi, way: str) -> None:
    """From any position the rest of the log comes; at its end there is nothing more."""
    stub.add_job("j", log=((0.0, LOG),), has_header=False)
    info = await api.get_info("j")

    for position in [0, 1, len(LOG) // 2, len(LOG) - 1, len(LOG)]:
        rest = b"".join([chunk async for chunk in read_from(api, info, position)])
        assert rest == LOG[position:]

    assert stub.count(way) >= 5


async def test_log_that_shrank_is_an_error(stub: StubDashboard, api: JobsApi, way: str) -> None:
    """A log shorter than what was read is not the same log."""
    stub.add_job("j", log=((0.0, b"short\n"),), has_header=False)
    info = await api.get_info("j")

    with pytest.raises(RayLogNotFoundError, match="6 bytes"):
        [chunk async for chunk in read_from(api, info, 1000)]


async def test_agent_is_asked_only_for_what_is_missing(stub: StubDashboard, api: JobsApi) -> None:
    """Where the agent can be reached, the dashboard reads no log at all."""
    stub.add_job("j", log=((0.0, LOG),), has_header=False)
    info = await api.get_info("j")

    [chunk async for chunk in read_from(api, info, 4000)]

    assert stub.last_call(routes.AGENT_LOG).headers["Range"] == "bytes=4000-"
    assert stub.count(routes.LOGS) == 0


async def test_agent_that_can_not_be_used_is_remembered(stub: StubDashboard, api: JobsApi) -> None:
    """An agent behind a firewall is tried once, not at every read."""
    stub.inject(Answer(404), times=None, route=routes.AGENT_LOG)
    stub.add_job("j", log=((0.0, LOG),))
    info = await api.get_info("j")

    for _ in range(5):
        assert [chunk async for chunk in read_from(api, info, 0)]

    assert stub.count(routes.AGENT_LOG) == 1
    assert stub.count(routes.LOGS) == 5


@pytest.mark.parametrize("told", [None, "bytes 0-9/10", "bytes 4001-9/10", "bytes ²-9/10", "x"])
async def test_agent_that_sends_another_range_is_done_without(
    stub: StubDashboard, api: JobsApi, told: str | None
) -> None:
    """Something on the way may ignore where a read begins, which would repeat lines."""
    headers = {} if told is None else {"Content-Range": told}
    stub.inject(Answer(206, b"other bytes", headers), times=None, route=routes.AGENT_LOG)
    stub.add_job("j", log=((0.0, LOG),), has_header=False)
    info = await api.get_info("j")

    assert b"".join([chunk async for chunk in read_from(api, info, 4000)]) == LOG[4000:]


@pytest.mark.parametrize(
    "address", ["http://", "http://[bad:1", "http://me:pw@h:1", "http://h:99999", "http://h?x"]
)
async def test_agent_s_address_that_is_none_is_done_without(
    stub: StubDashboard, api: JobsApi, address: str
) -> None:
    """It comes from the cluster, so it may be anything."""
    stub.add_job("j", log=((0.0, LOG),), has_header=False)
    info = replace(await api.get_info("j"), driver_agent_http_address=address)

    assert b"".join([chunk async for chunk in read_from(api, info, 0)]) == LOG


async def test_agent_that_never_answers_is_done_without(
    stub: StubDashboard,
) -> None:
    """Something else may listen at the agent's address from here; the dashboard helps out."""
    stub.inject(Hang(), times=None, route=routes.AGENT_LOG)
    stub.add_job("j", log=((0.0, LOG),), has_header=False)

    async with jobs_api(RayCluster(stub.url, request_timeout=0.5)) as api:
        info = await api.get_info("j")

        assert b"".join([chunk async for chunk in read_from(api, info, 0)]) == LOG


async def test_agent_s_address_that_is_somebody_else_s_is_done_without(
    stub: StubDashboard, api: JobsApi
) -> None:
    """What does not speak HTTP there is no agent."""

    async def greet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0)
    stub.agent_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    stub.add_job("j", log=((0.0, LOG),), has_header=False)
    info = await api.get_info("j")

    async with server:
        assert b"".join([chunk async for chunk in read_from(api, info, 0)]) == LOG


@pytest.mark.parametrize("fault", [Reset(), CutBody(0)], ids=repr)
async def test_agent_that_breaks_off_before_any_byte_is_done_without(
    stub: StubDashboard, api: JobsApi, fault: Reset | CutBody
) -> None:
    """A firewall that resets what goes to the agent's port hides no log that the dashboard has."""
    stub.inject(fault, times=None, route=routes.AGENT_LOG)
    stub.add_job("j", log=((0.0, LOG),), has_header=False)
    info = await api.get_info("j")

    assert b"".join([chunk async for chunk in read_from(api, info, 1000)]) == LOG[1000:]


async def test_read_that_breaks_off_later_starts_no_other(
    stub: StubDashboard, api: JobsApi
) -> None:
    """Bytes that have come already would come twice from the dashboard."""
    stub.inject(CutBody(100), route=routes.AGENT_LOG)
    stub.add_job("j", log=((0.0, LOG),), has_header=False)
    info = await api.get_info("j")
    read = bytearray()

    async def read_all() -> None:
        async for chunk in read_from(api, info, 0):
            read.extend(chunk)

    with pytest.raises(RayClusterUnreachableError, match="was cut off"):
        await read_all()

    assert read == LOG[:100]
    assert stub.count(routes.LOGS) == 0


@pytest.mark.parametrize("scheme", ["https", "http"])
async def test_token_goes_to_the_agent_only_where_it_is_no_worse_off(
    stub: StubDashboard, scheme: str
) -> None:
    """Over plain HTTP the agent gets the token; headers and cookies of the connection never."""
    stub.add_job("j", log=((0.0, LOG),))
    details = stub.jobs["j"].details()
    cluster = RayCluster(
        stub.url.replace("http", scheme),
        token="s3cret",
        headers={"X-Key": "s3cret-key"},
        cookies={"session": "s3cret-cookie"},
    )

    async with jobs_api(cluster) as api:
        info = JobInfo.from_api(details)
        [chunk async for chunk in api.read_range(info, "job-driver-j.log", 0)]

    headers = stub.last_call(routes.AGENT_LOG).headers
    assert ("s3cret" in headers.get("Authorization", "")) == (scheme == "http")
    assert "X-Key" not in headers
    assert "Cookie" not in headers


async def test_redirect_of_an_agent_is_not_followed(stub: StubDashboard, api: JobsApi) -> None:
    """An agent's address comes from the cluster, and leads nowhere else."""
    stub.inject(
        Answer(302, headers={"Location": stub.url + "/api/version"}), route=routes.AGENT_LOG
    )
    stub.add_job("j", log=((0.0, LOG),))
    info = await api.get_info("j")

    [chunk async for chunk in read_from(api, info, 0)]

    assert stub.count(routes.VERSION) == 0
