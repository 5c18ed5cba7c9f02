"""Stops a job, and deletes jobs that ended long ago from the cluster."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param

from airflow_synapse.operators.house_keeping import DeleteRayJobsOperator, StopRayJobOperator

with DAG(
    "house_keeping",
    description=__doc__,
    schedule=None,
    tags=["ray", "example"],
    params={"job_id": Param("nightly-export", type="string", description="A submission ID.")},
):
    # [start operators]
    StopRayJobOperator(task_id="stop", job_id="{{ params.job_id }}", missing_ok=True)
    DeleteRayJobsOperator(task_id="forget", older_than=timedelta(days=7))
    # [end operators]
