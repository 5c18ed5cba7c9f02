"""Runs a shell command as a Ray job, with resources, environment variables and a time limit."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG

from airflow_synapse.operators.ray_job import SubmitRayJobOperator

with DAG("shell_command", description=__doc__, schedule=None, tags=["ray", "example"]):
    SubmitRayJobOperator(
        task_id="greet",
        entrypoint='echo "Hello from $(hostname), $GREETED"',
        env={"GREETED": "{{ dag_run.run_id }}"},
        num_cpus=0.1,
        job_timeout=timedelta(minutes=5),
        deferrable=True,
    )
