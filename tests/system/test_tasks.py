"""What becomes of tasks on a real Airflow with a real Ray."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from airflow_synapse.rayjobs import RayJobExecutor
from airflow_synapse.version_compat import TRIGGERS_RENDER_TEMPLATES
from local_services.airflow_deployment import AirflowDeployment
from tests.support.statsd_listener import StatsdListener

pytestmark = pytest.mark.timeout(420)

SECONDS_TO_STOP = 15.0


@pytest.fixture(scope="module", params=["triggerer", "worker"])
def ended_run(
    request: pytest.FixtureRequest, airflow: AirflowDeployment, statsd: StatsdListener
) -> tuple[str, str]:
    """A run of all tasks that end by themselves, waited for in one place or the other."""
    dag_id = f"ends_in_{request.param}"
    failing = ("fail", "too_long", "sense")
    for _ in range(2):
        statsd.figures.clear()
        _, run_id = run(airflow, dag_id)
        # See ``log_of_talk``. These have no other try.
        events = [airflow.api.events(dag_id, run_id, task_id) for task_id in failing]
        if not any("state mismatch" in told for told in events):
            break
    for task_id in failing:
        # Airflow may tell a task's state before the last lines of its log are written.
        wait_for(
            lambda task_id=task_id: any(
                entry.get("error_detail")
                for entry in airflow.api.task_log_entries(dag_id, run_id, task_id)
            ),
            seconds=20,
        )
    return dag_id, run_id


def run(airflow: AirflowDeployment, dag_id: str, conf: dict | None = None) -> tuple[str, str]:
    """Run a DAG to its end and return the state it ended in, and the run id."""
    airflow.wait_for_dag(dag_id)
    airflow.api.unpause(dag_id)
    run_id = airflow.api.trigger(dag_id, conf)
    return airflow.api.wait_run(dag_id, run_id, timeout=300), run_id


def whole_log(airflow: AirflowDeployment, dag_id: str, run_id: str, task_id: str) -> str:
    """Return a task's log with everything that the API serves of it."""
    return json.dumps(airflow.api.task_log_entries(dag_id, run_id, task_id))


def log_of_talk(airflow: AirflowDeployment, ended_run: tuple[str, str]) -> list[str]:
    """Return the log of the try that succeeded.

    That is the first, unless a busy scheduler heard of the deferral only after the task had been
    queued again, and took it for one that was killed ("state mismatch" in Airflow's audit log).
    Then the next try takes the job over.
    """
    row = airflow.api.task_instance(*ended_run, "talk")
    assert row["state"] == "success"
    if row["try_number"] > 1:
        assert "state mismatch" in airflow.api.events(*ended_run, "talk")
    return airflow.api.task_log(*ended_run, "talk", row["try_number"])


def test_log_arrives_unchanged(airflow: AirflowDeployment, ended_run: tuple[str, str]) -> None:
    """Each line of the job is in the task's log as it was printed, once and in order."""
    log = log_of_talk(airflow, ended_run)

    start = log.index("    indented")
    assert log[start : start + 3] == ["    indented", "", "\tä ✓ \x1b[31mred\x1b[0m"]
    numbered = [line for line in log if line.startswith("line ")]
    assert numbered == [f"line {number}" for number in range(300)]
    assert log.count("last") == 1


def test_figures_arrive(ended_run: tuple[str, str], statsd: StatsdListener) -> None:
    """What Airflow's StatsD server is told of the jobs, wherever they were watched."""
    figures = statsd.figures

    assert sum(figures["airflow.ray.submissions_new"]) >= 4
    assert sum(figures["airflow.ray.requests"]) > 10
    assert sum(figures["airflow.ray.log_bytes"]) > 300 * len("line 100\n")
    assert max(figures["airflow.ray.jobs_watched"]) >= 1
    assert figures["airflow.ray.jobs_watched"][-1] == 0
    assert 0 <= min(figures["airflow.ray.end_delay"]) < 10_000  # milliseconds


