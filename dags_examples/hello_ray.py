"""Runs the smallest possible plugin, one function in one file, as a Ray job."""

from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG

from airflow_synapse.operators.plugin_action import SubmitPluginActionOperator

with DAG("hello_ray", schedule=None):
    SubmitPluginActionOperator(
        task_id="greet",
        action_name="greet",
        action_params={"name": "{{ dag_run.run_id }}", "times": 3},
        working_dir=Path(__file__).parent / "plugins" / "hello",
        num_cpus=1,
        deferrable=True,
        # A new try takes over the previous try's job instead of starting a second one.
        retries=2,
        retry_delay=timedelta(seconds=5),
    )
