"""Tasks whose job counts lines until a file appears, in the triggerer and in the worker."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG

from airflow_synapse.operators.ray_job import SubmitRayJobOperator

COUNT = """
i=0
until [ -e "{{ dag_run.conf['until'] }}" ]; do
    echo "line $i"; i=$((i + 1)); sleep 0.02
done
echo "$i lines"
"""

for name, deferrable in (("triggerer", True), ("worker", False)):
    with DAG(
        f"counts_in_{name}",
        schedule=None,
        default_args={
            "ray_conn_id": "ray_proxied",
            "deferrable": deferrable,
            "poll_interval": 1,
            "retries": 1,
            "retry_delay": timedelta(seconds=1),
        },
    ):
        SubmitRayJobOperator(task_id="count", entrypoint=COUNT)
