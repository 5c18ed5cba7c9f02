"""Trains with checkpoints. The first try is killed, and the next one goes on where it was."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG, Param

from airflow_synapse.operators.plugin_action import SubmitPluginActionOperator

with DAG(
    "checkpoints",
    description=__doc__,
    schedule=None,
    tags=["ray", "example"],
    render_template_as_native_obj=True,  # epochs stays a number
    params={
        "output_dir": Param("/tmp/checkpoints", type="string", description="Shared by the nodes."),
        "epochs": Param(10, type="integer", minimum=1),
        "dies_after": Param(4, type="integer", description="The first try is killed after it."),
    },
):
    SubmitPluginActionOperator(
        task_id="fit",
        working_dir=Path(__file__).parent / "plugins" / "checkpoints",
        action_name="fit",
        action_params={"epochs": "{{ params.epochs }}", "dies_after": "{{ params.dies_after }}"},
        storage_path="{{ params.output_dir }}",
        retries=2,
        retry_delay=timedelta(seconds=1),
        deferrable=True,
        poll_interval=2,
    )
