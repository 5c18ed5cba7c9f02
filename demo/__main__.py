"""Starts a real Ray and a real Airflow, runs the example DAGs on them and cleans up."""

from __future__ import annotations

import argparse
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from airflow_synapse.rayjobs import RayJobExecutor
from demo.runs import DagFailedError, run_dag
from demo.screen import Screen
from demo.services import running
from demo.terminal import activate_script
from local_services.airflow_deployment import AirflowDeployment
from local_services.processes import ServiceError
from local_services.ray_head import RayHead

DAG_IDS = ("shell_command", "digits_pipeline", "sweep_parameter", "checkpoints", "wait_for_job")
OUTPUT = Path("demo_output")


def main() -> int:
    """Run the demo and return its exit code."""
    arguments = _arguments()
    screen = Screen()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    output = Path(arguments.output or OUTPUT / f"{datetime.now():%Y-%m-%d_%H-%M-%S}").absolute()
    output.mkdir(parents=True, exist_ok=True)
    try:
        _run(arguments, screen, output)
    except KeyboardInterrupt:
        screen.error("Interrupted; everything is stopped.")
        return 130
    except (DagFailedError, ServiceError, TimeoutError) as exc:
        screen.error(f"The demo failed: {exc}")
        return 1
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave all up until Ctrl-C")
    parser.add_argument("--only", choices=DAG_IDS, action="append", help="run just this DAG")
    parser.add_argument(
        "--dags",
        type=Path,
        default=OUTPUT / "dags",
        help="a folder of your own DAGs, made if need be; demo_output/dags by default",
    )
    parser.add_argument("--output", help="where to keep metrics and plot; demo_output by default")
    return parser.parse_args()


def _run(arguments: argparse.Namespace, screen: Screen, output: Path) -> None:
    began = time.monotonic()
    arguments.dags.mkdir(parents=True, exist_ok=True)
    with ExitStack() as services:
        with screen.step("Start Ray and Airflow"):
            ray, airflow = services.enter_context(running(screen, arguments.dags))
        services.callback(screen.note, "stopping Ray and Airflow")
        if arguments.keep:
            activate = services.enter_context(activate_script(airflow, OUTPUT / "activate"))
            _show_urls(screen, ray, airflow)
        _run_dags(arguments.only or DAG_IDS, ray, airflow, screen, output)
        took = {name: f"{seconds:.1f} s" for name, seconds in screen.seconds.items()}
        screen.table("Time", {**took, "all": f"{time.monotonic() - began:.1f} s"})
        screen.say(f"Metrics, models and plot are kept in {output}")
        if arguments.keep:
            _show_urls(screen, ray, airflow)
            _show_what_to_do(screen, activate, arguments.dags)
            with suppress(KeyboardInterrupt):
                signal.pause()


def _run_dags(
    dag_ids: Iterable[str],
    ray: RayHead,
    airflow: AirflowDeployment,
    screen: Screen,
    output: Path,
) -> None:
    results: dict[str, object] = {}
    try:
        for dag_id in dag_ids:
            with screen.step(f"Run {dag_id}"):
                results.update(_run_dag(dag_id, ray, airflow, screen, output))
    except (DagFailedError, TimeoutError):
        _keep_logs(ray, airflow, output, screen)
        raise
    screen.table("Results", results)


def _run_dag(
    dag_id: str, ray: RayHead, airflow: AirflowDeployment, screen: Screen, output: Path
) -> dict[str, object]:
    conf: dict[str, Any] = {"output_dir": str(output / dag_id)}
    if dag_id == "wait_for_job":
        executor = RayJobExecutor(ray.dashboard_url)
        conf = {"job_id": executor.submit_entrypoint("sleep 8; echo The export is done.")}
        screen.note(f"submitted {conf['job_id']} from outside Airflow")
    elif dag_id == "shell_command":
        conf = {}
    run_id = run_dag(airflow, dag_id, screen, conf=conf)
    return _results(dag_id, run_id, airflow)


def _results(dag_id: str, run_id: str, airflow: AirflowDeployment) -> dict[str, object]:
    """Return what is worth a line at the end, from the tasks' XComs."""
    api = airflow.api
    if dag_id == "digits_pipeline":
        trained = api.xcom(dag_id, run_id, "train", "return_value")
        evaluated = api.xcom(dag_id, run_id, "evaluate", "return_value")
        return {
            "best of the models": ", ".join(
                f"{model['name']} {model['accuracy']:.4f}" for model in trained["models"]
            ),
            "accuracy on test data": f"{evaluated['accuracy']:.4f}",
            "plot": evaluated["plot"],
            "metrics": evaluated["metrics"],
        }
    if dag_id == "sweep_parameter":
        summary = api.xcom(dag_id, run_id, "summary", "return_value")
        return {"forests of 5 and 50 trees": summary["accuracies"]}
    if dag_id == "checkpoints":
        fitted = api.xcom(dag_id, run_id, "fit", "return_value")
        return {"after the kill, training went on after epoch": fitted["began_after"]}
    return {dag_id: "success"}


def _show_urls(screen: Screen, ray: RayHead, airflow: AirflowDeployment) -> None:
    login = f"{airflow.base_url}  (login {airflow.username} / {airflow.password})"
    screen.table("Open in a browser", {"Airflow": login, "Ray dashboard": ray.dashboard_url})


def _show_what_to_do(screen: Screen, activate: Path, dags: Path) -> None:
    command = f". {shlex.quote(str(activate.absolute()))}"
    screen.table(
        "Use it",
        {
            "your own DAGs": f"{dags.absolute()}  (put them there: listed within seconds, paused)",
            "in a terminal": f"{command}  (then airflow ray check, airflow dags list, …)",
            "in the UI": "Admin > Connections has a button that tests ray_default",
        },
    )
    screen.say("Press Ctrl-C to stop all.")


def _keep_logs(ray: RayHead, airflow: AirflowDeployment, output: Path, screen: Screen) -> None:
    """Copy the services' logs before their folders are deleted."""
    for name, folder in (
        ("airflow-components", airflow.logs_dir),
        ("airflow-tasks", airflow.home / "logs"),
        ("ray", ray.logs_dir),
    ):
        shutil.copytree(
            folder, output / "logs" / name, dirs_exist_ok=True,
            ignore_dangling_symlinks=True, ignore=shutil.ignore_patterns("*.sock"),
        )  # fmt: skip
    screen.error(f"The logs of Ray and Airflow are kept in {output / 'logs'}")


if __name__ == "__main__":
    sys.exit(main())
