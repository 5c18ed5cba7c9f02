"""``echo hi`` through a whole Airflow and a real Ray, from the trigger of the run to its success."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median

from airflow_synapse.rayjobs import RayJobExecutor
from benchmarks.tables import Table, ratio
from local_services.airflow_deployment import AirflowDeployment
from local_services.ray_head import RayHead

_REPEATS = 5
_DAGS = Path(__file__).parent / "dags"


def run_echo(pythons: Mapping[str, Path], head: RayHead) -> Table:
    """Run the same small task with each provider, and without one."""
    table = Table(
        "`echo hi`, from the trigger of the DAG run to its success",
        ("how", "seconds", "of Ray alone"),
        f"Medians of {_REPEATS}, `poll_interval=1`, after one run to warm up.",
    )
    alone = _alone(head)
    table.add("on Ray alone, submitted and waited for with our executor", alone, "")
    for kind, dag_ids in (
        ("ours", ("echo_bash", "echo_in_worker", "echo_deferred")),
        ("astro", ("echo_deferred",)),
    ):
        connection = json.dumps(
            {
                "conn_type": "ray",
                "host": head.dashboard_url,
                "extra": {"address": head.dashboard_url},
            }
        )
        with AirflowDeployment(
            _DAGS / kind, connections={"ray_default": connection}, python=pythons[kind]
        ) as airflow:
            for dag_id in dag_ids:
                seconds = _runs(airflow, dag_id)
                table.add(f"{kind}, {dag_id}", seconds, ratio(seconds, alone) if seconds else "-")
    return table


def _alone(head: RayHead) -> float:
    executor = RayJobExecutor(head.dashboard_url)
    taken = []
    for _ in range(_REPEATS):
        began = time.perf_counter()
        executor.wait(executor.submit_entrypoint("echo hi"))
        taken.append(time.perf_counter() - began)
    return median(taken)


def _runs(airflow: AirflowDeployment, dag_id: str) -> float | None:
    airflow.wait_for_dag(dag_id)
    airflow.api.unpause(dag_id)
    taken = []
    for _ in range(_REPEATS + 1):
        began = time.perf_counter()
        run_id = airflow.api.trigger(dag_id)
        if airflow.api.wait_run(dag_id, run_id, timeout=180) != "success":
            return None
        taken.append(time.perf_counter() - began)
    return median(taken[1:])
