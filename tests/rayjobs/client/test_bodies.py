"""Whatever a server sends, it costs neither memory nor the other watches."""

from __future__ import annotations

import asyncio
import gzip
import json
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from aiohttp import web

from airflow_synapse.exceptions import RayAddressError, RayClusterUnreachableError
from airflow_synapse.rayjobs.client import bodies
from airflow_synapse.rayjobs.client.jobs_api import JobsApi, jobs_api
from airflow_synapse.rayjobs.models import JobInfo, JobSpec, RayCluster

JOB = {"type": "SUBMISSION", "submission_id": "j", "status": "RUNNING", "entrypoint": "true"}
Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Server:
    """Answers everything in the same way."""

    def __init__(self) -> None:
        self.body, self.headers = b"", {"Content-Type": "application/json"}
        self.status = 200
        self.drips = False

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if self.drips:
            response = web.StreamResponse()
            await response.prepare(request)
            while True:
                await response.write(b"x")
                await asyncio.sleep(0.01)
        return web.Response(status=self.status, body=self.body, headers=self.headers)


@pytest.fixture
async def server() -> AsyncIterator[tuple[Server, JobsApi]]:
    server = Server()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", server.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    async with jobs_api(RayCluster(f"http://127.0.0.1:{runner.addresses[0][1]}")) as api:
        yield server, api
    await runner.cleanup()


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("identity", bytes)],
)
async def test_compressed_answer_is_read(
    server: tuple[Server, JobsApi], encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    """A proxy may compress what goes through it."""
    stub, api = server
    stub.body = pack(json.dumps({**JOB, "message": "x" * 600_000}).encode())
    stub.headers["Content-Encoding"] = encoding

    info = await api.get_info("j")

    assert len(info.message or "") == 600_000


@pytest.mark.parametrize("status", [200, 500])
async def test_compressed_bomb_costs_no_memory(server: tuple[Server, JobsApi], status: int) -> None:
    """A megabyte that unpacks to a gigabyte is given up soon, as an answer and as an error."""
    stub, api = server
    stub.body, stub.status = gzip.compress(bytes(1024**3)), status
    stub.headers["Content-Encoding"] = "gzip"
    tracemalloc.start()

    with pytest.raises(RayClusterUnreachableError):
        await api.get_info("j")

    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 * 1024**2


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
        (b" " * (5 * 1024**2), "larger than 4 MiB"),
        (b"[" + b"[]," * 100_000 + b"[]]", "too many parts"),
        (b'{"message": {' + b'"a":1,' * 100_000 + b'"a":1}}', "too many parts"),
        (b"<html>", "not JSON"),
        (b'"RUNNING"', "it sent"),
        (b'{"status": ["RUNNING"]}', "it sent an answer with an unknown job status"),
        (b'{"status": {"a": 1}}', "it sent an answer with an unknown job status"),
        (b"null", "it sent"),
        (b'{"status": "SUCCEEDED"}', "about another job"),
        (b'{"status": "SUCCEEDED", "submission_id": "k"}', "about another job"),
    ],
)
async def test_answer_that_is_none_is_told(
    server: tuple[Server, JobsApi], body: bytes, told: str
) -> None:
    """As a cluster that gave no usable answer, which the watch of each job outlasts by itself."""
    stub, api = server
    stub.body = body

    with pytest.raises(RayClusterUnreachableError, match=told):
        await api.get_info("j")
    with pytest.raises(RayClusterUnreachableError):
        await api.list_jobs()
    with pytest.raises(RayClusterUnreachableError):
        await api.list_infos({"j"})
    with pytest.raises(RayClusterUnreachableError):
        await api.post_job(JobSpec("true"), "j")
    with pytest.raises(RayClusterUnreachableError):
        await api.delete("j")