def test_progress_bar_is_condensed(airflow: AirflowDeployment, ended_run: tuple[str, str]) -> None:
    """Of a progress bar some states arrive, and always the last one."""
    states = [line for line in log_of_talk(airflow, ended_run) if line.endswith("%")]

    assert 1 <= len(states) <= 4
    assert states[-1] == "100%"


def test_result_is_the_xcom(airflow: AirflowDeployment, ended_run: tuple[str, str]) -> None:
    """What the action returned is the task's XCom, and no noise in its log."""
    result = airflow.api.xcom(*ended_run, "talk", "return_value")

    assert result == {"lines": 300, "blob": "x" * 200_000}
    assert "xxxx" not in whole_log(airflow, *ended_run, "talk")


def test_failed_job_tells_why(airflow: AirflowDeployment, ended_run: tuple[str, str]) -> None:
    """The log of a task whose job FAILED ends with error type, exit code and the last lines."""
    row = airflow.api.task_instance(*ended_run, "fail")
    log = whole_log(airflow, *ended_run, "fail")

    assert row["state"] == "failed"
    assert "RayJobEntrypointError" in log
    assert "JOB_ENTRYPOINT_COMMAND_ERROR, exit code 1" in log
    assert log.count("ValueError: this is the reason") >= 2  # as a line of the job, and at the end


def test_job_timeout_stops_the_job(
    airflow: AirflowDeployment, executor: RayJobExecutor, ended_run: tuple[str, str]
) -> None:
    """A job that takes longer than job_timeout is stopped, and the task says which limit it was."""
    job_id = airflow.api.xcom(*ended_run, "too_long", "job_id")

    assert executor.get_status(job_id) == "STOPPED"
    assert airflow.api.task_instance(*ended_run, "too_long")["state"] == "failed"
    assert "at the end of its job_timeout" in whole_log(airflow, *ended_run, "too_long")


def test_task_that_does_not_wait_returns_the_job_id(
    airflow: AirflowDeployment, ended_run: tuple[str, str]
) -> None:
    """With wait_for_completion=False the task succeeds with the id of the job."""
    job_id = airflow.api.xcom(*ended_run, "submit_only", "job_id")

    assert airflow.api.task_instance(*ended_run, "submit_only")["state"] == "success"
    assert airflow.api.xcom(*ended_run, "submit_only", "return_value") == job_id


def test_sensor_fails_with_a_foreign_job(
    airflow: AirflowDeployment, ended_run: tuple[str, str]
) -> None:
    """A sensor shows the log of somebody else's job, and fails when that job does."""
    log = whole_log(airflow, *ended_run, "sense")

    assert airflow.api.task_instance(*ended_run, "sense")["state"] == "failed"
    assert f"SECRET IS PLANTED-IN-{ended_run[0]}".upper() in log
    assert "exit code 4" in log


def test_env_values_are_in_no_rendered_template(
    airflow: AirflowDeployment, ended_run: tuple[str, str]
) -> None:
    """The values of ``env`` are neither among the rendered templates nor in the log."""
    row = airflow.api.task_instance(*ended_run, "submit_only")

    assert "planted-in" not in json.dumps(row)
    assert "planted-in" not in whole_log(airflow, *ended_run, "submit_only")


def test_link_leads_to_the_job(airflow: AirflowDeployment, ended_run: tuple[str, str]) -> None:
    """The button "Ray job" leads to the job's page in the dashboard."""
    job_id = airflow.api.xcom(*ended_run, "talk", "job_id")

    link = airflow.api.links(*ended_run, "talk")["Ray job"]

    assert link is not None
    assert link.endswith(f"/#/jobs/{job_id}")


@pytest.mark.skipif(not TRIGGERS_RENDER_TEMPLATES, reason="needs Airflow 3.3")
def test_sensor_starts_and_ends_in_the_triggerer(airflow: AirflowDeployment) -> None:
    """It takes no worker slot unless the job fails, and has log and link all the same."""
    state, run_id = run(airflow, "sensors_in_triggerer")

    good, bad = (
        airflow.api.task_instance("sensors_in_triggerer", run_id, f"sense_{name}")
        for name in ("good", "bad")
    )
    assert state == "failed"
    assert (good["state"], bad["state"]) == ("success", "failed")
    assert good["pid"] is None
    assert bad["pid"] is not None
    log = airflow.api.task_log("sensors_in_triggerer", run_id, "sense_good")
    assert log.count("all is well") == 1
    assert "exit code 7" in whole_log(airflow, "sensors_in_triggerer", run_id, "sense_bad")
    job_id = airflow.api.xcom("sensors_in_triggerer", run_id, "submit_good", "return_value")
    link = airflow.api.links("sensors_in_triggerer", run_id, "sense_good")["Ray job"]
    assert str(link).endswith(f"/#/jobs/{job_id}")


