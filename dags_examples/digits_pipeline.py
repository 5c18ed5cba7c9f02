"""Runs three actions of one plugin. Each action gets params from the results of earlier ones."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG, Param

from airflow_synapse.operators.plugin_action import SubmitPluginActionOperator

with DAG(
    "digits_pipeline",
    description=__doc__,
    schedule=None,
    tags=["ray", "example"],
    params={"output_dir": Param("/tmp/digits", type="string", description="On the cluster.")},
    default_args={
        "working_dir": Path(__file__).parent / "plugins" / "digits",
        "deferrable": True,
        "retries": 1,
        "retry_delay": timedelta(seconds=5),
        "poll_interval": 2,
    },
):
    prepare = SubmitPluginActionOperator(
        task_id="prepare",
        action_name="prepare",
        action_params={"output_dir": "{{ params.output_dir }}"},
        multiple_outputs=True,
    )
    train = SubmitPluginActionOperator(
        task_id="train",
        action_name="train",
        action_params={
            "data": prepare.output["data"],
            "output_dir": "{{ params.output_dir }}/models",
        },
        multiple_outputs=True,
    )
    SubmitPluginActionOperator(
        task_id="evaluate",
        action_name="evaluate",
        action_params={
            "data": prepare.output["data"],
            "model": train.output["best_model"],
            "output_dir": "{{ params.output_dir }}",
        },
    )
