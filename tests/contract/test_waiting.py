"""What a cluster says about a job that waits: the same on the stub and on a real Ray."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from airflow_synapse.rayjobs.client.jobs_api import jobs_api
from airflow_synapse.rayjobs.models import RayCluster
from airflow_synapse.rayjobs.waiting.reasons import Cause, Reason
from airflow_synapse.rayjobs.waiting.waiting_room import WaitingRoom
from local_services.ray_head import RayHead
from tests.support.raw_dashboard import Dashboard
from tests.support.stub_dashboard import StubDashboard
from tests.support.stub_jobs import NEVER, StubNode, start_limit

START_LIMIT = 25.0

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module", params=["stub", "ray"])
def small(request: pytest.FixtureRequest) -> Iterator[Dashboard]:
    """A cluster of one node with one CPU, which gives up soon on a job that waits."""
    if request.param == "ray":
        limit = {"RAY_JOB_START_TIMEOUT_SECONDS": str(START_LIMIT)}
        with RayHead(num_cpus=1, env=limit) as head:
            yield Dashboard(head.dashboard_url, stub=None)
        return
    with StubDashboard() as stub:
        stub.nodes = [StubNode(total={"CPU": 1.0})]
        yield Dashboard(stub.url, stub=stub)


async def reason_of(dashboard: Dashboard, job_id: str, *, part: str) -> Reason:
    """Return the reason why the job waits, as soon as it has this part."""
    async with jobs_api(RayCluster(dashboard.url)) as api:
        room = WaitingRoom(interval=0.2)
        while (reason := await room.reason(api, job_id)) is None or part not in reason.text:
            await asyncio.sleep(0.2)
        return reason


async def test_busy_and_impossible_jobs_until_ray_gives_up(small: Dashboard) -> None:
    """A busy node, a node that is not there, and Ray's answer after its limit, which is the same for both."""
    waits = start_limit(START_LIMIT / 10)
    small.submit("sleep 120", played={"runtime": NEVER}, entrypoint_num_cpus=1)
    busy = small.submit("true", played=waits.__dict__, entrypoint_num_cpus=0.5)
    impossible = small.submit("true", played=waits.__dict__, entrypoint_num_gpus=4)
    labelled = small.submit(
        "true", played=waits.__dict__, entrypoint_label_selector={"market": "spot"}
    )

    reasons = [
        await reason_of(small, busy, part="0 of 1"),
        await reason_of(small, impossible, part="GPU"),
        await reason_of(small, labelled, part="market"),
    ]
    ended = [small.wait(job_id, {"FAILED"}) for job_id in (busy, impossible, labelled)]
    async with jobs_api(RayCluster(small.url)) as api:
        in_hindsight = await WaitingRoom().reason_in_hindsight(api, impossible)

    assert [(reason.cause, reason.text) for reason in reasons] == [
        (Cause.BUSY, "asks for 0.5 CPU; about 0 of 1 are free"),
        (Cause.IMPOSSIBLE, "asks for 4 GPU; no node has any"),
        (Cause.IMPOSSIBLE, "asks for a node with market=spot; there is none"),
    ]
    assert in_hindsight == reasons[1]
    assert {job["error_type"] for job in ended} == {"JOB_SUPERVISOR_ACTOR_START_TIMEOUT"}
    assert {job["driver_exit_code"] for job in ended} == {None}
    assert {job["driver_node_id"] for job in ended} == {None}
    assert all(
        job["message"].startswith("Job supervisor actor failed to start within ") for job in ended
    )


async def test_environment_that_is_being_installed(small: Dashboard) -> None:
    """While Ray installs packages, the job waits for its environment."""
    job_id = small.submit(
        "true",
        played={"pending": NEVER, "installing": True},
        runtime_env={"pip": ["no-such-package-of-ours"], "env_vars": {"NAME": "value"}},
    )

    reason = await reason_of(small, job_id, part="environment")

    assert reason.cause is Cause.ENVIRONMENT
    assert "pip installs 1 package on node " in reason.text
