"""Watching goes on when connections are cut and the API server restarts."""

from __future__ import annotations

import asyncio
import logging
import re
import uuid
from collections import Counter
from concurrent.futures import Future

import airflow.sdk.execution_time.cache  # noqa: F401  # else Airflow imports it in the event loop
import pytest

from airflow_synapse.triggers.ray_job import RayJobTrigger
from tests.kubernetes.long_watches import Watched
from tests.kubernetes.ray_clusters import KubeRayCluster
from tests.triggers.watching import connect, events_of

pytestmark = pytest.mark.timeout(600)

TASKS = 10
LINES = 60


@pytest.fixture
def connected(cluster: KubeRayCluster, monkeypatch: pytest.MonkeyPatch) -> KubeRayCluster:
    """The cluster, with the connection ``ray_default`` leading to it through the API server."""
    token = cluster.rig.certificates.token("admin")
    connect(monkeypatch, cluster.address, password=token, extra={"verify": str(cluster.ca)})
    return cluster


async def test_api_server_restarts_while_ten_tasks_wait(
    connected: KubeRayCluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Ten triggers outlive an API server that is killed: each line comes once, each end is told."""
    monkeypatch.setattr(RayJobTrigger, "log", logging.getLogger("the tasks' log"))
    caplog.set_level(logging.INFO)
    executor = connected.executor()
    job_ids = [f"restart-{uuid.uuid4().hex[:8]}" for _ in range(TASKS)]
    with executor:
        for job_id in job_ids:
            command = f"for i in $(seq {LINES}); do echo {job_id} line $i; sleep 0.25; done"
            await asyncio.to_thread(executor.submit_entrypoint, command, job_id=job_id)

    waiting = [asyncio.create_task(events_of(RayJobTrigger(job_id))) for job_id in job_ids]
    while not all(f"{job_id} line 1" in caplog.messages for job_id in job_ids):
        assert not any(task.done() for task in waiting)
        await asyncio.sleep(0.1)
    await asyncio.to_thread(connected.rig.restart_api_server)
    events = [event for (event,) in await asyncio.gather(*waiting)]

    assert {event["job_id"]: event["status"] for event in events} == dict.fromkeys(
        job_ids, "SUCCEEDED"
    )
    told = Counter(filter(re.compile(r"restart-\w+ line \d+").fullmatch, caplog.messages))
    assert told == {f"{job_id} line {n}": 1 for job_id in job_ids for n in range(1, LINES + 1)}


def test_log_of_five_minutes_is_followed_through_cuts(log_of_minutes: Future[Watched]) -> None:
    """A log is followed for minutes over connections that are cut now and then; each line comes once."""
    watched = log_of_minutes.result(480)

    assert watched.lines == watched.expected
    assert watched.status == "SUCCEEDED"
    assert watched.cuts > 0
