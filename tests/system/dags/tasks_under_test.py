"""Tasks for the system tests, each in the triggerer and in the worker."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG

from airflow_synapse.operators.plugin_action import SubmitPluginActionOperator
from airflow_synapse.operators.ray_job import SubmitRayJobOperator
from airflow_synapse.sensors.ray_job import RayJobSensor

PLUGIN = Path(__file__).parent / "plugin"

for name, deferrable in (("triggerer", True), ("worker", False)):
    with DAG(
        f"ends_in_{name}",
        schedule=None,
        default_args={"deferrable": deferrable, "poll_interval": 1, "retries": 0},
    ):
        SubmitPluginActionOperator(
            task_id="talk",
            action_name="talk",
            action_params={"lines": 300, "size": 200_000},
            working_dir=PLUGIN,
            retries=1,  # see the test's ``log_of_talk``
            retry_delay=timedelta(seconds=1),
        )
        SubmitPluginActionOperator(task_id="fail", action_name="fail", working_dir=PLUGIN)
        SubmitRayJobOperator(
            task_id="too_long", entrypoint="sleep 600", job_timeout=timedelta(seconds=5)
        )
        foreign = SubmitRayJobOperator(
            task_id="submit_only",
            entrypoint="echo secret is $SECRET | tr a-z A-Z; sleep 2; exit 4",
            env={"SECRET": "planted-in-{{ dag.dag_id }}"},
            wait_for_completion=False,
        )
        RayJobSensor(task_id="sense", job_id=foreign.output, poke_interval=1)

    with DAG(
        f"killed_in_{name}",
        schedule=None,
        default_args={
            "deferrable": deferrable,
            "poll_interval": 1,
            "retries": 1,
            "retry_delay": timedelta(seconds=1),
        },
    ):
        SubmitRayJobOperator(task_id="sleeps", entrypoint="sleep 600")
        SubmitRayJobOperator(task_id="fails", entrypoint="exit 3")
