"""On a real Airflow, too: random faults of the network, and components killed at random."""

from __future__ import annotations

import asyncio
import os
import random
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from airflow_synapse.rayjobs import RayJobExecutor
from airflow_synapse.rayjobs.models import JobInfo
from local_services.airflow_deployment import AirflowDeployment
from local_services.ray_head import RayHead
from tests.chaos.weather import Weather
from tests.support.fault_proxy import FaultProxy

pytestmark = pytest.mark.timeout(900)

DAG_ID = "chaos"
COUNTS = (200, 301, 402)
SECONDS_OF_CHAOS = 40.0


@pytest.fixture(scope="module")
def proxy(ray_head: RayHead) -> Iterator[FaultProxy]:
    with FaultProxy(ray_head.dashboard_url) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def airflow(proxy: FaultProxy) -> Iterator[AirflowDeployment]:
    connection = {
        "conn_type": "ray",
        "host": proxy.url,
        "extra": {"request_timeout": 5},
    }
    dags = Path(__file__).parent / "dags"
    with AirflowDeployment(
        dags, connections={"ray_default": connection}, parallelism=8
    ) as deployment:
        yield deployment


class Reaper:
    """Kills or restarts components of Airflow, and workers of its tasks."""

    def __init__(self, airflow: AirflowDeployment, rng: random.Random, run_id: str) -> None:
        self._airflow = airflow
        self._random = rng
        self._run_id = run_id
        self.report: list[str] = []

    @property
    def has_killed_triggerer(self) -> bool:
        return any("triggerer killed" in entry for entry in self.report)

    def reap(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            time.sleep(self._random.uniform(2.0, 6.0))
            what = self._random.choice(["worker", "worker", "triggerer", "restart", "scheduler"])
            if what == "worker":
                self._kill_a_worker()
            elif what == "restart":
                self.report.append("triggerer restarted")
                self._airflow.triggerer.stop(grace=30)
                self._airflow.triggerer.start()
            else:
                self.report.append(f"{what} killed")
                component = getattr(self._airflow, what)
                component.kill()
                component.start()

    def _kill_a_worker(self) -> None:
        rows = self._airflow.api.task_instances(DAG_ID, self._run_id)
        pids = [row["pid"] for row in rows if row["state"] == "running" and row["pid"]]
        if pids:
            pid = self._random.choice(pids)
            self.report.append(f"worker {pid} killed")
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def numbers_of(airflow: AirflowDeployment, run_id: str, row: dict[str, Any]) -> list[int]:
    """Return the numbers that the last try's log has."""
    log = airflow.api.task_log(DAG_ID, run_id, row["task_id"], row["try_number"], row["map_index"])
    matches = (re.fullmatch(r"line (\d+)", line) for line in log)
    return [int(match[1]) for match in matches if match]


def jobs_of(executor: RayJobExecutor, run_id: str) -> dict[tuple[str, int], list[JobInfo]]:
    """Return the jobs of each task of a run."""
    jobs: dict[tuple[str, int], list[JobInfo]] = {}
    for job in executor.list_jobs():
        if job.metadata.get("airflow_run_id") == run_id:
            place = (job.metadata["airflow_task_id"], int(job.metadata["airflow_map_index"]))
            jobs.setdefault(place, []).append(job)
    return jobs


def test_each_task_runs_one_job(
    airflow: AirflowDeployment, proxy: FaultProxy, ray_head: RayHead, seed: int
) -> None:
    """Each task ends with the success of its one job, whose lines are all in its log, in order."""
    airflow.wait_for_dag(DAG_ID)
    airflow.api.unpause(DAG_ID)
    run_id = airflow.api.trigger(DAG_ID)
    weather = Weather(proxy, random.Random(f"weather {seed}"), SECONDS_OF_CHAOS)
    reaper = Reaper(airflow, random.Random(f"reaper {seed}"), run_id)
    raging = threading.Thread(target=lambda: asyncio.run(weather.rage()))

    raging.start()
    reaper.reap(SECONDS_OF_CHAOS)
    raging.join()
    state = airflow.api.wait_run(DAG_ID, run_id, timeout=600)

    story = [f"seed {seed}", weather.report, reaper.report]
    print(*story, sep="\n")
    rows = airflow.api.task_instances(DAG_ID, run_id)
    assert state == "success", (story, airflow.api.task_states(DAG_ID, run_id))
    jobs = jobs_of(RayJobExecutor(ray_head.dashboard_url), run_id)
    assert len(jobs) == len(rows) == 2 * len(COUNTS)
    for row in rows:
        place = (row["task_id"], row["map_index"])
        statuses = [job.status for job in jobs[place]]
        # A worker that is told to end stops its job only if no try is left, or if Airflow calls the task over.
        assert statuses.count("SUCCEEDED") == 1, (story, place, jobs[place])
        assert set(statuses) <= {"SUCCEEDED", "STOPPED"}, (story, place, jobs[place])
        numbers = numbers_of(airflow, run_id, row)
        assert sorted(set(numbers)) == list(range(COUNTS[row["map_index"]])), (story, place)
        if place[0] == "worker" or not reaper.has_killed_triggerer:
            assert len(numbers) == len(set(numbers)), (story, place)
        steps_back = [after for before, after in pairwise(numbers) if after <= before]
        assert len(steps_back) <= len(reaper.report), (story, place)
