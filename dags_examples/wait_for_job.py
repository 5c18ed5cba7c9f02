"""Waits for a job that something else submitted. The sensor never stops that job."""

from __future__ import annotations

from airflow.sdk import DAG, Param

from airflow_synapse.sensors.ray_job import RayJobSensor

with DAG(
    "wait_for_job",
    description=__doc__,
    schedule=None,
    tags=["ray", "example"],
    params={"job_id": Param("nightly-export", type="string", description="A submission ID.")},
):
    RayJobSensor(
        task_id="wait", job_id="{{ params.job_id }}", deferrable=True, poll_interval=1, timeout=600
    )
