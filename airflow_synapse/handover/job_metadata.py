"""The metadata with which a job says for which task instance it was submitted. Pure."""

from __future__ import annotations

DEPLOYMENT_KEY = "airflow_deployment"
"""Metadata: which Airflow submitted the job."""


def task_metadata(dag_id: str, run_id: str, task_id: str, map_index: int) -> dict[str, str]:
    """Return Airflow's ids of a task instance, as metadata of its job."""
    return {
        "airflow_dag_id": dag_id,
        "airflow_run_id": run_id,
        "airflow_task_id": task_id,
        "airflow_map_index": str(map_index),
    }
