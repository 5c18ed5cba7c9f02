"""``echo hi`` as a Ray job, watched in the triggerer and in the worker, and without Ray."""

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

from airflow_synapse.operators.ray_job import SubmitRayJobOperator

for name, deferrable in (("deferred", True), ("in_worker", False)):
    with DAG(f"echo_{name}", schedule=None):
        SubmitRayJobOperator(
            task_id="echo", entrypoint="echo hi", deferrable=deferrable, poll_interval=1
        )

with DAG("echo_bash", schedule=None):
    BashOperator(task_id="echo", bash_command="echo hi")