@pytest.mark.parametrize("place", ["triggerer", "worker"])
def test_killed_task_stops_its_job(
    airflow: AirflowDeployment, executor: RayJobExecutor, place: str
) -> None:
    """Clearing or marking a running task stops its job; a clear and a retry get a new one."""
    dag_id = f"killed_in_{place}"
    airflow.wait_for_dag(dag_id)
    airflow.api.unpause(dag_id)
    run_id = airflow.api.trigger(dag_id)

    def running_job(other_than: str = "") -> str:
        prefix = f"{dag_id}.sleeps."
        return wait_for(
            lambda: next(
                (
                    job.job_id
                    for job in executor.list_jobs()
                    if job.job_id.startswith(prefix)
                    and job.status == "RUNNING"
                    and job.job_id != other_than
                ),
                "",
            ),
            seconds=90,
        )

    first = running_job()
    if place == "triggerer":
        airflow.api.wait_task(dag_id, run_id, "sleeps", ["deferred"])
    airflow.api.clear(dag_id, run_id, "sleeps")
    wait_for(lambda: executor.get_status(first) == "STOPPED", seconds=SECONDS_TO_STOP)
    second = running_job(other_than=first)
    if place == "triggerer":
        airflow.api.wait_task(dag_id, run_id, "sleeps", ["deferred"])
    airflow.api.mark(dag_id, run_id, "sleeps", "success")
    wait_for(lambda: executor.get_status(second) == "STOPPED", seconds=SECONDS_TO_STOP)
    airflow.api.wait_run(dag_id, run_id, timeout=120)

    failed = [job for job in executor.list_jobs() if job.job_id.startswith(f"{dag_id}.fails.")]
    assert [job.status for job in failed] == ["FAILED", "FAILED"]
    assert {job.metadata["airflow_try_number"] for job in failed} == {"1", "2"}