@pytest.mark.parametrize(
    "row",
    [
        {**JOB, "metadata": [[]] * 500_000},
        {**JOB, "metadata": dict.fromkeys(map(str, range(300_000)), 1)},
        {**JOB, "message": "x" * 2_000_000},
    ],
)
async def test_row_that_would_block_the_loop_is_not_parsed(
    server: tuple[Server, JobsApi], row: dict[str, object]
) -> None:
    """A list may be long, but each of its rows is about one job."""
    stub, api = server
    stub.body = json.dumps([JOB, row, JOB]).encode()

    with pytest.raises(RayClusterUnreachableError, match="it sent"):
        await api.list_infos({"j"})
    with pytest.raises(RayClusterUnreachableError, match="it sent"):
        await api.list_jobs()


async def test_rows_of_any_usual_size_are_read(server: tuple[Server, JobsApi]) -> None:
    """A runtime_env of 128 KiB, and a message with commas and brackets, are usual."""
    stub, api = server
    stub.body = json.dumps(
        [
            {**JOB, "submission_id": "a", "message": ",[{" * 10_000},
            {**JOB, "submission_id": "b", "runtime_env": {"env_vars": {"A": "x" * 130_000}}},
            {**JOB, "submission_id": "c", "runtime_env": {"pip": ["a==1"] * 9_000}},
        ],
        indent=1,
    ).encode()

    assert [info.job_id for info in await api.list_jobs()] == ["a", "b", "c"]


async def test_body_that_drips_is_given_up(
    server: tuple[Server, JobsApi], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that sends a byte now and then does not keep its reader for ever."""
    stub, api = server
    stub.drips = True
    monkeypatch.setattr(bodies, "SLOWEST_BODY", bodies.SlowestBody(seconds=0.2))

    with pytest.raises(RayClusterUnreachableError, match=r"it sent \d+ bytes of its answer in"):
        async for _ in api.read_file(JobInfo("j", "RUNNING", driver_node_id="n"), "a.log"):
            pass


@pytest.mark.parametrize("body", [b"[]", b"null", b'"x"', b"7", b"<html>"])
async def test_answer_to_a_stop_that_is_none_is_told(
    server: tuple[Server, JobsApi], body: bytes
) -> None:
    """Who stops a job asks again, and raises nothing else."""
    stub, api = server
    stub.body = body

    with pytest.raises(RayClusterUnreachableError):
        await api.request_stop("j")


@pytest.mark.parametrize(
    "place", ["http://[bad", "https://me:s3cret@host", "//host", "", "http://host:99999", "\x00"]
)
async def test_redirect_to_a_malformed_place_is_told(
    server: tuple[Server, JobsApi], place: str
) -> None:
    """A header that can't be read breaks nothing."""
    stub, api = server
    stub.status, stub.headers["Location"] = 302, place.replace("\x00", "")

    with pytest.raises(RayAddressError, match="it redirects to") as told:
        await api.get_info("j")

    assert "s3cret" not in str(told.value)


@pytest.mark.parametrize("header", ["Retry-After", "Date"])
@pytest.mark.parametrize(
    "value", ["nan", "-5", "1e999", "Mon, 01 Jan 0001 00:00:00 +2359", "²", "9" * 5000]
)
async def test_odd_time_in_a_header_is_outlasted(
    server: tuple[Server, JobsApi], header: str, value: str
) -> None:
    """The server asks for a pause that makes no sense, or for none."""
    stub, api = server
    stub.status, stub.headers[header] = 503, value

    with pytest.raises(RayClusterUnreachableError) as told:
        await api.get_info("j")

    assert told.value.retry_after is None or told.value.retry_after >= 0


async def test_encoding_that_nobody_asked_for_is_told(server: tuple[Server, JobsApi]) -> None:
    """The server's name for it is repeated, cut."""
    stub, api = server
    stub.body, stub.headers["Content-Encoding"] = b"x", "snappy" * 100

    with pytest.raises(RayClusterUnreachableError, match="which was not asked for"):
        await api.get_info("j")


async def test_fields_of_other_types_break_nothing() -> None:
    """What is no text becomes text, and what is no number is not known."""
    info = JobInfo.from_api(
        {**JOB, "message": {"a": 1}, "start_time": "soon", "end_time": 1e300, "metadata": [1]}
    )

    assert info.message == "{'a': 1}"
    assert (info.start_time, info.end_time, info.metadata) == (None, None, {})
