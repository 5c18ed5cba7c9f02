"""Mapped tasks whose jobs count slowly, in the triggerer and in the worker."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG

from airflow_synapse.operators.ray_job import SubmitRayJobOperator

with DAG(
    "chaos",
    schedule=None,
    default_args={
        "poll_interval": 1,
        "retries": 20,
        "retry_delay": timedelta(seconds=1),
    },
):
    for name, deferrable in (("triggerer", True), ("worker", False)):
        SubmitRayJobOperator.partial(task_id=name, deferrable=deferrable).expand(
            entrypoint=[
                f"i=0; while [ $i -lt {count} ]; do echo line $i; i=$((i+1)); sleep 0.1; done"
                for count in (200, 301, 402)
            ]
        )
