"""Tasks to look at in the tab "Ray job"."""

from __future__ import annotations

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG

from airflow_synapse.operators.ray_job import SubmitRayJobOperator
from airflow_synapse.sensors.ray_job import RayJobSensor

with DAG("viewed", schedule=None, default_args={"retries": 0}):
    succeeds = SubmitRayJobOperator(
        task_id="succeeds",
        entrypoint="echo the last line",
        env={"TOKEN": "planted-env"},
        num_cpus=0.1,
        deferrable=True,
        poll_interval=1,
    )
    job_id = "{{ ti.xcom_pull(task_ids='succeeds', key='job_id', map_indexes=-1) }}"
    succeeds >> [
        RayJobSensor(task_id="senses", job_id=job_id, deferrable=False),
        RayJobSensor(
            task_id="senses_in_triggerer", job_id=job_id, deferrable=True, start_from_trigger=True
        ),
    ]
    SubmitRayJobOperator(task_id="fails", entrypoint="exit 3", num_cpus=0.1)
    SubmitRayJobOperator.partial(task_id="mapped", num_cpus=0.1).expand(
        entrypoint=["echo mapped one", "echo mapped two"]
    )
    EmptyOperator(task_id="no_ray")
