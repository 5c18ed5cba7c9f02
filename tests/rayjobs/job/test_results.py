"""An action's result is read wherever it is, however slowly it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest

from airflow_synapse.exceptions import ExecutionError, RayClusterUnreachableError
from airflow_synapse.rayjobs import RayJobExecutor
from airflow_synapse.rayjobs.job import results
from airflow_synapse.rayjobs.models import ACTION_KEY, COPIES_KEY, RESULT_KEY, JobInfo, RayCluster
from tests.support import stub_dashboard as routes
from tests.support.stub_dashboard import StubDashboard, encode
from tests.support.stub_jobs import NODE_ID, StubJob

FILE = "airflow-synapse-result-j.json"


def ended_job(stub: StubDashboard, **metadata: str) -> StubJob:
    job = stub.add_job("j")
    job.request["metadata"] = {ACTION_KEY: "go", **metadata}
    return job


def test_result_in_the_metadata_needs_no_file(stub_dashboard: StubDashboard) -> None:
    """The node may be gone, and there is nothing more to ask for."""
    ended_job(stub_dashboard, **{RESULT_KEY: '{"result": 7}'})

    assert RayJobExecutor(stub_dashboard.url).get_result("j") == 7
    assert stub_dashboard.count(routes.LOGS) == 0


def test_broken_result_in_the_metadata_is_passed_over(stub_dashboard: StubDashboard) -> None:
    """Somebody else may have written it."""
    ended_job(stub_dashboard, **{RESULT_KEY: "7"})
    stub_dashboard.files[FILE] = encode({"result": 8})

    assert RayJobExecutor(stub_dashboard.url).get_result("j") == 8


def test_copy_on_the_head_is_read(stub_dashboard: StubDashboard) -> None:
    """The job's own node is asked only if the head does not have it."""
    ended_job(stub_dashboard, **{COPIES_KEY: "gone"})
    stub_dashboard.files[FILE] = encode({"result": 9})

    assert RayJobExecutor(stub_dashboard.url).get_result("j") == 9
    asked = [call.query["node_id"] for call in stub_dashboard.calls if call.route == routes.LOGS]
    assert asked == ["gone", NODE_ID]


class SlowApi:
    """A cluster whose files come in parts, each after a pause."""

    cluster = RayCluster("http://head:8265", request_timeout=0.3)

    def __init__(self, pauses: Sequence[float]) -> None:
        self.pauses = pauses

    async def get_info(self, job_id: str) -> JobInfo:
        return JobInfo(job_id, "SUCCEEDED", metadata={ACTION_KEY: "go"}, driver_node_id=NODE_ID)

    async def read_file(self, _: JobInfo, filename: str) -> AsyncGenerator[bytes, None]:
        assert filename == FILE
        yield b'{"result": "'
        for pause in self.pauses:
            await asyncio.sleep(pause)
            yield b"x"
        yield b'"}'

    def unreachable(self, reason: str, job_id: str) -> RayClusterUnreachableError:
        return RayClusterUnreachableError(cluster="here", reason=reason, job_id=job_id)


async def test_result_is_read_as_long_as_it_comes() -> None:
    """However long that takes in all."""
    api: Any = SlowApi([0.1] * 6)

    assert await results.get_result(api, "j") == "x" * 6


async def test_result_that_stops_coming_is_read_again_later() -> None:
    """No call waits for ever."""
    api: Any = SlowApi([600.0])

    with pytest.raises(RayClusterUnreachableError, match="did not answer in time"):
        await results.get_result(api, "j")


async def test_result_of_any_size_is_no_danger(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that never ends does not fill the memory."""
    api: Any = SlowApi([0.0] * 1000)
    monkeypatch.setattr(results, "MAX_RESULT", 100)

    with pytest.raises(ExecutionError, match="has a result of more than"):
        await results.get_result(api, "j")
