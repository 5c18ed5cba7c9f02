"""Stops jobs of this Airflow that nobody wants any more, for an Airflow whose tasks never wait in a triggerer."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_synapse.operators.house_keeping import ReapRayJobsOperator

with DAG(
    "reap_ray_jobs",
    description=__doc__,
    schedule="*/15 * * * *",
    max_active_runs=1,
    tags=["ray", "example"],
):
    # [start operator]
    ReapRayJobsOperator(task_id="reap")
    # [end operator]
