"""Watching goes on when connections are cut and the API server restarts."""

from __future__ import annotations

import asyncio
import logging
import re
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import airflow.sdk.execution_time.cache  # noqa: F401  # else Airflow imports it in the event loop
import pytest

from airflow_synapse.triggers.ray_job import RayJobTrigger
from tests.kubernetes.long_watches import Watched
from tests.kubernetes.ray_clusters import KubeRayCluster
from tests.triggers.watching import connect, events_of

pytestmark = pytest.mark.timeout(600)

Told = Callable[[], dict[str, list[int]]]

TASKS = 10
_LINE = re.compile(r"(restart-\w+) line (\d+)")


@pytest.fixture
def connected(cluster: KubeRayCluster, monkeypatch: pytest.MonkeyPatch) -> KubeRayCluster:
    """The cluster, with the connection ``ray_default`` leading to it through the API server."""
    token = cluster.rig.certificates.token("admin")
    connect(monkeypatch, cluster.address, password=token, extra={"verify": str(cluster.ca)})
    return cluster


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Told:
    """The numbers of the lines that the tasks' logs show of each job, as they come."""
    monkeypatch.setattr(RayJobTrigger, "log", logging.getLogger("the tasks' log"))
    caplog.set_level(logging.INFO)

    def told() -> dict[str, list[int]]:
        numbers: dict[str, list[int]] = {}
        for match in filter(None, map(_LINE.fullmatch, caplog.messages)):
            numbers.setdefault(match[1], []).append(int(match[2]))
        return numbers

    return told


async def test_api_server_restarts_while_ten_tasks_wait(
    connected: KubeRayCluster, told: Told, tmp_path: Path
) -> None:
    """Ten triggers outlive an API server that is killed: each line comes once, each end is told."""
    job_ids = [f"restart-{uuid.uuid4().hex[:8]}" for _ in range(TASKS)]
    flag = tmp_path / "enough"
    await asyncio.to_thread(_start_counting, connected, job_ids, flag)
    waiting = [asyncio.create_task(events_of(RayJobTrigger(job_id))) for job_id in job_ids]

    await _until(lambda: len(told()) == TASKS, waiting)
    await asyncio.to_thread(connected.rig.restart_api_server)
    before = {job_id: len(lines) for job_id, lines in told().items()}
    await _until(lambda: all(len(told()[job_id]) > before[job_id] for job_id in job_ids), waiting)
    flag.touch()
    events = [event for (event,) in await asyncio.gather(*waiting)]

    assert {e["job_id"]: e["status"] for e in events} == dict.fromkeys(job_ids, "SUCCEEDED")
    for job_id, lines in told().items():
        assert lines == list(range(1, len(lines) + 1)), job_id


def _start_counting(cluster: KubeRayCluster, job_ids: list[str], flag: Path) -> None:
    """Start jobs that print numbered lines until a file is there, which their pods share with us."""
    with cluster.executor() as executor:
        for job_id in job_ids:
            count = f"n=$((n+1)); echo {job_id} line $n; sleep 0.25"
            executor.submit_entrypoint(f"while [ ! -e {flag} ]; do {count}; done", job_id=job_id)


async def _until(statement: Callable[[], bool], waiting: list[asyncio.Task[Any]]) -> None:
    while not statement():
        assert not any(task.done() for task in waiting)
        await asyncio.sleep(0.1)


def test_log_of_five_minutes_is_followed_through_cuts(log_of_minutes: Future[Watched]) -> None:
    """A log is followed for minutes over connections that are cut now and then; each line comes once."""
    watched = log_of_minutes.result(480)

    assert watched.lines == watched.expected
    assert watched.status == "SUCCEEDED"
    assert watched.cuts > 0
