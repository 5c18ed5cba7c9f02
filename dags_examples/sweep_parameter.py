"""Sweeps a parameter with one mapped task, which runs one Ray job per value in parallel."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from airflow.sdk import DAG, Param, task

from airflow_synapse.operators.plugin_action import SubmitPluginActionOperator

PLUGIN = Path(__file__).parent / "plugins" / "digits"

with DAG(
    "sweep_parameter",
    description=__doc__,
    schedule=None,
    tags=["ray", "example"],
    default_args={"retries": 1, "retry_delay": timedelta(seconds=5)},
    params={"output_dir": Param("/tmp/digits-sweep", type="string", description="On the cluster.")},
):
    prepare = SubmitPluginActionOperator(
        task_id="prepare",
        action_name="prepare",
        action_params={"output_dir": "{{ params.output_dir }}"},
        working_dir=PLUGIN,
        deferrable=True,
        poll_interval=2,
    )

    @task
    def choices(prepared: dict, **context) -> list[dict]:
        """Return the params of each job."""
        folder = context["params"]["output_dir"]
        return [
            {"data": prepared["data"], "output_dir": f"{folder}/{trees}-trees", "trees": trees}
            for trees in (5, 50)
        ]

    train = SubmitPluginActionOperator.partial(
        task_id="train", action_name="train", working_dir=PLUGIN, deferrable=True, poll_interval=2
    ).expand(action_params=choices(prepare.output))

    @task
    def summary(results: list[dict]) -> dict:
        """Return the accuracy of the forest by its number of trees."""
        forests = [
            next(model for model in result["models"] if model["name"] == "forest")
            for result in results
        ]
        return {"accuracies": [forest["accuracy"] for forest in forests]}

    summary(train.output)
