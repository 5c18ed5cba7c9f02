"""Tasks whose jobs make assets, in the triggerer and in the worker."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG, Asset

from airflow_synapse.operators.plugin_action import SubmitPluginActionOperator
from airflow_synapse.operators.ray_job import SubmitRayJobOperator
from airflow_synapse.sensors.ray_job import RayJobSensor

PLUGIN = Path(__file__).parent / "plugin"

for name, deferrable in (("triggerer", True), ("worker", False)):
    with DAG(
        f"makes_assets_in_{name}",
        schedule=None,
        default_args={
            "deferrable": deferrable,
            "poll_interval": 1,
            "retries": 1,
            "retry_delay": timedelta(seconds=1),
        },
    ):
        SubmitPluginActionOperator(
            task_id="action",
            action_name="talk",
            action_params={"lines": 1, "size": 10},
            working_dir=PLUGIN,
            env={"SECRET": "planted-in-{{ dag.dag_id }}"},
            outlets=[Asset(f"talk_{name}")],
        )
        submit = SubmitRayJobOperator(
            task_id="submit",
            entrypoint="echo $OPENLINEAGE_PARENT_ID; sleep 2",
            wait_for_completion=False,
            outlets=[Asset(f"submitted_{name}")],
        )
        RayJobSensor(
            task_id="sense", job_id=submit.output, poke_interval=1, outlets=[Asset(f"seen_{name}")]
        )
        SubmitRayJobOperator(
            task_id="fail", entrypoint="exit 3", retries=0, outlets=[Asset(f"failed_{name}")]
        )
