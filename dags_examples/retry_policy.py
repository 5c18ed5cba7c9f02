"""Retries failures of the cluster, but not of the job's own code."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Param

from airflow_synapse.operators.ray_job import SubmitRayJobOperator
from airflow_synapse.operators.retry_policy import RayJobRetryPolicy

# [start policy]
try:
    retry_only_the_cluster = {"retry_policy": RayJobRetryPolicy(retry_delay=timedelta(seconds=5))}
except RuntimeError:  # Airflow 3.1 and 3.2 have no retry policies; this argument does the same
    retry_only_the_cluster = {"retry_user_errors": False}

with DAG(
    "retry_policy",
    description=__doc__,
    schedule=None,
    tags=["ray", "example"],
    params={"exit_code": Param(0, type="integer", description="The job's exit code.")},
):
    SubmitRayJobOperator(
        task_id="exit",
        entrypoint="exit {{ params.exit_code }}",
        num_cpus=0.1,
        retries=3,
        **retry_only_the_cluster,
    )
# [end policy]
