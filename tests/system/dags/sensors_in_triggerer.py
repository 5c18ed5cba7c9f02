"""Sensors that start in the triggerer and, if all is well, end there."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_synapse.operators.ray_job import SubmitRayJobOperator
from airflow_synapse.sensors.ray_job import RayJobSensor

with DAG("sensors_in_triggerer", schedule=None, default_args={"retries": 0}):
    for name, entrypoint in (("good", "echo all is well; sleep 3"), ("bad", "sleep 3; exit 7")):
        submit = SubmitRayJobOperator(
            task_id=f"submit_{name}", entrypoint=entrypoint, wait_for_completion=False
        )
        sense = RayJobSensor(
            task_id=f"sense_{name}",
            job_id=f"{{{{ ti.xcom_pull(task_ids='submit_{name}', map_indexes=-1) }}}}",
            poll_interval=1,
            deferrable=True,
            start_from_trigger=True,
            end_from_trigger=True,
        )
        submit >> sense
