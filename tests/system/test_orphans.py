"""Jobs that nobody wants any more are stopped. On a real Airflow and Ray."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator

import pytest
from airflow.providers_manager import ProvidersManager

from airflow_synapse.rayjobs import RayJobExecutor
from local_services.airflow_deployment import AirflowDeployment
from tests.support.fault_proxy import FaultProxy
from tests.support.statsd_listener import StatsdListener
from tests.system.test_kills import TASK, Counting, eventually

pytestmark = pytest.mark.timeout(420)

PLACES = {
    "reaped by the command": "triggerer",
    "reaped by the operator": "triggerer",
    "marked": "worker",
    "deleted": "triggerer",
    "wanted": "triggerer",
}
"""Where each run's task waits for its job."""

Runs = dict[str, Counting]


@pytest.fixture(scope="module")
def runs(
    airflow: AirflowDeployment,
    executor: RayJobExecutor,
    proxy: FaultProxy,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Runs]:
    """Runs of a task. The triggerer has been stopped meanwhile, and the only worker's process killed."""
    proxy.heal()
    until = tmp_path_factory.mktemp("orphans") / "until"
    runs = {name: Counting(airflow, executor, place, until) for name, place in PLACES.items()}
    for name, run in runs.items():
        waiting = "deferred" if PLACES[name] == "triggerer" else "running"
        airflow.api.wait_task(run.dag_id, run.run_id, TASK, [waiting])
        eventually(lambda run=run: list(run.jobs.values()) == ["RUNNING"])
    airflow.triggerer.stop(grace=30)
    marked = runs["marked"]
    airflow.api.pause(marked.dag_id)  # no next try takes over the job of the one that is killed
    os.kill(airflow.api.task_instance(marked.dag_id, marked.run_id, TASK)["pid"], signal.SIGKILL)
    airflow.api.wait_task(marked.dag_id, marked.run_id, TASK, ["up_for_retry"])
    yield runs
    until.touch()
    airflow.api.unpause(marked.dag_id)
    if not airflow.triggerer.is_running:
        airflow.triggerer.start()


@pytest.mark.skipif(
    not hasattr(ProvidersManager, "cli_command_functions"), reason="Airflow 3.1 has no commands"
)
def test_command_shows_and_stops(airflow: AirflowDeployment, runs: Runs) -> None:
    """It finds the job of a marked task in Airflow's database, and none that is waited for."""
    run = runs["reaped by the command"]
    (job_id,) = run.jobs
    airflow.api.mark(run.dag_id, run.run_id, TASK, "success")

    shown = json.loads(airflow.cli("ray", "reap", "--dry-run", "-o", "json"))
    found = {row["job_id"] for row in shown}
    assert job_id in found
    assert not found & {*runs["wanted"].jobs, *runs["marked"].jobs}
    assert run.jobs == {job_id: "RUNNING"}

    reaped = json.loads(airflow.cli("ray", "reap", "-o", "json"))
    assert job_id in {row["job_id"] for row in reaped}
    assert run.jobs == {job_id: "STOPPED"}
    assert list(runs["wanted"].jobs.values()) == ["RUNNING"]


def test_operator_stops(airflow: AirflowDeployment, runs: Runs) -> None:
    """The example's task asks Airflow's API server, waits and stops the job of a marked task."""
    run = runs["reaped by the operator"]
    airflow.api.mark(run.dag_id, run.run_id, TASK, "failed")

    airflow.wait_for_dag("reap_ray_jobs")
    airflow.api.unpause("reap_ray_jobs")
    reaping = airflow.api.trigger("reap_ray_jobs")
    state = airflow.api.wait_run("reap_ray_jobs", reaping, timeout=180)

    assert state == "success", airflow.api.task_log("reap_ray_jobs", reaping, "reap")
    # The run that Airflow schedules as soon as the DAG is unpaused may have come first.
    assert airflow.api.xcom("reap_ray_jobs", reaping, "reap") in (0, 1)
    assert list(run.jobs.values()) == ["STOPPED"]
    assert list(runs["wanted"].jobs.values()) == ["RUNNING"]


def test_triggerer_stops_what_was_orphaned_while_it_was_away(
    airflow: AirflowDeployment, runs: Runs, proxy: FaultProxy, statsd: StatsdListener
) -> None:
    """The job of a task that was marked while up for retry, and that of a deleted run. Its log says so."""
    marked, deleted, wanted = (runs[name] for name in ("marked", "deleted", "wanted"))
    statsd.figures.clear()
    airflow.api.mark(marked.dag_id, marked.run_id, TASK, "failed")
    airflow.api.mark_run(deleted.dag_id, deleted.run_id, "failed")
    airflow.api.delete_run(deleted.dag_id, deleted.run_id)
    orphans = [*marked.jobs, *deleted.jobs]

    airflow.triggerer.start()
    eventually(lambda: set((marked.jobs | deleted.jobs).values()) == {"STOPPED"}, seconds=150)

    for job_id in orphans:  # which is told once the stop is confirmed
        line = f"Ray job {job_id} on {proxy.url} was stopped, because nobody wants it any more"
        eventually(lambda line=line: line in airflow.triggerer.log_path.read_text())
    eventually(lambda: sum(statsd.figures["airflow.ray.orphans_stopped"]) >= len(orphans))
    assert list(wanted.jobs.values()) == ["RUNNING"]
    wanted.end()
