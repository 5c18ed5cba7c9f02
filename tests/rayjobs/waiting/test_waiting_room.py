"""All who wait on a cluster share its looks, and no answer of a cluster breaks anything."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from airflow_synapse.rayjobs.client.jobs_api import JobsApi, jobs_api
from airflow_synapse.rayjobs.models import RayCluster
from airflow_synapse.rayjobs.waiting.reasons import Cause
from airflow_synapse.rayjobs.waiting.waiting_room import WaitingRoom
from tests.support import stub_dashboard as routes
from tests.support.faults import Answer, Hang, Reset
from tests.support.stub_dashboard import StubDashboard
from tests.support.stub_jobs import NEVER, StubNode


@pytest.fixture
async def api(stub: StubDashboard) -> AsyncIterator[JobsApi]:
    async with jobs_api(RayCluster(stub.url)) as api:
        yield api


@pytest.fixture
def room() -> WaitingRoom:
    return WaitingRoom(interval=60.0)


async def submit(stub: StubDashboard, job_id: str, **fields: object) -> None:
    stub.add_job(job_id, pending=NEVER).request.update(fields)


async def test_many_jobs_share_one_look(
    stub: StubDashboard, api: JobsApi, room: WaitingRoom
) -> None:
    """However many jobs wait, each route is asked once per interval, and twice at most for actors."""
    stub.nodes = [StubNode(free=None)]
    stub.add_job("busy", runtime=NEVER).request["entrypoint_num_cpus"] = 3
    for number in range(50):
        await submit(stub, f"j{number}", entrypoint_num_cpus=2 + number % 2)

    reasons = await asyncio.gather(*(room.reason(api, f"j{number}") for number in range(50)))

    assert {reason.text for reason in reasons if reason} == {
        "asks for 2 CPU; about 1 of 4 are free",
        "asks for 3 CPU; about 1 of 4 are free",
    }
    assert Counter(call.route for call in stub.calls) == {
        routes.ACTORS: 2,
        routes.RUNTIME_ENVS: 1,
        routes.NODES: 1,
        routes.NODE_SUMMARY: 1,
    }


async def test_what_the_autoscaler_s_process_says_is_free_is_exact(
    stub: StubDashboard, api: JobsApi, room: WaitingRoom
) -> None:
    """Where that process runs, actors are not counted."""
    stub.nodes = [StubNode(total={"CPU": 16.0}, free={"CPU": 1.0})]
    await submit(stub, "j", entrypoint_num_cpus=4)

    reason = await room.reason(api, "j")

    assert reason is not None
    assert reason.text == "asks for 4 CPU; 1 of 16 are free"


async def test_environment_is_told_with_the_time(
    stub: StubDashboard, api: JobsApi, room: WaitingRoom
) -> None:
    """An installation is told with its node, and since when it has been seen."""
    job = stub.add_job("j", pending=NEVER, installing=True)
    job.request["runtime_env"] = {"pip": ["a", "b"]}

    reason = await room.reason(api, "j")

    assert reason is not None
    assert reason.cause is Cause.ENVIRONMENT
    assert reason.text.startswith(
        "waits for its environment: pip installs 2 packages on node 192.0.2.1, since at least "
    )


async def test_job_that_no_node_can_take(
    stub: StubDashboard, api: JobsApi, room: WaitingRoom
) -> None:
    """Only then the autoscaler is asked about."""
    await submit(stub, "j", entrypoint_num_gpus=4)

    reason = await room.reason(api, "j")

    assert reason is not None
    assert (reason.cause, reason.text) == (Cause.IMPOSSIBLE, "asks for 4 GPU; no node has any")
    assert stub.count(routes.CLUSTER_STATUS) == stub.count(routes.CLUSTER_EVENTS) == 1


async def test_autoscaler_that_can_t_be_asked_any_more_is_remembered(
    stub: StubDashboard, api: JobsApi
) -> None:
    """A job does not become impossible because a route fails for once."""
    room = WaitingRoom(interval=0.0)
    stub.cluster_status = "Active:\n 1 head_group\nPending:\n gpu, 1 launching\n"
    await submit(stub, "j", entrypoint_num_gpus=4)
    before = await room.reason(api, "j")
    stub.inject(Answer(500), times=None, route=routes.CLUSTER_STATUS)

    after = await room.reason(api, "j")
    while stub.count(routes.CLUSTER_STATUS) < 2:
        after = await room.reason(api, "j")

    assert before is not None
    assert before.cause is Cause.AUTOSCALER
    assert after == before


@pytest.mark.parametrize("fault", [Answer(401), Answer(403), Answer(404), Answer(500), Reset()])
@pytest.mark.parametrize("route", routes.WAITING)
async def test_route_that_fails_is_no_error(
    stub: StubDashboard, api: JobsApi, room: WaitingRoom, route: str, fault: Answer | Reset
) -> None:
    """A cluster that refuses one of the routes, or lacks it, only tells less."""
    stub.inject(fault, times=None, route=route)
    await submit(stub, "j", entrypoint_num_gpus=4)

    reason = await room.reason(api, "j")

    assert (reason is None) is (route in {routes.ACTORS, routes.NODES})


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"[" * 100_000, b'{"data": 5}'])
async def test_answers_of_something_else_are_no_error(
    stub: StubDashboard, api: JobsApi, room: WaitingRoom, body: bytes
) -> None:
    """A web page, nonsense or deep nesting is no reason, and no error either."""
    for route in routes.WAITING:
        stub.inject(Answer(200, body), times=None, route=route)
    await submit(stub, "j", entrypoint_num_gpus=4)

    assert await room.reason(api, "j") is None


async def test_route_that_hangs_holds_nobody_up_for_long(
    stub: StubDashboard, api: JobsApi, room: WaitingRoom
) -> None:
    """What does not answer in time is left out of this look."""
    stub.inject(Hang(), times=None, route=routes.RUNTIME_ENVS)
    await submit(stub, "j", entrypoint_num_gpus=4)

    reason = await asyncio.wait_for(room.reason(api, "j"), 10)

    assert reason is not None
    assert reason.cause is Cause.IMPOSSIBLE


async def test_cancelled_look_leaves_the_next_to_another(
    stub: StubDashboard, api: JobsApi, room: WaitingRoom
) -> None:
    """A watcher that is cancelled while it looks for all of them keeps no lock."""
    await submit(stub, "j", entrypoint_num_gpus=4)
    stub.inject(Hang(), route=routes.NODES)
    looking = asyncio.create_task(room.reason(api, "j"))
    while not stub.count(routes.NODES):
        await asyncio.sleep(0.01)

    looking.cancel()

    assert await asyncio.wait_for(room.reason(api, "j"), 10) is not None


@pytest.mark.parametrize(
    ("request_body", "cause", "text"),
    [
        (
            {"entrypoint_num_cpus": 2},
            Cause.BUSY,
            "asks for 2 CPU; 1 of 4 are free",
        ),
        ({"entrypoint_num_cpus": 1}, Cause.BUSY, "asks for 1 CPU, which was not free"),
        ({"entrypoint_num_gpus": 4}, Cause.IMPOSSIBLE, "asks for 4 GPU; no node has any"),
        (
            {"runtime_env": {"pip": ["a"]}},
            Cause.ENVIRONMENT,
            "waits for its environment: pip installs 1 package",
        ),
    ],
)
async def test_reason_is_found_after_the_end(
    stub: StubDashboard,
    api: JobsApi,
    room: WaitingRoom,
    request_body: dict[str, object],
    cause: Cause,
    text: str,
) -> None:
    """If nobody watched while a job waited, what it asked for is still known and tells the likely reason."""
    stub.nodes = [StubNode(total={"CPU": 4.0}, free={"CPU": 1.0})]
    stub.add_job("j", status="FAILED").request.update(request_body)

    reason = await room.reason_in_hindsight(api, "j")

    assert reason is not None
    assert (reason.cause, reason.text) == (cause, text)


async def test_jobs_that_end_at_once_share_a_look_in_hindsight(
    stub: StubDashboard, api: JobsApi, room: WaitingRoom
) -> None:
    """A triggerer that comes back asks for each job what it wanted, and once for the rest."""
    for number in range(20):
        stub.add_job(f"j{number}", status="FAILED").request["entrypoint_num_gpus"] = 4

    await asyncio.gather(*(room.reason_in_hindsight(api, f"j{number}") for number in range(20)))

    assert stub.count(routes.NODES) == 1


async def test_hindsight_without_an_answer_is_none(
    stub: StubDashboard, api: JobsApi, room: WaitingRoom
) -> None:
    """Where the job is unknown or the route is refused, nothing is made up."""
    assert await room.reason_in_hindsight(api, "nobody") is None
    stub.inject(Answer(403), times=None)
    stub.add_job("j", status="FAILED").request["entrypoint_num_gpus"] = 4

    assert await room.reason_in_hindsight(api, "j") is None
