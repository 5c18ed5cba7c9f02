"""Runs a shell command on a Ray cluster that KubeRay made on Kubernetes, without a Ray connection."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_synapse.operators.ray_job import SubmitRayJobOperator

with DAG("kuberay", description=__doc__, schedule=None, tags=["ray", "example"]):
    SubmitRayJobOperator(
        task_id="greet",
        entrypoint='echo "Hello from $(hostname)"',
        ray_cluster="ray/train",
        kubernetes_conn_id="kubernetes_default",
        deferrable=True,
    )