def wait_for(question: Callable[[], str | bool], *, seconds: float) -> str:
    """Return the first answer that is neither empty nor False."""
    deadline = time.monotonic() + seconds
    while not (answer := question()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(0.3)
    return str(answer)


def test_training_goes_on_from_its_checkpoint(airflow: AirflowDeployment, tmp_path: Path) -> None:
    """The first try is killed, and the next one begins after the last epoch that was saved."""
    state, run_id = run(airflow, "checkpoints", {"output_dir": str(tmp_path)})

    assert state == "success", whole_log(airflow, "checkpoints", run_id, "fit")
    fitted = airflow.api.xcom("checkpoints", run_id, "fit", "return_value")
    assert fitted["began_after"] == 4
    assert fitted["slope"] == pytest.approx(3, abs=0.4)
    last_try = airflow.api.task_instance("checkpoints", run_id, "fit")["try_number"]
    entries = airflow.api.task_log_entries("checkpoints", run_id, "fit", last_try)
    (begins,) = [entry for entry in entries if entry["event"] == "Begins after epoch 4."]
    assert (begins["logger"], begins["level"]) == ("ray.job", "info")


def test_digits_pipeline_leaves_metrics_and_plot(
    airflow: AirflowDeployment, tmp_path: Path
) -> None:
    """The pipeline's params flow from task to task, and its metrics and plot are files."""
    state, run_id = run(airflow, "digits_pipeline", {"output_dir": str(tmp_path)})

    assert state == "success"
    metrics = airflow.api.xcom("digits_pipeline", run_id, "evaluate", "return_value")
    assert metrics["accuracy"] > 0.9
    assert json.loads((tmp_path / "metrics.json").read_text())["accuracy"] == metrics["accuracy"]
    assert (tmp_path / "confusion.png").read_bytes().startswith(b"\x89PNG")


def test_mapped_task_sweeps_a_parameter(airflow: AirflowDeployment, tmp_path: Path) -> None:
    """Each mapped task has a job of its own, and the summary gets the results of all."""
    state, run_id = run(airflow, "sweep_parameter", {"output_dir": str(tmp_path)})

    assert state == "success"
    few, many = airflow.api.xcom("sweep_parameter", run_id, "summary", "return_value")["accuracies"]
    assert few < many
    jobs = {airflow.api.xcom("sweep_parameter", run_id, "train", "job_id", i) for i in (0, 1)}
    assert len(jobs) == 2


def test_sensor_waits_for_a_job_submitted_elsewhere(
    airflow: AirflowDeployment, executor: RayJobExecutor
) -> None:
    """The sensor succeeds with a job that Airflow did not submit, and shows its log."""
    job_id = executor.submit_entrypoint("sleep 2; echo The export is done.")

    state, run_id = run(airflow, "wait_for_job", {"job_id": job_id})

    assert state == "success"
    assert "The export is done." in airflow.api.task_log("wait_for_job", run_id, "wait")


def test_shell_command_runs_with_its_environment(airflow: AirflowDeployment) -> None:
    """A shell command sees the env it was given, templates rendered."""
    state, run_id = run(airflow, "shell_command")

    assert state == "success"
    log = airflow.api.task_log("shell_command", run_id, "greet")
    assert any(line.startswith("Hello from") and line.endswith(run_id) for line in log)


def test_smallest_plugin_greets(airflow: AirflowDeployment) -> None:
    """One function of one file is a job, and its result the XCom."""
    state, run_id = run(airflow, "hello_ray")

    assert state == "success"
    assert airflow.api.xcom("hello_ray", run_id, "greet", "return_value") == {"greeted": run_id}


def test_functions_run_as_jobs(airflow: AirflowDeployment) -> None:
    """Lists travel to a function, keys of its dict come back one by one, and one call is many jobs."""
    state, run_id = run(airflow, "task_ray")

    assert state == "success", airflow.api.task_states("task_ray", run_id)
    assert airflow.api.xcom("task_ray", run_id, "describe", "mean") == 6.0
    told = [airflow.api.xcom("task_ray", run_id, "compare", "return_value", i) for i in range(3)]
    assert told[1] == f"5.0 is 0.83 times the mean of {run_id}"


def test_policy_tries_no_failure_of_the_job_s_own_code_again(airflow: AirflowDeployment) -> None:
    """With three retries left, the task fails at once."""
    state, run_id = run(airflow, "retry_policy", {"exit_code": 3})

    assert state == "failed"
    assert airflow.api.task_instance("retry_policy", run_id, "exit")["try_number"] == 1
    assert "exit code 3" in whole_log(airflow, "retry_policy", run_id, "exit")


def test_house_keeping_stops_and_forgets(
    airflow: AirflowDeployment, executor: RayJobExecutor
) -> None:
    """A job of somebody else is stopped, and none is forgotten that ended within a week."""
    job_id = executor.submit_entrypoint("sleep 300")

    state, run_id = run(airflow, "house_keeping", {"job_id": job_id})

    assert state == "success"
    assert executor.get_status(job_id) == "STOPPED"
    assert airflow.api.xcom("house_keeping", run_id, "forget", "return_value") == 0


def test_sensor_takes_no_worker(airflow: AirflowDeployment, executor: RayJobExecutor) -> None:
    """On Airflow 3.3 the example's sensor starts and ends in the triggerer, elsewhere it waits as any."""
    job_id = executor.submit_entrypoint("sleep 2; echo The export is done.")

    state, run_id = run(airflow, "wait_without_worker", {"job_id": job_id})

    assert state == "success"
    row = airflow.api.task_instance("wait_without_worker", run_id, "wait")
    assert (row["pid"] is None) is TRIGGERS_RENDER_TEMPLATES
    assert "The export is done." in airflow.api.task_log("wait_without_worker", run_id, "wait")
