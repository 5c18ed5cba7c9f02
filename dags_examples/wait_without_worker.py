"""Waits for a job without a worker slot: the sensor starts and ends in the triggerer."""

from __future__ import annotations

from airflow.sdk import DAG, Param

from airflow_synapse.sensors.ray_job import RayJobSensor

with DAG(
    "wait_without_worker",
    description=__doc__,
    schedule=None,
    tags=["ray", "example"],
    params={"job_id": Param("nightly-export", type="string", description="A submission ID.")},
):
    # [start sensor]
    RayJobSensor(
        task_id="wait",
        job_id="{{ params.job_id }}",
        deferrable=True,
        start_from_trigger=True,
        end_from_trigger=True,
    )
    # [end sensor]
